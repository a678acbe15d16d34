"""What functions in Perl, Python and Tcl keep in their interpreter is their client's alone.

On Debian's PostgreSQL, which has these languages.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pooler.dev.processes import Account, make_directory
from tests.support.exchange import function_call, pooled
from tests.support.install import need
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import StartPooler, start_pooler
from tests.support.wire import SYNC, Wire, bind, execute, message, parse

__all__ = ["start_pooler"]

DATABASE = "interpreters"
INSTALLED = Path("/usr/lib/postgresql")
PACKAGES = {"plperl": "postgresql-plperl", "plpython3": "postgresql-plpython3", "pltcl": "postgresql-pltcl"}

OBJECTS = """
CREATE EXTENSION plperl;
CREATE EXTENSION plpython3u;
CREATE EXTENSION pltcl;

CREATE FUNCTION perl_keeps() RETURNS int LANGUAGE plperl AS '$_SHARED{left} = "behind"; return 1;';
CREATE FUNCTION perl_has() RETURNS text LANGUAGE plperl AS 'return $_SHARED{left};';
CREATE FUNCTION perl_keeps_global() RETURNS int LANGUAGE plperl IMMUTABLE
    AS '$main::left = "behind"; return 1;';
CREATE FUNCTION perl_has_global() RETURNS text LANGUAGE plperl AS 'return $main::left;';
CREATE FUNCTION python_keeps() RETURNS int LANGUAGE plpython3u AS $$GD["left"] = "behind"; return 1$$;
CREATE FUNCTION python_has() RETURNS text LANGUAGE plpython3u AS $$return GD.get("left")$$;
CREATE FUNCTION tcl_keeps() RETURNS int LANGUAGE pltcl AS 'set ::left behind; return 1';
CREATE FUNCTION tcl_has() RETURNS text LANGUAGE pltcl
    AS 'if {[info exists ::left]} {return $::left}; return_null';

CREATE VIEW a_view AS SELECT perl_keeps() AS n;
CREATE TABLE with_default (n int DEFAULT perl_keeps(), id int);
CREATE TABLE with_trigger (n int);
CREATE FUNCTION by_trigger() RETURNS trigger LANGUAGE plperl AS '$_SHARED{left} = "behind"; return;';
CREATE TRIGGER t BEFORE INSERT ON with_trigger FOR EACH ROW EXECUTE FUNCTION by_trigger();
CREATE DOMAIN checked AS int CHECK (perl_keeps() = VALUE);
CREATE FUNCTION dynamic() RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE 'SELECT perl' || '_keeps()'; END$$;
CREATE FUNCTION inside() RETURNS int LANGUAGE sql AS 'SELECT perl_keeps()';
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
GRANT CREATE ON SCHEMA public TO PUBLIC;
"""

#: What keeps something, and what has it.
WAYS = {
    "SELECT perl_keeps()": "perl_has()",
    "SELECT perl_keeps_global()": "perl_has_global()",
    "SELECT python_keeps()": "python_has()",
    "SELECT tcl_keeps()": "tcl_has()",
    "TABLE a_view": "perl_has()",
    "INSERT INTO with_default (id) VALUES (1)": "perl_has()",
    "INSERT INTO with_trigger VALUES (1)": "perl_has()",
    "SELECT 1::checked": "perl_has()",
    "SELECT dynamic()": "perl_has()",
    "SELECT inside()": "perl_has()",
    "BEGIN; SELECT perl_keeps(); ROLLBACK": "perl_has()",
    "BEGIN; SELECT perl_keeps(); SELECT 1 / 0": "perl_has()",
    """DO LANGUAGE plperl '$_SHARED{left} = "behind"'""": "perl_has()",
    """DO LANGUAGE 'plperl' '$_SHARED{left} = "behind"'""": "perl_has()",
    """DO '$_SHARED{left} = "behind"' LANGUAGE "plperl" """: "perl_has()",
    """DO $$BEGIN EXECUTE 'DO LANGUAGE plperl ''$_SHARED{left} = "behind"'''; END$$""": "perl_has()",
    """CREATE OR REPLACE FUNCTION mine() RETURNS int LANGUAGE plperl
        AS 'BEGIN { $main::left = "behind"; } return 1;'""": "perl_has_global()",
}


def servers() -> list[Path]:
    return list(INSTALLED.glob("*/bin/postgres"))


@pytest.fixture(scope="module")
def running_postgres(owner: Account, work: Path) -> Iterator[Postgres]:
    """Debian's newest, with a database that has the languages."""
    need("postgresql", *map(str, servers()), str(INSTALLED / "*/bin/postgres"))
    home = max(servers(), key=lambda path: float(path.parents[1].name)).parents[1]
    for library, package in PACKAGES.items():
        need(f"{package}-{home.name}", str(home / "lib" / f"{library}.so"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POOLER_PGBIN", str(home / "bin"))
        pg = Postgres(owner, make_directory(work / "interpreters", owner))
    pg.create()
    pg.sql(f"CREATE DATABASE {DATABASE}")
    pg.sql(OBJECTS, dbname=DATABASE)
    yield pg
    pg.stop()


@pytest.fixture(scope="module", params=[1, 2], ids=["1-worker", "2-workers"])
def pooler(request: pytest.FixtureRequest, start_pooler: StartPooler) -> Pooler:
    made = start_pooler(workers=request.param, databases={DATABASE: "pool_size=1"})
    made.learn_catalogs(DATABASE)
    return made


def has(wire: Wire, what: str) -> bytes | None:
    ((value,),) = wire.rows(f"SELECT {what}")
    return value


def reasons(pooler: Pooler) -> set[str]:
    return {reason for pin in pooler.show("pins") for reason in pin["reason"].split(", ")}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: " ".join(way.split())[:50])
def test_nobody_else_has_it(pooler: Pooler, way: str) -> None:
    """One server for both: who made it keeps it until the other waits, and then it is closed."""
    with pooled(pooler, DATABASE) as first, pooled(pooler, DATABASE) as second:
        first.query(way)
        if way.endswith("1 / 0"):
            first.query("ROLLBACK")
        assert has(first, WAYS[way]) == b"behind"
        wait_for(lambda: "interpreter" in reasons(pooler), what="a pin")
        assert has(second, WAYS[way]) is None


def test_nobody_else_has_what_a_client_left_that_is_gone(pooler: Pooler) -> None:
    for farewell in (message("X"), b""):
        with pooled(pooler, DATABASE) as first:
            first.query("SELECT perl_keeps()")
            first.send(farewell)
        with pooled(pooler, DATABASE) as second:
            assert has(second, "perl_has()") is None


def test_by_the_extended_protocol(pooler: Pooler) -> None:
    with pooled(pooler, DATABASE) as first, pooled(pooler, DATABASE) as second:
        first.send(parse("SELECT perl_keeps()", "s") + bind(name="s") + execute() + SYNC)
        first.receive_until()
        assert has(second, "perl_has()") is None
        first.send(bind(name="s") + execute() + SYNC)
        first.receive_until()
        assert has(second, "perl_has()") is None


def test_by_a_function_call(pooler: Pooler, running_postgres: Postgres) -> None:
    ((oid,),) = running_postgres.sql("SELECT 'perl_keeps'::regproc::oid", dbname=DATABASE)
    with pooled(pooler, DATABASE) as first, pooled(pooler, DATABASE) as second:
        first.send(function_call(oid))
        first.receive_until()
        assert has(second, "perl_has()") is None


def test_before_the_catalogs_are_known(start_pooler: StartPooler) -> None:
    pooler = start_pooler(databases={DATABASE: "pool_size=1"})
    with pooled(pooler, DATABASE) as first, pooled(pooler, DATABASE) as second:
        first.query("SELECT perl_keeps()")
        assert has(second, "perl_has()") is None


def test_what_needs_no_interpreter_is_not_pinned(pooler: Pooler) -> None:
    pooler.learn_catalogs(DATABASE)
    with pooled(pooler, DATABASE) as first, pooled(pooler, DATABASE) as second:
        for wire in (first, second, first):
            wire.query("DO LANGUAGE plpgsql 'BEGIN PERFORM 1; END'")
            wire.query("DO 'BEGIN PERFORM 1; END' LANGUAGE 'plpgsql'")
            assert wire.rows("SELECT length('x')") == [[b"1"]]
            assert "interpreter" not in reasons(pooler)


def test_a_language_that_a_site_trusts(start_pooler: StartPooler) -> None:
    """Its functions share what they keep: servers go round as ever."""
    pooler = start_pooler(
        databases={DATABASE: "pool_size=1"}, session_trusted_extensions="plperl, plpython3u, pltcl"
    )
    pooler.learn_catalogs(DATABASE)
    with pooled(pooler, DATABASE) as first, pooled(pooler, DATABASE) as second:
        first.query("SELECT perl_keeps()")
        assert has(second, "perl_has()") == b"behind"
        assert "interpreter" not in reasons(pooler)
