"""Kinds of session state: settings, by every statement whose text says that it sets something."""

from __future__ import annotations

from pooler.dev.postgres import SUPERUSER
from tests.state.kind import Call, Kind, custom, guc_name, setting

#: Reported to the client by ParameterStatus.
REPORTED = [
    setting("client_encoding", "LATIN1"),
    setting("DateStyle", "SQL, DMY"),
    setting("TimeZone", "Asia/Tokyo"),
    setting("IntervalStyle", "iso_8601"),
    setting("application_name", "left behind"),
    setting("standard_conforming_strings", "off"),
    setting("default_transaction_read_only", "on"),
    setting("search_path", "hidden, public"),  # reported since PostgreSQL 18
    Kind("SET NAMES", ("SET NAMES 'LATIN1'",), "SHOW client_encoding"),
    Kind("SET TIME ZONE", ("SET TIME ZONE INTERVAL '+03:30' HOUR TO MINUTE",), "SHOW TimeZone"),
    Kind("SET SCHEMA", ("SET SCHEMA 'hidden'",), "SHOW search_path"),
]

#: Never reported.
UNREPORTED = [
    setting("statement_timeout", "54321"),
    setting("lock_timeout", "54321"),
    setting("idle_in_transaction_session_timeout", "3600000"),
    setting("work_mem", "1234kB"),
    setting("default_transaction_isolation", "serializable"),
    setting("row_security", "off"),
    setting("synchronous_commit", "local"),
    setting("extra_float_digits", "-3"),
    setting("bytea_output", "escape"),
    setting("plan_cache_mode", "force_custom_plan"),
    setting("jit", "off"),
    setting("enable_seqscan", "off"),
    setting("client_min_messages", "warning"),
    setting("check_function_bodies", "off"),
    setting("xmloption", "document"),
    setting("session_replication_role", "replica", user=SUPERUSER),
    setting("log_min_duration_statement", "54321", user=SUPERUSER),
    Kind(
        "SET of many settings",
        tuple(
            f"SET {n} = off"
            for n in ("geqo", "enable_sort", "enable_hashjoin", "array_nulls", "enable_material")
        ),
        "SELECT count(*) FROM pg_settings WHERE name ~ '^(geqo|enable_|array_nulls)' AND setting = 'off'",
    ),
    Kind("a cast decides what is shown", ("SET extra_float_digits = -5",), "SELECT 1::float8 / 3"),
    Kind(
        "SESSION CHARACTERISTICS",
        ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY",),
        "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')",
        block=False,  # a block has its characteristics already
    ),
]

#: Where a text is read, it can be read wrongly.
FORMS = [
    custom("SET custom", "SET {} = 'secret'"),
    custom("SET SESSION custom", "SET SESSION {} TO 'secret'"),
    custom("SET several custom", "SET leaks.one = 'x'", "SET {} = 'secret'", "SET leaks.three = 'x'"),
    custom("SET quoted custom", 'SET "LEAKS"."Set_Quoted_Custom" = \'secret\''),
    custom("SET behind comments", "/* SELECT /* 1 */ */ -- nothing\n\t sEt {} = 'secret'"),
    custom("SET between statements", "SELECT 1; SET {} = 'secret'; SELECT 2", simple=True),
    custom(
        "SET in front of an error",
        "SET {} = 'secret'; COMMIT; SELECT 1/0",
        simple=True,
        fails=True,
        block=False,
    ),
    custom(
        "SET committed in the text", "BEGIN; SET {} = 'secret'; COMMIT; SELECT 1", simple=True, block=False
    ),
    custom("SET LOCAL", "BEGIN", "SET LOCAL {} = 'secret'", "COMMIT", kept=False, block=False),
    custom("SET rolled back", "BEGIN", "SET {} = 'secret'", "ROLLBACK", kept=False, block=False),
    custom(
        "SET before a savepoint",
        *("BEGIN", "SET {} = 'secret'", "SAVEPOINT s", "SET {} = 'other'", "ROLLBACK TO s", "COMMIT"),
        block=False,
    ),
    custom("SET and chain", "BEGIN", "SET {} = 'secret'", "COMMIT AND CHAIN", "ROLLBACK", block=False),
    custom("SET over SET LOCAL", "BEGIN", "SET {} = 'secret'", "SET LOCAL {} = 'x'", "COMMIT", block=False),
    custom("SET twice", "SET {} = 'first'", "SET {} = 'secret'"),
    custom("SET after RESET ALL", "SET leaks.one = 'first'", "RESET ALL", "SET {} = 'secret'"),
    custom("SET after DISCARD ALL", "SET {} = 'first'", "DISCARD ALL", "SET {} = 'secret'", block=False),
    custom("DISCARD ALL", "SET {} = 'secret'", "DISCARD ALL", kept=False, block=False),
    custom("set_config", "SELECT set_config('{}', 'secret', false)"),
    custom("set_config by its full name", "SELECT PG_CATALOG . \"set_config\" /**/ ('{}', 'secret', false)"),
    custom("set_config in escapes", "SELECT U&\"set\\005fconfig\"('{}', 'secret', false)"),
    custom("set_config local", "SELECT set_config('{}', 'secret', true)", kept=False, block=False),
    custom(
        "set_config of a built name",
        "SELECT set_config(concat_ws('.', split_part('{}', '.', 1), substr('{}', 7)), 'secret', 1 = 2)",
    ),
    custom("set_config in WHERE", "SELECT 1 WHERE set_config('{}', 'secret', false) <> ''"),
    custom("set_config in VALUES", "VALUES (set_config('{}', 'secret', false))"),
    custom(
        "set_config in CTE",
        "WITH x AS MATERIALIZED (SELECT set_config('{}', 'secret', false)) SELECT * FROM x",
    ),
    custom("set_config explained", "EXPLAIN ANALYZE SELECT set_config('{}', 'secret', false)"),
    custom("set_config in COPY", "COPY (SELECT set_config('{}', 'secret', false)) TO STDOUT"),
    custom(
        "set_config in RETURNING",
        "INSERT INTO written VALUES (1) RETURNING set_config('{}', 'secret', false)",
    ),
    custom(
        "set_config at FETCH",
        *(
            "BEGIN",
            "DECLARE c CURSOR FOR SELECT set_config('{}', 'secret', false)",
            "FETCH c",
            "CLOSE c",
            "COMMIT",
        ),
        block=False,
    ),
    custom(
        "set_config by EXECUTE",
        *("PREPARE p AS SELECT set_config($1, 'secret', false)", "EXECUTE p('{}')", "DEALLOCATE p"),
    ),
    custom(
        "set_config in front of an error",
        "SELECT set_config('{}', 'x', false); COMMIT; SELECT 1/0",
        simple=True,
        fails=True,
        block=False,
    ),
    custom("DO with SET", "DO $$ BEGIN SET {} = 'secret'; END $$"),
    custom("DO with EXECUTE", "DO $$ BEGIN EXECUTE 'S' || 'ET {} = ' || quote_literal('secret'); END $$"),
    custom(
        "DO that commits and fails",
        "DO $$ BEGIN EXECUTE 'SET {} = 1'; COMMIT; RAISE EXCEPTION 'no'; END $$",
        fails=True,
        block=False,
    ),
    Kind(
        "UPDATE pg_settings",
        ("UPDATE pg_settings SET setting = '2345' WHERE name = 'work_mem'",),
        "SHOW work_mem",
    ),
    Kind(
        "set_config with parameters",
        (Call("SELECT set_config($1, $2, $3)", (guc_name("p"), "secret", "f")),),
        f"SELECT NULLIF(current_setting('{guc_name('p')}', true), '')",
    ),
    Kind("set_config of work_mem", ("SELECT set_config('work_mem', '3456kB', false)",), "SHOW work_mem"),
    Kind(
        "set_config of role",
        ("SELECT set_config('role', 'leaks_role', false)",),
        "SELECT current_user, session_user",
    ),
]

ROLES = [
    Kind("SET ROLE", ("SET ROLE leaks_role",), "SELECT current_user, session_user"),
    Kind(
        "SET ROLE by a superuser", ("SET ROLE bouncer",), "SELECT current_user, session_user", user=SUPERUSER
    ),
    Kind(
        "SET SESSION AUTHORIZATION",
        ("SET SESSION AUTHORIZATION bouncer",),
        "SELECT current_user, session_user",
        user=SUPERUSER,
    ),
    Kind(
        "SET ROLE under SET SESSION AUTHORIZATION",
        ("SET SESSION AUTHORIZATION bouncer", "SET ROLE leaks_role"),
        "SELECT current_user, session_user",
        user=SUPERUSER,
    ),
    Kind(
        "SET LOCAL ROLE",
        ("BEGIN", "SET LOCAL ROLE leaks_role", "COMMIT"),
        "SELECT current_user",
        kept=False,
        block=False,
    ),
]


def _startup(name: str, probe: str, **parameters: str) -> Kind:
    return Kind(f"startup {name}", (), probe, startup=parameters)


STARTUP = [
    _startup("TimeZone", "SHOW TimeZone", TimeZone="Asia/Tokyo"),
    _startup("application_name", "SHOW application_name", application_name="left behind"),
    _startup("search_path", "SHOW search_path", search_path="hidden"),
    _startup("work_mem in options", "SHOW work_mem", options="-c work_mem=4567kB"),
    _startup(
        "several in options",
        "SELECT current_setting('statement_timeout'), current_setting('TimeZone')",
        options="-c statement_timeout=54321 --TimeZone=Asia/Tokyo",
    ),
    _startup(
        "custom",
        "SELECT NULLIF(current_setting('leaks.startup_custom', true), '')",
        **{"leaks.startup_custom": "secret"},
    ),
    _startup(
        "custom in options", "SELECT NULLIF(current_setting('leaks.opt', true), '')", options="-c leaks.opt=x"
    ),
    _startup("role in options", "SELECT current_user, session_user", options="-c role=leaks_role"),
]

SETTINGS = [*REPORTED, *UNREPORTED, *FORMS, *ROLES, *STARTUP]
