"""SUSPEND: everything on its way arrives, then nothing moves, and nothing is lost when it goes on."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.exchange import pooled
from tests.support.health import wait_until_nobody_reads, worker_pids
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.wire import Wire, query, startup

MakePooler = Callable[..., Pooler]


@pytest.fixture(params=[1, 2], ids=["1-worker", "2-workers"])
def pooler(request: pytest.FixtureRequest, make_pooler: MakePooler) -> Pooler:
    return make_pooler(workers=request.param, databases={"p0": "pool_size=3", "p1": ""}, suspend_timeout=1)


@pytest.fixture
def console(pooler: Pooler) -> Iterator[Wire]:
    """A session of an admin: while pooler is suspended no other can come in."""
    with pooler.wire().login(user="postgres", database="pgbouncer") as wire:
        yield wire


def order(console: Wire, text: str) -> str:
    console.send(query(text))
    (answer, _) = console.expect("CZ")
    return answer.text


def refused(console: Wire, text: str) -> str:
    console.send(query(text))
    (answer, _) = console.expect("EZ")
    return answer.fields["M"]


def states(console: Wire) -> dict[bytes | None, bytes | None]:
    return {row[0]: row[1] for row in console.rows("SHOW STATE")}


def is_silent(wire: Wire) -> bool:
    wire.socket.settimeout(0.3)
    try:
        return not wire.socket.recv(1, socket.MSG_PEEK)
    except TimeoutError:
        return True
    finally:
        wire.socket.settimeout(10)


def test_nothing_moves_until_resume(pooler: Pooler, console: Wire) -> None:
    with pooled(pooler) as busy, pooled(pooler) as idle, pooled(pooler, "p1") as asleep:
        busy.query("BEGIN")
        asleep.send(query("SELECT pg_sleep(0.5)"))
        assert order(console, "SUSPEND") == "SUSPEND"
        assert states(console) == {b"active": b"no", b"paused": b"no", b"suspended": b"yes"}
        busy.send(query("SELECT 1"))
        idle.send(query("SELECT 2"))
        with socket.create_connection((pooler.host, pooler.port)) as late:
            newcomer = Wire(late, 10)
            newcomer.send(startup(user="bouncer", database="p0"))
            for wire in (busy, idle, asleep, newcomer):
                assert is_silent(wire)
            assert order(console, "RESUME") == "RESUME"
            assert busy.receive_until("Z")[-1].body == b"T"
            assert idle.receive_until("Z")[-1].body == b"I"
            assert asleep.receive_until("Z")[-1].body == b"I"
            newcomer.receive_until("Z")
        busy.query("COMMIT")
    assert states(console) == {b"active": b"yes", b"paused": b"no", b"suspended": b"no"}


def test_words_of_refusal(pooler: Pooler, console: Wire) -> None:
    order(console, "PAUSE p1")
    assert refused(console, "SUSPEND") == "cannot suspend with paused databases"
    order(console, "RESUME p1")
    order(console, "PAUSE")
    assert refused(console, "SUSPEND") == "already suspended/paused"
    order(console, "RESUME")
    order(console, "SUSPEND")
    for text in ("SUSPEND", "PAUSE", "PAUSE p0", "KILL p0"):
        assert refused(console, text) == "already suspended/paused"
    order(console, "RESUME")
    assert refused(console, "RESUME") == "pooler is not paused/suspended"


def test_it_ends_when_its_console_leaves(pooler: Pooler, console: Wire) -> None:
    with pooled(pooler) as wire:
        order(console, "SUSPEND")
        wire.send(query("SELECT 1"))
        assert is_silent(wire)
        console.close()
        wire.receive_until("Z")
    assert pooler.sql("SELECT 2") == [(2,)]


def test_half_a_message_is_waited_for_and_not_for_ever(pooler: Pooler, console: Wire) -> None:
    whole = query(
        f"SELECT '{'a text that comes in two parts' * 2000}'"
    )  # too long to be kept until it is whole
    with pooled(pooler) as slow, pooled(pooler) as stuck:
        for wire in (slow, stuck):
            wire.query("BEGIN")
            wire.send(whole[:20000])
        wait_for(lambda: len(pooler.show("clients", database="p0")) == 2, 5, "both")
        console.send(query("SUSPEND"))
        assert is_silent(console)
        slow.send(whole[20000:])
        with pooler.expect_log("closing because: suspend_timeout"):
            assert console.expect("CZ")[0].text == "SUSPEND"
        assert stuck.receive_until("E")[-1].fields["M"] == "suspend_timeout"
        assert is_silent(slow)
        order(console, "RESUME")
        slow.receive_until("Z")


def test_a_long_result_stops_between_two_messages(pooler: Pooler, console: Wire) -> None:
    """Its reader keeps reading; all of it arrives."""
    rows = 200_000
    with pooled(pooler) as wire, ThreadPoolExecutor(1) as threads:
        wire.send(query(f"SELECT n, repeat('x', 100) FROM generate_series(1, {rows}) AS n"))
        assert wire.receive().type == "T"
        reader = threads.submit(wire.receive_until, "Z")
        order(console, "SUSPEND")
        order(console, "RESUME")
        assert sum(one.type == "D" for one in reader.result()) == rows


def test_a_reader_that_does_not_read_is_closed(pooler: Pooler, console: Wire, pg: Postgres) -> None:
    with pooled(pooler) as wire:
        wire.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 200000)"))
        wait_until_nobody_reads(pg)
        with pooler.expect_log("closing because: suspend_timeout"):
            order(console, "SUSPEND")
        order(console, "RESUME")
    assert pooler.sql("SELECT 2") == [(2,)]


def test_signals(pooler: Pooler, console: Wire) -> None:
    with pooled(pooler) as wire:
        order(console, "SUSPEND")
        with pooler.expect_log("LOG got SIGUSR1, but already paused/suspended"):
            pooler.signal(signal.SIGUSR1)
        with pooler.expect_log("LOG got SIGUSR2, continuing from SUSPEND"):
            pooler.signal(signal.SIGUSR2)
        wire.query("SELECT 1")
        with pooler.expect_log("LOG got SIGUSR2, but not paused/suspended"):
            pooler.signal(signal.SIGUSR2)
        with pooler.expect_log("LOG got SIGUSR1, pausing all activity"):
            pooler.signal(signal.SIGUSR1)
        wait_for(lambda: states(console)[b"paused"] == b"yes", 5, "the pause")
        with pooler.expect_log("LOG got SIGUSR2, continuing from PAUSE"):
            pooler.signal(signal.SIGUSR2)
        wait_for(lambda: states(console)[b"active"] == b"yes", 5, "its end")
        order(console, "SUSPEND")
        with pooler.expect_log("FATAL suspend was in progress, going down immediately"):
            pooler.signal(signal.SIGTERM)
        assert pooler.wait() == 1


def test_it_ends_with_the_worker_of_its_console(pooler: Pooler, console: Wire) -> None:
    workers = worker_pids(pooler)
    order(console, "SUSPEND")
    for pid in workers.values():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: pooler.sql("SELECT 1") == [(1,)], 10, "service again")
