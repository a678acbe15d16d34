"""Cancel requests hit the query of their client, wherever it runs or waits, and never anybody else's."""

from __future__ import annotations

import random
import struct
import threading
import time
from collections.abc import Callable

import psycopg2
import psycopg2.extensions
import pytest

from pooler.worker.cancel import SERVED_EACH_MAX, SERVED_MAX
from tests.support.crowd import at_once
from tests.support.exchange import pooled
from tests.support.fakeserver import WELCOME, FakeServer, Peer
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import module_pooler, wait_until_free
from tests.support.wire import (
    CANCEL_REQUEST,
    FLUSH,
    SYNC,
    Wire,
    bind,
    execute,
    message,
    parse,
    query,
    untyped,
)

LONG = "SELECT pg_sleep(60)"
CANCELED = "57014"


pooler = module_pooler(
    databases={
        "p0": "pool_size=1",
        "few": "dbname=p1 pool_size=3",
        "se": "dbname=p0 pool_size=2 pool_mode=session",
    },
)


def cancel(pooler: Pooler, wire: Wire, unix: bool = False) -> None:
    """As PQcancel: a connection of its own, over when the pooler has dealt with it."""
    with pooler.wire(unix=unix) as other:
        other.send(wire.cancel_request())
        other.expect_closed()


def wait_until_running(pg: Postgres, text: str = LONG, database: str = "p0") -> None:
    running = "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND state = 'active' AND query = %s"
    wait_for(lambda: pg.sql(running, (database, text)), 5, f"{text} running")


def expect_canceled(wire: Wire) -> None:
    assert wire.receive_until("E")[-1].fields["C"] == CANCELED
    wire.expect("Z")


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_running_query_from_any_worker(running_postgres: Postgres, pooler: Pooler, unix: bool) -> None:
    """Connections go round the workers, so several turns take a cancel request to each of them."""
    with pooled(pooler) as wire:
        for _ in range(4):
            wire.send(query(LONG))
            wait_until_running(running_postgres)
            cancel(pooler, wire, unix)
            expect_canceled(wire)
            with pooled(pooler):
                pass  # so that the next one meets the other worker
        assert wire.rows("SELECT 1") == [[b"1"]]
        wire.close()


def test_running_query_in_a_transaction(running_postgres: Postgres, pooler: Pooler) -> None:
    with pooled(pooler) as wire:
        wire.query("BEGIN")
        wire.send(query(LONG))
        wait_until_running(running_postgres)
        cancel(pooler, wire)
        assert wire.receive_until("E")[-1].fields["C"] == CANCELED
        assert wire.expect("Z")[0].text == "E"
        assert wire.query("ROLLBACK")[-1].text == "I"
        wire.close()


def test_running_extended_query(running_postgres: Postgres, pooler: Pooler) -> None:
    with pooled(pooler) as wire:
        wire.send(parse(LONG) + bind() + execute() + FLUSH)
        wait_until_running(running_postgres)
        cancel(pooler, wire)
        wire.receive_until("E")
        wire.send(SYNC)
        wire.expect("Z")
        assert wire.rows("SELECT 1") == [[b"1"]]
        wire.close()


def test_copy_in(pooler: Pooler) -> None:
    """PostgreSQL looks at the request when it has got the next row."""
    with pooled(pooler) as wire:
        wire.query("BEGIN; CREATE TEMP TABLE canceled (n int)")
        wire.send(query("COPY canceled FROM STDIN"))
        wire.expect("G")
        cancel(pooler, wire)
        wire.send(message("d", b"1\n") * 2 + message("c"))
        expect_canceled(wire)
        wire.query("ROLLBACK")
        wire.close()


def test_session_pool(running_postgres: Postgres, pooler: Pooler) -> None:
    with pooled(pooler, "se") as wire:
        for _ in range(3):
            wire.send(query(LONG))
            wait_until_running(running_postgres)
            cancel(pooler, wire)
            expect_canceled(wire)
        wire.close()


def test_queued_query(running_postgres: Postgres, pooler: Pooler) -> None:
    """The query never reaches PostgreSQL, and the session goes on."""
    with pooled(pooler) as holder, pooled(pooler) as waiter:
        holder.query("BEGIN")
        for text in (query("SELECT 'never'"), parse("SELECT 'never'") + bind() + execute() + SYNC):
            waiter.send(text)
            wait_for(lambda: pooler.pool()["cl_waiting"] == 1, 5, "a waiting client")
            cancel(pooler, waiter)
            expect_canceled(waiter)
            assert pooler.pool()["cl_waiting"] == 0
        assert holder.rows("SELECT 'mine'") == [[b"mine"]]
        waiter.send(query("SELECT 'later'"))
        holder.query("COMMIT")
        assert waiter.expect("TDCZ")[1].values == [b"later"]
        holder.close()
        waiter.close()


def test_idle_client(pooler: Pooler) -> None:
    with pooled(pooler) as wire, pooled(pooler) as other:
        wire.query("SELECT 1")
        for _ in range(20):
            cancel(pooler, wire)
        assert other.rows("SELECT 2") == [[b"2"]]
        assert wire.rows("SELECT 3") == [[b"3"]]
        wire.close()
        other.close()


def test_idle_client_while_another_one_uses_the_server(running_postgres: Postgres, pooler: Pooler) -> None:
    with pooled(pooler) as wire, pooled(pooler) as other:
        wire.query("SELECT 1")
        other.send(query("SELECT pg_sleep(0.5)"))
        wait_until_running(running_postgres, "SELECT pg_sleep(0.5)")
        for _ in range(5):
            cancel(pooler, wire)
        assert [m.type for m in other.receive_until()] == ["T", "D", "C", "Z"]
        wire.close()
        other.close()


@pytest.mark.parametrize("change", ["pid", "key", "both", "short", "long", "none"])
def test_wrong_key_does_nothing(running_postgres: Postgres, pooler: Pooler, change: str) -> None:
    with pooled(pooler) as wire:
        wire.send(query("SELECT pg_sleep(0.4)"))
        wait_until_running(running_postgres, "SELECT pg_sleep(0.4)")
        pid, key = wire.backend_key
        wrong = bytes([key[0] ^ 1]) + key[1:]
        bodies = {
            "pid": struct.pack("!I", pid ^ 1) + key,
            "key": struct.pack("!I", pid) + wrong,
            "both": bytes(8),
            "short": struct.pack("!I", pid) + key[:2],
            "long": struct.pack("!I", pid) + key + bytes(200),
            "none": b"",
        }
        with pooler.wire() as other:
            other.send(untyped(CANCEL_REQUEST, bodies[change]))
            while other.socket.recv(1000):  # at most an error, then the end
                pass
        assert [m.type for m in wire.receive_until()] == ["T", "D", "C", "Z"]
        wire.close()


def test_key_of_a_client_that_left(pooler: Pooler) -> None:
    gone = pooled(pooler)
    gone.query("SELECT 1")
    gone.close()
    wait_for(lambda: not pooler.show("clients", database="p0"), 5, "it left")
    with pooled(pooler) as wire:
        wire.send(query("SELECT pg_sleep(0.3)"))
        cancel(pooler, gone)
        assert [m.type for m in wire.receive_until()] == ["T", "D", "C", "Z"]
        wire.close()


def test_keys_are_random(pooler: Pooler) -> None:
    keys = set()
    for _ in range(50):
        with pooled(pooler) as wire:
            keys.add(wire.backend_key)
            wire.close()
    assert len({key for _, key in keys}) == 50


def test_nothing_of_a_client_is_in_the_queue(make_pooler: Callable[..., Pooler]) -> None:
    """One that is let in while it waits has not said anything: there is nothing to cancel."""
    come, logins = threading.Event(), []

    def script(peer: Peer) -> None:
        logins.append(peer)
        if len(logins) > 1:
            come.wait(10)
        peer.send(WELCOME)
        peer.serve()

    with FakeServer({"*": script}) as fake:
        pooler = make_pooler(
            databases={"f": f"port={fake.port} pool_size=1"},
            workers=1,
            session_state="off",
            query_wait_notify=1,
        )
        with pooler.wire() as wire:
            wire.login(database="f").query("SELECT 1")
        pooler.console("RECONNECT f")
        wait_for(lambda: not pooler.show("slots", database="f"), 5, "the end of the first server")
        with pooler.wire(timeout_s=8) as wire:
            wire.login(database="f", TimeZone="Asia/Tokyo").expect("N")
            cancel(pooler, wire)
            wire.expect_silence(0.3)
            come.set()
            assert wire.rows("SELECT 1") == [[b"1"]]


def test_many_cancels_of_one_query(running_postgres: Postgres, pooler: Pooler) -> None:
    with pooled(pooler) as wire:
        wire.send(query(LONG))
        wait_until_running(running_postgres)
        at_once(10, lambda _: cancel(pooler, wire))
        expect_canceled(wire)
        assert wire.rows("SELECT 1") == [[b"1"]], "a late one hits nothing"
        wire.close()
    wait_until_free(pooler, "p0")


def test_racing_cancels_never_hit_another_client(pooler: Pooler) -> None:
    """Half of the clients are canceled at random moments; the others, who share their servers, never are."""
    end = threading.Event()

    def canceled(number: int) -> int:
        dice, hits = random.Random(number), 0
        with pooled(pooler, "few") as wire:
            for turn in range(60):
                wire.send(query("SELECT pg_sleep(0.004)"))
                time.sleep(dice.random() * 0.008)  # the race itself
                cancel(pooler, wire)
                answer = wire.receive_until()
                errors = [m.fields["C"] for m in answer if m.type == "E"]
                assert errors in ([], [CANCELED])
                hits += len(errors)
                mine = wire.query(f"SELECT {turn}")
                assert [m.values for m in mine if m.type == "D"] == [[b"%d" % turn]], mine
            wire.close()
        return hits

    def innocent(number: int) -> int:
        turns = 0
        with pooled(pooler, "few") as wire:
            while not end.is_set():
                assert wire.rows(f"SELECT {number}, {turns}, pg_sleep(0.001)")[0][:2] == [
                    b"%d" % number,
                    b"%d" % turns,
                ]
                turns += 1
            wire.close()
        return turns

    def work(number: int) -> int:
        if number % 2:
            return innocent(number)
        try:
            return canceled(number)
        finally:
            done[number] = True
            if all(done.values()):
                end.set()

    done = dict.fromkeys(range(0, 8, 2), False)
    results = at_once(8, work)
    assert sum(results[0::2]) > 10, "hardly any cancel met its query"
    assert min(results[1::2]) > 10
    wait_until_free(pooler, "few")


# Drivers.


@pytest.mark.parametrize("database", ["p0", "se"])
def test_psycopg2_cancel(running_postgres: Postgres, pooler: Pooler, database: str) -> None:
    """PQcancel, which is also what Ctrl-C in psql does."""
    with pooler.connect(dbname=database) as connection, connection.cursor() as cursor:

        def interrupt() -> None:
            wait_until_running(running_postgres)
            connection.cancel()

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(psycopg2.extensions.QueryCanceledError):
            cursor.execute(LONG)
        thread.join()
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def test_client_that_leaves_has_its_query_canceled(running_postgres: Postgres, pooler: Pooler) -> None:
    """Nobody waits for the answer: PostgreSQL must not work on it for another minute."""
    with pooled(pooler) as wire:
        wire.send(query(LONG))
        wait_until_running(running_postgres)
    running = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = %s"
    wait_for(lambda: not running_postgres.sql(running, (LONG,)), 5, "the end of the query")
    with pooled(pooler) as wire:
        assert wire.rows("SELECT 1") == [[b"1"]]
        wire.close()


def test_console_session(pooler: Pooler) -> None:
    """A cancel request ends a PAUSE that waits, and resumes."""
    with pooled(pooler) as holder, pooler.wire().login(user="postgres", database="pgbouncer") as console:
        holder.query("BEGIN")
        console.send(query("PAUSE"))
        wait_for(lambda: pooler.show("state")[1]["value"] == "yes", 5, "paused")
        cancel(pooler, console)
        assert console.receive_until()[0].type == "E"
        assert pooler.show("state")[1]["value"] == "no"
        holder.query("COMMIT")
        assert holder.rows("SELECT 1") == [[b"1"]]
        holder.close()
        console.close()


def test_a_server_that_hangs_over_them_keeps_none_from_others(make_pooler: Callable[..., Pooler]) -> None:
    """Neither with many requests, nor with those of many of its clients."""

    def asked(peer: Peer) -> None:
        peer.send(WELCOME)
        peer.wait_for_end()

    with FakeServer({"hangs": asked}, on_cancel=Peer.wait_for_end) as fake:
        pooler = make_pooler(workers=1, databases={"p0": "", "hangs": f"port={fake.port}"})
        hung = [pooler.wire().login(database="hangs") for _ in range(SERVED_MAX // SERVED_EACH_MAX + 1)]
        for wire in hung:
            wire.send(query(LONG))
        wait_for(lambda: pooler.pool("hangs")["cl_active"] == len(hung), 5, "all of them at their servers")
        requests = [pooler.wire() for _ in range(SERVED_EACH_MAX * len(hung))]
        for number, one in enumerate(requests):
            one.send(hung[number % len(hung)].cancel_request())
        wait_for(lambda: "too many cancel requests" in pooler.log.read_text(), 5, "all places taken")
        with pooler.wire() as wire:
            wire.login().send(query(LONG))
            wait_until_running(pooler.pg)
            cancel(pooler, wire)
            expect_canceled(wire)
        for one in hung + requests:
            one.socket.close()
