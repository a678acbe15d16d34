"""Databases are made, copied, altered and dropped through pooler, whose idle servers are nobody's session.

PostgreSQL refuses to drop, rename or copy a database that others are connected to. It waits for five seconds.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from pooler.worker.changes import INTERVAL_S
from tests.support.exchange import pooled
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import module_pooler
from tests.support.wire import SYNC, Wire, bind, execute, parse

SERVERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"


pooler = module_pooler(databases={"main": "dbname=p0", "*": ""})


@pytest.fixture
def shop(pooler: Pooler, pg: Postgres) -> Iterator[str]:
    """A database with idle servers of several users."""
    pg.sql("CREATE DATABASE shop")
    try:
        pg.sql("CREATE TABLE things AS SELECT 1 AS thing", dbname="shop")
        use(pooler, pg)
        yield "shop"
    finally:
        for name in ("shop", "copy", "Other Shop"):
            pg.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def use(pooler: Pooler, pg: Postgres) -> None:
    """Two servers are idle there; those of before may be closed late."""

    def are_there() -> bool:
        for user in ("bouncer", "postgres"):
            assert pooler.sql("SELECT 1", user=user, dbname="shop") == [(1,)]
        return pg.sql(SERVERS, ("shop",)) == [(2,)]

    wait_for(are_there, 5, "idle servers")


def of_postgres(pooler: Pooler, database: str = "main") -> Wire:
    return pooler.wire().login(user="postgres", database=database)


def order(pooler: Pooler, text: str) -> None:
    with of_postgres(pooler) as wire:
        assert [message.type for message in wire.query(text)] == ["C", "Z"], text


def test_drop(pooler: Pooler, pg: Postgres, shop: str) -> None:
    order(pooler, "DROP DATABASE IF EXISTS Shop")
    assert pg.sql("SELECT count(*) FROM pg_database WHERE datname = %s", (shop,)) == [(0,)]


def test_drop_by_the_extended_protocol(pooler: Pooler, pg: Postgres, shop: str) -> None:
    with of_postgres(pooler) as wire:
        for _ in range(2):
            wire.send(parse('DROP DATABASE "shop"', name="drop") + bind(name="drop") + execute() + SYNC)
            assert [message.type for message in wire.receive_until()] == ["1", "2", "C", "Z"]
            wire.query("DEALLOCATE ALL")
            pg.sql("CREATE DATABASE shop")
            use(pooler, pg)


def test_copy(pooler: Pooler, shop: str) -> None:
    order(pooler, "/* again */ create database copy template = shop")
    assert pooler.sql("SELECT thing FROM things", dbname="copy", user="postgres") == [(1,)]


def test_rename(pooler: Pooler, shop: str) -> None:
    order(pooler, 'ALTER DATABASE shop RENAME TO "Other Shop"')
    assert pooler.sql("SELECT thing FROM things", dbname="Other Shop", user="postgres") == [(1,)]
    order(pooler, 'DROP DATABASE "Other Shop" -- with a space')


def test_who_is_connected_is_in_the_way(pooler: Pooler, shop: str) -> None:
    with of_postgres(pooler, shop) as mine:
        mine.query("BEGIN")
        with of_postgres(pooler) as other:
            answer = other.query("DROP DATABASE shop")
            assert answer[0].fields["C"] == "55006"
            assert answer[0].fields["D"].startswith("There is 1 other session")
        mine.query("COMMIT")
    order(pooler, "DROP DATABASE shop")


def test_refused_ones_close_servers_now_and_then_only(pooler: Pooler, shop: str) -> None:
    def closings() -> int:
        return len(re.findall(r"S-\d+: shop/.* closing because", pooler.log.read_text()))

    before, begin = closings(), time.monotonic()
    with pooled(pooler, "main") as wire:
        for _ in range(100):
            assert wire.query("DROP DATABASE shop")[0].fields["C"] == "42501"
            pooler.sql("SELECT 1", dbname=shop)
    turns = 2 + (time.monotonic() - begin) / INTERVAL_S
    assert closings() - before <= 2 * turns  # servers of two users at first


@pytest.mark.parametrize(
    "what",
    [
        "ALTER DATABASE shop SET work_mem = '7MB'",
        "ALTER ROLE postgres SET work_mem = '7MB'",
        "BEGIN; ALTER USER postgres IN DATABASE shop SET work_mem = '7MB'; COMMIT",
    ],
    ids=["database", "role", "role in database"],
)
def test_new_sessions_begin_with_new_settings(pooler: Pooler, shop: str, pg: Postgres, what: str) -> None:
    try:
        with of_postgres(pooler) as wire:
            for text in what.split("; "):
                wire.query(text)
                pooler.sql("SELECT 1", dbname=shop, user="postgres")
        assert pooler.sql("SHOW work_mem", dbname=shop, user="postgres") == [("7MB",)]
    finally:
        pg.sql("ALTER ROLE postgres RESET ALL")
