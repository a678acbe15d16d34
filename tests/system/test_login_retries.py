"""Failed logins at PostgreSQL, counted: one try answers all that wait, over all workers; one success too."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable

import pytest

from pooler.worker.server import is_answer
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.wire import Wire, query, startup

MakePooler = Callable[..., Pooler]


def waiting(pooler: Pooler) -> int:
    return sum(row["cl_waiting"] for row in pooler.show("pools", database="p0"))


def newcomers(pooler: Pooler, stack: contextlib.ExitStack, count: int, user: str = "bouncer") -> list[Wire]:
    wires = [stack.enter_context(pooler.wire(timeout_s=30)) for _ in range(count)]
    for wire in wires:
        wire.send(startup(user))
    wait_for(lambda: waiting(pooler) == count, 10, f"{count} waiting clients")
    return wires


@pytest.mark.parametrize("workers", [1, 3])
def test_one_refused_login_answers_all(make_pooler: MakePooler, pg: Postgres, workers: int) -> None:
    """PostgreSQL logs one failure, and each of them hears its words."""
    pooler = make_pooler(workers=workers, databases={"p0": "password=wrong"})
    pooler.console("PAUSE p0")
    with contextlib.ExitStack() as stack:
        wires = newcomers(pooler, stack, 20, "suser")
        pg.new_log()
        pooler.console("RESUME p0")
        for wire in wires:
            wire.expect_error("28P01", 'password authentication failed for user "suser"')
    failed = re.findall('FATAL:  password authentication failed for user "suser"', pg.new_log())
    assert len(failed) == 1


@pytest.mark.parametrize("workers", [1, 3])
def test_one_success_lets_all_in(make_pooler: MakePooler, pg: Postgres, workers: int) -> None:
    """After an outage of many tries the pauses are still short, whatever server_login_retry says."""
    pooler = make_pooler(workers=workers, databases={"p0": "pool_size=1"}, server_login_retry=3600, verbose=1)
    pg.stop()
    with contextlib.ExitStack() as stack:
        wires = newcomers(pooler, stack, 20)
        refused = "p0/bouncer@.* connect failed: Connection refused"
        wait_for(lambda: len(re.findall(refused, pooler.log.read_text())) >= 14, 30, "tries")
        assert re.search("p0/bouncer@.* closing because: connect failed \\(age=0s\\)", pooler.log.read_text())
        pg.start()
        for wire in wires:
            wire.receive_until("Z")
            wire.send(query("SELECT 5"))
            assert wire.expect("TDCZ")[1].values == [b"5"]
    log = pg.new_log()
    assert log.count("connection authorized: user=bouncer database=p0") == 1


def test_tries_are_those_of_the_pool(make_pooler: MakePooler, pg: Postgres) -> None:
    """Three workers with waiting clients try no more often than one, and another database is not held up."""
    tries = {}
    for workers in (1, 3):
        pooler = make_pooler(workers=workers, databases={"p0": "host=127.0.0.9", "p1": ""}, verbose=1)
        with contextlib.ExitStack() as stack:
            newcomers(pooler, stack, 9)
            start = pooler.log.read_text().count("connect failed: ")
            turns = 0
            while turns < 40:  # the clock of both runs: a statement of PostgreSQL that takes 0.1 s
                assert pooler.sql("SELECT 1 FROM pg_sleep(0.1)", dbname="p1") == [(1,)]
                turns += 1
            tries[workers] = pooler.log.read_text().count("connect failed: ") - start
    assert tries[3] <= tries[1] * 2, tries
    assert min(tries.values()) >= 3


def test_the_same_again_is_not_logged_again(make_pooler: MakePooler, pg: Postgres) -> None:
    """But the next outage is."""
    pooler = make_pooler(workers=1, databases={"p0": "pool_size=1"}, server_login_retry=3600)
    with pooler.wire(timeout_s=30) as wire:
        wire.login()
        for _ in range(2):
            pooler.learn_catalogs()  # its server is not asked about its session any more when it ends
            wire.rows("SELECT 1")
            pg.stop()
            wait_for(lambda: not pooler.show("servers", database="p0"), 5, "the end of the server")
            with pooler.expect_log("WARNING .*p0.*connect failed: Connection refused", count=1):
                wire.send(query("SELECT 1"))
                wire.expect_silence(1.5)
            pg.start()
            assert wire.expect("TDCZ")[1].values == [b"1"]


def test_a_refusal_does_not_hold_up_other_users(make_pooler: MakePooler, pg: Postgres) -> None:
    pooler = make_pooler(server_login_retry=3600)
    pooler.passwords["suser"] = "wrong"
    pooler.configure()
    for _ in range(3):
        with pooler.wire() as wire:
            wire.send(startup("suser"))
            wire.expect_error("28P01")
    assert pooler.sql("SELECT 1") == [(1,)]


@pytest.mark.parametrize("workers", [1, 3])
def test_a_refusal_is_told_to_queries_that_wait(make_pooler: MakePooler, pg: Postgres, workers: int) -> None:
    """A client that logged in while the pool worked and finds no server hears why in PostgreSQL's words."""
    pooler = make_pooler(workers=workers, databases={"p0": "pool_size=1"})
    wires = [pooler.wire().login(user="limited") for _ in range(4)]
    wires[0].rows("SELECT 1")
    pg.sql("ALTER USER limited NOLOGIN")
    try:
        pg.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'limited'")
        wait_for(lambda: not pooler.show("servers", user="limited"), 5, "its server is gone")
        for wire in wires:
            wire.send(query("SELECT 1"))
        for wire in wires:
            wire.expect_error("28000", 'role "limited" is not permitted to log in')
            wire.close()
    finally:
        pg.sql("ALTER USER limited LOGIN")


def test_a_refusal_waits_for_servers_that_work(make_pooler: MakePooler, pg: Postgres) -> None:
    pooler = make_pooler(databases={"p0": "pool_size=2"})
    with pooler.wire() as holder, pooler.wire() as waiter:
        holder.login(user="limited").query("BEGIN")
        pg.sql("ALTER USER limited NOLOGIN")
        # One may have been opened beside the holder's.
        others = "pg_stat_activity WHERE usename = 'limited' AND state = 'idle'"
        pg.sql(f"SELECT pg_terminate_backend(pid) FROM {others}")
        wait_for(lambda: len(pooler.show("servers", user="limited")) == 1, 5, "the holder's server alone")
        try:
            with pooler.expect_log("server login failed: FATAL role"):
                waiter.login(user="limited").send(query("SELECT 1"))
            holder.query("COMMIT")
            waiter.expect("TDCZ")
        finally:
            pg.sql("ALTER USER limited LOGIN")


def test_each_client_hears_what_is_refused(make_pooler: MakePooler, pg: Postgres) -> None:
    """No such database: whoever asks next asks PostgreSQL again, without a pause that grows."""
    pooler = make_pooler(workers=1, databases={"none": "dbname=there_is_none"}, server_login_retry=3600)
    pg.new_log()
    for _ in range(8):  # a pause that doubled would come to more than the patience of a wire
        with pooler.wire() as wire:
            wire.send(startup("bouncer", "none"))
            wire.expect_error("3D000")
    assert pg.new_log().count('database "there_is_none" does not exist') == 8


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [("3D000", True), ("28000", True), ("28P01", True), ("53300", False), ("57P03", False), ("08006", False)],
)
def test_answers(sqlstate: str, expected: bool) -> None:
    assert is_answer(sqlstate) is expected
