"""Advisory locks of a session, and the sequences that it used, whose currval() and lastval() are its own."""

from __future__ import annotations

from tests.protocol.conformance.case import Case, by, case, simple

HELD = (
    "SELECT classid, objid, objsubid, mode, granted FROM pg_locks "
    "WHERE locktype = 'advisory' AND pid = pg_backend_pid() ORDER BY 1, 2, 3, 4"
)
#: What neighbours lock: nobody else may be able to unlock it.
OF_NEIGHBOURS = "SELECT pg_advisory_unlock(101), pg_advisory_unlock_shared(102), pg_advisory_unlock(104)"

LOCKS: dict[str, Case] = {
    "none": case(HELD, OF_NEIGHBOURS, "SELECT pg_advisory_unlock_all()", HELD),
    "lock": case(
        "SELECT pg_advisory_lock(1)",
        HELD,
        HELD,
        "SELECT pg_advisory_unlock(1)",
        HELD,
        "SELECT pg_advisory_unlock(1)",
    ),
    "twice": case(*["SELECT pg_advisory_lock(1)"] * 2, HELD, *["SELECT pg_advisory_unlock(1)"] * 3, HELD),
    "try": case("SELECT pg_try_advisory_lock(2)", HELD, "SELECT pg_advisory_unlock(2)", HELD, "SELECT 1"),
    "shared": case("SELECT pg_advisory_lock_shared(3)", HELD, "SELECT pg_advisory_unlock_shared(3)", HELD),
    "try_shared": case("SELECT pg_try_advisory_lock_shared(3)", HELD, "SELECT pg_advisory_unlock(3)", HELD),
    "two_keys": case("SELECT pg_advisory_lock(1, 2)", HELD, "SELECT pg_advisory_unlock(1, 2)", HELD),
    "unlock_all": case(
        "SELECT pg_advisory_lock(n) FROM generate_series(1, 5) AS n",
        HELD,
        "SELECT pg_advisory_unlock_all()",
        HELD,
    ),
    "in_function": case(
        "SELECT conf_lock(4)", HELD, HELD, "SELECT conf_unlock(4)", HELD, "SELECT conf_unlock(4)"
    ),
    "in_do_block": case(
        "DO $$BEGIN PERFORM pg_advisory_lock(5); END$$", HELD, HELD, "SELECT pg_advisory_unlock(5)"
    ),
    "in_where": case(
        "SELECT id FROM things WHERE pg_try_advisory_lock(id) ORDER BY id",
        HELD,
        "SELECT pg_advisory_unlock_all()",
        HELD,
    ),
    "in_limit": case(
        "SELECT id FROM (SELECT id FROM things ORDER BY id LIMIT 2) AS q WHERE pg_try_advisory_lock(id)",
        HELD,
        "SELECT pg_advisory_unlock(id) FROM things ORDER BY id",
        HELD,
    ),
    "transaction_level": case("BEGIN", "SELECT pg_advisory_xact_lock(6)", HELD, "COMMIT", HELD),
    "transaction_level_alone": case(
        "SELECT pg_advisory_xact_lock(6)", HELD, "SELECT pg_try_advisory_xact_lock(6)", HELD
    ),
    "rolled_back": case(
        "BEGIN", "SELECT pg_advisory_lock(7)", "ROLLBACK", HELD, HELD, "SELECT pg_advisory_unlock(7)"
    ),
    "failed": case(
        "BEGIN",
        "SELECT pg_advisory_lock(7)",
        "SELECT 1/0",
        "COMMIT",
        HELD,
        "SELECT pg_advisory_unlock(7)",
        HELD,
    ),
    "error_in_statement": case("SELECT pg_advisory_lock(7), 1/0", HELD, "SELECT pg_advisory_unlock(7)", HELD),
    "error_after_lock": case(
        "SELECT pg_advisory_lock(8), 1/(id - 1) FROM things ORDER BY id",
        HELD,
        "SELECT pg_advisory_unlock_all()",
        HELD,
    ),
    "savepoint": case(
        "BEGIN",
        "SAVEPOINT s",
        "SELECT pg_advisory_lock(7)",
        "ROLLBACK TO s",
        HELD,
        "COMMIT",
        HELD,
        "SELECT pg_advisory_unlock_all()",
        HELD,
    ),
    "mixed": case(
        "SELECT pg_advisory_lock(1)",
        "BEGIN",
        "SELECT pg_advisory_xact_lock(1)",
        "COMMIT",
        HELD,
        "SELECT pg_advisory_unlock(1)",
        HELD,
    ),
    "string": case(
        simple("SELECT pg_advisory_lock(1); SELECT 1"),
        HELD,
        simple("SELECT 2; SELECT pg_advisory_unlock(1)"),
        HELD,
    ),
    "with_upper_case": case("SELECT PG_ADVISORY_LOCK(1)", HELD, 'SELECT "pg_advisory_unlock"(1)', HELD),
    "in_prepared": case(
        "PREPARE l AS SELECT pg_advisory_lock($1)",
        "EXECUTE l(1)",
        HELD,
        "DEALLOCATE l",
        HELD,
        "SELECT pg_advisory_unlock(1)",
    ),
    "after_discard": case("SELECT pg_advisory_lock(1)", "DISCARD ALL", HELD, "SELECT pg_advisory_unlock(1)"),
    "migration": case(
        "SELECT pg_try_advisory_lock(4711)",
        "BEGIN",
        "CREATE TABLE made (x int)",
        "COMMIT",
        "CREATE INDEX CONCURRENTLY made_x ON made (x)",
        HELD,
        "SELECT pg_advisory_unlock(4711)",
        HELD,
        "VACUUM made",
    ),
    "two_clients": case(
        "SELECT pg_try_advisory_lock(9)",
        *by("b", "SELECT pg_try_advisory_lock(9)", HELD),
        HELD,
        *by("b", "SELECT pg_advisory_unlock(9)"),
        "SELECT pg_advisory_unlock(9)",
        *by("b", "SELECT pg_try_advisory_lock(9)", HELD),
        "SELECT pg_try_advisory_lock(9)",
        HELD,
        *by("b", "SELECT pg_advisory_unlock(9)", HELD),
        servers=3,
    ),
}

SEQUENCES: dict[str, Case] = {
    "none": case("SELECT lastval()", "SELECT currval('conf_seq')", "SELECT currval('conf_other')"),
    "currval": case("SELECT nextval('conf_seq')", *["SELECT currval('conf_seq')"] * 3),
    "lastval": case("SELECT nextval('conf_seq')", *["SELECT lastval()"] * 3),
    "two": case(
        "SELECT nextval('conf_seq')",
        "SELECT nextval('conf_other')",
        "SELECT lastval()",
        "SELECT currval('conf_seq')",
        "SELECT lastval()",
        "SELECT nextval('conf_seq')",
        "SELECT lastval()",
        "SELECT currval('conf_other')",
    ),
    "serial": case(
        "INSERT INTO serial (name) VALUES ('x')",
        "SELECT lastval()",
        "SELECT currval('serial_id_seq')",
        "SELECT lastval()",
    ),
    "serial_in_transaction": case(
        "BEGIN",
        "INSERT INTO serial (name) VALUES ('x')",
        "COMMIT",
        "SELECT lastval()",
        "SELECT currval(pg_get_serial_sequence('serial', 'id'))",
    ),
    "serial_rolled_back": case(
        "BEGIN", "INSERT INTO serial (name) VALUES ('x')", "ROLLBACK", "SELECT lastval()", "SELECT lastval()"
    ),
    "rows": case(
        "INSERT INTO serial (name) SELECT 'x' FROM generate_series(1, 3)",
        "SELECT lastval() IS NOT NULL",
        "SELECT currval('serial_id_seq') IS NULL",
    ),
    "failed_insert": case(
        "INSERT INTO serial (name) VALUES (1/0)", "SELECT lastval()", "SELECT currval('serial_id_seq')"
    ),
    "in_function": case("SELECT conf_next()", "SELECT lastval()", "SELECT currval('conf_seq')"),
    "in_do_block": case(
        "DO $$BEGIN PERFORM nextval('conf_seq'); END$$", "SELECT lastval()", "SELECT currval('conf_seq')"
    ),
    "setval": case(
        "SELECT setval('conf_seq', 7000000500)",
        "SELECT currval('conf_seq')",
        "SELECT lastval()",
        "SELECT currval('conf_seq')",
    ),
    "setval_uncalled": case(
        "SELECT setval('conf_seq', 7000000500, false)", "SELECT currval('conf_seq')", "SELECT lastval()"
    ),
    "returning": case(
        "INSERT INTO serial (name) VALUES ('x') RETURNING id",
        "SELECT lastval()",
        "SELECT currval('serial_id_seq')",
    ),
    "string": case(
        simple("INSERT INTO serial (name) VALUES ('x'); SELECT lastval()"),
        "SELECT lastval()",
        "SELECT lastval()",
    ),
    "dropped": case(
        "CREATE SEQUENCE made_seq",
        "SELECT nextval('made_seq')",
        "SELECT currval('made_seq')",
        "DROP SEQUENCE made_seq",
        "SELECT lastval()",
    ),
    "discarded": case("SELECT nextval('conf_seq')", "DISCARD SEQUENCES", "SELECT lastval()"),
    "two_clients": case(
        "SELECT nextval('conf_seq')",
        *by("b", "SELECT nextval('conf_seq')", "SELECT lastval()"),
        "SELECT lastval()",
        *by("b", "SELECT currval('conf_seq')"),
        *by("c", "SELECT currval('conf_seq')", "SELECT lastval()"),
        "SELECT currval('conf_seq')",
        servers=3,
    ),
}
