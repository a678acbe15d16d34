"""SQL about statements that were prepared by Parse: EXECUTE, DEALLOCATE and PREPARE know the same names.

Every transaction runs on another server, which somebody else has used since.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.exchange import (
    THE_END,
    Script,
    Send,
    Step,
    assert_same,
    at_once,
    byte_by_byte,
    direct,
    pooled,
)
from tests.support.others import Others, run
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.shared import StartPooler
from tests.support.wire import SYNC, bind, close, describe, execute, parse, query

RUN = execute() + SYNC
SERVERS = 3

PREPARED = [
    Step(parse("SELECT $1::int + 1 AS next", "a", [23]) + SYNC),
    Step(
        parse("SELECT 'quoted' AS q", 'A "b"') + parse("SELECT 1", "a_name_that_is_longer_than_ours") + SYNC
    ),
]


def sql(*texts: str) -> Script:
    return [Step(query(text)) for text in texts]


def extended(text: str) -> Step:
    return Step(parse(text) + bind() + describe() + RUN)


USE = bind((), 'A "b"') + execute()
#: Each statement is there when it is named, and gone when it is used.
ALL_GONE: dict[str, Script] = {
    "query": [Step(query("DEALLOCATE ALL") + USE + SYNC, "ZEZ")],
    "discard": [Step(query("DISCARD ALL") + bind([b"1"], "a") + USE + SYNC, "ZEZ")],
    "several": [Step(query("SELECT 1; DEALLOCATE PREPARE ALL; SELECT 2") + USE + SYNC, "ZEZ")],
    "execute": [Step(query("DEALLOCATE ALL") + query("EXECUTE a(1)") + query("EXECUTE a(2)"), "ZEZEZ")],
    "describe": [Step(query("deallocate all") + describe("S", "a") + SYNC, "ZEZ")],
    "extended": [Step(parse("DEALLOCATE ALL") + bind() + execute() + USE + SYNC, "12CEZ")],
    "unnamed_execute": [Step(query("DEALLOCATE ALL") + parse("EXECUTE a(1)") + bind() + RUN, "ZEZ")],
    "named": [
        Step(parse("DISCARD ALL", "x") + SYNC),
        Step(bind((), "x") + RUN + USE + SYNC + USE + SYNC, "2CZEZEZ"),
    ],
    "of_before": [
        Step(parse("DEALLOCATE ALL") + SYNC),
        Step(bind() + RUN + USE + SYNC + parse("SELECT 1", "a") + bind((), "a") + RUN, "2CZEZ12CZ"),
    ],
    "in_a_failed_transaction": [
        Step(query("BEGIN") + query("SELECT nosuch"), "ZZ"),
        Step(query("ROLLBACK; DEALLOCATE ALL") + USE + SYNC, "ZEZ"),
    ],
    "skipped": [Step(bind((), "nobody") + query("DEALLOCATE ALL") + SYNC + USE + SYNC, "EZCZ")],
    "long": [Step(query(f"SELECT 1; {' ' * 20_000}DEALLOCATE ALL") + USE + SYNC, "ZEZ")],
}

SCRIPTS: dict[str, Script] = {
    **{f"all_gone_{name}": script for name, script in ALL_GONE.items()},
    "execute": sql("EXECUTE a(41)", "EXECUTE a(41)", "EXECUTE a(41)", "EXECUTE a(41)"),
    "written_otherwise": sql(
        "execute A (1)",
        '/* a /* b */ */ EXECUTE -- c\n "a"(2);',
        'EXECUTE "A ""b"""',
        "EXECUTE a_Name_that_is_longer_than_ours",
        "\n\tEXECUTE\ta\n(3)\n",
    ),
    "several_statements": sql("SELECT 1; EXECUTE a(1); EXECUTE a(2)", "EXECUTE a(1);; SELECT 2"),
    "explain": sql(
        'EXPLAIN (COSTS off, VERBOSE) EXECUTE "A ""b"""',
        "EXPLAIN VERBOSE EXECUTE a_name_that_is_longer_than_ours",
    ),
    "create_table": sql("BEGIN; CREATE TEMP TABLE x AS EXECUTE a(1); SELECT next + 0 FROM x; ROLLBACK"),
    "in_a_transaction": sql("BEGIN", "EXECUTE a(1)", "EXECUTE a(2)", "COMMIT", "EXECUTE a(3)"),
    "in_a_failed_transaction": sql("BEGIN", "SELECT 1/0", "EXECUTE a(1)", "ROLLBACK", "EXECUTE a(2)"),
    "unknown": sql("EXECUTE nobody", 'EXECUTE "A"', "DEALLOCATE nobody"),
    "wrong_arguments": sql("EXECUTE a", "EXECUTE a(1, 2)", "EXECUTE a(nosuch)", "EXECUTE a('x')"),
    "places_in_errors": sql(
        "EXECUTE a(nosuch)",
        "EXECUTE a_name_that_is_longer_than_ours(nosuch)",
        "EXECUTE a(1) nosuch",
        "SELECT nosuch; EXECUTE a(1)",
        "EXECUTE nobody(nosuch)",
    ),
    "deallocate": sql("DEALLOCATE a", "EXECUTE a(1)", "DEALLOCATE a", 'DEALLOCATE PREPARE "A ""b""";'),
    "deallocate_and_again": [
        *sql("DEALLOCATE PREPARE a"),
        Step(parse("SELECT 'another'", "a") + SYNC),
        *sql("EXECUTE a", "EXECUTE a", "EXECUTE a"),
    ],
    "deallocate_and_go_on": sql("DEALLOCATE a; SELECT 1", "EXECUTE a(1)", "SELECT 1; DEALLOCATE a"),
    "deallocate_behind": sql(";; SELECT 1; /* ; */ DEALLOCATE PREPARE a; SELECT 2 -- ;", "EXECUTE a(1)"),
    "deallocate_and_fail": sql("DEALLOCATE a; SELECT 1/0", "EXECUTE a(1)"),
    "deallocate_behind_an_error": sql(
        "SELECT 1/0; DEALLOCATE a", "EXECUTE a(1)", "DEALLOCATE a", "EXECUTE a(1)"
    ),
    "deallocate_around_an_error": [
        Step(query('DEALLOCATE a; SELECT 1/0; DEALLOCATE "A ""b"""') + USE + SYNC, "ZZ"),
        *sql("EXECUTE a(1)"),
    ],
    "deallocate_two": sql('DEALLOCATE a; DEALLOCATE "A ""b"""', "EXECUTE a(1)", 'EXECUTE "A ""b"""'),
    "deallocate_twice": [
        *sql("DEALLOCATE a; DEALLOCATE a"),
        Step(parse("SELECT 4", "a") + bind((), "a") + RUN),
    ],
    "deallocate_and_execute": sql("EXECUTE a(1); DEALLOCATE a; EXECUTE a(2)", "EXECUTE a(3)"),
    "deallocate_and_prepare": sql(
        "DEALLOCATE a; PREPARE a AS SELECT 5; EXECUTE a; DEALLOCATE a", "EXECUTE a(1)"
    ),
    "deallocate_and_all": [
        *sql("DEALLOCATE a; DEALLOCATE ALL; SELECT 7"),
        Step(parse("SELECT 4", "a") + bind((), "a") + RUN + USE + SYNC, "ZZ"),
    ],
    "deallocate_behind_a_body": sql(
        "CREATE OR REPLACE FUNCTION atomic_one() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;"
        " DROP FUNCTION atomic_one(); DEALLOCATE a",
        "EXECUTE a(1)",
    ),
    "deallocate_among_several_of_a_parse": [
        Step(parse("EXECUTE a(1); DEALLOCATE a") + SYNC, "EZ"),
        Step(bind([b"1"], "a") + RUN),
        Step(parse('DEALLOCATE a; DEALLOCATE "A ""b"""') + SYNC, "EZ"),
        Step(bind([b"1"], "a") + RUN + USE + SYNC),
    ],
    "deallocate_with_a_syntax_error": sql("DEALLOCATE a; SELEC", "EXECUTE a(1)"),
    "deallocate_others": sql(
        "PREPARE q AS SELECT 1; DEALLOCATE q; DEALLOCATE a; DEALLOCATE q", "EXECUTE a(1)"
    ),
    "deallocate_in_a_pipeline": [
        Step(parse("SELECT 8") + bind() + execute() + query("DEALLOCATE a; SELECT 3"), "12CCZ"),
        *sql("EXECUTE a(1)"),
    ],
    "deallocate_several_in_a_transaction": sql(
        "BEGIN", "DEALLOCATE a; SELECT 1/0", 'DEALLOCATE "A ""b"""; SELECT 1', "ROLLBACK", "EXECUTE a(1)"
    ),
    "deallocate_in_a_transaction": sql("BEGIN", "DEALLOCATE a", "EXECUTE a(1)", "ROLLBACK", "EXECUTE a(1)"),
    "prepare_of_a_live_name": sql(
        "PREPARE a AS SELECT 2",
        "PREPARE a (int, text) AS SELECT $1",
        "PREPARE a AS SELECT nosuch",
        "PREPARE a_name_that_is_longer_than_ours AS SELECT 2; SELECT 3",
        "EXECUTE a(1)",
    ),
    "prepare_of_a_free_name": sql(
        "BEGIN", "PREPARE free AS SELECT 2", "EXECUTE free", "DEALLOCATE free", "COMMIT"
    ),
    "two_names_of_one_text": [
        Step(parse("SELECT 1", "one") + parse("SELECT 1", "two") + SYNC),
        *sql("PREPARE one AS SELECT 2", "PREPARE two AS SELECT 2", "EXECUTE two(1)", "EXECUTE one(1)"),
    ],
    "closed": [Step(close("S", "a") + SYNC), *sql("EXECUTE a(1)", "DEALLOCATE a")],
    "pipelined": [
        Step(
            query("EXECUTE a(1)") + query("EXECUTE a(1, 2)") + query("SELECT nosuch") + query("EXECUTE a(2)"),
            "ZZZZ",
        ),
        Step(query("DEALLOCATE a") + query("EXECUTE a(1)") + query("SELECT 1"), "ZZZ"),
    ],
    "behind_a_parse": [Step(parse("SELECT 5", "five") + query("EXECUTE five"))],
    "extended": [
        extended("EXECUTE a(1)"),
        extended("EXECUTE a(nosuch)"),
        extended("DEALLOCATE a"),
        extended("EXECUTE a(1)"),
    ],
    "named": [
        Step(parse('EXECUTE "A ""b""";', "x") + describe("S", "x") + SYNC),
        *(Step(bind((), "x") + describe() + RUN) for _ in range(SERVERS)),
        Step(close("S", "x") + SYNC),
        Step(parse("EXECUTE nobody", "x") + bind((), "x") + RUN),
    ],
    "parsed_behind_a_close_that_is_skipped": [
        Step(
            bind((), "nobody")
            + close("S", "a")
            + SYNC
            + b"".join(parse(text) + bind() + RUN for text in ("EXECUTE a(1)", "DEALLOCATE a")),
            "ZZZ",
        ),
        Step(parse("SELECT 6", "a") + bind((), "a") + RUN),
    ],
    "extended_errors": [
        Step(bind((), "nobody") + parse("DEALLOCATE a") + bind() + RUN),
        extended("PREPARE a AS SELECT 3"),
        extended("EXECUTE a(1)"),
        Step(parse("DEALLOCATE a") + bind((), "nobody") + SYNC),
    ],
}


#: Whoever says such a name keeps the server: it may be any.
ESCAPED: Script = [
    Step(parse("SELECT 'escaped'", r"b\c") + SYNC),
    *sql(
        r'EXECUTE U&"\0061"(1)',
        r'EXECUTE u&"\+000061" (2);',
        r'EXECUTE U&"A ""b"""',
        r'EXECUTE U&"b\\c"',
        r'EXECUTE U&"\00e4"',
        r'EXECUTE U&"\006"',
        r'EXECUTE U&"\0061"(nosuch)',
        r'EXECUTE U&"a"(1); SELECT 2',
        r'DEALLOCATE PREPARE U&"\0061_n\0061me_that_is_longer_than_ours"',
        r'DEALLOCATE U&"\0061"',
        "EXECUTE a(1)",
        "EXECUTE a_name_that_is_longer_than_ours",
    ),
]


@pytest.fixture(scope="module", params=[1, 3], ids=lambda workers: f"{workers}-workers")
def pooler(request: pytest.FixtureRequest, start_pooler: StartPooler) -> Pooler:
    return start_pooler(workers=request.param, databases={"tx": f"dbname=p0 pool_size={SERVERS}"})


@pytest.fixture
def others(pooler: Pooler) -> Iterator[Others]:
    with Others(pooler, "tx", SERVERS) as some:
        yield some


@pytest.mark.parametrize("send", [at_once, byte_by_byte])
@pytest.mark.parametrize("name", SCRIPTS)
def test_same_bytes(
    running_postgres: Postgres, others: Others, pooler: Pooler, name: str, send: Send
) -> None:
    script = [*PREPARED, *SCRIPTS[name], THE_END]
    with direct(running_postgres) as wire:
        expected = run(wire, script)
    with pooled(pooler, "tx") as wire:
        assert_same(expected, others.lead(wire, script, send))


def test_escaped_names(running_postgres: Postgres, pooler: Pooler) -> None:
    with direct(running_postgres) as wire:
        expected = run(wire, [*PREPARED, *ESCAPED, THE_END])
    with pooled(pooler, "tx") as wire:
        assert_same(expected, run(wire, [*PREPARED, *ESCAPED, THE_END]))
