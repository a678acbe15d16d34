"""State that only one server has: SQL's PREPARE, temporary objects, cursors, libraries; and DISCARD."""

from __future__ import annotations

from tests.protocol.conformance.case import Case, case, simple

PREPARED: dict[str, Case] = {
    "prepare": case("PREPARE a AS SELECT 1", "EXECUTE a", "EXECUTE a", "DEALLOCATE a", "EXECUTE a"),
    "arguments": case("PREPARE b(int, text) AS SELECT $1 + 1, $2", "EXECUTE b(1, 'x')", "EXECUTE b(2, 'y')"),
    "unknown": case(
        "EXECUTE a",
        "DEALLOCATE a",
        "EXECUTE b(1)",
        "SELECT count(*) FROM pg_prepared_statements WHERE from_sql",
    ),
    "twice": case("PREPARE a AS SELECT 1", "PREPARE a AS SELECT 2", "EXECUTE a", "EXECUTE a"),
    "deallocate_all": case(
        "PREPARE a AS SELECT 1", "PREPARE d AS SELECT 2", "DEALLOCATE ALL", "EXECUTE a", "EXECUTE d"
    ),
    "deallocate_one_of_two": case(
        "PREPARE a AS SELECT 1",
        "PREPARE d AS SELECT 2",
        "DEALLOCATE a",
        "EXECUTE d",
        "EXECUTE a",
        "EXECUTE d",
    ),
    "again": case(
        "PREPARE a AS SELECT 1", "DEALLOCATE PREPARE a", "PREPARE a AS SELECT 2", "EXECUTE a", "EXECUTE a"
    ),
    "rolled_back": case(
        "BEGIN", "PREPARE a AS SELECT 1", "ROLLBACK", "EXECUTE a", "EXECUTE a", "DEALLOCATE a"
    ),
    "in_failed_transaction": case("BEGIN", "PREPARE a AS SELECT 1", "SELECT 1/0", "ROLLBACK", "EXECUTE a"),
    "deallocate_rolled_back": case("PREPARE a AS SELECT 1", "BEGIN", "DEALLOCATE a", "ROLLBACK", "EXECUTE a"),
    "inside_function": case("SELECT conf_prepare()", "EXECUTE inside", "EXECUTE inside", "DEALLOCATE inside"),
    "string": case(
        simple("PREPARE a AS SELECT 1; EXECUTE a"), "EXECUTE a", simple("DEALLOCATE a; SELECT 1"), "EXECUTE a"
    ),
    "listed": case(
        "PREPARE a AS SELECT 1",
        "SELECT name, from_sql, parameter_types FROM pg_prepared_statements WHERE from_sql",
        "DISCARD PLANS",
        "SELECT name FROM pg_prepared_statements WHERE from_sql",
    ),
    "modifying": case(
        "PREPARE ins AS INSERT INTO things VALUES ($1, $2)",
        "EXECUTE ins(7, 'x')",
        "EXECUTE ins(7, 'y')",
        "EXECUTE ins(8, 'z')",
    ),
    "discard_all": case("PREPARE a AS SELECT 1", "DISCARD ALL", "EXECUTE a"),
    "created_as": case(
        "PREPARE a AS SELECT 1 AS x", "CREATE TABLE made AS EXECUTE a", "TABLE made", "EXPLAIN EXECUTE a"
    ),
}

TEMPORARY: dict[str, Case] = {
    "table": case(
        "CREATE TEMP TABLE t (x int)",
        "INSERT INTO t VALUES (1)",
        "SELECT * FROM t",
        "DROP TABLE t",
        "SELECT * FROM t",
    ),
    "none": case("SELECT * FROM t", "SELECT name FROM things WHERE id = 1", "SELECT * FROM v"),
    "temporary": case("CREATE TEMPORARY TABLE t (x int)", "INSERT INTO t VALUES (1)", "TABLE t", "TABLE t"),
    "local": case("CREATE LOCAL TEMP TABLE t AS SELECT 1 AS x", "TABLE t", "TABLE t"),
    "in_schema": case(
        "CREATE TABLE pg_temp.t (x int)", "INSERT INTO t VALUES (1)", "TABLE pg_temp.t", "TABLE t"
    ),
    "select_into": case("SELECT 1 AS x INTO TEMP t", "TABLE t", "INSERT INTO t VALUES (2)", "TABLE t"),
    "hides_a_table": case(
        "CREATE TEMP TABLE things (id int, name text)",
        "SELECT count(*) FROM things",
        "INSERT INTO things VALUES (9, 'temp')",
        "SELECT name FROM things",
        "DROP TABLE things",
        "SELECT name FROM things ORDER BY id",
    ),
    "committed": case(
        "BEGIN", "CREATE TEMP TABLE t (x int)", "INSERT INTO t VALUES (1)", "COMMIT", "TABLE t", "TABLE t"
    ),
    "rolled_back": case(
        "BEGIN",
        "CREATE TEMP TABLE t (x int)",
        "ROLLBACK",
        "TABLE t",
        "CREATE TEMP TABLE t (y int)",
        "TABLE t",
    ),
    "on_commit_drop": case(
        "BEGIN",
        "CREATE TEMP TABLE t (x int) ON COMMIT DROP",
        "TABLE t",
        "COMMIT",
        "TABLE t",
        "CREATE TEMP TABLE t (y int)",
    ),
    "on_commit_delete": case(
        "CREATE TEMP TABLE t (x int) ON COMMIT DELETE ROWS",
        "INSERT INTO t VALUES (1)",
        "TABLE t",
        "BEGIN",
        "INSERT INTO t VALUES (2)",
        "TABLE t",
        "COMMIT",
        "TABLE t",
    ),
    "view": case(
        "CREATE TEMP VIEW v AS SELECT count(*) FROM things", "TABLE v", "TABLE v", "DROP VIEW v", "TABLE v"
    ),
    "view_of_temporary": case(
        "CREATE TEMP TABLE t (x int)",
        "CREATE VIEW v AS SELECT * FROM t",
        "INSERT INTO t VALUES (4)",
        "TABLE v",
        "TABLE v",
    ),
    "sequence": case(
        "CREATE TEMP SEQUENCE s",
        "SELECT nextval('s')",
        "SELECT nextval('s')",
        "SELECT currval('s')",
        "DROP SEQUENCE s",
    ),
    "serial": case(
        "CREATE TEMP TABLE t (id serial, x int)",
        "INSERT INTO t (x) VALUES (7) RETURNING id",
        "INSERT INTO t (x) VALUES (8)",
        "SELECT lastval()",
        "SELECT * FROM t ORDER BY id",
    ),
    "function": case(
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 5'",
        "SELECT pg_temp.f()",
        "SELECT pg_temp.f()",
        "DROP FUNCTION pg_temp.f()",
        "SELECT pg_temp.f()",
    ),
    "type": case(
        "CREATE TYPE pg_temp.pair AS (a int, b int)",
        "SELECT (1, 2)::pg_temp.pair",
        "SELECT (1, 2)::pg_temp.pair",
    ),
    "domain": case(
        "CREATE DOMAIN pg_temp.small AS int CHECK (VALUE < 9)",
        "SELECT 10::pg_temp.small",
        "SELECT 1::pg_temp.small",
    ),
    "index": case(
        "CREATE TEMP TABLE t (x int)",
        "CREATE INDEX i ON t (x)",
        "INSERT INTO t VALUES (1)",
        "SELECT * FROM t WHERE x = 1",
    ),
    "by_function": case(
        "SELECT conf_temp('t')", "TABLE t", "TABLE t", "DROP TABLE t", "SELECT conf_temp('t')", "TABLE t"
    ),
    "by_do_block": case("DO $$BEGIN CREATE TEMP TABLE t AS SELECT 3 AS x; END$$", "TABLE t", "TABLE t"),
    "if_not_exists": case(
        "CREATE TEMP TABLE IF NOT EXISTS t (x int)",
        "CREATE TEMP TABLE IF NOT EXISTS t (x int)",
        "INSERT INTO t VALUES (1)",
        "TABLE t",
    ),
    "moved": case(
        "CREATE TEMP TABLE t (x int)",
        "ALTER TABLE t RENAME TO u",
        "ALTER TABLE u ADD y int DEFAULT 4",
        "INSERT INTO u VALUES (1)",
        "TABLE u",
    ),
    "truncate": case(
        "CREATE TEMP TABLE t AS SELECT 1 AS x", "TRUNCATE t", "TABLE t", "SELECT count(*) FROM t"
    ),
    "prepared_on_it": case(
        "CREATE TEMP TABLE t AS SELECT 1 AS x",
        "PREPARE a AS SELECT * FROM t",
        "EXECUTE a",
        "INSERT INTO t VALUES (2)",
        "EXECUTE a",
    ),
    "discard_temp": case(
        "CREATE TEMP TABLE t (x int)", "DISCARD TEMP", "TABLE t", "CREATE TEMP TABLE t (y int)", "TABLE t"
    ),
    "discard_temporary": case("CREATE TEMP TABLE t (x int)", "DISCARD TEMPORARY", "TABLE t"),
    "statement_rolled_back": case("CREATE TEMP TABLE t AS SELECT 1/0 AS x", "TABLE t", "SELECT 1"),
    "savepoint": case(
        "BEGIN",
        "SAVEPOINT s",
        "CREATE TEMP TABLE t (x int)",
        "ROLLBACK TO s",
        "COMMIT",
        "TABLE t",
        "SELECT 1",
    ),
    "string": case(
        simple("CREATE TEMP TABLE t (x int); INSERT INTO t VALUES (1); SELECT * FROM t"), "TABLE t", "TABLE t"
    ),
    "search_path_first": case(
        "CREATE TEMP TABLE things AS SELECT 5 AS id",
        "SET search_path = public, pg_temp",
        "SELECT count(*) FROM things",
        "TABLE pg_temp.things",
    ),
}

CURSORS: dict[str, Case] = {
    "with_hold": case(
        "DECLARE c CURSOR WITH HOLD FOR SELECT id FROM things ORDER BY id",
        "FETCH 1 FROM c",
        "FETCH 1 FROM c",
        "CLOSE c",
        "FETCH 1 FROM c",
    ),
    "with_hold_in_transaction": case(
        "BEGIN",
        "DECLARE c CURSOR WITH HOLD FOR SELECT id FROM things ORDER BY id",
        "FETCH 1 FROM c",
        "COMMIT",
        "FETCH 1 FROM c",
        "SELECT name FROM pg_cursors WHERE is_holdable",
        "FETCH ALL FROM c",
        "CLOSE c",
        "FETCH c",
    ),
    "with_hold_rolled_back": case(
        "BEGIN",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "ROLLBACK",
        "FETCH c",
        "SELECT count(*) FROM pg_cursors WHERE is_holdable",
    ),
    "scroll": case(
        "DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT id FROM things ORDER BY id",
        "FETCH LAST FROM c",
        "FETCH PRIOR FROM c",
        "MOVE FIRST IN c",
        "FETCH NEXT FROM c",
        "CLOSE ALL",
        "FETCH c",
    ),
    "binary": case(
        "DECLARE c BINARY CURSOR WITH HOLD FOR SELECT id FROM things ORDER BY id", "FETCH 2 FROM c", "FETCH c"
    ),
    "without_hold": case(
        "BEGIN", "DECLARE c CURSOR FOR SELECT id FROM things ORDER BY id", "FETCH c", "COMMIT", "FETCH c"
    ),
    "outside": case("DECLARE c CURSOR FOR SELECT 1", "FETCH c", "CLOSE c"),
    "kept_of_two": case(
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "DECLARE d CURSOR WITH HOLD FOR SELECT 2",
        "CLOSE c",
        "FETCH d",
        "FETCH c",
    ),
    "snapshot": case(
        "DECLARE c CURSOR WITH HOLD FOR SELECT id FROM things ORDER BY id",
        "DELETE FROM things",
        "FETCH ALL FROM c",
        "SELECT count(*) FROM things",
    ),
    "discard_all": case("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "DISCARD ALL", "FETCH c"),
}

DISCARDS: dict[str, Case] = {
    "all": case(
        "CREATE TEMP TABLE t (x int)",
        "SET work_mem = '2MB'",
        "PREPARE a AS SELECT 1",
        "SELECT pg_advisory_lock(1)",
        "SELECT nextval('conf_seq')",
        "DISCARD ALL",
        "TABLE t",
        "SHOW work_mem",
        "EXECUTE a",
        "SELECT pg_advisory_unlock(1)",
        "SELECT lastval()",
    ),
    "all_in_transaction": case("BEGIN", "DISCARD ALL", "ROLLBACK", "SELECT 1"),
    "all_in_string": case(simple("SELECT 1; DISCARD ALL"), "SELECT 1"),
    "plans": case("PREPARE a AS SELECT 1", "DISCARD PLANS", "EXECUTE a"),
    "sequences": case(
        "SELECT nextval('conf_seq')", "DISCARD SEQUENCES", "SELECT currval('conf_seq')", "SELECT lastval()"
    ),
    "temp": case(
        "CREATE TEMP TABLE t (x int)", "SET work_mem = '2MB'", "DISCARD TEMP", "SHOW work_mem", "TABLE t"
    ),
    "nothing": case(
        "DISCARD ALL",
        "SELECT 1",
        "DISCARD TEMP",
        "DISCARD PLANS",
        "DISCARD SEQUENCES",
        "DEALLOCATE ALL",
        "CLOSE ALL",
        "UNLISTEN *",
    ),
    "often": case(
        *["DISCARD ALL", "CREATE TEMP TABLE t (x int)", "SET work_mem = '2MB'"] * 3,
        "TABLE t",
        "SHOW work_mem",
    ),
}

LOADS: dict[str, Case] = {
    "load": case(
        "DO $$BEGIN NULL; END$$",
        "LOAD 'plpgsql'",
        "SET plpgsql.variable_conflict = 'use_column'",
        "SHOW plpgsql.variable_conflict",
        "RESET plpgsql.variable_conflict",
        "SHOW plpgsql.variable_conflict",
    ),
    "set_after_load": case(
        "DO $$BEGIN NULL; END$$",
        "SET plpgsql.extra_warnings = 'all'",
        "SHOW plpgsql.extra_warnings",
        "SET plpgsql.extra_warnings = 'no such'",
        "SHOW plpgsql.extra_warnings",
    ),
    "refused": case("LOAD 'no_such_library'", "LOAD '$libdir/../x'", "SELECT 1"),
}
