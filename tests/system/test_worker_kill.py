"""kill -9 of workers: only their clients break, what they held comes back, nothing leaks, the limit holds."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

from tests.support.health import (
    LimitWatch,
    assert_consistent,
    assert_no_bugs,
    descriptor_counts,
    kill_worker,
    restarts,
    wait_for_descriptors,
    wait_for_replacement,
    wait_until_empty,
    wait_until_slots_work,
)
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.storm import Storm
from tests.support.wire import Wire, message, query, startup

MakePooler = Callable[..., Pooler]

#: What the limit tests allow PostgreSQL to see.
LIMIT = 5
#: A statement that keeps its server for a moment, so that the servers and not the CPU are what is short.
SHORT = "SELECT pg_sleep(0.002)"

#: Twelve of each worker; POOLER_KILLS=1000 for longer.
KILLS = int(os.environ.get("POOLER_KILLS", "48"))


def address(pooler: Pooler) -> tuple[str, int]:
    return pooler.host, pooler.port


def ports_of(pooler: Pooler, number: int) -> set[int]:
    """Local ports of a worker's clients."""
    return {row["port"] for row in pooler.show("clients", worker=number)}


@pytest.mark.slow
def test_many_kills_under_load(make_pooler: MakePooler, pg: Postgres) -> None:
    pooler = make_pooler(workers=4, databases={"p0": "pool_size=5", "p1": ""})
    wait_until_empty(pooler, pg)
    before = descriptor_counts(pooler)
    with LimitWatch(pg) as watch, Storm(address(pooler), 24, SHORT) as storm:
        killed = dict.fromkeys(range(4), 0)
        for number in range(KILLS):
            wait_for_replacement(pooler, number % 4, of=killed[number % 4])
            storm.wait_until_complete()
            victims = ports_of(pooler, number % 4)
            known, broken = victims & set(storm.ports), len(storm.breaks)
            killed[number % 4] = kill_worker(pooler, number % 4)
            storm.wait_for_answers(30, timeout_s=3)
            wait_for(lambda k=known, b=broken: k <= set(storm.breaks[b:]), 5, "all breaks to be noticed")  # type: ignore[misc]
            strangers = set(storm.breaks[broken:]) - victims
            assert not strangers, f"kill {number} cost clients of other workers: {strangers}"
        assert not storm.errors, storm.errors
    assert watch.most <= 5, f"PostgreSQL saw {watch.most}, {watch.samples} samples"
    assert_consistent(pooler, pg)
    wait_until_slots_work(pooler, 5)
    assert restarts(pooler) == KILLS
    wait_until_empty(pooler, pg)
    wait_for_descriptors(pooler, before)
    assert_no_bugs(pooler)


def test_replacement_serves_within_a_second(make_pooler: MakePooler) -> None:
    pooler = make_pooler(workers=1)
    for _ in range(5):
        assert pooler.sql("SELECT 1") == [(1,)]
        started = time.monotonic()
        kill_worker(pooler, 0)
        wait_for(lambda: _serves(pooler), 5, "service by the replacement")
        assert time.monotonic() - started < 1.0


def _serves(pooler: Pooler) -> bool:
    try:
        with pooler.wire(timeout_s=5) as wire:
            return wire.login().rows("SELECT 1") == [[b"1"]]
    except Exception:
        return False


@pytest.mark.parametrize("workers", [1, 2])
def test_slots_are_usable_again_within_two_seconds(
    make_pooler: MakePooler, pg: Postgres, workers: int
) -> None:
    """The dead worker's transactions held the whole pool."""
    pooler = make_pooler(workers=workers, databases={"p0": "pool_size=3"})
    wires = [pooler.wire().login() for _ in range(12)]
    holders = [w for w in wires if w.socket.getsockname()[1] in ports_of(pooler, 0)][:3]
    assert len(holders) == 3
    for wire in holders:
        wire.rows("BEGIN; SELECT 1")
    held = set(pg.backends())
    started = time.monotonic()
    kill_worker(pooler, 0)
    wait_until_slots_work(pooler, 3, timeout_s=4)
    assert time.monotonic() - started < 2.0
    wait_for(lambda: not held & set(pg.backends()), 5, "the end of the dead worker's transactions")
    for wire in wires:
        wire.close()
    assert_consistent(pooler, pg)


def test_idle_servers_of_a_dead_worker_stay_in_use(make_pooler: MakePooler, pg: Postgres) -> None:
    pooler = make_pooler(workers=2, databases={"p0": "pool_size=2"})
    pooler.learn_catalogs()
    wait_until_slots_work(pooler, 2)
    servers = set(pg.backends())
    for number in (0, 1):
        wait_for_replacement(pooler, number, of=kill_worker(pooler, number))
        wait_until_slots_work(pooler, 2)
    assert set(pg.backends()) == servers


def test_long_query_of_a_dead_worker_is_canceled(make_pooler: MakePooler, pg: Postgres) -> None:
    pooler = make_pooler(workers=1, databases={"p0": "pool_size=1"})
    with pooler.wire() as wire:
        (pid,) = wire.login().rows("SELECT pg_backend_pid()")[0]
        assert pid is not None
        wire.send(query("SELECT pg_sleep(100)"))
        wait_for(lambda: _runs(pg, int(pid)), what="the query")
        kill_worker(pooler, 0)
        wait_for(lambda: int(pid) not in pg.backends(), 2, "the end of the backend")
        wire.expect_closed()
    wait_until_slots_work(pooler, 1)
    assert_consistent(pooler, pg)


def _runs(pg: Postgres, pid: int) -> bool:
    return pg.sql("SELECT state FROM pg_stat_activity WHERE pid = %s", (pid,)) == [("active",)]


def test_kill_during_copy_in(make_pooler: MakePooler, pg: Postgres) -> None:
    """Not one row of a COPY whose client and worker died may be committed."""
    pg.sql("DROP TABLE IF EXISTS copied; CREATE TABLE copied (n int)", dbname="p0", user="bouncer")
    pooler = make_pooler(workers=2, databases={"p0": "pool_size=1"})
    with pooler.wire() as wire:
        wire.login().send(query("COPY copied FROM STDIN"))
        wire.expect("G")
        wire.send(*[message("d", b"1\n" * 1000)] * 20)
        (row,) = pooler.show("clients", database="p0")
        kill_worker(pooler, row["worker"])
        wire.expect_closed()
    wait_until_slots_work(pooler, 1)
    assert pooler.sql("SELECT count(*) FROM copied") == [(0,)]
    assert_consistent(pooler, pg)


def test_kill_during_copy_out(make_pooler: MakePooler, pg: Postgres) -> None:
    """The client does not read, so the whole path is full of data when the worker dies."""
    pooler = make_pooler(workers=2, databases={"p0": "pool_size=1"})
    with pooler.wire() as wire:
        wire.login().send(query("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 1000000)) TO STDOUT"))
        wire.expect("Hd")
        (row,) = pooler.show("clients", database="p0")
        (pid,) = pg.backends()
        kill_worker(pooler, row["worker"])
        wait_for(lambda: pid not in pg.backends(), 3, "the end of the backend")
    wait_until_slots_work(pooler, 1)
    assert_consistent(pooler, pg)


def test_kill_during_server_login(make_pooler: MakePooler, pg: Postgres) -> None:
    """The slot was taken and nobody but the dead worker (and the master's duplicate) knew the connection."""
    pooler = make_pooler(workers=1, databases={"p0": "pool_size=2", "p1": ""})
    assert pooler.sql("SELECT 1", dbname="p1") == [(1,)]
    with pg.stalled(), pooler.wire() as wire:
        wire.send(startup())
        wait_for(lambda: pooler.show("slots", state="new"), 5, "a server in its login")
        kill_worker(pooler, 0)
        wire.expect_closed()
    wait_until_slots_work(pooler, 2, timeout_s=8)
    assert_consistent(pooler, pg)


@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.slow
def test_limit_under_storm_kills_reloads_and_dying_backends(
    make_pooler: MakePooler, pg: Postgres, workers: int
) -> None:
    """500 clients, five connections: never a sixth, whatever happens to workers, settings and backends."""
    pooler = make_pooler(
        workers=workers, databases={"p0": ""}, max_db_connections=LIMIT, max_client_conn=1200
    )
    stop = threading.Event()
    reloads = threading.Thread(target=_reload_all_the_time, args=(pooler, stop))
    with LimitWatch(pg) as watch, Storm(address(pooler), 500, SHORT) as storm:
        storm.wait_until_complete(20)
        reloads.start()
        try:
            for number in range(10):
                before = storm.answers
                killed = kill_worker(pooler, number % workers)
                pg.terminate_backends()
                wait_for(lambda: storm.answers > before + 200, 5, f"service after kill {number}")  # noqa: B023
                wait_for_replacement(pooler, number % workers, of=killed)
        finally:
            stop.set()
            reloads.join()
        storm.wait_until_complete(20)
    assert watch.most <= LIMIT, f"PostgreSQL saw {watch.most}, {watch.samples} samples"
    assert watch.most == LIMIT
    assert watch.samples > 500
    unknown = [text for text in storm.errors if not text.startswith(("57P01 ", "08P01 server conn crashed?"))]
    assert not unknown, unknown
    assert_consistent(pooler, pg)
    wait_until_slots_work(pooler, LIMIT)
    assert_no_bugs(pooler)


def _reload_all_the_time(pooler: Pooler, stop: threading.Event) -> None:
    while not stop.wait(0.1):
        pooler.signal(signal.SIGHUP)


def test_idle_clients_of_other_workers_do_not_notice(make_pooler: MakePooler) -> None:
    pooler = make_pooler(workers=3)
    wires = {wire.socket.getsockname()[1]: wire for wire in (pooler.wire().login() for _ in range(12))}
    victims = ports_of(pooler, 1)
    assert 1 <= len(victims) < 12
    kill_worker(pooler, 1)
    for port, wire in wires.items():
        if port in victims:
            wire.expect_closed()
        else:
            assert wire.rows("SELECT 1") == [[b"1"]]
        wire.close()


def test_transactions_of_other_workers_go_on(make_pooler: MakePooler) -> None:
    """Servers that the dead worker had used before are its successors' business only when they are free."""
    pooler = make_pooler(workers=2, databases={"p0": "pool_size=4"})
    wires: list[Wire] = [pooler.wire().login() for _ in range(8)]
    survivors = [w for w in wires if w.socket.getsockname()[1] in ports_of(pooler, 1)][:4]
    for wire in survivors:
        wire.rows("BEGIN")
        wire.rows("CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 7 AS n")
    wait_for_replacement(pooler, 0, of=kill_worker(pooler, 0))
    for wire in survivors:
        assert wire.rows("SELECT n FROM t") == [[b"7"]]
        wire.rows("COMMIT")
    for wire in wires:
        wire.close()


#: Two datagrams each (a new server, its end) are more than an inbox holds.
FILLING = 300


def test_stopped_worker_with_a_full_inbox_holds_up_nobody(make_pooler: MakePooler, pg: Postgres) -> None:
    """Each new server's descriptor goes to all workers first. The one that never reads is replaced."""
    pooler = make_pooler(workers=2, databases={"p0": "pool_size=1"}, server_lifetime=0, worker_timeout=90)
    wires = [pooler.wire().login() for _ in range(4)]
    (wire, *_) = (w for w in wires if w.socket.getsockname()[1] in ports_of(pooler, 0))
    (other, *_) = (w for w in wires if w is not wire and w.socket.getsockname()[1] in ports_of(pooler, 1))
    assert other.rows("SELECT 1") == [[b"1"]]
    wait_for(lambda: not pooler.show("slots", database="p0"), 5, "no slot is in the worker's hands")
    stopped = kill_worker(pooler, 1, signal.SIGSTOP)
    for number in range(FILLING):
        assert wire.rows(f"SELECT {number}") == [[b"%d" % number]]
    other.expect_closed()
    wait_for_replacement(pooler, 1, of=stopped)
    for unread in wires:
        unread.close()
    wait_until_slots_work(pooler, 1)
    assert_consistent(pooler, pg)
    assert "with its inbox full" in pooler.log.read_text()
