"""Everything else that a session is: notices, portals, COPY, two-phase commit, large objects, its end."""

from __future__ import annotations

from tests.protocol.conformance.case import Case, by, case, simple
from tests.support.exchange import Step
from tests.support.wire import FLUSH, SYNC, bind, close, describe, execute, extended, message, parse, query

COPY_DONE = message("c")
ROWS = message("d", b"10\tten\n11\televen\n")


def raw(*data: bytes, until: str = "Z", who: str = "a") -> Step:
    return Step(b"".join(data), until, who)


NOTICES: dict[str, Case] = {
    "notice": case("DO $$BEGIN RAISE NOTICE 'n' USING DETAIL = 'd', HINT = 'h'; END$$", "SELECT 1"),
    "warning": case("COMMIT", "ROLLBACK", "SELECT pg_advisory_unlock(77)", "SELECT 1"),
    "drop_if_exists": case("DROP TABLE IF EXISTS nowhere", "CREATE SCHEMA IF NOT EXISTS public", "SELECT 1"),
    "many": case("DO $$BEGIN FOR i IN 1..200 LOOP RAISE NOTICE '%', i; END LOOP; END$$", "SELECT 1"),
    "large": case("DO $$BEGIN RAISE NOTICE '%', repeat('x', 100000); END$$", "SELECT 1"),
    "begin_twice": case("BEGIN", "BEGIN", "COMMIT", "COMMIT"),
    "verbose_error": case(
        "SELECT 1/0", "SELECT nothing", "SELECT * FROM nowhere", "INSERT INTO things VALUES (1, 'again')"
    ),
    "error_in_function": case("DO $$BEGIN PERFORM 1/0; END$$", "SELECT 1"),
}

PORTALS: dict[str, Case] = {
    "across_sync": case(
        "BEGIN",
        raw(parse("SELECT id FROM things ORDER BY id"), bind(portal="p"), execute("p", 1), SYNC),
        raw(execute("p", 1), SYNC),
        raw(describe("P", "p"), execute("p"), SYNC),
        raw(close("P", "p"), execute("p"), SYNC),
        "ROLLBACK",
    ),
    "of_named_statement": case(
        raw(parse("SELECT id FROM things WHERE id >= $1 ORDER BY id", "a", [23]), SYNC),
        "BEGIN",
        raw(bind([b"2"], "a", "p"), execute("p", 1), SYNC),
        raw(close("S", "a"), execute("p", 1), SYNC),
        "COMMIT",
        raw(bind([b"1"], "a"), execute(), SYNC),
    ),
    "as_cursor": case(
        "BEGIN",
        raw(parse("SELECT id FROM things ORDER BY id"), bind(portal="p"), SYNC),
        "FETCH 2 FROM p",
        "CLOSE p",
        "COMMIT",
    ),
    "gone_after_commit": case(
        "BEGIN", raw(parse("SELECT 1"), bind(portal="p"), SYNC), "COMMIT", raw(execute("p"), SYNC), "SELECT 1"
    ),
    "of_cursor": case(
        "BEGIN",
        "DECLARE c CURSOR FOR SELECT id FROM things ORDER BY id",
        raw(execute("c", 2), SYNC),
        raw(describe("P", "c"), SYNC),
        "COMMIT",
    ),
    "of_held_cursor": case(
        "DECLARE c CURSOR WITH HOLD FOR SELECT id FROM things ORDER BY id",
        raw(execute("c", 1), SYNC),
        raw(execute("c", 1), SYNC),
        "CLOSE c",
    ),
    "implicit_transaction": case(
        raw(extended("INSERT INTO things VALUES (8, 'x')"), extended("SELECT 1/0"), SYNC),
        "SELECT count(*) FROM things",
        raw(extended("INSERT INTO things VALUES (8, 'x')"), FLUSH, until="12nC"),
        raw(extended("SELECT count(*) FROM things"), SYNC),
    ),
    "pipelined_errors": case(
        raw(
            *(extended(f"SELECT 1/{n % 2}") + SYNC for n in range(6)),
            extended("BEGIN"),
            extended("SELECT 1/0"),
            SYNC,
            extended("SELECT 2"),
            SYNC,
            extended("ROLLBACK"),
            SYNC,
            extended("SELECT 3"),
            SYNC,
            until="Z" * 10,
        )
    ),
    "pipelined_state": case(
        raw(
            *(
                extended(text) + SYNC
                for text in ("SET work_mem = '2MB'", "SHOW work_mem", "SET TimeZone = 'UTC'", "SHOW TimeZone")
            ),
            until="ZZZZ",
        ),
        "SHOW work_mem",
        "SHOW TimeZone",
    ),
    "pipelined_pin": case(
        raw(
            *(
                extended(text) + SYNC
                for text in ("CREATE TEMP TABLE t (x int)", "INSERT INTO t VALUES (1)", "TABLE t")
            ),
            until="ZZZ",
        ),
        "TABLE t",
        raw(*(query(text) for text in ("TABLE t", "DROP TABLE t", "SELECT 1", "TABLE t")), until="ZZZZ"),
    ),
    "pipelined_pin_and_unpin": case(
        raw(
            *(
                query(text)
                for text in (
                    "LISTEN conf_one",
                    "SELECT pg_advisory_lock(1)",
                    "SELECT pg_advisory_unlock(1)",
                    "UNLISTEN *",
                    "SELECT 1",
                )
            ),
            until="ZZZZZ",
        ),
        "SELECT 1",
    ),
    "state_in_one_sync": case(
        raw(
            extended("SET work_mem = '2MB'"),
            extended("SHOW work_mem"),
            extended("CREATE TEMP TABLE t (x int)"),
            SYNC,
        ),
        "SHOW work_mem",
        "TABLE t",
    ),
    "set_undone_in_one_sync": case(
        raw(
            extended("SET work_mem = '2MB'"),
            extended("SET TimeZone = 'Asia/Tokyo'"),
            extended("SELECT 1/0"),
            SYNC,
        ),
        "SHOW work_mem",
        "SHOW TimeZone",
    ),
    "set_by_named_statement": case(
        raw(parse("SET work_mem = '2MB'", "a"), parse("SHOW work_mem", "d"), SYNC),
        raw(bind((), "a"), execute(), SYNC),
        raw(bind((), "d"), describe(), execute(), SYNC),
        "RESET ALL",
        raw(bind((), "d"), describe(), execute(), SYNC),
        raw(bind((), "a"), execute(), bind((), "d"), execute(), SYNC),
    ),
    "set_config_by_value": case(
        raw(
            parse("SELECT set_config($1, $2, false)", "a"), bind([b"work_mem", b"2MB"], "a"), execute(), SYNC
        ),
        "SHOW work_mem",
        raw(bind([b"TimeZone", b"Asia/Tokyo"], "a"), execute(), SYNC),
        "SHOW TimeZone",
        raw(bind([b"work_mem", b"3MB"], "a"), execute(), SYNC),
        "SHOW work_mem",
    ),
    "empty_query": case(
        "", raw(extended(""), SYNC), simple(";"), "SELECT 1", "SET work_mem = '2MB'", "", "SHOW work_mem"
    ),
    "function_call_sets": case("SELECT conf_set('work_mem', '2MB')", "SHOW work_mem"),
}

COPIES: dict[str, Case] = {
    "in": case(
        raw(query("COPY things FROM STDIN"), until="G"), raw(ROWS, COPY_DONE), "SELECT count(*) FROM things"
    ),
    "in_to_temporary": case(
        "CREATE TEMP TABLE t (x int, y text)",
        raw(query("COPY t FROM STDIN"), until="G"),
        raw(ROWS, COPY_DONE),
        "TABLE t",
    ),
    "in_fails": case(
        raw(query("COPY things FROM STDIN"), until="G"),
        raw(message("f", "no")),
        "SELECT count(*) FROM things",
    ),
    "in_duplicates": case(
        raw(query("COPY things FROM STDIN"), until="G"),
        raw(ROWS, ROWS, COPY_DONE),
        "SELECT count(*) FROM things",
    ),
    "in_bad_row": case(
        "BEGIN",
        raw(query("COPY things FROM STDIN"), until="G"),
        raw(message("d", b"x\ty\n"), COPY_DONE),
        "SELECT 1",
        "ROLLBACK",
    ),
    "in_with_role": case(
        "SET ROLE conf_one",
        raw(query("COPY things FROM STDIN"), until="G"),
        raw(ROWS, COPY_DONE),
        "SELECT current_user",
    ),
    "out": case(
        "SET DateStyle = 'German'", "COPY (SELECT '2024-02-01'::date FROM things) TO STDOUT", "SHOW DateStyle"
    ),
    "out_of_temporary": case("CREATE TEMP TABLE t AS SELECT 1 AS x", "COPY t TO STDOUT", "COPY t TO STDOUT"),
    "out_fails": case("COPY (SELECT 1/(id - 3) FROM things ORDER BY id) TO STDOUT", "SELECT 1"),
    "set_config_in_copy": case(
        "COPY (SELECT set_config('work_mem', '2MB', false)) TO STDOUT", "SHOW work_mem", "SHOW work_mem"
    ),
    "sets_by_trigger": case(
        raw(query("COPY triggering FROM STDIN"), until="G"),
        raw(message("d", b"2MB\n"), COPY_DONE),
        "SHOW work_mem",
        "SHOW work_mem",
    ),
    "in_string_with_state": case(
        raw(query("SET work_mem = '2MB'; COPY things FROM STDIN; SET TimeZone = 'UTC'"), until="G"),
        raw(ROWS, COPY_DONE),
        "SHOW work_mem",
        "SHOW TimeZone",
    ),
}

OTHERS: dict[str, Case] = {
    "two_phase": case(
        "BEGIN",
        "INSERT INTO things VALUES (5, 'five')",
        "PREPARE TRANSACTION 'conf'",
        "SELECT count(*) FROM things",
        "SELECT gid FROM pg_prepared_xacts",
        "COMMIT PREPARED 'conf'",
        "SELECT count(*) FROM things",
    ),
    "two_phase_failed": case(
        "BEGIN",
        "SELECT 1/0",
        "PREPARE TRANSACTION 'conf'",
        "ROLLBACK PREPARED 'conf'",
        "SELECT count(*) FROM things",
    ),
    "two_phase_with_temporary": case(
        "BEGIN", "CREATE TEMP TABLE t (x int)", "PREPARE TRANSACTION 'conf'", "SELECT 1", "TABLE t"
    ),
    "two_phase_by_others": case(
        "BEGIN",
        "DELETE FROM things",
        "PREPARE TRANSACTION 'conf'",
        *by("b", "SELECT count(*) FROM things", "COMMIT PREPARED 'conf'"),
        "SELECT count(*) FROM things",
    ),
    "large_object": case(
        "SELECT lo_create(7711)",
        "BEGIN",
        "SELECT lo_open(7711, 131072)",
        "SELECT lowrite(0, 'hello')",
        "SELECT lo_lseek(0, 0, 0)",
        "SELECT loread(0, 10)",
        "COMMIT",
        "SELECT loread(0, 10)",
        "SELECT lo_get(7711)",
        "SELECT lo_unlink(7711)",
        "SELECT lo_get(7711)",
    ),
    "timeout_in_transaction": case(
        "BEGIN",
        "SET LOCAL statement_timeout = 50",
        "SELECT pg_sleep(5)",
        "SELECT 1",
        "ROLLBACK",
        "SELECT pg_sleep(0.06)",
    ),
    "timeout_changes": case(
        "SET statement_timeout = 50",
        "SELECT pg_sleep(5)",
        "SET statement_timeout = 0",
        "SELECT pg_sleep(0.06)",
        "SHOW statement_timeout",
    ),
    "idle_in_transaction": case(
        "SET idle_in_transaction_session_timeout = 100", "BEGIN", raw(b"", until="E"), "SELECT 1"
    ),
    "idle_session": case(
        "SET idle_session_timeout = 0", "SHOW idle_session_timeout", "SHOW idle_session_timeout"
    ),
    "kills_itself": case("SELECT pg_terminate_backend(pg_backend_pid())", "SELECT 1"),
    "kills_itself_in_transaction": case("BEGIN", "SELECT pg_terminate_backend(pg_backend_pid())", "SELECT 1"),
    "kills_itself_pinned": case(
        "CREATE TEMP TABLE t (x int)", "TABLE t", "SELECT pg_terminate_backend(pg_backend_pid())", "SELECT 1"
    ),
    "cancels_itself": case("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(5)", "SELECT 1"),
    "isolation": case(
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "SHOW transaction_isolation",
        "SELECT count(*) FROM things",
        "COMMIT",
        "SHOW transaction_isolation",
    ),
    "snapshot": case(
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "SELECT count(*) FROM things",
        *by("b", "DELETE FROM things"),
        "SELECT count(*) FROM things",
        "COMMIT",
        "SELECT count(*) FROM things",
        servers=3,
    ),
    "vacuum": case(
        "VACUUM things", "ANALYZE things", "REINDEX TABLE things", "CLUSTER things USING things_pkey"
    ),
    "concurrently": case(
        "CREATE INDEX CONCURRENTLY i ON things (name)",
        "DROP INDEX CONCURRENTLY i",
        "BEGIN",
        "VACUUM",
        "ROLLBACK",
    ),
    "procedure": case(
        "CALL conf_steps()",
        "SELECT count(*) FROM serial",
        "SHOW work_mem",
        "BEGIN",
        "CALL conf_steps()",
        "ROLLBACK",
    ),
    "procedure_by_simple": case(simple("CALL conf_steps(); SELECT 1"), "SHOW work_mem"),
    "explain": case(
        "EXPLAIN (COSTS OFF) SELECT * FROM things",
        "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT set_config('work_mem', '2MB', false)",
        "SHOW work_mem",
    ),
    "database": case(
        "SELECT current_database(), current_user, current_schema",
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE pid = pg_backend_pid()",
    ),
    "own_activity": case(
        "SET application_name = 'me'",
        "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()",
        "SELECT 1",
        "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()",
    ),
    "ddl": case(
        "CREATE TABLE made (x int)",
        "ALTER TABLE made ADD y text",
        "TABLE made",
        "COMMENT ON TABLE made IS 'x'",
        "DROP TABLE made",
    ),
    "new_type": case(
        "CREATE TYPE mood AS ENUM ('sad', 'glad')",
        "SELECT 'sad'::mood",
        "SELECT 'odd'::mood",
        "DROP TYPE mood",
    ),
    "lock_table": case("BEGIN", "LOCK TABLE things IN ACCESS EXCLUSIVE MODE", "SELECT 1", "COMMIT"),
    "security_label": case(
        "SET SESSION AUTHORIZATION bouncer",
        "CREATE TABLE made (x int)",
        "SELECT tableowner FROM pg_tables WHERE tablename = 'made'",
    ),
}
