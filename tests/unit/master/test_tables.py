"""The compiled tables keep the promises that the master's stand-in makes."""

from __future__ import annotations

import os

import pytest

from pooler import core
from pooler.config import Config, Database, Settings
from pooler.ipc import inbox
from pooler.master import capacity
from pooler.master.interfaces import SharedTables


def make_tables() -> core.Tables:
    config = Config("p.ini", Settings(workers=2), {"d": Database("d")})
    return core.Tables(**capacity.table_sizes(config, 4096))


def test_life_of_a_worker() -> None:
    tables = make_tables()
    needed: SharedTables = tables
    assert needed.pause_mode() == ""
    tables.worker_starting(0, 4711)
    assert tables.heartbeat_age(0) < 10
    assert tables.load(0) == 0
    ours, theirs = inbox.open_pair()
    with ours, theirs:
        thread = needed.acceptor([theirs.fileno()] * 2, 1)
        thread.set_eligible([0])
        for _ in range(2):
            given = os.open(os.devnull, os.O_RDONLY)
            assert thread.give(given, True).end is core.AcceptEnd.MORE
        thread.close()
    assert (tables.load(0), tables.load(1)) == (2, 0)
    left = tables.worker_died(0)
    assert (left["clients"], left["reclaim"]) == (0, 0)
    tables.worker_starting(0, 4712)
    assert tables.load(0) == 2, "what is in the inbox waits for the replacement"


def test_busy_is_an_exception() -> None:
    assert issubclass(core.TablesBusy, Exception)


@pytest.mark.parametrize("pid", [0, 1, 2**31 - 1, 2**31, 2**32 - 1])
def test_any_pid_of_a_server_can_be_canceled(pid: int) -> None:
    """What is not PostgreSQL, like a pooler in between, chooses any 32 bits."""
    tables = core.Tables(workers=1, slots=4, clients=4)
    tables.slot_key(0, pid, b"key", "target")
    assert tables.cancel_target(0)[1:] == ("target", pid, b"key")
