"""Prepared statements whose tables change: the bytes are those of a client that parsed after the change.

PostgreSQL itself refuses such statements ("cached plan must not change result type"). Through pooler a client gets
that error only when it may go by columns that it was told of before; every server has the old statement, and
every server is visited.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.support.exchange import Script, Send, Step, assert_same, at_once, byte_by_byte, direct, pooled
from tests.support.others import Others, run, types
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.shared import StartPooler
from tests.support.wire import FLUSH, SYNC, Message, Wire, bind, close, describe, execute, parse, query

SERVERS = 3
RUN = execute() + SYNC
TEXT = "SELECT * FROM {table} ORDER BY 1"
PREPARE = [Step(parse(TEXT, "a") + parse(TEXT + " DESC", "b") + SYNC)]
numbers = count()

CHANGES = {
    "column_added": "ALTER TABLE {table} ADD COLUMN c text DEFAULT 'new'",
    "column_dropped": "ALTER TABLE {table} DROP COLUMN n",
    "type": "ALTER TABLE {table} ALTER COLUMN n TYPE text",
    "table_replaced": "DROP TABLE {table}; CREATE TABLE {table} AS SELECT 'x' AS x",
}

#: What a client that is told of the columns does, before and after the change.
TOLD: dict[str, Script] = {
    "portal": [Step(bind((), "a") + describe() + RUN)],
    "statement": [Step(describe("S", "a") + SYNC)],
    "statement_and_rows": [Step(describe("S", "a") + bind((), "a") + RUN)],
    "several": [Step((bind((), "a") + describe() + execute()) * 3 + SYNC)],
    "two_statements": [Step(b"".join(bind((), name) + describe() + execute() for name in "aba") + SYNC)],
    "named_portal": [Step(bind((), "a", "p") + describe("P", "p") + execute("p", 1) + execute("p") + SYNC)],
    "flush": [Step(bind((), "a") + describe() + FLUSH, "2T"), Step(execute() + FLUSH, "C"), Step(SYNC)],
    "closed_behind": [
        Step(bind((), "a") + describe() + execute() + close("S", "a") + SYNC),
        Step(parse(TEXT, "a") + SYNC),
    ],
    "parsed_before": [
        Step(close("S", "a") + parse(TEXT, "a") + bind((), "a") + RUN),
    ],
    "other_parsed_before": [
        Step(parse("SELECT 1", "one") + bind((), "a") + describe() + RUN),
        Step(close("S", "one") + SYNC),
    ],
}


def of_table(script: Script, table: str) -> Script:
    """The script with the table's name, which is as long as what stands for it."""
    assert len(table) == len("{table}")
    return [Step(step.data.replace(b"{table}", table.encode()), step.until) for step in script]


@pytest.fixture(scope="module", params=[1, 3], ids=lambda workers: f"{workers}-workers")
def pooler(request: pytest.FixtureRequest, start_pooler: StartPooler) -> Pooler:
    """Its database `tx` sees changes that come through it, `too` is the same database by another name."""
    database = f"dbname=p0 pool_size={SERVERS}"
    return start_pooler(workers=request.param, databases={"tx": database, "too": database})


def sql(pg: Postgres, text: str) -> None:
    """Runs it past pooler, which sees nothing of it."""
    pg.sql(text, user="bouncer", dbname="p0")


@pytest.fixture
def table(running_postgres: Postgres) -> Iterator[str]:
    name = f"t{next(numbers):06}"
    sql(
        running_postgres,
        f"CREATE TABLE {name} AS SELECT n, 'row ' || n AS name FROM generate_series(1, 3) AS n",
    )
    yield name
    sql(running_postgres, f"DROP TABLE {name} CASCADE")


@pytest.fixture
def others(pooler: Pooler) -> Iterator[Others]:
    with Others(pooler, "tx", SERVERS) as some:
        yield some


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("send", [at_once, byte_by_byte])
@pytest.mark.parametrize("name", TOLD)
def test_told_of_the_columns(
    running_postgres: Postgres, others: Others, pooler: Pooler, table: str, name: str, send: Send, change: str
) -> None:
    """Nobody notices anything, on any server."""
    prepare, script = of_table(PREPARE, table), of_table(TOLD[name], table)
    others.everywhere(prepare, [Step(bind((), "a") + RUN), Step(bind((), "b") + RUN)])
    with pooled(pooler, "tx") as wire, direct(running_postgres) as after:
        run(wire, prepare)
        assert "E" not in types(others.on_each(lambda: run(wire, script)))
        sql(running_postgres, CHANGES[change].format(table=table))
        run(after, prepare)
        expected = [message for _ in range(2 * SERVERS) for message in run(after, script)]
        got = others.on_each(lambda: run(wire, script, send)) + others.on_each(lambda: run(wire, script))
        assert_same(expected, got)
