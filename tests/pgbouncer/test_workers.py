"""What several processes must not change: facts that an observer of one process can rely on."""

from __future__ import annotations

import signal
import socket
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.pgbouncer.subjects import POOLERS, made_of_each, on_each, told
from tests.support.crowd import refusal
from tests.support.exchange import pooled
from tests.support.pooler import Bouncer
from tests.support.processes import wait_for
from tests.support.wire import LoginRefused, Wire, query

#: Whose servers stay while the other tests run: those that count backends take p2.
BOUNCER = {"databases": {"p0": "pool_size=4", "p1": "pool_size=1"}}

CLIENTS = 12


def crowd(bouncer: Bouncer, count: int = CLIENTS, database: str = "p0") -> list[Wire]:
    """Logged in one after the other: on all workers there are."""
    return [pooled(bouncer, database) for _ in range(count)]


def close(wires: list[Wire]) -> None:
    for wire in wires:
        wire.close()


@on_each(since="1.24")
def test_ids_come_from_one_increasing_counter(subject: Bouncer) -> None:
    """Of clients and servers together, in the order of their arrival."""
    wires = crowd(subject)
    for wire in wires[:3]:
        wire.query("BEGIN")
    by_port = {row["port"]: row["id"] for row in subject.show("clients", database="p0")}
    ids = [by_port[wire.socket.getsockname()[1]] for wire in wires]
    assert ids == sorted(ids)
    servers = [row["id"] for row in subject.show("servers", database="p0")]
    assert len({*ids, *servers}) == len(ids) + len(servers)
    for wire in wires[:3]:
        wire.query("COMMIT")
    close(wires)


@on_each()
def test_lists_are_those_of_the_moment(subject: Bouncer) -> None:
    """All clients are listed once they have their answer, and one that has left is gone."""
    for count in (3, 7):
        wires = crowd(subject, count, "p1")
        assert len(subject.show("clients", database="p1")) == count
        (pool,) = subject.show("pools", database="p1", user="bouncer")
        assert pool["cl_active"] + pool["cl_waiting"] == count
        for wire in wires:
            wire.close()
        wait_for(lambda: not subject.show("clients", database="p1"), 5, "gone clients are not listed")


@made_of_each(since="1.24")
def test_client_limits_are_exact(start: Callable[..., Bouncer]) -> None:
    """Whoever is told no is told so rightly: as many get in as the limit says, not one more or less.

    PgBouncer counts who is told no until it has looked at all that it was woken up for: there are never more,
    but somebody else may be told no for that. A client that has left counts, with both, until
    that was noticed.
    """
    bouncer = start(max_client_conn=7, max_db_client_connections=5)

    def login(number: int) -> Wire | str:
        wire = bouncer.wire()
        try:
            return wire.login(database=f"p{number % 2}")
        except LoginRefused as refused:
            wire.socket.close()
            return told(refused.error)

    with ThreadPoolExecutor(20) as threads:
        results = list(threads.map(login, range(40)))
    inside = [one for one in results if isinstance(one, Wire)]
    assert len(inside) == 7 if bouncer.name == "pooler" else 0 < len(inside) <= 7
    refusals = Counter(one for one in results if isinstance(one, str))
    assert set(refusals) <= {
        "E FATAL 08P01 no more connections allowed (max_client_conn)",
        "E FATAL 08P01 client connections exceeded (max_db_client_connections)",
    }
    close(inside)
    again: list[Wire | str] = []

    def let_in() -> bool:
        again.append(login(0))
        return isinstance(again[-1], Wire)

    wait_for(let_in, 5, "there is room again")
    close([one for one in again if isinstance(one, Wire)])


@made_of_each()
def test_a_cancel_request_finds_its_query(start: Callable[..., Bouncer]) -> None:
    """Wherever it arrives, and whoever runs beside it."""
    bouncer = start(databases={"p0": "pool_size=8"})
    wires = crowd(bouncer, 6)
    for wire in wires:
        wire.send(query("SELECT pg_sleep(30)"))
    wait_for(lambda: len(bouncer.show("servers", state="active")) == 6, 10, "all run")
    for number, wire in enumerate(wires):
        with bouncer.wire() as request:
            request.send(wire.cancel_request())
            request.expect_closed()
        answer = wire.receive_until("Z")
        assert [m.fields["C"] for m in answer if m.type == "E"] == ["57014"]
        for other in wires[number + 1 : number + 2]:
            other.expect_silence(0.05)
    close(wires)


def waits_with(bouncer: Bouncer, count: int) -> None:
    wait_for(lambda: bouncer.pool()["cl_waiting"] == count, 5, f"{count} who wait")


@made_of_each()
def test_the_oldest_waiter_is_next(start: Callable[..., Bouncer]) -> None:
    bouncer = start(databases={"p0": "pool_size=1"})
    busy, *waiters = crowd(bouncer, 6)
    busy.query("BEGIN")
    for number, wire in enumerate(waiters):
        wire.send(query(f"INSERT INTO order_of_service VALUES ({number})"))
        waits_with(bouncer, number + 1)
    busy.query("CREATE TABLE order_of_service (number int, at serial)")
    busy.query("COMMIT")
    for wire in waiters:
        assert told(wire.receive_until("Z")[0]) == "C INSERT 0 1"
    assert busy.rows("SELECT number FROM order_of_service ORDER BY at") == [[b"%d" % n] for n in range(5)]
    busy.query("DROP TABLE order_of_service")
    close([busy, *waiters])


@made_of_each()
def test_one_failing_login_serves_all_who_wait(start: Callable[..., Bouncer]) -> None:
    """PostgreSQL logs one failure, not one per client; each client hears of it."""
    bouncer = start(databases={"none": "dbname=not_there pool_size=20"}, server_login_retry=30)
    bouncer.pg.new_log()
    bouncer.console("PAUSE")
    with ThreadPoolExecutor(10) as threads:
        refused = [threads.submit(refusal, bouncer.dsn(dbname="none")) for _ in range(10)]
        wait_for(lambda: bouncer.pool("none")["cl_waiting"] == 10, 5, "all wait")
        bouncer.console("RESUME")
        refusals = [one.result() for one in refused]
    assert all('database "not_there" does not exist' in one for one in refusals), refusals
    assert bouncer.pg.new_log().count('database "not_there" does not exist') == 1


@made_of_each(subjects=POOLERS)
def test_one_failing_login_serves_all_who_come(start: Callable[..., Bouncer]) -> None:
    """In PgBouncer, who comes after the failure waits for the next attempt, up to server_login_retry."""
    bouncer = start(databases={"p0": "", "none": "dbname=not_there pool_size=20"}, server_login_retry=30)
    bouncer.pg.new_log()
    with ThreadPoolExecutor(10) as threads:
        refusals = list(threads.map(lambda _: refusal(bouncer.dsn(dbname="none")), range(10)))
    assert all('database "not_there" does not exist' in one for one in refusals), refusals
    failures = bouncer.pg.new_log().count('database "not_there" does not exist')
    assert failures <= 2, "those who came while the first failed have its answer"


@made_of_each()
def test_round_robin_over_hosts_is_per_database(start: Callable[..., Bouncer]) -> None:
    bouncer = start(start=False)
    # Not localhost: c-ares knows of ::1 by itself, where PostgreSQL does not listen.
    bouncer.databases = {"p0": f"host=127.0.0.1,{bouncer.pg.socket_dir} pool_size=8"}
    bouncer.start()
    wires = crowd(bouncer, 8)
    for wire in wires:
        wire.query("BEGIN")
    servers = bouncer.show("servers", database="p0", state="active")
    assert Counter(server["addr"] for server in servers) == {"127.0.0.1": 4, "unix": 4}
    for wire in wires:
        wire.query("COMMIT")
    close(wires)


@made_of_each(since="1.21")
def test_min_pool_size_is_counted_once(start: Callable[..., Bouncer]) -> None:
    bouncer = start(databases={"p2": "user=bouncer min_pool_size=3 pool_size=6"})
    bouncer.pg.wait_for_backends(3, "p2")
    wires = crowd(bouncer, 4, "p2")
    wait_for(lambda: len(bouncer.pg.backends("p2")) == 3, 2, "still three")
    assert len(bouncer.show("servers", database="p2")) == 3
    close(wires)


@made_of_each()
def test_reserve_pool_is_counted_once(start: Callable[..., Bouncer]) -> None:
    bouncer = start(databases={"p2": "pool_size=2 reserve_pool=2"}, reserve_pool_timeout=1)
    wires = crowd(bouncer, 9, "p2")
    for wire in wires:
        wire.send(query("SELECT pg_sleep(4)"))
    wait_for(lambda: len(bouncer.pg.backends("p2")) == 4, 10, "the reserve")
    for wire in wires:
        assert wire.receive_until("Z")[-1].text == "I"
        assert len(bouncer.pg.backends("p2")) <= 4
    close(wires)


def listens(bouncer: Bouncer) -> bool:
    try:
        socket.create_connection((bouncer.host, bouncer.port), 1).close()
    except ConnectionRefusedError:
        return False
    return True


@made_of_each(since="1.23")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_listeners_close_and_clients_go_on(start: Callable[..., Bouncer], signum: signal.Signals) -> None:
    bouncer = start()
    wires = crowd(bouncer, 6)
    for wire in wires:
        wire.query("BEGIN")
    bouncer.signal(signum)
    wait_for(lambda: not listens(bouncer), 5, "closed listeners")
    for wire in wires:
        assert wire.rows("SELECT 1") == [[b"1"]]
    assert bouncer.is_running
    for wire in wires:
        wire.query("COMMIT")
        wire.close()
    wait_for(lambda: not bouncer.is_running, 5, "its end")
    assert bouncer.wait() == 0


@made_of_each()
def test_quit_ends_all_and_frees_port_and_socket(start: Callable[..., Bouncer]) -> None:
    bouncer = start()
    wires = crowd(bouncer, 4)
    bouncer.signal(signal.SIGQUIT)
    for wire in wires:
        wire.expect_closed()
        wire.socket.close()
    assert bouncer.wait() in bouncer.quit_codes
    assert not listens(bouncer)
    bouncer.start()
    assert bouncer.sql("SELECT 1") == [(1,)]
