"""Settings at servers that other clients had before: no value is lost, turned, or the end of its client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.exchange import pooled
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.shared import StartPooler
from tests.support.wire import SYNC, Wire, bind, execute, extended, message, parse

DATABASES = {
    "p0": "pool_size=1",
    "two": "dbname=p0 pool_size=2",
    "three": "dbname=p0 pool_size=3",
    "many": "dbname=p0 pool_size=1",
}


@pytest.fixture(scope="module")
def pooler(start_pooler: StartPooler) -> Pooler:
    return start_pooler(workers=1, databases=DATABASES)


def ask(wire: Wire, text: bytes) -> list[bytes | None]:
    """One value of a query whose bytes are in the client's encoding."""
    wire.send(message("Q", text, b"\0"))
    return [m.values[0] for m in wire.receive_until() if m.type == "D"]


def fine(wire: Wire, text: str | bytes) -> None:
    wire.send(message("Q", text.encode() if isinstance(text, str) else text, b"\0"))
    assert "E" not in [m.type for m in wire.receive_until()]


@contextmanager
def busy(pooler: Pooler, database: str, server: bytes | None) -> Iterator[None]:
    """That server is another client's meanwhile."""
    wires = []
    try:
        while True:
            wires.append(pooled(pooler, database))
            fine(wires[-1], "BEGIN")
            if wires[-1].rows("SELECT pg_backend_pid()")[0][0] == server:
                break
        for wire in wires[:-1]:
            fine(wire, "COMMIT")
        yield
    finally:
        for wire in wires:
            wire.close()


def server_of(wire: Wire) -> bytes | None:
    return wire.rows("SELECT pg_backend_pid()")[0][0]


@pytest.mark.parametrize("by", ["startup", "set"])
@pytest.mark.parametrize("value", [b"M\xfcller", b"it's \\ \xe4\\"])
def test_letters_follow_under_another_encoding(pooler: Pooler, by: str, value: bytes) -> None:
    with pooler.wire().login(
        database="two", **({"client_encoding": "LATIN1"} if by == "startup" else {})
    ) as wire:
        if by == "set":
            fine(wire, "SET client_encoding = 'LATIN1'")
        quoted = value.replace(b"'", b"''")
        fine(wire, b"SET app.name = '" + quoted + b"'")
        fine(wire, b"SET search_path = 'sch\xe4ma', public")
        before = server_of(wire)
        with busy(pooler, "two", before):
            assert server_of(wire) != before
            assert ask(wire, b"SELECT current_setting('app.name')") == [value]
            assert ask(wire, b"SHOW search_path") == [b'"sch\xe4ma", public']
        fine(wire, "SET client_encoding = 'UTF8'")
        with busy(pooler, "two", server_of(wire)):
            assert ask(wire, b"SELECT current_setting('app.name')") == [value.decode("latin-1").encode()]
        wire.close()


def test_encoding_of_the_client_before_does_not_turn_values(pooler: Pooler) -> None:
    with pooled(pooler) as one, pooled(pooler) as other:
        fine(one, 'SET search_path = "schéma", public')
        for encoding in ("LATIN1", "SJIS", "BIG5"):
            fine(other, f"SET client_encoding = '{encoding}'")
            fine(other, "SELECT 1")
            assert ask(one, b"SELECT current_setting('search_path')") == ['"schéma", public'.encode()]
        one.close()
        other.close()


@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1"])
def test_a_role_with_letters(pooler: Pooler, pg: Postgres, encoding: str) -> None:
    """The encoding of the client before turns its name as little."""
    pg.sql('DROP ROLE IF EXISTS "rôle"')
    pg.sql('CREATE ROLE "rôle"; GRANT "rôle" TO bouncer')
    name = "rôle".encode({"UTF8": "utf-8", "LATIN1": "latin-1"}[encoding])
    try:
        with pooled(pooler) as wire, pooled(pooler) as other:
            fine(wire, f"SET client_encoding = '{encoding}'")
            fine(wire, b'SET ROLE "' + name + b'"')
            for before in ("LATIN1", "UTF8", "SJIS", "BIG5"):
                fine(other, f"SET client_encoding = '{before}'")
                fine(other, "SELECT 1")
                assert ask(wire, b"SELECT current_user") == [name]
            wire.close()
            other.close()
    finally:
        pooler.console("RECONNECT")
        pg.sql('DROP ROLE "rôle"')


#: Settings of a client that act on whatever runs in its session, pooler's own statements included.
ACTING = {
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "lock_timeout": "1ms",
    "exit_on_error": "on",
    "idle_in_transaction_session_timeout": "1ms",
    "idle_session_timeout": "10min",
    "transaction_timeout": "5ms",
    "statement_timeout": "5ms",
    "check_function_bodies": "off",
    "row_security": "off",
    "bytea_output": "escape",
    "array_nulls": "off",
    "quote_all_identifiers": "on",
    "transform_null_equals": "on",
    "search_path": "''",
    "enable_seqscan": "off",
    "client_min_messages": "error",
}


@pytest.mark.parametrize("name", ACTING)
def test_what_acts_on_all_statements_of_a_session(pooler: Pooler, pg: Postgres, name: str) -> None:
    """It is its client's, follows it, and ends nothing that pooler itself has to ask or to set there."""
    if not pg.sql("SELECT 1 FROM pg_settings WHERE name = %s", (name,)):
        return  # of a later release
    with pooled(pooler) as wire, pooled(pooler) as other:
        usual = other.rows(f"SHOW {name}")
        fine(
            wire, f"SET {name} = {ACTING[name]}" if "'" in ACTING[name] else f"SET {name} = '{ACTING[name]}'"
        )
        ((value,),) = wire.rows(f"SHOW {name}")
        fine(wire, "LISTEN acting")
        for number in range(5):
            assert other.rows(f"SHOW {name}") == usual
            wire.send(message("Q", f"SELECT set_config('app.' || 'acting', '{number}', false)\0".encode()))
            wire.receive_until()  # a limit may end it
            assert wire.rows(f"SHOW {name}") == [[value]]
            fine(other, "NOTIFY acting")
        wire.close()
        assert other.rows(f"SHOW {name}") == usual
        other.close()


def test_no_value_becomes_sql(pooler: Pooler) -> None:
    """In SJIS the second byte of a character can be a backslash, which hides a quote."""
    evil = b"\x83\x5c',false);create temp table stolen as select 1;commit;select 1/0;--"
    with pooler.wire().login(database="p0", client_encoding="SJIS") as wire, pooled(pooler) as victim:
        fine(wire, "SET backslash_quote = on; SET standard_conforming_strings = on")
        fine(wire, b"SET app.a = '" + evil.replace(b"'", b"''") + b"'")
        for _ in range(3):
            assert victim.rows("SELECT to_regclass('pg_temp.stolen')") == [[None]]
            assert ask(wire, b"SELECT current_setting('app.a')") == [evil]
            assert wire.rows("SELECT to_regclass('pg_temp.stolen')") == [[None]]
        wire.close()
        victim.close()


def test_server_that_refused_settings_is_clean(pooler: Pooler, pg: Postgres) -> None:
    pg.sql("DROP ROLE IF EXISTS fleeting")
    pg.sql("CREATE ROLE fleeting; GRANT fleeting TO bouncer")
    with pooled(pooler) as wire, pooled(pooler) as other:
        fine(wire, "SET app.secret = 'mine'; SET search_path = 'mine'; SET ROLE fleeting")
        fine(other, "SET work_mem = '8MB'")
        pg.sql("DROP ROLE fleeting")
        wire.send(message("Q", b"SELECT 1\0"))
        wire.expect_error("08P01", "invalid server parameter")
        wire.expect_closed()
        secret = "SELECT current_setting('app.secret', true), current_setting('search_path'), current_user"
        assert other.rows(secret)[0] in (
            [None, b'"$user", public', b"bouncer"],
            [b"", b'"$user", public', b"bouncer"],
        )
        assert other.rows("SHOW work_mem") == [[b"8MB"]]
        other.close()


def test_timeouts_of_the_client_before_do_not_end_others(pooler: Pooler) -> None:
    """The statement that brings a server to settings as many as these takes longer than a millisecond."""
    with pooled(pooler, "two") as hasty, pooled(pooler, "two") as wire:
        fine(wire, ";".join(f"SET app.setting_{n} = '{'x' * 100}'" for n in range(120)))
        fine(hasty, "SET statement_timeout = 1")
        for _ in range(60):
            hasty.query("SELECT 1")
            assert wire.rows("SELECT current_setting('app.setting_99')") == [[b"x" * 100]]
        hasty.close()
        wire.close()


def test_questions_are_not_ended_by_the_timeouts_of_their_client(pooler: Pooler, pg: Postgres) -> None:
    """With so many settings a question takes longer than that; transaction_timeout ends sessions."""
    timeouts = {"statement_timeout": "20ms", "transaction_timeout": "20ms"}
    if int(pg.sql("SHOW server_version_num")[0][0]) < 170000:
        del timeouts["transaction_timeout"]
    many = "FOR i IN 1..20000 LOOP PERFORM set_config('many.n' || i, '1', true); END LOOP;"
    with pooled(pooler, "many") as wire:
        fine(wire, f"DO $$ BEGIN {many} END $$")
        for name, value in timeouts.items():
            fine(wire, f"SET {name} = '{value}'")
        server = server_of(wire)
        for _ in range(5):
            fine(wire, "DO $$ BEGIN NULL; END $$")
            assert server_of(wire) == server
            for name, value in timeouts.items():
                assert wire.rows(f"SHOW {name}") == [[value.encode()]]
            fine(wire, "SELECT pg_advisory_lock(7); SELECT pg_advisory_unlock(7)")
        wire.close()


def test_questions_do_not_wait_for_a_safe_snapshot(pooler: Pooler, pg: Postgres) -> None:
    pg.sql("CREATE TABLE IF NOT EXISTS written (n int)", dbname="p0")
    with pg.connect(dbname="p0") as writer, writer.cursor() as cursor:
        cursor.execute(
            "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT FROM written; INSERT INTO written VALUES (1)"
        )
        with pooled(pooler) as wire, pooled(pooler) as other:
            kind = "TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE"
            fine(wire, f"SET SESSION CHARACTERISTICS AS {kind}")
            assert wire.rows("SHOW transaction_deferrable") == [[b"on"]]
            assert other.rows("SELECT 1") == [[b"1"]], "its settings are put in force behind those"
            fine(wire, "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT 1; COMMIT")
            assert wire.rows("SHOW default_transaction_deferrable") == [[b"on"]]
            fine(wire, "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_advisory_lock(77); COMMIT")
            wire.close()  # its server is cleaned
            assert other.rows("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [[b"0"]]
            other.close()
        cursor.execute("ROLLBACK")


def use_temporary_tables(pooler: Pooler, database: str, servers: int) -> None:
    """On each server of the pool."""
    wires = [pooled(pooler, database) for _ in range(servers)]
    for wire in wires:
        fine(wire, "BEGIN; CREATE TEMP TABLE passing ON COMMIT DROP AS SELECT 1 AS n")
    for wire in wires:
        fine(wire, "COMMIT")
        wire.close()


@pytest.mark.parametrize("how", ["set", "startup", "extended"])
def test_what_a_used_server_refuses_gets_a_new_one(pooler: Pooler, how: str) -> None:
    """temp_buffers cannot be changed once a session has used temporary tables, here those of others."""
    use_temporary_tables(pooler, "three", 3)
    options = {"options": "-c temp_buffers=384"} if how == "startup" else {}
    with pooler.wire().login(database="three", **options) as wire:
        if how == "set":
            fine(wire, "SET temp_buffers = '3MB'")
        elif how == "extended":
            wire.send(extended("SET temp_buffers = '3MB'"), SYNC)
            assert "E" not in [m.type for m in wire.receive_until()]
        for _ in range(4):
            assert wire.rows("SHOW temp_buffers") == [[b"3MB"]]
            use_temporary_tables(pooler, "three", 2)
        wire.close()
    with pooled(pooler, "three") as fresh:
        assert fresh.rows("SHOW temp_buffers") == [[b"8MB"]]
        fresh.close()


def test_many_settings_of_ones_own_naming_follow_their_client(pooler: Pooler) -> None:
    """More than the names that there is space for at first."""
    names = [f"own.setting_{number}" for number in range(40)]
    values = [f"value {number}" for number in range(40)]
    show = "SELECT " + ", ".join(f"current_setting('{name}', true)" for name in names)
    with pooled(pooler, "many") as wire, pooled(pooler, "many") as other:
        for name, value in zip(names, values, strict=True):
            fine(wire, f"SET {name} = '{value}'")
        assert set(other.rows(show)[0]) <= {None, b""}
        assert list(wire.rows(show)[0]) == [value.encode() for value in values]


def test_nothing_of_ours_stays_in_a_transaction(pooler: Pooler) -> None:
    """A statement is parsed at another server, under the settings under which its client parsed it."""
    with pooled(pooler, "two") as wire, pooled(pooler, "two") as other:
        wire.send(parse("SELECT '2001-02-03'::date", "dated") + SYNC)
        wire.receive_until()
        other.query("BEGIN")  # on that server: the next one is another
        wire.query("DO $$BEGIN PERFORM set_config('Date' || 'Style', 'German', false); END$$; BEGIN")
        wire.send(bind(name="dated") + execute() + SYNC)
        assert [m.values for m in wire.receive_until() if m.type == "D"] == [[b"03.02.2001"]]
        assert wire.rows("SELECT name FROM pg_cursors WHERE name <> ''") == []
        assert wire.rows("SELECT name FROM pg_prepared_statements WHERE statement LIKE 'SET%'") == []
