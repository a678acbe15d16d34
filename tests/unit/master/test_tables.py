"""The compiled tables keep the promises that the master's stand-in makes."""

from __future__ import annotations

import pytest

from pooler.config import Config, Database, Settings
from pooler.master import capacity
from pooler.master.interfaces import SharedTables

core = pytest.importorskip("pooler.core", reason="the extension is not built", exc_type=ImportError)


def make_tables() -> SharedTables:
    config = Config("p.ini", Settings(workers=2), {"d": Database("d")})
    tables: SharedTables = core.Tables(**capacity.table_sizes(config, 4096))
    return tables


def test_life_of_a_worker() -> None:
    tables = make_tables()
    tables.worker_starting(0, 4711)
    assert tables.heartbeat_age(0) < 10
    assert tables.load(0) == 0
    tables.client_sent(0)
    tables.client_sent(0)
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
