"""Signals and SHUTDOWN: who may finish, who is told, and that nothing is left behind."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

import psycopg2
import pytest

from tests.support.exchange import pooled
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import descendants, wait_for
from tests.support.wire import EndOfStream, Message, Wire, query

MakePooler = Callable[..., Pooler]


@pytest.fixture(params=[1, 2], ids=["1-worker", "2-workers"])
def pooler(request: pytest.FixtureRequest, make_pooler: MakePooler, pg: Postgres) -> Pooler:
    return make_pooler(workers=request.param, databases={"p0": "pool_size=2", "p1": ""})


def order(pooler: Pooler, text: str) -> None:
    """A SHUTDOWN on the console, answered or cut off."""
    with pooler.wire().login(user="postgres", database="pgbouncer") as wire:
        wire.send(query(text))
        try:
            wire.receive()
        except EndOfStream:
            return


def send(pooler: Pooler, how: str | signal.Signals) -> None:
    if isinstance(how, signal.Signals):
        pooler.signal(how)
    else:
        order(pooler, how)


def refuses_tcp(pooler: Pooler) -> bool:
    try:
        socket.create_connection((pooler.host, pooler.port), 5).close()
    except (ConnectionRefusedError, ConnectionResetError):  # reset: it closed while we were in its backlog
        return True
    return False


def assert_ended(pooler: Pooler, family: list[int]) -> None:
    assert pooler.wait(10) == 0
    wait_for(lambda: not any(pid in descendants(pid) and _lives(pid) for pid in family), 3, "the end of all")
    assert refuses_tcp(pooler)


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("how", [signal.SIGQUIT, "SHUTDOWN"], ids=str)
def test_immediate(pooler: Pooler, how: str | signal.Signals, pg: Postgres) -> None:
    """Everybody is cut off, PostgreSQL is left with nothing."""
    family = descendants(pooler.pid)
    with pooled(pooler) as busy, pooled(pooler) as idle:
        busy.query("BEGIN")
        send(pooler, how)
        for wire in (busy, idle):
            assert_cut_off(wire)
        assert_ended(pooler, family)
    pg.wait_for_backends(0)


def assert_cut_off(wire: Wire) -> None:
    try:
        while True:
            wire.receive()
    except EndOfStream:
        return


def first_refusal(wire: Wire) -> Message:
    """Of a client that asks again and again: its worker may not know yet."""
    while True:
        wire.send(query("SELECT 1"))
        answer = wire.receive()
        if answer.type == "E":
            return answer
        wire.receive_until("Z")


@pytest.mark.parametrize("how", [signal.SIGINT, "SHUTDOWN WAIT_FOR_SERVERS"], ids=str)
def test_wait_for_servers(pooler: Pooler, how: str | signal.Signals, pg: Postgres) -> None:
    """Transactions may end; who waits or comes is refused; then it ends, whoever is still connected."""
    family = descendants(pooler.pid)
    with pooled(pooler) as busy, pooled(pooler) as idle:
        busy.query("BEGIN")
        send(pooler, how)
        wait_for(lambda: refuses_tcp(pooler), 2, "closed listeners")
        assert first_refusal(idle).fields["M"] == "server shutting down"
        assert busy.rows("SELECT 'goes on'") == [[b"goes on"]]
        assert pooler.is_running
        busy.send(query("COMMIT"))
        assert busy.receive().text == "COMMIT"
        assert_ended(pooler, family)
    pg.wait_for_backends(0)


def test_who_asked_before_is_served(make_pooler: Callable[..., Pooler], pg: Postgres) -> None:
    """Its server is there, and only answers a request of pooler's own."""
    pooler = make_pooler(
        workers=2,
        databases={"p0": "pool_size=1"},
        session_state="off",
        server_reset_query="SELECT pg_sleep(0.2)",
        server_reset_query_always=1,
    )
    admin = pooler.wire().login("postgres", "pgbouncer")
    with admin, pooled(pooler) as first, pooled(pooler) as second:
        assert first.rows("SELECT 1") == [[b"1"]]
        second.send(query("SELECT 'served'"))
        admin.send(query("SHUTDOWN WAIT_FOR_SERVERS"))
        assert second.receive_until("D")[-1].values == [b"served"]
    wait_for(lambda: not pooler.is_running, 10, "its end")


@pytest.mark.parametrize("how", [signal.SIGTERM, "SHUTDOWN WAIT_FOR_CLIENTS"], ids=str)
def test_wait_for_clients(pooler: Pooler, how: str | signal.Signals, pg: Postgres) -> None:
    """A client that is connected goes on working; it ends when the last one has left."""
    family = descendants(pooler.pid)
    with pooled(pooler) as first, pooled(pooler) as second:
        send(pooler, how)
        wait_for(lambda: refuses_tcp(pooler), 2, "closed listeners")
        for _ in range(3):
            for wire in (first, second):
                assert wire.rows("SELECT 1") == [[b"1"]]
        first.close()
        assert second.rows("SELECT 2") == [[b"2"]]
        assert pooler.is_running
        second.close()
        assert_ended(pooler, family)
    pg.wait_for_backends(0)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM], ids=str)
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT], ids=str)
def test_second_signal_ends_at_once(pooler: Pooler, first: signal.Signals, second: signal.Signals) -> None:
    family = descendants(pooler.pid)
    with pooled(pooler) as busy:
        busy.query("BEGIN")
        pooler.signal(first)
        wait_for(lambda: refuses_tcp(pooler), 2, "closed listeners")
        assert busy.rows("SELECT 1") == [[b"1"]]
        pooler.signal(second)
        assert_cut_off(busy)
        assert_ended(pooler, family)


def test_nobody_connected_ends_at_once(pooler: Pooler) -> None:
    family = descendants(pooler.pid)
    pooler.sql("SELECT 1")
    pooler.signal(signal.SIGTERM)
    assert_ended(pooler, family)


def test_unix_socket_is_gone_afterwards(pooler: Pooler) -> None:
    path = pooler.directory / f".s.PGSQL.{pooler.port}"
    assert path.exists()
    pooler.signal(signal.SIGINT)
    pooler.wait()
    assert not path.exists()


def test_hup_reloads(pooler: Pooler) -> None:
    pooler.settings["server_idle_timeout"] = 77
    pooler.write_config()
    with pooled(pooler) as wire, pooler.expect_log("got SIGHUP, re-reading config", count=1):
        wire.query("BEGIN")
        pooler.signal(signal.SIGHUP)
        key = {"key": "server_idle_timeout"}
        wait_for(lambda: pooler.show("config", **key)[0]["value"] == "77", 5, "the new value")
        assert wire.query("COMMIT")[-1].text == "I"
        wire.close()


def test_usr1_pauses_and_usr2_resumes(pooler: Pooler) -> None:
    def paused() -> bool:
        return bool(pooler.show("state", key="paused")[0]["value"] == "yes")

    with pooled(pooler) as wire:
        wire.query("SELECT 1")
        pooler.signal(signal.SIGUSR1)
        wait_for(paused, 5, "paused")
        wire.send(query("SELECT 'late'"))
        wire.expect_silence(0.2)
        wait_for(lambda: not pooler.show("servers", database="p0"), 5, "closed servers")
        pooler.signal(signal.SIGUSR2)
        assert wire.expect("TDCZ")[1].values == [b"late"]
        assert not paused()
        wire.close()


def test_usr2_does_not_bring_back_one_that_ends(pooler: Pooler) -> None:
    with pooled(pooler) as busy:
        busy.query("BEGIN")
        pooler.signal(signal.SIGINT)
        wait_for(lambda: refuses_tcp(pooler), 2, "closed listeners")
        with pooler.expect_log("got SIGUSR2 while shutting down, ignoring"):
            pooler.signal(signal.SIGUSR2)
        busy.query("ROLLBACK")
        assert pooler.wait(5) == 0


def test_new_clients_hear_it_over_the_unix_socket(pooler: Pooler) -> None:
    """While it waits for clients, the unix socket still answers: with a refusal."""
    with pooled(pooler) as wire:
        wire.query("SELECT 1")
        pooler.signal(signal.SIGTERM)
        wait_for(lambda: refuses_tcp(pooler), 2, "closed listeners")
        with pytest.raises(psycopg2.OperationalError, match="pooler is shutting down"):
            psycopg2.connect(pooler.dsn(host=pooler.directory)).close()
        wire.close()
    assert pooler.wait(5) == 0
