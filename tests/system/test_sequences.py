"""currval and lastval never tell what another client had from a sequence, however they are asked.

The pool has one server, which another client has used before; PostgreSQL itself is asked in a new session.
There is one worker: another, that has not read the catalogs yet, would be more careful.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.exchange import Script, Step, direct, function_call, pooled, talk
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.shared import StartPooler
from tests.support.wire import FLUSH, SYNC, Message, bind, close, describe, execute, message, parse, query

LASTVAL, CURRVAL = "SELECT lastval()", "SELECT currval('drawn')"
FAILED = [Step(query("BEGIN; SAVEPOINT a")), Step(query("SELECT nobody"))]
CHANGED = [
    Step(query("BEGIN; SET TimeZone = 'Asia/Tokyo'; SAVEPOINT a; SET TimeZone = 'Asia/Seoul'; SAVEPOINT b")),
    Step(query("SELECT nobody")),
]
HIDDEN = "DO $$ DECLARE v bigint; BEGIN EXECUTE 'SELECT last' || 'val()' INTO v; RAISE NOTICE '%', v; END $$"
RUN = bind() + execute()
CALL, CALL_LASTVAL = function_call(885, b"btrim"), function_call(2559)


def behind(end: str, then: str = LASTVAL) -> Script:
    """One Query that ends a transaction that has failed, and goes on."""
    return [*FAILED, Step(query(f"{end}; {then}"))]


SCRIPTS: dict[str, Script] = {
    "alone": [Step(query(LASTVAL)), Step(query(CURRVAL)), Step(parse(LASTVAL) + RUN + SYNC)],
    "rollback": behind("ROLLBACK"),
    "rollback_extended": [*FAILED, Step(parse("ROLLBACK") + RUN + parse(LASTVAL) + RUN + SYNC)],
    "commit": behind("/* ; */ COMMIT -- ;\n", CURRVAL),
    "empty_before": behind(";; ; abort WORK"),
    "end_and_chain": [*behind("End AND CHAIN"), Step(query("ROLLBACK"))],
    "to_savepoint": [*behind('ROLLBACK TO "a"'), Step(query("ROLLBACK TO a; SAVEPOINT b; COMMIT"))],
    "to_nowhere": [*behind('ROLLBACK TO "a;b"'), Step(query("ROLLBACK"))],
    "prepared": behind("PREPARE TRANSACTION 'sequences'"),
    "no_end": [*behind("SELECT 1"), Step(query("ROLLBACK"))],
    "several": behind("ROLLBACK TO a; ROLLBACK"),
    "syntax": [*behind("ROLLBACK", f"{LASTVAL}; SELEC 1"), Step(query("ROLLBACK"))],
    "parameters_back": [*CHANGED, Step(query(f"ROLLBACK TO b; {LASTVAL}")), Step(query("ROLLBACK"))],
    "parameters_told": [*CHANGED, Step(query(f"ROLLBACK; {LASTVAL}")), Step(query("SHOW TimeZone"))],
    "drawn_behind": [
        *behind("ROLLBACK", "SELECT nextval('drawn') > 0, lastval() > 0"),
        Step(query("SELECT lastval() > 0, currval('drawn') > 0")),
    ],
    "inserted_behind": [
        *behind("ROLLBACK", "INSERT INTO numbered (n) VALUES (1)"),
        Step(query("SELECT lastval() > 0")),
    ],
    "all_at_once": [Step(query("BEGIN") + query("SELECT nobody") + query(f"ROLLBACK; {LASTVAL}"), "ZZZ")],
    "all_at_once_open": [Step(query("BEGIN") + query("SELECT 1") + query(f"ROLLBACK; {LASTVAL}"), "ZZZ")],
    "behind_an_insert": [
        Step(query("BEGIN")),
        Step(query("INSERT INTO plain VALUES (1)")),
        Step(query(LASTVAL)),
        Step(query("ROLLBACK")),
    ],
    "behind_its_own": [
        Step(query("BEGIN")),
        Step(query("INSERT INTO numbered (n) VALUES (1)")),
        Step(query("SELECT lastval() > 0, currval('numbered_id_seq') > 0")),
        Step(query("COMMIT")),
    ],
    "skipped_at_once": [Step(bind((), "nobody") + parse(LASTVAL) + RUN + SYNC), Step(query(LASTVAL))],
    "skipped_behind_run": [
        Step(parse("SELECT 1/0") + RUN + parse(LASTVAL) + RUN + SYNC),
        Step(query(LASTVAL)),
        Step(query(CURRVAL)),
    ],
    "skipped_behind_parse": [
        Step(parse("SELEC") + parse(LASTVAL, "l") + bind((), "l") + execute() + SYNC),
        Step(parse(LASTVAL) + RUN + SYNC),
    ],
    "skipped_behind_describe": [
        Step(describe("S", "nobody") + parse(LASTVAL) + RUN + SYNC + query(LASTVAL), "ZZ"),
        Step(query(CURRVAL)),
    ],
    "undone_in_a_pipeline": [
        Step(parse("SELECT 1") + RUN + parse(LASTVAL) + RUN + parse("SELECT 1/0") + RUN + SYNC),
        Step(query(LASTVAL)),
    ],
    "skipped": [Step(bind((), "nobody"), "E"), Step(parse(LASTVAL) + RUN + SYNC)],
    "skipped_query": [Step(bind((), "nobody"), "E"), Step(query(LASTVAL) + SYNC)],
    "answered": [
        Step(parse("CREATE TABLE undone (n int)") + RUN + FLUSH, "C"),
        Step(parse(LASTVAL) + RUN + SYNC),
        Step(query("SELECT to_regclass('undone') IS NULL")),
    ],
    "answered_query": [
        Step(parse("CREATE TABLE undone (n int)") + RUN + FLUSH, "C"),
        Step(query(LASTVAL) + SYNC, "ZZ"),
        Step(query("SELECT to_regclass('undone') IS NULL")),
    ],
    "late_copy_fail": [Step(parse("SELECT 1", "b") + message("f", "no") + query(LASTVAL) + SYNC, "ZZ")],
    "late_copy_done": [Step(parse("SELECT 1") + message("c") + parse(LASTVAL) + RUN + SYNC)],
    "call": [Step(CALL_LASTVAL)],
    "call_behind_parse": [Step(parse("SELECT 1") + CALL_LASTVAL + SYNC, "ZZ"), Step(RUN + SYNC)],
    "call_behind_named": [Step(parse("SELECT 1", "b") + CALL + SYNC, "ZZ"), Step(CALL)],
    "call_behind_bind": [Step(parse("SELECT 1") + bind() + CALL + SYNC, "ZZ"), Step(RUN + SYNC)],
    "call_behind_error": [Step(parse("SELEC 1") + CALL_LASTVAL + SYNC), Step(CALL)],
    "call_in_pipeline": [
        Step(query("BEGIN") + parse("SELECT 1") + bind() + CALL + execute() + SYNC, "ZZZ"),
        Step(query("ROLLBACK")),
    ],
    "call_before_execute": [
        Step(query("BEGIN")),
        Step(parse("SELECT 1") + bind() + SYNC),
        Step(CALL),
        Step(execute() + SYNC),
        Step(query("ROLLBACK")),
    ],
    "calls_before_execute": [
        Step(query("BEGIN") + parse("SELECT 1") + bind() + SYNC + CALL + CALL + execute() + SYNC, "ZZZZZ"),
        Step(query("ROLLBACK")),
    ],
    "query_behind_bind": [
        Step(parse(LASTVAL, "a") + bind((), "a") + query("SELECT 1")),
        Step(query(LASTVAL)),
    ],
    "query_behind_bind_in_a_transaction": [
        Step(query("BEGIN") + parse(LASTVAL, "a") + bind((), "a") + query("SELECT 1"), "ZZ"),
        Step(query("COMMIT") + bind((), "a") + query("SELECT 1"), "ZZ"),
    ],
    "query_behind_bind_that_fails": [
        Step(parse(LASTVAL, "a") + bind((), "a") + bind((), "nobody") + query("SELECT 1") + SYNC)
    ],
    "call_behind_bind_alone": [Step(parse(LASTVAL, "a") + bind((), "a") + CALL), Step(CALL)],
    "rollback_behind_close": [  # what SQL PREPARE has made may be anything
        Step(query("BEGIN")),
        Step(bind((), "nobody") + SYNC),
        Step(close() + parse("ROLLBACK") + RUN + SYNC),
        Step(query(LASTVAL)),
    ],
    "call_in_failed": [*FAILED, Step(CALL), Step(query("ROLLBACK")), Step(CALL_LASTVAL)],
    "hidden": [Step(query(HIDDEN))],
    "long": [Step(query("SELECT 1 " + " " * 100_000 + f"; {LASTVAL}"))],
}

#: In a pool whose clients have drawn 3,000 times from sequences and never asked, the first who asks for
#: what is its own may hear that there is nothing.
OWN_FIRST = {"behind_its_own", "inserted_behind"}

#: As long as the catalogs are unread BEGIN may have done anything, and is preceded by a DISCARD.
READ = {"rollback_behind_close"}


@pytest.fixture(scope="module", params=["new", "taught"])
def pools(
    request: pytest.FixtureRequest, start_pooler: StartPooler, running_postgres: Postgres
) -> Iterator[tuple[Pooler, bool]]:
    running_postgres.sql(
        "CREATE SEQUENCE drawn; CREATE TABLE plain (n int); CREATE TABLE numbered (id serial, n int);"
        " GRANT ALL ON drawn, plain, numbered, numbered_id_seq TO PUBLIC",
        dbname="p0",
    )
    names = [f"seq_{name}" for name in SCRIPTS]
    pooler = start_pooler(workers=1, databases=dict.fromkeys(names, "dbname=p0 pool_size=1"))
    yield pooler, request.param == "taught"
    pooler.stop()
    running_postgres.sql("DROP SEQUENCE drawn; DROP TABLE plain, numbered", dbname="p0")


def told(messages: list[Message]) -> tuple[list[tuple[str, object]], list[bytes]]:
    """All but parameters, and parameters, which may come earlier."""
    others: list[tuple[str, object]] = [
        (got.type, got.fields if got.type in "EN" else got.body) for got in messages if got.type != "S"
    ]
    return others, [got.body for got in messages if got.type == "S"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_nothing_of_others_is_told(pools: tuple[Pooler, bool], running_postgres: Postgres, name: str) -> None:
    pooler, taught = pools
    with direct(running_postgres) as real:
        expected = told(talk(real, SCRIPTS[name]))
    if name in READ:
        pooler.learn_catalogs(f"seq_{name}")
    with pooled(pooler, f"seq_{name}") as other, pooled(pooler, f"seq_{name}") as mine:
        other.rows("SELECT nextval('drawn')")
        for _ in range(3001 if taught else 0):
            other.query("INSERT INTO numbered (n) VALUES (0)")
        got = told(talk(mine, SCRIPTS[name]))
    assert got == expected or (taught and name in OWN_FIRST and "55000" in str(got))
