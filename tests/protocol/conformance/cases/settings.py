"""Settings of a session, set in every way there is, in and out of transactions, and set back."""

from __future__ import annotations

from tests.protocol.conformance.case import Case, case, simple

#: Several things that neighbours change, asked for in one transaction each.
LOOK = (
    "SHOW search_path",
    "SELECT '2024-01-02 03:04+00'::timestamptz, '1 day 2 hours'::interval, 0.1::float8, '\\x01'::bytea",
    "SELECT name FROM things ORDER BY id LIMIT 1",
)
REPORTED = (
    "application_name",
    "client_encoding",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "standard_conforming_strings",
    "default_transaction_read_only",
)
MANY = "SELECT " + ", ".join(
    f"current_setting('{name}')"
    for name in (
        *REPORTED,
        "search_path",
        "statement_timeout",
        "lock_timeout",
        "work_mem",
        "bytea_output",
        "extra_float_digits",
        "enable_seqscan",
        "default_transaction_isolation",
        "xmloption",
        "plan_cache_mode",
        "client_min_messages",
        "role",
        "session_authorization",
    )
)

WAYS: dict[str, Case] = {
    "untouched": case(*LOOK, MANY, *LOOK, MANY),
    "set": case("SET work_mem = '2MB'", "SHOW work_mem", "SELECT 1", "SHOW work_mem", MANY),
    "set_to": case("SET search_path TO conf_evil, public", *LOOK, MANY),
    "set_session": case("SET SESSION statement_timeout = '55s'", "SHOW statement_timeout", MANY),
    "set_time_zone": case("SET TIME ZONE 'Asia/Tokyo'", *LOOK, "SET TIME ZONE LOCAL", *LOOK),
    "set_time_zone_interval": case("SET TIME ZONE INTERVAL '+03:00' HOUR TO MINUTE", *LOOK, "SHOW TimeZone"),
    "set_names": case("SET NAMES 'LATIN1'", "SHOW client_encoding", "SELECT 'ä'", "SET NAMES 'UTF8'", MANY),
    "set_list": case("SET search_path = 'a b', \"C d\", public", "SHOW search_path", "SHOW search_path"),
    "set_quotes": case("SET application_name = 'it''s \"quoted\" \\ 100%'", "SHOW application_name", MANY),
    "set_empty": case("SET search_path = ''", "SHOW search_path", "SELECT 1", "SHOW search_path"),
    "set_seed": case("SET work_mem = 3000", "SELECT setseed(0.5)", "SHOW work_mem"),
    "reset": case("SET work_mem = '2MB'", "RESET work_mem", "SHOW work_mem", MANY),
    "to_default": case("SET work_mem TO '2MB'", "SHOW work_mem", "SET work_mem TO DEFAULT", MANY),
    "reset_all": case("SET work_mem = '2MB'", "SET TimeZone = 'Asia/Tokyo'", MANY, "RESET ALL", MANY),
    "set_config": case("SELECT set_config('work_mem', '5MB', false)", "SHOW work_mem", MANY),
    "set_config_local": case("SELECT set_config('work_mem', '5MB', true)", "SHOW work_mem", MANY),
    "set_config_of_rows": case(
        "SELECT set_config('app.row' || id, name, false) FROM things ORDER BY id",
        "SELECT current_setting('app.row1'), current_setting('app.row3')",
        MANY,
    ),
    "set_config_in_where": case(
        "SELECT count(*) FROM things WHERE set_config('app.last', name, false) = name AND id < 3",
        "SHOW app.last",
        "SHOW app.last",
    ),
    "set_config_in_cte": case(
        "WITH s AS (SELECT set_config('work_mem', '6MB', false)) SELECT * FROM s", "SHOW work_mem", MANY
    ),
    "set_config_by_insert": case(
        "INSERT INTO serial (name) SELECT set_config('work_mem', '6MB', false)", "SHOW work_mem", MANY
    ),
    "in_sql_function": case("SELECT conf_set('work_mem', '7MB')", "SHOW work_mem", MANY),
    "in_plpgsql_function": case("SELECT conf_set_plpgsql('search_path', 'conf_evil')", *LOOK, MANY),
    "in_function_again": case(
        "SELECT conf_set('work_mem', '7MB')",
        "SHOW work_mem",
        "RESET work_mem",
        "SHOW work_mem",
        "SELECT conf_set('work_mem', '7MB')",
        "SHOW work_mem",
        "SELECT conf_set('work_mem', '8MB')",
        "SHOW work_mem",
    ),
    "in_function_that_was_clean": case(
        *["SELECT conf_maybe(1)"] * 3, "SHOW work_mem", "SELECT conf_maybe(9)", "SHOW work_mem", MANY
    ),
    "in_do_block": case("DO $$BEGIN EXECUTE 'SET work_mem = ''9MB'''; END$$", "SHOW work_mem", MANY),
    "perform_in_do_block": case(
        "DO $$BEGIN PERFORM set_config('TimeZone', 'Asia/Tokyo', false); END$$", *LOOK, "SHOW TimeZone"
    ),
    "in_trigger": case("INSERT INTO triggering VALUES ('6MB')", "SHOW work_mem", MANY),
    "of_a_function": case("SELECT conf_fixed()", MANY, "SELECT conf_fixed()", MANY),
    "update_pg_settings": case(
        "UPDATE pg_settings SET setting = '2222' WHERE name = 'work_mem'", "SHOW work_mem", MANY
    ),
    "characteristics": case(
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
        "SHOW transaction_isolation",
        "DELETE FROM things",
        "SHOW default_transaction_read_only",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "DELETE FROM things WHERE id = 1",
        MANY,
    ),
    "set_transaction_alone": case("SET TRANSACTION READ ONLY", "SHOW transaction_read_only"),
    "read_only_by_setting": case(
        "SET default_transaction_read_only = on", "DELETE FROM things", "SELECT count(*) FROM things"
    ),
    "unknown": case("SET no_such_setting = 1", MANY, "SET work_mem = 'x'", "SHOW no_such.setting", MANY),
    "refused": case("SET log_statement = 'all'", "SET shared_buffers = 1", "SET role TO nobody_at_all", MANY),
    "string": case(simple("SET work_mem = '3MB'; SET TimeZone = 'UTC'"), "SHOW work_mem", MANY),
    "string_with_error": case(simple("SET work_mem = '3MB'; SELECT 1/0"), "SHOW work_mem", MANY),
    "string_with_transaction": case(
        simple("SET work_mem = '3MB'; BEGIN; SET work_mem = '4MB'; ROLLBACK; SELECT 1"), "SHOW work_mem", MANY
    ),
    "string_in_the_middle": case(
        simple("SELECT 1; SET TimeZone = 'UTC'; SELECT 2; SET DateStyle = 'German'; SELECT now() IS NULL"),
        *LOOK,
    ),
    "comment": case("/* hint */ SET /* x */ work_mem = '3MB' -- end", "SHOW work_mem", MANY),
    "lower_case": case("set Work_Mem to '3MB'", "show WORK_MEM", MANY),
    "statement_timeout": case(
        "SET statement_timeout = 50", "SELECT pg_sleep(5)", "SELECT 1", "RESET statement_timeout", MANY
    ),
    "lock_timeout": case("SET lock_timeout = '1s'", "SHOW lock_timeout", "SHOW lock_timeout", MANY),
    "messages": case(
        "SET client_min_messages = 'error'",
        "DO $$BEGIN RAISE NOTICE 'unheard'; END$$",
        "SET client_min_messages = 'debug1'",
        "DO $$BEGIN RAISE DEBUG 'heard'; END$$",
        "RESET client_min_messages",
        "DO $$BEGIN RAISE NOTICE 'heard'; END$$",
    ),
    "row_security": case(
        "SET row_security = off", "SELECT count(*) FROM tenants", "RESET row_security", MANY
    ),
    "float_digits": case("SET extra_float_digits = 0", "SELECT pi()", "SELECT pi()", MANY),
    "bytea_output": case("SET bytea_output = 'escape'", "SELECT '\\x00ff'::bytea", "SELECT '\\x00ff'::bytea"),
    "strings": case(
        "SET standard_conforming_strings = off", "SELECT 'a\\nb'", "SHOW standard_conforming_strings", MANY
    ),
    **{
        f"reported_{name}": case(
            f"SET {name} = {value}", f"SHOW {name}", f"SHOW {name}", f"RESET {name}", f"SHOW {name}", MANY
        )
        for name, value in {
            "application_name": "'me'",
            "client_encoding": "'LATIN1'",
            "DateStyle": "'SQL, DMY'",
            "IntervalStyle": "'iso_8601'",
            "TimeZone": "'Asia/Tokyo'",
            "standard_conforming_strings": "off",
            "default_transaction_read_only": "on",
        }.items()
    },
    "reported_by_function": case("SELECT conf_set('TimeZone', 'Asia/Tokyo')", *LOOK, "SHOW TimeZone"),
    "reported_to_the_same": case("SET TimeZone = 'UTC'", "SELECT 1", "SET TimeZone = 'UTC'", "SHOW TimeZone"),
    "reported_partly": case("SET DateStyle = 'German'", "SET DateStyle = 'YMD'", "SHOW DateStyle", *LOOK),
    "reported_as_all": case(
        "SET DateStyle = 'German'", "SET application_name = 'x'", "RESET ALL", "SHOW DateStyle", MANY
    ),
}

TRANSACTIONS: dict[str, Case] = {
    "commit": case("BEGIN", "SET work_mem = '2MB'", "SHOW work_mem", "COMMIT", "SHOW work_mem", MANY),
    "rollback": case("BEGIN", "SET work_mem = '2MB'", "SHOW work_mem", "ROLLBACK", "SHOW work_mem", MANY),
    "failed": case(
        "BEGIN", "SET TimeZone = 'Asia/Tokyo'", "SELECT 1/0", "COMMIT", "SHOW TimeZone", MANY, *LOOK
    ),
    "local": case("BEGIN", "SET LOCAL work_mem = '2MB'", "SHOW work_mem", "COMMIT", "SHOW work_mem", MANY),
    "local_outside": case("SET LOCAL work_mem = '2MB'", "SHOW work_mem", MANY),
    "local_over_session": case(
        "SET work_mem = '2MB'",
        "BEGIN",
        "SET LOCAL work_mem = '3MB'",
        "SHOW work_mem",
        "COMMIT",
        "SHOW work_mem",
        MANY,
    ),
    "session_then_local": case(
        "BEGIN", "SET work_mem = '2MB'", "SET LOCAL work_mem = '3MB'", "COMMIT", "SHOW work_mem", MANY
    ),
    "local_then_session": case(
        "BEGIN", "SET LOCAL work_mem = '3MB'", "SET work_mem = '2MB'", "COMMIT", "SHOW work_mem", MANY
    ),
    "local_reported": case(
        "BEGIN", "SET LOCAL TimeZone = 'Asia/Tokyo'", *LOOK, "COMMIT", "SHOW TimeZone", *LOOK
    ),
    "rollback_of_reported": case("BEGIN", "SET TimeZone = 'Asia/Tokyo'", "ROLLBACK", "SHOW TimeZone", *LOOK),
    "rollback_to_older": case(
        "SET work_mem = '2MB'", "BEGIN", "SET work_mem = '3MB'", "ROLLBACK", "SHOW work_mem", MANY
    ),
    "reset_rolled_back": case(
        "SET work_mem = '2MB'", "BEGIN", "RESET ALL", "SHOW work_mem", "ROLLBACK", "SHOW work_mem", MANY
    ),
    "reset_committed": case(
        "SET work_mem = '2MB'", "BEGIN", "RESET work_mem", "COMMIT", "SHOW work_mem", MANY
    ),
    "function_rolled_back": case(
        "BEGIN", "SELECT conf_set('work_mem', '2MB')", "ROLLBACK", "SHOW work_mem", MANY
    ),
    "function_committed": case(
        "BEGIN", "SELECT conf_set('work_mem', '2MB')", "SELECT 1", "COMMIT", "SHOW work_mem", MANY
    ),
    "savepoint_rolled_back": case(
        "BEGIN",
        "SET work_mem = '2MB'",
        "SAVEPOINT s",
        "SET work_mem = '3MB'",
        "ROLLBACK TO s",
        "SHOW work_mem",
        "COMMIT",
        "SHOW work_mem",
        MANY,
    ),
    "savepoint_released": case(
        "BEGIN", "SAVEPOINT s", "SET TimeZone = 'Asia/Tokyo'", "RELEASE s", "COMMIT", "SHOW TimeZone", *LOOK
    ),
    "savepoints_nested": case(
        "BEGIN",
        "SAVEPOINT s",
        "SET work_mem = '2MB'",
        "SAVEPOINT t",
        "SET work_mem = '3MB'",
        "RELEASE t",
        "SHOW work_mem",
        "ROLLBACK TO s",
        "SET TimeZone = 'UTC'",
        "COMMIT",
        "SHOW work_mem",
        *LOOK,
    ),
    "savepoint_after_error": case(
        "BEGIN",
        "SET work_mem = '2MB'",
        "SAVEPOINT s",
        "SET work_mem = '3MB'",
        "SELECT 1/0",
        "ROLLBACK TO s",
        "COMMIT",
        "SHOW work_mem",
        MANY,
    ),
    "chain": case(
        "BEGIN",
        "SET work_mem = '2MB'",
        "COMMIT AND CHAIN",
        "SET work_mem = '3MB'",
        "ROLLBACK",
        "SHOW work_mem",
        MANY,
    ),
    "two_transactions": case(
        "BEGIN",
        "SET work_mem = '2MB'",
        "COMMIT",
        "BEGIN",
        "SHOW work_mem",
        "SET lock_timeout = 5",
        "COMMIT",
        MANY,
    ),
    "block_with_exception": case(
        "DO $$BEGIN PERFORM set_config('work_mem', '2MB', false); RAISE division_by_zero; "
        "EXCEPTION WHEN division_by_zero THEN PERFORM set_config('lock_timeout', '5', false); END$$",
        "SHOW work_mem",
        MANY,
    ),
    "error_in_the_same_statement": case(
        "SELECT set_config('work_mem', '2MB', false), 1/0", "SHOW work_mem", MANY
    ),
    "read_only_transaction": case(
        "BEGIN READ ONLY",
        "SET work_mem = '2MB'",
        "COMMIT",
        "SHOW work_mem",
        "BEGIN",
        "SHOW transaction_read_only",
        "END",
    ),
    "begin_in_string": case(
        simple("BEGIN; SET work_mem = '2MB'"), "SHOW work_mem", simple("COMMIT; SHOW work_mem"), MANY
    ),
    "transaction_in_one_string": case(
        simple("BEGIN; SET work_mem = '2MB'; COMMIT; BEGIN; SET work_mem = '3MB'; ROLLBACK"),
        "SHOW work_mem",
        MANY,
    ),
    "prepared_transaction": case(
        "BEGIN",
        "SET work_mem = '2MB'",
        "DELETE FROM things WHERE id = 1",
        "PREPARE TRANSACTION 'conf'",
        "SHOW work_mem",
        "ROLLBACK PREPARED 'conf'",
        "SHOW work_mem",
        MANY,
    ),
}
