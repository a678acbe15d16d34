"""Kinds of session state that are easily missed by a pooler which reads texts and catalogs: escapes,
encodings, lengths and numbers, objects renamed, replaced or gone by the time that somebody looks.
"""

from __future__ import annotations

from pooler.dev.postgres import SUPERUSER
from tests.state.kind import Act, Call, Elsewhere, Kind, custom
from tests.state.objects import CHANNELS, LASTVAL, MY_LOCKS, MYSELF, SLOT
from tests.support.wire import SYNC, bind, execute, message, parse


def _hidden(statement: str) -> str:
    """A statement as an argument of the function that runs what it reads backwards."""
    return "SELECT unspells('" + statement[::-1].replace("'", "''") + "')"


def _lock(name: str, *make: Act, block: bool = True, fails: bool = False) -> Kind:
    return Kind(f"advisory lock {name}", make, MY_LOCKS, block=block, fails=fails)


SPELLED = [
    custom("SET of an escaped name", 'SET U&"leaks".U&"\\0073et_of_an_escaped_name" = \'secret\''),
    custom("set_config of E", "SELECT set_config(E'leaks.set_config\\137of_e', 'secret', false)"),
    custom("set_config of unicode", "SELECT set_config(U&'leaks\\002eset_config_of_unicode', 'x', false)"),
    custom(
        "set_config of two strings", "SELECT set_config('leaks.set_config'\n '_of_two_strings', 's', false)"
    ),
    custom("set_config not local", "SELECT set_config('{}', 'secret', true AND NOT true)"),
    custom("set_config in set_config", "SELECT set_config('leaks.x', set_config('{}', 'x', false), true)"),
    custom(
        "value like a name",
        Call("SELECT set_config('leaks.value_' || $1, $2, false)", ("like_a_name", "leaks.decoy")),
    ),
    custom("decoy", "SELECT set_config(concat('leaks', '.', 'decoy'), 'leaks.other', false)"),
    custom("names in a table", "SELECT set_config(name, value, false) FROM named"),
    custom(
        "names of two",
        "SELECT set_config('leaks.first', 'x', false), set_config(name, 'x', false) FROM named_too",
    ),
    custom("set_config of capitals", "SELECT set_config('LEAKS.Set_Config_Of_Capitals', 'secret', false)"),
    custom(
        "strings with backslashes",
        *("SET standard_conforming_strings = off", r"SELECT '\'', set_config('{}', 'secret', false) --'"),
    ),
    custom(
        "strings without backslashes",
        *("SET standard_conforming_strings = on", r"SELECT '\', set_config('{}', 'secret', false), ''"),
    ),
    custom(
        "Shift-JIS",  # the second byte of a character may look like a backslash
        "SET client_encoding = 'SJIS'",
        message("Q", b"SELECT E'\x83\x5c', set_config('leaks.shift_jis', 'x', false), ''\0"),
    ),
    custom(
        "function with an umlaut in Latin 1",
        "SET client_encoding = 'LATIN1'",
        message("Q", "SELECT schlüssel()\0".encode("latin-1")),
    ),
    custom("function with a long name", f"SELECT {'long_name_' * 7}()"),
    custom("function with a quoted name", 'SELECT "Key for ""leaks"""()'),
    custom("function in escapes", 'SELECT U&"in\\005fescapes"()'),
    custom(
        "function without parentheses",
        "SELECT o.as_attribute FROM opened AS o RIGHT JOIN (SELECT) AS x ON true",
    ),
    custom("function at Bind", parse("SELECT at_bind()") + bind() + SYNC),
    custom(
        "set_config by a named statement",
        parse("SELECT set_config('leaks.set_config_by_a_named_statement', 'x', false)", "s") + SYNC,
        *("SELECT 1", bind(name="s") + execute() + SYNC),
    ),
    custom("SET behind a long text", f"/* {'x' * 200_000} */ SET {{}} = 'secret'"),
    custom("SET before a long text", f"SET {{}} = 'secret' /* {'x' * 200_000} */"),
    custom("SET of a long value", f"SET {{}} = '{'x' * 20_000}'"),
    Kind(
        "SET of a long name",
        (f"SELECT set_config('leaks.{'x_' * 90}', 'x', false)",),
        f"SELECT NULLIF(current_setting('leaks.{'x_' * 90}', true), '')",
    ),
    custom(
        "SET of hundreds",
        "; ".join(f"SET leaks.number_{i} = 'x'" for i in range(150))
        + "; SET {} = 'secret'; "
        + "; ".join(f"SET leaks.number_{i} = 'x'" for i in range(150, 300)),
        simple=True,
    ),
    _lock("in escapes", 'SELECT U&"pg_advisory\\005flock"(90)'),
    Kind("LISTEN in escapes", ('LISTEN U&"l\\0065aks"',), CHANNELS, hears="leaks"),
    Kind("currval in escapes", ("SELECT U&\"next\\0076al\"('numbers')",), LASTVAL),
    Kind("temp table in escapes", ('CREATE TABLE U&"pg_\\0074emp".t (n int)',), "SELECT * FROM pg_temp.t"),
]

REACHED = [
    custom("comment in a function", "SELECT comments()"),
    custom("function that writes", "SELECT writes()"),
    custom("function that reads", "SELECT reads()"),
    custom("trigger that writes", "INSERT INTO with_writing_trigger VALUES (1)"),
    custom(
        "table in a string",
        "SELECT ts_stat($$ SELECT to_tsvector(set_config('leaks.table_in_a_string', 'x', false)) $$)",
    ),
    custom("index", "INSERT INTO with_index VALUES (1)"),
    custom("generated column", "INSERT INTO with_generated VALUES (1)"),
    custom("partition", "INSERT INTO partition VALUES (1)"),
    custom("event trigger", 'CREATE COLLATION IF NOT EXISTS c FROM "C"'),
    custom("privilege and view", "SET ROLE leaks_role", "SELECT * FROM with_privilege", "RESET ROLE"),
    Kind(
        "set_limit of pg_trgm",
        ("SELECT set_limit(0.9)",),
        "SELECT abs(show_limit() - 0.3) < 0.01",
        needs="CREATE EXTENSION IF NOT EXISTS pg_trgm",
    ),
    Kind(
        "replication slot",
        ("SELECT pg_create_physical_replication_slot('left_behind_{n}', false, true)",),
        "SELECT count(*) FROM pg_replication_slots WHERE active_pid = pg_backend_pid()",
        user=SUPERUSER,
    ),
    custom(
        "crosstab2",
        "SELECT * FROM crosstab2($$ SELECT 'a', 'b', set_config('leaks.crosstab2', 'x', false) $$)",
        needs="CREATE EXTENSION IF NOT EXISTS tablefunc",
    ),
    Kind(
        "advisory lock in crosstab3",
        ("SELECT * FROM crosstab3($$ SELECT 'a', 'b', pg_advisory_lock(97)::text $$)",),
        MY_LOCKS,
        needs="CREATE EXTENSION IF NOT EXISTS tablefunc",
    ),
    Kind(
        "copied replication slot",
        (f"SELECT pg_copy_physical_replication_slot('{SLOT}', 'left_behind_{{n}}', true)",),
        "SELECT count(*) FROM pg_replication_slots WHERE active_pid = pg_backend_pid()",
        user=SUPERUSER,
    ),
    custom("operator class", "INSERT INTO with_class VALUES (1)"),
    custom("exclusion constraint", "DELETE FROM with_exclusion", "INSERT INTO with_exclusion VALUES (1)"),
    custom("range type", "INSERT INTO with_range SELECT r FROM ranges"),
    custom(
        "MERGE",
        "MERGE INTO merged USING (VALUES (1)) AS v (n) ON false WHEN NOT MATCHED THEN INSERT VALUES (v.n)",
        needs="MERGE INTO opened USING written ON false WHEN NOT MATCHED THEN DO NOTHING",
    ),
    custom("TRUNCATE", "TRUNCATE truncated"),
    _lock("of REINDEX", "REINDEX TABLE with_locking_index"),
    _lock("of ANALYZE", "ANALYZE with_locking_index"),
    Kind(
        "LOAD in a function",
        (_hidden("LOAD 'auto_explain'"),),
        "SHOW auto_explain.log_nested_statements",
        user=SUPERUSER,
        needs="LOAD 'auto_explain'",
    ),
    Kind(
        "dblink_connect in a function",
        (_hidden(f"SELECT dblink_connect('left_behind', {MYSELF})"),),
        "SELECT dblink_get_connections()",
        user=SUPERUSER,
        needs="CREATE EXTENSION IF NOT EXISTS dblink",
    ),
    Kind(
        "pg_backup_start in a function",
        (_hidden("SELECT pg_backup_start('left behind', true)"),),
        "SELECT count(*) FROM pg_backup_stop(false)",
        seen="SELECT pg_backup_start('once more', true) IS NULL",
        user=SUPERUSER,
    ),
]


def _function(name: str, body: str) -> str:
    return f"CREATE OR REPLACE FUNCTION {name}() RETURNS text LANGUAGE sql AS $$ SELECT {body} $$"


LOCKER = "CREATE FUNCTION locker() RETURNS void LANGUAGE sql AS $$ SELECT pg_advisory_lock(91) $$"
MOVED = "ALTER TABLE IF EXISTS moved_away RENAME TO moved"
CALL_S = bind(name="s") + execute() + SYNC

CHANGING = [
    custom(
        "function gone",
        *(
            "BEGIN",
            _function("gone", "set_config('leaks.function_gone', 'x', false)"),
            "SELECT gone()",
            "DROP FUNCTION gone()",
        ),
        "COMMIT",
        block=False,
    ),
    custom(
        "function gone at once",
        *(
            _function("gone", "set_config('leaks.function_gone_at_once', 'x', false)"),
            "SELECT gone()",
            "DROP FUNCTION gone()",
        ),
    ),
    custom(
        "function gone in a text",
        _function("gone", "set_config('leaks.function_gone_in_a_text', 'x', false)")
        + "; SELECT gone(); DROP FUNCTION gone()",
        simple=True,
    ),
    _lock("by a function rolled back", "BEGIN", LOCKER, "SELECT locker()", "ROLLBACK", block=False),
    custom(
        "table renamed", MOVED, "ALTER TABLE moved RENAME TO moved_away", "INSERT INTO moved_away VALUES (1)"
    ),
    custom(
        "function changed by another",
        Elsewhere(_function("changed", "'clean'")),
        *["SELECT changed() AS c{n}"] * 3,
        Elsewhere(_function("changed", "set_config('leaks.function_changed_by_another', 'x', false)")),
        "SELECT changed() AS c{n}",
        block=False,  # a block may see the old one
    ),
    custom(
        "function changed under a statement",
        Elsewhere(_function("altered", "'clean'")),
        *("SELECT 1", parse("SELECT altered()", "s") + SYNC, CALL_S, "SELECT 1"),
        *(_function("altered", "set_config('leaks.function_changed_under_a_statement', 'x', false)"), CALL_S),
    ),
    custom(
        "function changed in a function",
        *(_function("swapped", "'clean'"), *["SELECT swapped() AS c{n}"] * 3),
        _hidden(_function("swapped", "set_config('leaks.function_changed_in_a_function', 'x', false)")),
        "SELECT swapped() AS c{n}",
    ),
]

DEVIOUS = [*SPELLED, *REACHED, *CHANGING]
