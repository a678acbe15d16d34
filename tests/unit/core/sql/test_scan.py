"""What texts of statements say about their sessions: the scanner of core/sql/effects.c, case by case.

A text only decides whether the server is asked afterwards. To see too much costs a question; to see too
little would be a leak, so the cases say both.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.core import _core as core

ALL = "settings locks temp prepared cursors channels"
EVERYTHING = f"{ALL} unsure"

# (text, traits, names): `x:name` for each name.
HARMLESS = [
    "",
    ";",
    " \t\n;;",
    "SELECT 1",
    "select * from accounts where id = $1",
    "UPDATE accounts SET balance = balance + 1 WHERE id = 1",
    "DELETE FROM temp_things",
    "BEGIN; SELECT 1; COMMIT",
    "ROLLBACK TO SAVEPOINT a",
    "SELECT reset, discard, load FROM words",
    "SELECT 'SET a.b = 1'",
    "SELECT 'it''s; SET x = 1'",
    "SELECT E'it\\'s; SET x = 1'",
    "SELECT e'\\\\', 'x; SET y = 1'",
    "SELECT $$; SET x = 1; $$",
    "SELECT $tag$; SET x = 1; $$ $tag$",
    "SELECT U&'\\0041; SET x = 1'",
    'SELECT ";SET x"',
    'SELECT "a""; SET x = 1"',
    "-- SET x = 1",
    "/* SET x = 1 */ SELECT 1",
    "/* a /* nested */ ; SET x = 1 */ SELECT 1",
    "SELECT 1 -- ; SET x = 1\n + 1",
    "SELECT 1 --\r; /* SET x = 1 */",
    "SELECT $1; SELECT $2",
    "SELECT a$b FROM t",
    "SET LOCAL work_mem = 1",
    "set local app.tenant to 'a'",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET CONSTRAINTS ALL DEFERRED",
    "SELECT set_config('app.tenant', 'a', true)",
    "SELECT set_config('a.b', f(1, 2), true), set_config('c.d', 'x', TRUE)",
    "SELECT set_config FROM t",
    "PREPARE TRANSACTION 'x'",
    "SELECT pg_advisory_xact_lock(1)",
    "SELECT with_hold FROM t",
    "SELECT temporary FROM weather",
    "DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1",
    "EXPLAIN SELECT 1",
]

SPEAKING = [
    # settings
    ("SET work_mem = 1", "named", "s:work_mem"),
    ("set work_mem to '1MB'", "named", "s:work_mem"),
    ("SET SESSION work_mem = 1", "named", "s:work_mem"),
    ("SET App.Tenant = 'a'", "named", "s:app.tenant"),
    ('SET "App"."Tenant" = 1', "named", "s:app.tenant"),
    ("SET a . b = 1", "named", "s:a.b"),
    ("/* why */ SET x = 1", "named", "s:x"),
    ("-- why\nSET x = 1", "named", "s:x"),
    ("/* a /* b */ c */SET x = 1", "named", "s:x"),
    ("SET/**/x/**/=/**/1", "named", "s:x"),
    ("SELECT 1; SET x = 1", "named", "s:x"),
    ("SELECT 'a;b'; SET x = 1", "named", "s:x"),
    ("SELECT E'\\''; SET x = 1", "named", "s:x"),
    ("SELECT U&'\\'; SET x = 1", "named", "s:x"),
    ("SELECT '\\'; SET x = 1", "named", "s:x"),
    ("SELECT $a$ $b$ $a$; SET x = 1", "named", "s:x"),
    ("SELECT $a$b; SET x = 1", EVERYTHING, ""),
    ("SELECT a$b$ FROM t; SET x = 1 -- $", "named", "s:x"),
    ("SELECT $1$2; SET x = 1", "named", "s:x"),
    ("SET a = 1; SET b = 2; SET LOCAL c = 3", "named", "s:a s:b"),
    ("BEGIN; SET x = 1; ROLLBACK", "named", "s:x"),
    ("SET ROLE somebody", "named", "s:role"),
    ("SET SESSION ROLE somebody", "named", "s:role"),
    ("SET SESSION AUTHORIZATION x", "named", "s:session_authorization s:role"),
    (
        "SET SESSION AUTHORIZATION DEFAULT",
        "named reset",
        "s:session_authorization s:role r:session_authorization",
    ),
    ("SET TIME ZONE 'UTC'", "named", "s:timezone"),
    ("SET TIME ZONE LOCAL", "reset", "r:timezone"),
    ("SET SESSION TIME ZONE DEFAULT; SELECT 1", "reset", "r:timezone"),
    ("SET TIME ZONE local_time", "named", "s:timezone"),
    ("SET NAMES DEFAULT", "reset encoding", "r:client_encoding"),
    ("SET NAMES; SELECT 1", "reset encoding", "r:client_encoding"),
    ("SET NAMES 'latin1'", "named encoding", "s:client_encoding"),
    ("SET SCHEMA 'x'", "named", "s:search_path"),
    ("SET XML OPTION DOCUMENT", "named", "s:xmloption"),
    (
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "named",
        "s:default_transaction_isolation s:default_transaction_read_only s:default_transaction_deferrable",
    ),
    ("SET x TO DEFAULT", "settings reset", "r:x"),
    ("SET x = DEFAULT", "settings reset", "r:x"),
    ("SET x = 'DEFAULT'", "named", "s:x"),
    ("SET", "settings", ""),
    ("SET =", "settings", ""),
    ("RESET x", "settings reset", "r:x"),
    ("RESET app.tenant", "settings reset", "r:app.tenant"),
    ("RESET TIME ZONE", "settings reset", "r:timezone"),
    ("RESET ALL", "settings reset_all", ""),
    ("RESET SESSION AUTHORIZATION", "settings reset", "r:session_authorization"),
    ("SELECT set_config('a.b', 'x', false)", "named", "s:a.b"),
    ("SELECT set_config('a.b' || $1, 'x', false)", "settings opaque encoding", ""),
    ("SELECT set_config('A.B', 'x', false)", "named", "s:a.b"),
    ("SELECT pg_catalog.set_config('a.b', 'x', $1)", "named", "s:a.b"),
    ("SELECT set_config /* why */ ('a.b', 'x', false)", "named", "s:a.b"),
    ("SELECT \"set_config\"('a.b', 'x', false)", "named", "s:a.b"),
    ("SELECT set_config($1, $2, false)", "settings opaque encoding", ""),
    ("SELECT set_config('a.' || x, 'y', false)", "settings opaque encoding", ""),
    ("SELECT set_config(name, 'true', false) FROM t", "settings opaque encoding", ""),
    ("SELECT set_config('a.b', 'x', (true, false))", "named", "s:a.b"),
    ("SELECT set_config(concat('a', '.b'), 'x', true)", "encoding", ""),
    ("SELECT set_config('a.b', 'x', not true)", "named", "s:a.b"),
    # names that begin with a word of SET's grammar
    ("SET session.user_id = '5'", "named", "s:session.user_id"),
    ("SET SESSION session . user_id TO '5'", "named", "s:session.user_id"),
    ("SET local.x = 1", "named", "s:local.x"),
    ("SET LOCAL local.x = 1", "", ""),
    ("SET transaction.x = 1", "named", "s:transaction.x"),
    ("SET constraints.x = 1", "named", "s:constraints.x"),
    ("SET time.x = 1", "named", "s:time.x"),
    ("SET names.x = 1", "named", "s:names.x"),
    ("SET schema.x = 1", "named", "s:schema.x"),
    ("SET xml.x = 1", "named", "s:xml.x"),
    ("SET seed.x = 1", "named", "s:seed.x"),
    ("RESET time.x", "settings reset", "r:time.x"),
    # the seed of random() stays, whatever becomes of its setting
    ("SET seed = 0.5", "loaded", ""),
    ('SET "seed" = 0.5', "named loaded", "s:seed"),
    ("SET LOCAL seed = 0.5", "loaded", ""),
    ("SET LOCAL Seed TO 0.5", "loaded", ""),
    ("SELECT set_config('SEED', '0.5', true)", "loaded", ""),
    ("SELECT set_config('seed', '0.5', false)", "named loaded", "s:seed"),
    ("SELECT * FROM pg_settings", "settings", ""),
    ("SELECT * FROM pg_settings FOR UPDATE", "settings", ""),
    ("COMMIT PREPARED 'x'", "schema", ""),
    ("UPDATE pg_settings SET setting = 1 WHERE name = 'work_mem'", "settings loaded", ""),
    # locks
    ("SELECT pg_advisory_lock(1)", "locks", ""),
    ("select PG_TRY_ADVISORY_LOCK(1, 2)", "locks", ""),
    ("SELECT pg_catalog.pg_advisory_lock_shared(1)", "locks", ""),
    ("SELECT 1 WHERE pg_try_advisory_lock_shared ( 1 )", "locks", ""),
    ('SELECT "pg_advisory_lock"(1)', "locks", ""),
    # temporary objects
    ("CREATE TEMP TABLE t (n int)", EVERYTHING, ""),
    ("CREATE TEMPORARY VIEW t AS SELECT 1", EVERYTHING, ""),
    ("CREATE LOCAL TEMP TABLE t (n int)", EVERYTHING, ""),
    ("CREATE GLOBAL TEMPORARY TABLE t (n int)", EVERYTHING, ""),
    ("CREATE OR REPLACE TEMP VIEW t AS SELECT 1", EVERYTHING, ""),
    ("CREATE TABLE temp (n int)", f"schema {EVERYTHING}", ""),
    ("CREATE OR REPLACE VIEW temp AS SELECT 1", f"schema {EVERYTHING}", ""),
    ("create/**/temp/**/sequence s", EVERYTHING, ""),
    ("SELECT 1 INTO TEMP t", "temp", ""),
    ("CREATE TABLE pg_temp.t (n int)", f"schema {EVERYTHING}", ""),
    ("CREATE TABLE pg_temp_3.t (n int)", f"schema {EVERYTHING}", ""),
    ("CREATE TABLE t (n int)", f"schema {EVERYTHING}", ""),
    # the rest
    ("PREPARE p AS SELECT 1", "prepared", ""),
    ("PREPARE p(int) AS SELECT pg_advisory_lock($1)", "prepared locks", ""),
    ("EXECUTE p", "execute", ""),
    ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "cursors", ""),
    ("DECLARE c CURSOR WITH /* */ HOLD FOR SELECT 1", "cursors", ""),
    ("LISTEN a", "channels listen", "l:a"),
    ('LISTEN "A b"', "channels listen", "l:A b"),
    ("UNLISTEN a", "unlisten", "u:a"),
    ("UNLISTEN *", "unlisten", "u:*"),
    ("NOTIFY a, 'b'", "notify", ""),
    ("SELECT pg_notify('a', 'b')", "notify", ""),
    ("LOAD 'x'", "loaded", ""),
    ("SELECT setseed(0.5)", "loaded", ""),
    ("SELECT dblink_connect('x')", "loaded", ""),
    ("SELECT nextval('s')", "sequence", ""),
    ("SELECT setval('s', 1)", "sequence", ""),
    ("SELECT currval('s'), lastval()", "currval", ""),
    ("INSERT INTO t VALUES (1)", "insert", ""),
    ("UPDATE t SET n = DEFAULT", "insert", ""),
    # behind a SET, too: whether the statement is one was not forgotten, and anything at all for the first
    ("SET x = 1; UPDATE t SET n = DEFAULT", "insert named", "s:x"),
    ("WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM x", "insert", ""),
    ("DISCARD ALL", "settings reset_all unlisten", "r:session_authorization u:*"),
    ("DISCARD TEMP", "", ""),
    ("CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT 1'", f"schema {EVERYTHING}", ""),
    ("DROP TABLE t", EVERYTHING, ""),
    ("VACUUM accounts", EVERYTHING, ""),
    ("GRANT SELECT ON t TO r", EVERYTHING, ""),
    ("DROP DATABASE Shop; SELECT x", f"database {EVERYTHING}", "d:shop"),
    ('drop database if exists "Sh""op"', f"database {EVERYTHING}", 'd:if d:exists d:Sh"op'),
    (
        "CREATE DATABASE a OWNER b ENCODING 'x' TEMPLATE = c",
        f"schema database {EVERYTHING}",
        "d:a D:a d:owner d:b d:c",
    ),
    ("ALTER DATABASE a SET x TO '1'", f"schema database {EVERYTHING}", "d:a D:a"),
    ("ALTER ROLE a IN DATABASE b SET x = 1", f"schema database {EVERYTHING}", "R:a"),
    ("ALTER USER A RESET ALL", f"schema database {EVERYTHING}", "R:a"),
    ("ALTER ROLE ALL SET x = 1", f"schema database {EVERYTHING}", "R:"),
    ('ALTER ROLE "all" RENAME TO c', f"schema database {EVERYTHING}", "R:all"),
    ("CREATE ROLE a LOGIN", f"schema database {EVERYTHING}", "R:a"),
    ('DROP USER IF EXISTS a, "B", c', f"database {EVERYTHING}", "X:a X:B X:c"),
    ("drop group if", f"database {EVERYTHING}", "X:if"),
    ("ALTER USER MAPPING FOR a SERVER s OPTIONS (SET x 'y')", f"schema {EVERYTHING}", ""),
    ("ALTER USER a PASSWORD 'set'", f"schema database {EVERYTHING}", "R:a"),
    ("ALTER DATABASE", f"schema {EVERYTHING}", ""),
    # bodies
    ("DO 'BEGIN END'", ALL, ""),
    ("DO $$ BEGIN PERFORM 1; END $$", ALL, ""),
    ("DO $x$ BEGIN SET x = 1; END $x$", f"{ALL} named", "s:x"),
    ("DO LANGUAGE plpgsql $$ BEGIN IF true THEN SET x = 1; END IF; END $$", f"{ALL} named", "s:x"),
    ("DO $$ BEGIN EXECUTE 'SET x = 1'; END $$", f"{ALL} named execute", "s:x"),
    ("DO LANGUAGE 'plpgsql' $$ BEGIN SET x = 1; END $$", f"{ALL} named", "s:x"),
    ('DO $$ BEGIN SET x = 1; END $$ LANGUAGE "plpgsql"', f"{ALL} named", "s:x"),
    ("DO LANGUAGE plperl '1'", f"{ALL} opaque interpreter", ""),
    ("DO LANGUAGE 'plperl' '1'", f"{ALL} opaque interpreter", ""),
    ("DO '1' LANGUAGE \"PLpgSQL\"", f"{ALL} opaque interpreter", ""),
    ("DO '1' LANGUAGE U&'plp\\0067sql'", f"{ALL} opaque interpreter", ""),
    ("DO $$ BEGIN PERFORM set_config('a.b', 'c', false); END $$", f"{ALL} named", "s:a.b"),
]

ENDS = [
    ("SELECT pg_advisory_unlock(1)", "locks"),
    ("SELECT pg_advisory_unlock_all()", "locks"),
    ("SELECT pg_advisory_unlock_shared(1)", "locks"),
    ("DROP TABLE t", "temp"),
    ("DISCARD TEMP", "temp sequence"),
    ("DISCARD ALL", f"{ALL} opaque sequence"),
    ("DEALLOCATE p", "prepared"),
    ("DEALLOCATE ALL", "prepared"),
    ("CLOSE c", "cursors"),
    ("CLOSE ALL", "cursors"),
    ("UNLISTEN *", "channels"),
    ("RESET ALL", "opaque"),
    ("SELECT 1", ""),
    ("SELECT 'DISCARD ALL'", ""),
]

#: With standard_conforming_strings = off.
BACKSLASH = [
    ("SELECT '\\'; SET x = 1'", ""),
    ("SELECT '\\\\'; SET x = 1", "s:x"),
    ("SELECT '\\''; SET x = 1", "s:x"),
    ('SELECT "\\"; SET x = 1', "s:x"),
    ("SELECT $$\\$$; SET x = 1", "s:x"),
]


def scanned(text: str, backslash: bool = False) -> tuple[set[str], set[str], list[str]]:
    """Traits, ends and names, where the catalogs know all; without literals that only may be names."""
    known = {name.lower().encode(): () for name in ["=", *re.findall(r"\w+|[-~!@#^&|`?+*/%<>=]+", text)]}
    traits, ends, names = core.scan(text.encode(), backslash, known)
    return traits, ends, [f"{kind}:{name}" for kind, name in names if kind != "c"]


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless(text: str) -> None:
    assert scanned(text)[0] == set(), text


@pytest.mark.parametrize(("text", "traits", "names"), SPEAKING)
def test_speaking(text: str, traits: str, names: str | None) -> None:
    found, _, found_names = scanned(text)
    wanted = set(traits.split())
    assert found == wanted
    if names is not None:
        assert found_names == ([names] if "A b" in names else names.split())


@pytest.mark.parametrize(("text", "ends"), ENDS)
def test_ends(text: str, ends: str) -> None:
    assert scanned(text)[1] == set(ends.split())


@pytest.mark.parametrize(("text", "names"), BACKSLASH)
def test_backslashes_in_strings(text: str, names: str) -> None:
    assert scanned(text, backslash=True)[2] == names.split()


READ = [
    ("SELECT current_setting('App.Tenant')", "k:app.tenant"),
    ("SELECT pg_catalog.current_setting ( 'app.tenant', true )", "k:app.tenant"),
    ("SELECT current_setting('work_mem')", ""),  # the server lists it
    ("SELECT current_setting(name) FROM t", ""),
    ("SELECT current_setting, 'app.tenant'", ""),
    ("SHOW app.tenant", "k:app.tenant"),
    ('SHOW "App"."Tenant"', "k:app.tenant"),
    ("SHOW work_mem", ""),
    ("SHOW ALL", ""),
    (
        "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT set_config('a.b', 'x', false), 'c.d' $$",
        "k:a.b k:c.d",
    ),
    ("CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET a.b = 1; END $$", "k:a.b"),
]


@pytest.mark.parametrize(("text", "names"), READ)
def test_settings_that_are_read_by_name(text: str, names: str) -> None:
    assert scanned(text)[2] == names.split()


def test_literals_that_may_be_names_of_settings() -> None:
    assert core.scan(b"SELECT f('App.Tenant', 'no', 'a b.c', '.d', 'e.')")[2] == [("c", "app.tenant")]


def test_names_that_do_not_fit_are_asked_for() -> None:
    """All settings are asked for then, and one with a dot keeps its server."""
    many = "; ".join(f"SET name_number_{number} = 1" for number in range(400))
    traits, _, names = core.scan(many.encode())
    assert {"settings", "named"} <= traits
    assert len(names) < 400


@pytest.mark.parametrize("name", [f"a.{'b' * 64}", f"a.{'b' * 200}", f"{'a' * 60}.{'b' * 60}.{'c' * 60}"])
def test_names_that_the_server_cuts_are_unknown(name: str) -> None:
    assert "opaque" in core.scan(f"SET {name} = 1".encode())[0]
    assert core.scan(f"SET {'a' * 63}.{'b' * 63} = 1".encode())[2] == [("s", f"{'a' * 63}.{'b' * 63}")]


@pytest.mark.parametrize("text", [text for text, _, _ in SPEAKING] + HARMLESS)
def test_cut_texts(text: str) -> None:
    """Wherever a text ends, nothing beyond it counts."""
    for end in range(len(text)):
        traits, ends, _ = core.scan(text.encode()[:end])
        assert traits <= set(core.EFFECT_FLAGS)
        assert ends <= set(core.EFFECT_FLAGS)


@pytest.mark.parametrize(("text", "traits", "names"), [case for case in SPEAKING if case[1]])
def test_what_stands_in_front_hides_nothing(text: str, traits: str, names: str | None) -> None:
    for front in ("SELECT 1; ", "/* ; */", "-- '\n", "SELECT '', E'', $$$$, U&''; ", 'SELECT """"; '):
        assert scanned(front + text)[0] >= set(traits.split()) - {"unknown"}, front


PIECES = st.sampled_from(
    [
        *["'", '"', "$", ";", "\\", "(", ")", ",", ".", "*", "-", "/", "/*", "*/", "--", "$$", "$a$", "U&'"],
        *[
            'U&"',
            "E'",
            "x",
            "set_config",
            "a.b",
            "=",
            "1",
            "\xe9",
            "SET ",
            "DO ",
            "LISTEN ",
            "EXECUTE ",
            "RESET ",
        ],
        *["ALL", "DISCARD ", "PREPARE ", "CREATE TEMP ", "BEGIN", "DEFAULT", " ", "\n", "\r", "TIME ZONE"],
    ]
)


@given(st.lists(PIECES, max_size=60).map("".join), st.booleans())
def test_any_text(text: str, backslash: bool) -> None:
    """Never reads beyond the end; names are whole."""
    traits, ends, names = core.scan(text.encode(), backslash)
    assert traits | ends <= set(core.EFFECT_FLAGS)
    assert all(kind in "srluck" for kind, _ in names)


@given(st.binary(max_size=300))
def test_any_bytes(text: bytes) -> None:
    core.scan(text)


@given(st.lists(PIECES, max_size=30).map("".join))
def test_a_statement_behind_others_is_seen(text: str) -> None:
    """No word hides a whole statement behind it (what lacks its argument is an error, and nothing runs)."""
    clean = "".join(c for c in text if c not in "'\"$\\/*-\0eEuUnN&")
    assert ("s", "y") in core.scan((clean + " 1;SET y = 1").encode())[2]
