"""Databases of `*` and users of auth_type=any come, are forgotten when nobody uses them, and come again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.wire import startup

MakePooler = Callable[..., Pooler]


def names(pooler: Pooler, what: str) -> set[str]:
    return {row["name" if what != "pools" else "database"] for row in pooler.show(what)}


def test_databases_of_star_are_forgotten(make_pooler: MakePooler, pg: Postgres) -> None:
    pooler = make_pooler(
        workers=2, databases={"p0": "", "*": ""}, autodb_idle_timeout=1, server_idle_timeout=1
    )
    with pooler.wire() as stays, pooler.expect_log("dropping database 'p1' as it does not exist anymore"):
        stays.login(database="p2")
        for database in ("p0", "p1"):
            assert pooler.sql("SELECT current_database()", dbname=database) == [(database,)]
        assert names(pooler, "pools") >= {"p0", "p1", "p2"}
        wait_for(lambda: "p1" not in names(pooler, "pools"), 8, "p1 forgotten")
        assert names(pooler, "pools") >= {"p0", "p2"}
        assert stays.rows("SELECT current_database()") == [[b"p2"]]
        assert not pg.backends("p1")
    assert pooler.sql("SELECT current_database()", dbname="p1") == [("p1",)]
    assert "p1" in names(pooler, "pools")


def test_users_of_any_are_forgotten(make_pooler: MakePooler) -> None:
    pooler = make_pooler(
        workers=2,
        auth_type="any",
        databases={"p0": "user=bouncer"},
        autodb_idle_timeout=1,
    )
    before = users(pooler)
    for number in range(5):
        assert pooler.sql("SELECT current_user", user=f"nobody{number}") == [("bouncer",)]
    assert users(pooler) >= before + 1
    wait_for(lambda: users(pooler) <= before, 8, "users forgotten")
    assert pooler.pool()["user"] == "bouncer", "named by the database: its pool stays"


@pytest.mark.parametrize("workers", [1, 3])
def test_auto_databases_are_registered_once(make_pooler: MakePooler, workers: int) -> None:
    pooler = make_pooler(workers=workers, databases={"p0": "", "*": ""})
    with pooler.expect_log("registered new auto-database: p1\n", count=1), contextlib.ExitStack() as stack:
        for _ in range(6):
            wire = stack.enter_context(pooler.wire())
            wire.send(startup(database="p1"))
        pooler.sql("SELECT 1", dbname="p1")
    with pooler.expect_log("registered new auto-database", count=0):
        pooler.sql("SELECT 1", dbname="p0")


def test_idle_pools_are_cleaned_up(make_pooler: MakePooler, pg: Postgres) -> None:
    """But not one whose database names a user and a minimum."""
    pooler = make_pooler(
        workers=2,
        databases={"p0": "", "p1": "user=bouncer min_pool_size=1"},
        pool_idle_timeout=1,
        server_idle_timeout=1,
    )
    with pooler.expect_log("cleaning up idle pool: db=p0 user=bouncer", count=1, timeout_s=10):
        pooler.sql("SELECT 1")
        pooler.sql("SELECT 1", dbname="p1")
        wait_for(lambda: "p0" not in names(pooler, "pools"), 10, "p0's pool gone")
    assert "p1" in names(pooler, "pools")
    assert len(pg.backends("p1")) == 1


def users(pooler: Pooler) -> int:
    return int(pooler.show("lists", list="users")[0]["items"])
