"""Orders of the console: pause and restart without a lost query, kill, replace, disable, set, reload."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from tests.support.crowd import refusal
from tests.support.exchange import pooled
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import StartPooler
from tests.support.wire import Wire, query

PID = "SELECT pg_backend_pid()"


@pytest.fixture(scope="module", params=[1, 2], ids=["1-worker", "2-workers"])
def shared(request: pytest.FixtureRequest, start_pooler: StartPooler) -> Pooler:
    return start_pooler(workers=request.param, databases={"p0": "pool_size=2", "p1": "", "p2": ""})


@pytest.fixture
def pooler(shared: Pooler) -> Iterator[Pooler]:
    """The shared one, which nobody leaves paused."""
    yield shared
    if any(row["paused"] for row in shared.show("databases")) or shared.show(
        "state", key="paused", value="yes"
    ):
        shared.console("RESUME")
        raise AssertionError("left paused")


def order(pooler: Pooler, text: str) -> Wire:
    """A console session on which an order has just been sent."""
    wire = pooler.wire().login(user="postgres", database="pgbouncer")
    wire.send(query(text))
    return wire


def tag_of(wire: Wire) -> str:
    """The order's answer."""
    (tag, _) = wire.expect("CZ")
    wire.close()
    return tag.text


# PAUSE and RESUME.


@pytest.mark.parametrize("what", ["", " p0"], ids=["all", "one"])
def test_pause_waits_for_the_transaction(pooler: Pooler, what: str) -> None:
    with pooled(pooler) as busy, pooled(pooler) as late, pooled(pooler, "p1") as other:
        busy.query("BEGIN")
        pause = order(pooler, f"PAUSE{what}")
        pause.expect_silence(0.2)
        late.send(query("SELECT 'late'"))
        late.expect_silence(0.2)
        if what:
            assert other.rows("SELECT 1") == [[b"1"]]
        assert busy.rows("SELECT 'goes on'") == [[b"goes on"]]
        busy.query("COMMIT")
        assert tag_of(pause) == "PAUSE"
        wait_for(lambda: not pooler.show("servers", database="p0"), 5, "no servers")
        late.expect_silence(0.2)
        assert pooler.show("databases", name="p0")[0]["paused"] == (1 if what else 0)
        pooler.console(f"RESUME{what}")
        assert late.expect("TDCZ")[1].values == [b"late"]
        for wire in (busy, late, other):
            wire.close()


def test_pause_twice(pooler: Pooler) -> None:
    pooler.console("PAUSE")
    with pytest.raises(psycopg2.Error, match="already suspended/paused"):
        pooler.console("PAUSE")
    pooler.console("RESUME")


def test_restart_of_postgres_behind_pause(pooler: Pooler, running_postgres: Postgres) -> None:
    """The promise operators use PAUSE for: clients wait through a restart, none of them sees an error."""
    rounds = {"before": 0, "after": 0}
    restarted = False

    def client(number: int) -> int:
        done = 0
        with pooler.connect() as connection, connection.cursor() as cursor:
            while rounds["after"] < 60:
                cursor.execute("SELECT %s", (number,))
                assert cursor.fetchone() == (number,)
                rounds["after" if restarted else "before"] += 1
                done += 1
        return done

    with ThreadPoolExecutor() as threads:
        clients = [threads.submit(client, number) for number in range(6)]
        wait_for(lambda: rounds["before"] > 50, 10, "queries before the pause")
        pooler.console("PAUSE")
        running_postgres.restart()
        restarted = True
        pooler.console("RESUME")
        assert min(done.result() for done in clients) > 0


# KILL and KILL_CLIENT.


def test_kill(pooler: Pooler) -> None:
    with pooled(pooler) as busy, pooled(pooler) as idle, pooled(pooler, "p1") as other:
        busy.query("BEGIN")
        pooler.console("KILL p0")
        for wire in (busy, idle):
            error = wire.receive_until("E")[-1].fields
            assert (error["S"], error["C"], error["M"]) == ("FATAL", "08P01", "database removed")
            wire.expect_closed()
        wait_for(lambda: not pooler.show("servers", database="p0"), 5, "no servers")
        assert other.rows("SELECT 1") == [[b"1"]]
        assert pooler.show("databases", name="p0")[0]["paused"] == 1
        pooler.console("RESUME p0")
        assert pooler.sql("SELECT 1") == [(1,)]
        other.close()


@pytest.mark.parametrize("begin", [None, "BEGIN"], ids=["idle", "in-transaction"])
def test_kill_client(pooler: Pooler, begin: str | None) -> None:
    wires = [pooled(pooler) for _ in range(4)]
    if begin:
        wires[0].query(begin)
    ports = {row["port"]: row["id"] for row in pooler.show("clients", database="p0")}
    with pooler.expect_log("closing because: admin forced disconnect", count=1):
        pooler.console(f"KILL_CLIENT {ports[wires[0].socket.getsockname()[1]]}")
    error = wires[0].receive_until("E")[-1].fields
    assert (error["S"], error["M"]) == ("FATAL", "admin forced disconnect")
    wires[0].expect_closed()
    wires[0].socket.close()
    for wire in wires[1:]:
        assert wire.rows("SELECT 1") == [[b"1"]]
        wire.close()


def test_kill_client_that_waits(pooler: Pooler) -> None:
    holders = [pooled(pooler) for _ in range(2)]
    for holder in holders:
        holder.query("BEGIN")
    with pooled(pooler) as waiter:
        waiter.send(query("SELECT 1"))
        wait_for(lambda: pooler.pool()["cl_waiting"] == 1, 5, "a waiting client")
        (row,) = pooler.show("clients", database="p0", state="waiting")
        pooler.console(f"KILL_CLIENT {row['id']}")
        assert waiter.receive_until("E")[-1].fields["M"] == "admin forced disconnect"
    for holder in holders:
        holder.query("COMMIT")
        holder.close()


# RECONNECT and WAIT_CLOSE.


def test_reconnect_and_wait_close(pooler: Pooler) -> None:
    with pooled(pooler) as busy, pooled(pooler) as idle:
        busy.query("BEGIN")
        old = [busy.rows(PID), idle.rows(PID)]
        pooler.console("RECONNECT p0")
        waiting = order(pooler, "WAIT_CLOSE p0")
        waiting.expect_silence(0.2)
        assert busy.rows(PID) == old[0], "not in the middle of a transaction"
        assert idle.rows(PID) not in old
        busy.query("COMMIT")
        assert tag_of(waiting) == "WAIT_CLOSE"
        assert busy.rows(PID) not in old
        busy.close()
        idle.close()


# DISABLE and ENABLE.


def test_disable_and_enable(pooler: Pooler) -> None:
    with pooled(pooler, "p2") as inside:
        pooler.console("DISABLE p2")
        assert 'database "p2" is disabled' in refusal(pooler.dsn(dbname="p2"))
        assert inside.rows("SELECT 1") == [[b"1"]], "who is in stays in"
        assert pooler.show("databases", name="p2")[0]["disabled"] == 1
        pooler.console("ENABLE p2")
        assert pooler.sql("SELECT 1", dbname="p2") == [(1,)]
        inside.close()


# SET and RELOAD.


def test_set_is_in_force_everywhere_until_reload(pooler: Pooler) -> None:
    def value() -> str:
        return str(pooler.show("config", key="server_idle_timeout")[0]["value"])

    before = value()
    with pooler.wire().login(user="postgres", database="pgbouncer") as wire:
        assert wire.query("SET server_idle_timeout = 77")[0].text == "SET server_idle_timeout=77"
        wire.close()
    assert {value() for _ in range(6)} == {"77"}, "whichever worker answers"
    pooler.console("RELOAD")
    assert {value() for _ in range(6)} == {before}


def test_set_pool_mode(pooler: Pooler) -> None:
    pooler.console("SET pool_mode = 'session'")
    assert pooler.pool("p0")["pool_mode"] == "session"
    pooler.console("RELOAD")
    assert pooler.pool("p0")["pool_mode"] == "transaction"


def test_reload_of_a_good_file(pooler: Pooler) -> None:
    pooler.databases["fresh"] = "dbname=p1"
    pooler.write_config()
    assert "no such database: fresh" in refusal(pooler.dsn(dbname="fresh"))
    pooler.console("RELOAD")
    for _ in range(4):
        assert pooler.sql("SELECT current_database()", dbname="fresh") == [("p1",)]
    inside = pooled(pooler, "fresh")
    del pooler.databases["fresh"]
    pooler.configure()
    assert inside.receive_until("E")[-1].fields["M"] == "database removed"
    inside.socket.close()
    assert "no such database: fresh" in refusal(pooler.dsn(dbname="fresh"))


def test_reload_of_a_changed_database(pooler: Pooler) -> None:
    """Servers of the old target are replaced; clients stay."""
    with pooled(pooler, "p2") as wire:
        assert wire.rows("SELECT current_database()") == [[b"p2"]]
        pooler.databases["p2"] = "dbname=p3"
        pooler.configure()
        assert wire.rows("SELECT current_database()") == [[b"p3"]]
        pooler.databases["p2"] = ""
        pooler.configure()
        wire.close()


@pytest.mark.parametrize("how", ["console", "signal"])
@pytest.mark.parametrize("line", ["nonsense = 1", "pool_mode = nonsense", "[nonsense]", "just words"])
def test_reload_of_a_broken_file(pooler: Pooler, how: str, line: str) -> None:
    """The old configuration stays, whole; where the mistake is stands in the answer and in the log."""
    good = pooler.ini.read_text()
    pooler.ini.write_text(f"{good}server_idle_timeout = 123\n{line}\n")
    place = rf"pooler\.ini:{len(good.splitlines()) + 2}"
    try:
        with pooler.expect_log(place):
            if how == "console":
                with pooler.wire().login(user="postgres", database="pgbouncer") as wire:
                    error = wire.query("RELOAD")[0].fields
                    assert (error["S"], error["C"]) == ("ERROR", "F0000")
                    assert error["M"] == "RELOAD failed, see logs for additional details"
                    assert f"pooler.ini:{len(good.splitlines()) + 2}" in error["D"]
                    wire.close()
            else:
                pooler.signal(signal.SIGHUP)
        assert pooler.show("config", key="server_idle_timeout")[0]["value"] == "600"
        assert pooler.sql("SELECT 1") == [(1,)]
    finally:
        pooler.ini.write_text(good)
    pooler.console("RELOAD")


def test_reload_of_the_userlist(pooler: Pooler) -> None:
    text = '"trust" authentication failed'
    pooler.passwords["fresh"] = ""
    pooler.write_config()
    assert text in refusal(pooler.dsn(dbname="p2", user="fresh"))
    pooler.console("RELOAD")
    assert text not in refusal(pooler.dsn(dbname="p2", user="fresh")), "PostgreSQL itself refuses"
    del pooler.passwords["fresh"]
    pooler.configure()
    assert text in refusal(pooler.dsn(dbname="p2", user="fresh"))
