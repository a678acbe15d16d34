"""Databases are made, copied, altered and dropped through pooler, whose idle servers are no client's session.

PostgreSQL refuses to drop, rename or copy a database that others are connected to. It waits for five seconds.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from pooler.worker.database_ddl import INTERVAL_S
from pooler.worker.server import ANSWER_RETRY_S
from tests.support.exchange import pooled
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import module_pooler
from tests.support.wire import SYNC, Wire, bind, execute, parse, startup

USERS = "SELECT count(DISTINCT usename) FROM pg_stat_activity WHERE datname = %s"


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
    """At least one server of each user is idle there; those of before may be closed late."""

    def are_there() -> bool:
        for user in ("bouncer", "postgres"):
            assert pooler.sql("SELECT 1", user=user, dbname="shop") == [(1,)]
        return pg.sql(USERS, ("shop",)) == [(2,)]

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

        def begins_with_it() -> bool:
            return pooler.sql("SHOW work_mem", dbname=shop, user="postgres") == [("7MB",)]

        wait_for(begins_with_it, 5, "servers of after the change")  # one change in INTERVAL_S
    finally:
        pg.sql("ALTER ROLE postgres RESET ALL")


def backend(pooler: Pooler, user: str, database: str = "main") -> object:
    ((pid,),) = pooler.sql("SELECT pg_backend_pid()", dbname=database, user=user)
    return pid


@pytest.fixture
def roles(pooler: Pooler, pg: Postgres) -> Iterator[None]:
    pg.sql("CREATE ROLE guest LOGIN; CREATE ROLE host LOGIN")
    pooler.passwords |= {"guest": "", "host": ""}
    pooler.configure()
    pooler.console("RECONNECT")  # roles of that name that went past pooler
    yield
    pg.sql("DROP ROLE IF EXISTS guest; DROP ROLE IF EXISTS visitor; DROP ROLE host")


#: What is done to a role, and whether servers that are there are its no more.
TO_ROLES = {
    "drop": ("DROP ROLE guest; CREATE ROLE guest LOGIN", True),
    "drop user": ('DROP USER IF EXISTS "guest", nobody_else; CREATE USER guest', True),
    "rename": ("ALTER ROLE guest RENAME TO visitor; CREATE ROLE guest LOGIN", True),
    "settings": ("ALTER ROLE guest SET work_mem = '7MB'", True),
    "settings of all": ("ALTER ROLE ALL SET work_mem = '7MB'; ALTER ROLE ALL RESET work_mem", True),
    "membership": ("GRANT host TO guest; REVOKE host FROM guest", False),
    "rights": ("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO guest;"
               " ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM guest", False),
    "tablespace": ("ALTER TABLESPACE pg_default SET (seq_page_cost = 2);"
                   " ALTER TABLESPACE pg_default RESET (seq_page_cost)", False),
    "another role": ("ALTER ROLE host SET work_mem = '7MB'", False),
}  # fmt: skip


@pytest.mark.parametrize("what", TO_ROLES)
def test_servers_of_a_role(pooler: Pooler, pg: Postgres, roles: None, what: str) -> None:
    text, is_another = TO_ROLES[what]
    with of_postgres(pooler) as wire:
        before, other = backend(pooler, "guest"), backend(pooler, "bouncer")

        def run_it() -> bool:
            for one in text.split("; "):
                wire.query(one)
            return True

        def stay() -> bool:
            """Servers that are there; what was done to roles before may still be on its way to them."""
            owns = [backend(pooler, user) for user in ("guest", "bouncer")]
            return run_it() and owns == [backend(pooler, user) for user in ("guest", "bouncer")]

        if not is_another:
            wait_for(stay, 10, "servers that stay")
        else:
            run_it()
            wait_for(lambda: backend(pooler, "guest") != before, 5, "another server")
            if "ALL" not in text:
                wait_for(lambda: backend(pooler, "bouncer") == other, 5, "the same server")
    assert pooler.sql("SELECT current_user", dbname="main", user="guest") == [("guest",)]


def test_a_role_that_alters_itself_again_and_again(pooler: Pooler, pg: Postgres, roles: None) -> None:
    """Only its own servers are replaced, and now and then only."""
    time.sleep(2 * INTERVAL_S)  # what was asked for before has been done by then
    others = {user: backend(pooler, user) for user in ("bouncer", "host")}
    begin, own = time.monotonic(), set()
    with pooler.wire().login(user="guest", database="main") as wire:
        for number in range(100):
            wire.query(f"ALTER ROLE {('guest', 'current_user')[number % 2]} SET work_mem = '4MB'")
            own.add(backend(pooler, "guest"))
    turns = 4 + (time.monotonic() - begin) / INTERVAL_S
    assert set(others.values()) <= set(pg.backends()), "a server of another role was closed"
    assert len(own) <= 3 * turns  # of two servers; a third may be opened while one answers pooler


def test_another_database_keeps_its_servers(pooler: Pooler, shop: str) -> None:
    with of_postgres(pooler) as wire:
        before = backend(pooler, "postgres", shop)

        def stay() -> bool:
            """What was done before may still be on its way to them."""
            nonlocal before
            others = backend(pooler, "bouncer")
            wire.query("ALTER DATABASE shop SET work_mem = '7MB'")
            wait_for(lambda: backend(pooler, "postgres", shop) != before, 5, "another server")
            before = backend(pooler, "postgres", shop)
            return backend(pooler, "bouncer") == others

        wait_for(stay, 10, "servers that stay")


#: What brings a database, or the role `guest`, into being, from what there was.
MADE = {
    "CREATE DATABASE": ("SELECT 1", "CREATE DATABASE %s", "3D000"),
    "RENAME": ("CREATE DATABASE early", "ALTER DATABASE early RENAME TO %s", "3D000"),
    "CREATE ROLE": ("CREATE DATABASE %s", "CREATE ROLE guest LOGIN", "28000"),
    "RENAME ROLE": (
        "CREATE DATABASE %s; CREATE ROLE visitor LOGIN",
        "ALTER ROLE visitor RENAME TO guest",
        "28000",
    ),
    "LOGIN": ("CREATE DATABASE %s; CREATE ROLE guest NOLOGIN", "ALTER ROLE guest LOGIN", "28000"),
}


@pytest.mark.parametrize("way", MADE)
def test_what_is_made_is_there_at_once(pooler: Pooler, pg: Postgres, roles: None, way: str) -> None:
    """However often it was asked for before; each is told, and nobody waits for a pause that grows."""
    before, made, sqlstate = MADE[way]
    user = "postgres" if sqlstate == "3D000" else "guest"
    name = f"late{list(MADE).index(way)}"  # where a login was accepted before, others are let in at once
    pg.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    pg.sql("DROP ROLE guest")
    for text in before.replace("%s", name).split("; "):
        pg.sql(text)
    try:
        for _ in range(8):
            with pooler.wire() as wire:
                wire.send(startup(user, name))
                wire.expect_error(sqlstate)
        with of_postgres(pooler) as wire:
            wire.query(made.replace("%s", name))
        assert pooler.sql("SELECT 1", dbname=name, user=user) == [(1,)]
    finally:
        pg.sql(f"DROP DATABASE {name} WITH (FORCE)")


def test_what_does_not_exist_is_asked_for_now_and_then_only(pooler: Pooler, pg: Postgres) -> None:
    pg.new_log()
    begin = time.monotonic()
    for _ in range(12):
        with pooler.wire() as wire:
            wire.send(startup("postgres", "nowhere"))
            wire.expect_error("3D000")
    turns = 2 + (time.monotonic() - begin) / ANSWER_RETRY_S
    assert pg.new_log().count('FATAL:  database "nowhere" does not exist') <= turns
