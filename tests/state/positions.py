"""Kinds of session state by where a name stands in a text, and by how PostgreSQL's lexer reads it: calls in
every clause, statements that run other statements, objects that are gone when the catalogs are looked at.
"""

from __future__ import annotations

from tests.state.kind import Act, Kind, custom, guc_name
from tests.state.objects import MY_LOCKS
from tests.support.wire import SYNC, bind, execute, message, parse

#: Where a function is called: `{f}` is its name, one for each.
CALLS: dict[str, tuple[str, ...]] = {
    "COPY of a query": ("COPY (SELECT {f}()) TO STDOUT",),
    "FETCH": ("BEGIN", "DECLARE c CURSOR FOR SELECT {f}()", "FETCH c", "COMMIT"),
    "cursor WITH HOLD": ("DECLARE c CURSOR WITH HOLD FOR SELECT {f}()", "CLOSE c"),
    "EXPLAIN ANALYZE": ("EXPLAIN ANALYZE SELECT {f}()",),
    "EXPLAIN ANALYZE in parentheses": ("EXPLAIN (ANALYZE, COSTS off) (SELECT {f}())",),
    "ROWS FROM": ("SELECT * FROM ROWS FROM ({f}())",),
    "LATERAL": ("SELECT * FROM (VALUES (1)) AS v (n), LATERAL {f}() AS l",),
    "function in VALUES": ("VALUES ({f}())",),
    "RETURNING": ("INSERT INTO written VALUES (1) RETURNING {f}()",),
    "ON CONFLICT": ("INSERT INTO unique_numbers VALUES (1) ON CONFLICT (n) DO UPDATE SET n = length({f}())",),
    "ORDER BY": ("SELECT n FROM unique_numbers ORDER BY {f}()",),
    "DISTINCT ON": ("SELECT DISTINCT ON (n) {f}() FROM unique_numbers",),
    "comment in a call": ("SELECT {f}/* a */ -- b\n ()",),
    "quoted call": ('SELECT "{f}"()',),
    "qualified call": ("SELECT public.{f}()",),
    "dots with blanks": ("SELECT public . {f} ()",),
    "capitals": ("SELECT {F}()",),
    "escaped by another character": ("SELECT U&\"{f!}\" UESCAPE '!' ()",),
    "behind an operator": ("SELECT 'a'||{f}()",),
    "behind a string of two lines": ("SELECT E'x'\n'\\'', {f}(), ''",),
    "behind a bit string": ("SELECT B'1', {f}(), X'1F'",),
    "behind a parameter": ("SELECT 1$$ '$$, {f}() --'",),
    "window function": ("SELECT count(*) OVER (ORDER BY {f}())",),
    "FILTER": ("SELECT count(*) FILTER (WHERE {f}() <> '')",),
    "CASE": ("SELECT CASE {f}() WHEN 'x' THEN 1 END",),
    "common table expression": ("WITH a AS MATERIALIZED (SELECT {f}()) SELECT * FROM a",),
    "statement in WITH": ("WITH a AS (INSERT INTO written VALUES (1) RETURNING {f}()) SELECT * FROM a",),
    "GROUPING SETS": ("SELECT count(*) FROM written GROUP BY GROUPING SETS ((), ({f}()))",),
    "LIMIT": ("SELECT n FROM written LIMIT length({f}())",),
    "SELECT INTO": (
        "DROP TABLE IF EXISTS made_into",
        "SELECT {f}() AS f INTO made_into",
        "DROP TABLE made_into",
    ),
    "CREATE TABLE AS": (
        "DROP TABLE IF EXISTS made_of_call",
        "CREATE TABLE made_of_call AS SELECT {f}()",
        "DROP TABLE made_of_call",
    ),
    "function in DO": ("DO $$ BEGIN PERFORM {f}(); END $$",),
    "function in SET": ("SELECT set_config('leaks.other', {f}(), true)",),
    "function in a prepared statement": ("PREPARE p AS SELECT {f}()", "EXECUTE p", "DEALLOCATE p"),
    "function explained": ("PREPARE p AS SELECT {f}()", "EXPLAIN ANALYZE EXECUTE p", "DEALLOCATE p"),
}

#: What PostgreSQL before this release refuses.
SINCE = {"behind a parameter": "SELECT 1$$ '$$"}


def _function(name: str) -> str:
    return "called_in_" + "".join(c if c.isalnum() else "_" for c in name.lower())


def _spelled(name: str, text: str) -> str:
    f = _function(name)
    escaped = f.replace("_", "!005f")
    return text.replace("{f!}", escaped).replace("{f}", f).replace("{F}", f.upper())


#: By the owner of the database.
FUNCTIONS = """
CREATE TABLE unique_numbers (n int PRIMARY KEY);
INSERT INTO unique_numbers VALUES (1);
""" + "\n".join(
    f"CREATE FUNCTION {_function(name)}() RETURNS text LANGUAGE sql"
    f" AS $$ SELECT set_config('{guc_name(name)}', 'x', false) $$;"
    for name in CALLS
)


def _call(name: str, texts: tuple[str, ...]) -> Kind:
    acts = tuple(_spelled(name, text) for text in texts)
    alone = texts[0] == "BEGIN" or "HOLD" in texts[0]
    return custom(name, *acts, block=not alone, needs=SINCE.get(name, ""))


def _lock(name: str, *make: Act) -> Kind:
    return Kind(f"advisory lock {name}", make, MY_LOCKS, block=False)


def _undone(name: str, *texts: str) -> Kind:
    """Everything that called it is gone before anybody looks."""
    return _lock(f"by {name} rolled back", "BEGIN", *texts, "ROLLBACK")


LOCKER = (
    "CREATE FUNCTION locker{}({}) RETURNS {} LANGUAGE plpgsql"
    " AS $$ BEGIN PERFORM pg_advisory_lock(94); RETURN {}; END $$"
)

UNDONE = [
    _undone("a view", "CREATE VIEW locker_view AS SELECT pg_try_advisory_lock(94)", "TABLE locker_view"),
    _undone(
        "a domain",
        LOCKER.format("1", "int", "bool", "true"),
        "CREATE DOMAIN locked AS int CHECK (locker1(VALUE))",
        "SELECT 1::locked",
    ),
    _undone(
        "a literal of a domain",
        LOCKER.format("2", "int", "bool", "true"),
        "CREATE DOMAIN locked AS int CHECK (locker2(VALUE))",
        "SELECT locked '1'",
    ),
    _undone(
        "an operator",
        LOCKER.format("3", "int, int", "int", "1"),
        "CREATE OPERATOR <@@@> (LEFTARG = int, RIGHTARG = int, FUNCTION = locker3)",
        "SELECT 1 OPERATOR(public.<@@@>) 2",
    ),
    _undone(
        "an aggregate",
        LOCKER.format("4", "int, int", "int", "1"),
        "CREATE AGGREGATE locking_sum(int) (SFUNC = locker4, STYPE = int, INITCOND = '0')",
        "SELECT locking_sum(n) OVER () FROM unique_numbers",
    ),
    _undone(
        "a trigger",
        LOCKER.format("5", "", "trigger", "NEW"),
        "CREATE TRIGGER u BEFORE INSERT ON written FOR EACH ROW EXECUTE FUNCTION locker5()",
        "INSERT INTO written VALUES (1)",
    ),
    _undone(
        "a cast",
        LOCKER.format("6", "boxed", "bigint", "1"),
        "CREATE CAST (boxed AS bigint) WITH FUNCTION locker6(boxed)",
        "SELECT (ROW(1)::boxed)::bigint",
    ),
    _undone(
        "an index",
        "CREATE FUNCTION locker7(int) RETURNS int LANGUAGE plpgsql IMMUTABLE"
        " AS $$ BEGIN PERFORM pg_advisory_lock(94); RETURN 1; END $$",
        "CREATE INDEX ON unique_numbers (locker7(n))",
    ),
    _undone(
        "an attribute",
        LOCKER.format("8", "unique_numbers", "int", "1"),
        "SELECT u.locker8 FROM unique_numbers AS u",
    ),
    _lock(
        "by a statement of PREPARE",
        "PREPARE p AS SELECT pg_advisory_lock(95)",
        bind(name="p") + execute() + SYNC,
        "DEALLOCATE p",
    ),
    _lock(
        "by a function that PREPARE found clean",
        "CREATE OR REPLACE FUNCTION locker9() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "PREPARE p AS SELECT locker9()",
        "CREATE OR REPLACE FUNCTION locker9() RETURNS int LANGUAGE sql"
        " AS 'SELECT 1 FROM (SELECT pg_advisory_lock(95)) AS l'",
        "EXECUTE p",
        "DEALLOCATE p",
    ),
]


def _named(name: str, *acts: str) -> Kind:
    """By a statement of the protocol that has the name `s`."""
    made = parse(f"SELECT set_config('{guc_name(name)}', 'x', false) AS x", "s") + SYNC
    return custom(name, made, "SELECT 1", *acts)


EXECUTED = [
    _named("EXECUTE of a named statement", "EXECUTE s"),
    _named("EXPLAIN ANALYZE EXECUTE of a named statement", "EXPLAIN ANALYZE EXECUTE s"),
    _named(
        "CREATE TABLE AS EXECUTE of a named statement",
        *("DROP TABLE IF EXISTS made_as", "CREATE TABLE made_as AS EXECUTE s", "DROP TABLE made_as"),
    ),
]


def _switched(name: str, before: str, text: str) -> Kind:
    """A setting changes in the same pipeline as the text that is read by it."""
    change = parse(f"SET standard_conforming_strings = {before}") + bind() + execute()
    text = text.replace("{}", guc_name(name))
    other = "on" if before == "off" else "off"
    return custom(
        name, f"SET standard_conforming_strings = {other}", change + parse(text) + bind() + execute() + SYNC
    )


def _turned(name: str, change: str, *before: str, block: bool = True) -> Kind:
    """The encoding changes in the same pipeline as a text in which a byte of a character is a backslash."""
    text = b"SELECT E'\x83\x5c', set_config('%s', 'x', false), ''\0" % guc_name(name).encode()
    sent = parse(change) + bind() + execute() + message("P", "", text, 0) + bind() + execute() + SYNC
    return custom(name, *before, sent, block=block)


READ = [
    _turned("Shift-JIS in the same write", "SET client_encoding = 'SJIS'"),
    _turned("Shift-JIS by its SQL name", "SET NAMES 'SJIS'"),
    _turned("Shift-JIS by a function", "SELECT set_config('client_' || 'encoding', 'SJIS', false)"),
    _turned("Shift-JIS by UPDATE", "UPDATE pg_settings SET setting = 'SJIS' WHERE name = 'client_encoding'"),
    _turned(
        "Shift-JIS by ROLLBACK",
        "ROLLBACK",
        *("SET client_encoding = 'SJIS'", "BEGIN", "SET client_encoding = 'UTF8'"),
        block=False,
    ),
    _switched("backslashes switched on", "off", r"SELECT '\'', set_config('{}', 'x', false) --'"),
    _switched("backslashes switched off", "on", r"SELECT '\', set_config('{}', 'x', false), ''"),
    custom(
        "statement of other strings",
        "SET standard_conforming_strings = off",
        parse(rf"SELECT '\'', set_config('{guc_name('statement of other strings')}', 'x', false) --'", "s")
        + SYNC,
        "SET standard_conforming_strings = on",
        bind(name="s") + execute() + SYNC,
    ),
    custom(
        "view as XML",
        "CREATE OR REPLACE VIEW for_xml AS SELECT set_config('leaks.view_as_xml', 'x', false)",
        "SELECT table_to_xml('for_xml', true, false, '')",
        needs="SELECT table_to_xml('written', true, false, '')",
    ),
]

POSITIONS = [*(_call(name, texts) for name, texts in CALLS.items()), *UNDONE, *EXECUTED, *READ]
