"""PostgreSQL loses backends, restarts, is down, refuses: clients hear why, service comes back by itself."""

from __future__ import annotations

import signal
from collections.abc import Callable

import psycopg2
import pytest

from pooler.dev.processes import free_port
from tests.support.health import (
    LimitWatch,
    assert_consistent,
    assert_no_bugs,
    restarts,
    wait_until_slots_work,
)
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.storm import Storm
from tests.support.wire import Wire, parse, query, startup

MakePooler = Callable[..., Pooler]

#: Texts a client may see when its backend ends under it: PostgreSQL's own, or ours when it said nothing.
ENDS = ("57P01 ", "57P02 ", "57P03 ", "08P01 server conn crashed?")


def backend_of(wire: Wire) -> int:
    ((pid,),) = wire.rows("SELECT pg_backend_pid()")
    assert pid is not None
    return int(pid)


@pytest.mark.parametrize("workers", [1, 2])
def test_terminated_idle_server_is_replaced_silently(
    make_pooler: MakePooler, pg: Postgres, workers: int
) -> None:
    pooler = make_pooler(workers=workers, databases={"p0": "pool_size=1"})
    pooler.learn_catalogs()  # else a question about a session may be under way
    wires = [pooler.wire().login() for _ in range(workers * 2)]
    for _ in range(10):
        pids = {backend_of(wire) for wire in wires}
        assert len(pids) == 1
        pg.terminate_backends()
        wait_for(lambda: not pids & set(pg.backends()), 5, "the end of the backend")  # noqa: B023
    for wire in wires:
        assert wire.rows("SELECT 1") == [[b"1"]]
        wire.close()
    assert_consistent(pooler, pg)


def test_terminated_running_query_hears_postgres_own_words(make_pooler: MakePooler, pg: Postgres) -> None:
    pooler = make_pooler(workers=2, databases={"p0": "pool_size=2"})
    with pooler.wire() as wire, pooler.wire() as other:
        other.login().rows("BEGIN")
        wire.login()
        pooler.learn_catalogs()  # else the query may go to another server than the one before
        victim = backend_of(wire)
        wire.send(query("SELECT pg_sleep(60)"))
        running = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND query LIKE 'SELECT pg_sleep%%'"
        wait_for(lambda: pg.sql(running, (victim,)) == [(1,)], 5, "the query")
        pg.sql("SELECT pg_terminate_backend(%s)", (victim,))
        wire.expect("T")
        wire.expect_error("57P01", "terminating connection due to administrator command")
        wire.expect_closed()
        assert other.rows("SELECT 1") == [[b"1"]]
    assert_consistent(pooler, pg)


def test_terminated_in_transaction(make_pooler: MakePooler, pg: Postgres) -> None:
    """The client hears it at once or with its next statement, and never goes on in another transaction."""
    pooler = make_pooler(workers=1, databases={"p0": "pool_size=1"})
    with pooler.wire() as wire:
        wire.login().rows("BEGIN")
        pg.terminate_backends()
        wire.expect_error("57P01")
        wire.expect_closed()
    wait_until_slots_work(pooler, 1)
    assert_consistent(pooler, pg)


def test_terminated_between_parse_and_sync(make_pooler: MakePooler, pg: Postgres) -> None:
    pooler = make_pooler(workers=1, databases={"p0": "pool_size=1"})
    with pooler.wire() as wire:
        wire.login().send(parse("SELECT 1"))
        wait_for(lambda: pooler.pool()["sv_active"] == 1, 5, "the server")
        pg.terminate_backends()
        assert wire.receive_until("E")[-1].fields["C"] == "57P01"
        wire.expect_closed()
    wait_until_slots_work(pooler, 1)


def test_crashed_backend(make_pooler: MakePooler, pg: Postgres) -> None:
    """kill -9 of one backend makes PostgreSQL drop all of them and recover."""
    pooler = make_pooler(workers=2, databases={"p0": "pool_size=3"})
    with pooler.wire() as wire:
        wire.login().send(query("SELECT pg_sleep(60)"))
        running = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
        wait_for(lambda: pg.sql(running), 5, "the query")
        pg.kill_backend(pg.sql(running)[0][0])
        wire.expect_error("08P01", "server conn crashed?")
        wire.expect_closed()
    wait_for(lambda: _serves(pooler), 10, "service after the recovery")
    wait_until_slots_work(pooler, 3)


def _serves(pooler: Pooler, **login: str) -> bool:
    try:
        with pooler.wire() as wire:
            return wire.login(**login).rows("SELECT 1") == [[b"1"]]
    except Exception:
        return False


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
@pytest.mark.parametrize("workers", [1, 2])
def test_restart_under_load(make_pooler: MakePooler, pg: Postgres, workers: int, how: signal.Signals) -> None:
    pooler = make_pooler(workers=workers, databases={"p0": "pool_size=5"})
    with LimitWatch(pg) as watch, Storm((pooler.host, pooler.port), 40, "SELECT pg_sleep(0.002)") as storm:
        storm.wait_until_complete()
        pg.restart(how)
        storm.wait_for_answers(500, timeout_s=5)
        storm.wait_until_complete()
        idle_ones = len(storm.breaks)
    assert idle_ones <= 40, "more clients were cut off than there were servers"
    strange = [text for text in storm.errors if not text.startswith(ENDS)]
    assert not strange, strange
    assert watch.most <= 5
    assert restarts(pooler) == 0
    assert_consistent(pooler, pg)
    wait_until_slots_work(pooler, 5)
    assert_no_bugs(pooler)


def test_waiting_clients_are_served_after_a_restart(make_pooler: MakePooler, pg: Postgres) -> None:
    """Those that had no server have lost nothing, so they hear nothing."""
    pooler = make_pooler(workers=2, databases={"p0": "pool_size=1"})
    holder = pooler.wire().login()
    holder.rows("BEGIN")
    waiting = [pooler.wire().login() for _ in range(6)]
    for wire in waiting:
        wire.send(query("SELECT 3"))
    wait_for(lambda: pooler.pool()["cl_waiting"] == 6, 5, "waiting clients")
    pg.stop()
    holder.expect_error("57P01")
    late = pooler.wire().login()
    late.send(query("SELECT 3"))
    pg.start()
    for wire in (*waiting, late):
        assert wire.expect("TDCZ")[1].values == [b"3"]
        wire.close()
    holder.close()
    assert_consistent(pooler, pg)


def _waiting(pooler: Pooler, database: str) -> int:
    """Waiting clients of a pool that may not exist yet."""
    return sum(row["cl_waiting"] for row in pooler.show("pools", database=database))


def test_down_at_the_start(make_pooler: MakePooler, pg: Postgres) -> None:
    pg.stop()
    pooler = make_pooler(workers=2)
    with pooler.wire(timeout_s=15) as wire:
        with pooler.expect_log(r"WARNING .*connect failed: Connection refused", count=1):
            wire.send(startup())
            wait_for(lambda: _waiting(pooler, "p0") == 1, 5, "the client to wait")
        pg.start()
        wire.receive_until("Z")
        assert wire.rows("SELECT 1") == [[b"1"]]
    assert_consistent(pooler, pg)


def test_down_for_longer_than_clients_wait(make_pooler: MakePooler, pg: Postgres) -> None:
    pooler = make_pooler(workers=2, query_wait_timeout=1)
    with pooler.wire() as wire:
        wire.login()
        pg.stop()
        wire.send(query("SELECT 1"))
        wire.expect_error("08P01", "query_wait_timeout")
        wire.expect_closed()
    pg.start()
    wait_for(lambda: _serves(pooler), 5, "service after the start")


def refusals(pg: Postgres) -> dict[str, str]:
    """Databases of the ini that PostgreSQL refuses, each for another reason."""
    return {
        "p0": "",
        "nowhere": "dbname=does_not_exist",
        "badpass": "dbname=p0 user=suser password=wrong",
        "badmd5": "dbname=p0 user=muser password=wrong",
        "badplain": "dbname=p0 user=puser password=wrong",
        "nouser": "dbname=p0 user=nobody_at_all",
        "limited": "dbname=p0 user=limited pool_size=6",
        "refused": f"dbname=p0 port={free_port()}",
        "nohost": "dbname=p0 host=does-not-exist.invalid",
    }


@pytest.mark.parametrize(
    ("database", "sqlstate", "text"),
    [
        ("nowhere", "3D000", 'database "does_not_exist" does not exist'),
        ("badpass", "28P01", 'password authentication failed for user "suser"'),
        ("badmd5", "28P01", 'password authentication failed for user "muser"'),
        ("badplain", "28P01", 'password authentication failed for user "puser"'),
        ("nouser", "28000", 'role "nobody_at_all" does not exist'),
    ],
)
def test_refused_by_postgres(
    make_pooler: MakePooler, pg: Postgres, database: str, sqlstate: str, text: str
) -> None:
    """PostgreSQL's own text and code reach the client of that pool; the neighbours are served."""
    pooler = make_pooler(workers=2, databases=refusals(pg))
    with pooler.wire() as neighbour:
        neighbour.login()
        for _ in range(3):
            with pooler.wire() as wire:
                wire.send(startup(database=database))
                wire.expect_error(sqlstate, text)
                wire.expect_closed()
        assert neighbour.rows("SELECT 1") == [[b"1"]]
    wait_for(lambda: not pooler.show("slots", database=database), 5, "the slots of the refused pool")
    assert_no_bugs(pooler)


@pytest.mark.parametrize("database", ["refused", "nohost"])
def test_unreachable_host(make_pooler: MakePooler, pg: Postgres, database: str) -> None:
    """Clients wait for a host that may come back; the others do not."""
    pooler = make_pooler(workers=2, databases=refusals(pg), query_wait_timeout=2)
    with pooler.wire() as neighbour, pooler.wire() as wire:
        neighbour.login()
        wire.send(startup(database=database))
        wait_for(lambda: _waiting(pooler, database) == 1, 5, "the client to wait")
        assert neighbour.rows("SELECT 1") == [[b"1"]]
        assert wire.expect_error()["S"] == "FATAL"
        wire.expect_closed()
    assert_no_bugs(pooler)


def test_too_many_connections_at_the_server(make_pooler: MakePooler, pg: Postgres) -> None:
    """PostgreSQL gives this user two connections (53300 beyond): six clients share those two."""
    pooler = make_pooler(workers=2, databases=refusals(pg))
    wires = [pooler.wire().login(database="limited") for _ in range(6)]
    for wire in wires:
        wire.send(query("SELECT pg_sleep(0.1), 8"))
    for wire in wires:
        assert wire.expect("TDCZ")[1].values[1] == b"8"
        wire.close()
    wait_for(lambda: _slot_states(pooler, "limited") == ["idle"] * 2, 5, "two idle servers")
    assert_no_bugs(pooler)


def _slot_states(pooler: Pooler, database: str) -> list[object]:
    return [row["state"] for row in pooler.show("slots", database=database)]


def test_password_corrected_by_reload(make_pooler: MakePooler, pg: Postgres) -> None:
    pooler = make_pooler(workers=2, databases={"p0": "user=suser password=wrong"})
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        pooler.sql("SELECT 1")
    pooler.databases["p0"] = "user=suser password=sfoo"
    pooler.configure()
    wait_for(lambda: _serves(pooler), 3, "service with the right password")


def test_stalled_server_does_not_stall_others(make_pooler: MakePooler, pg: Postgres) -> None:
    """A PostgreSQL that accepts and never answers costs its own clients their time, nobody else's."""
    pooler = make_pooler(workers=1, server_connect_timeout=1, query_wait_timeout=2)
    with pg.stalled(), pooler.wire() as wire:
        wire.send(startup())
        wait_for(lambda: pooler.show("slots", state="new"), 5, "a login under way")
        assert pooler.show("version")
        assert wire.expect_error()["S"] == "FATAL"
    wait_for(lambda: _serves(pooler), 10, "service after the stall")
    assert_consistent(pooler, pg)


@pytest.mark.parametrize("workers", [1, 2])
def test_backends_killed_all_the_time(make_pooler: MakePooler, pg: Postgres, workers: int) -> None:
    pooler = make_pooler(workers=workers, databases={"p0": "pool_size=4"})
    with LimitWatch(pg) as watch, Storm((pooler.host, pooler.port), 30, "SELECT pg_sleep(0.002)") as storm:
        storm.wait_until_complete()
        for _ in range(25):
            pg.terminate_backends()
            storm.wait_for_answers(20)
    strange = [text for text in storm.errors if not text.startswith(ENDS)]
    assert not strange, strange
    assert watch.most <= 4
    assert_consistent(pooler, pg)
    wait_until_slots_work(pooler, 4)
    assert_no_bugs(pooler)
