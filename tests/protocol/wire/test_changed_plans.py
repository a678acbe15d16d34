"""Prepared statements whose tables change: the bytes are those of a client that parsed after the change.

PostgreSQL itself refuses such statements ("cached plan must not change result type"). Through pooler a
client gets that error only when it may go by columns that it was told of before. Every server has the old
statement, and every server is visited.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count

import pytest

from tests.support.exchange import Script, Send, Step, assert_same, at_once, byte_by_byte, direct, pooled
from tests.support.others import Others, run, types
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.shared import StartPooler
from tests.support.wire import (
    FLUSH,
    SYNC,
    Message,
    Wire,
    bind,
    close,
    describe,
    execute,
    message,
    parse,
    query,
)

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


#: The statement is run, and its columns are not asked for.
BLIND = Step(bind((), "a") + RUN)

#: What a client does that comes after the change.
FRESH: dict[str, Script] = {
    "all_at_once": [Step(parse(TEXT, "a") + bind((), "a") + describe() + RUN), BLIND],
    "never_described": [Step(parse(TEXT, "a") + SYNC), BLIND, BLIND],
    "blind_at_once": [Step(parse(TEXT, "a") + bind((), "a") + RUN), BLIND],
    "statement_described": [Step(parse(TEXT, "a") + SYNC), Step(describe("S", "a") + SYNC), BLIND, BLIND],
    "with_flush": [Step(parse(TEXT, "a") + describe("S", "a") + FLUSH, "1T"), BLIND, BLIND],
    "simple": [Step(parse(TEXT, "a") + SYNC), Step(query("EXECUTE a")), Step(query("EXECUTE a"))],
}

#: Changes that come through pooler.
ALTER = CHANGES["type"]
SEEN: dict[str, Script] = {
    "simple": [Step(query(ALTER))],
    "several": [Step(query(f"SELECT 1; {ALTER}; SELECT 2"))],
    "extended": [Step(parse(ALTER) + bind() + RUN)],
    "transaction": [Step(query("BEGIN")), Step(query(ALTER)), Step(query("COMMIT"))],
    "replaced": [Step(query("DROP TABLE {table}; CREATE TABLE {table} (other int)"))],
}


def of_table(script: Script, table: str) -> Script:
    """The script with the table's name, which is as long as what stands for it in a message."""
    assert len(table) == len("{table}")
    return [Step(step.data.replace(b"{table}", table.encode()), step.until) for step in script]


@pytest.fixture(scope="module", params=[1, 3], ids=lambda workers: f"{workers}-workers")
def pooler(request: pytest.FixtureRequest, start_pooler: StartPooler) -> Pooler:
    pooler = start_pooler(workers=request.param, databases={"tx": f"dbname=p0 pool_size={SERVERS}"})
    pooler.learn_catalogs("tx")  # before, texts are shared by nobody
    return pooler


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
    sql(running_postgres, f"DROP TABLE IF EXISTS {name}")


@pytest.fixture
def others(pooler: Pooler) -> Iterator[Others]:
    with Others(pooler, "tx", SERVERS) as some:
        yield some


@pytest.mark.parametrize(
    ("change", "send"), [*((change, at_once) for change in CHANGES), ("type", byte_by_byte)]
)
@pytest.mark.parametrize("name", TOLD)
def test_told_of_the_columns(
    running_postgres: Postgres, others: Others, pooler: Pooler, table: str, name: str, change: str, send: Send
) -> None:
    """Nobody notices anything, on any server."""
    prepare, script = of_table(PREPARE, table), of_table(TOLD[name], table)
    others.everywhere(prepare, [BLIND, Step(bind((), "b") + RUN)])
    with pooled(pooler, "tx") as wire, direct(running_postgres) as after:
        run(wire, prepare)
        assert "E" not in types(others.on_each(lambda: run(wire, script)))
        sql(running_postgres, CHANGES[change].format(table=table))
        run(after, prepare)
        expected = [got for _ in range(2 * SERVERS) for got in run(after, script)]
        got = others.on_each(lambda: run(wire, script, send)) + others.on_each(lambda: run(wire, script))
        assert_same(expected, got)


#: As BLIND, and by a format for each column, which is no better if the columns are asked for again.
FORMATS = message("B", "", "a", 0, 0, 2, 0, 0)
GOING_BY = {"blind": BLIND, "formats": Step(FORMATS + RUN), "formats_again": Step(FORMATS + describe() + RUN)}


@pytest.mark.parametrize("going_by", GOING_BY)
@pytest.mark.parametrize("told", [describe("S", "a"), bind((), "a") + describe() + execute()])
def test_goes_by_columns_told_before(
    running_postgres: Postgres, others: Others, pooler: Pooler, table: str, told: bytes, going_by: str
) -> None:
    """A client that knows the old columns gets PostgreSQL's error, on every server, until it parses again."""
    use = GOING_BY[going_by]
    prepare, again = (
        of_table(PREPARE, table),
        of_table([Step(close("S", "a") + parse(TEXT, "a") + SYNC)], table),
    )
    others.everywhere(prepare, [BLIND])
    with pooled(pooler, "tx") as wire, direct(running_postgres) as before:
        for client in (before, wire):
            run(client, [*prepare, Step(told + SYNC)])
        others.on_each(lambda: run(wire, [BLIND]))  # so that every server has it, and says the error itself
        sql(running_postgres, CHANGES["type"].format(table=table))
        expected = [got for _ in range(SERVERS) for got in run(before, [use])]
        assert types(expected) == "EZ" * SERVERS
        assert_same(expected, others.on_each(lambda: run(wire, [use])))
        expected = run(before, again) + [got for _ in range(SERVERS) for got in run(before, [use])]
        assert_same(expected, run(wire, again) + others.on_each(lambda: run(wire, [use])))


@pytest.mark.parametrize("name", FRESH)
def test_parsed_after_the_change(
    running_postgres: Postgres, others: Others, pooler: Pooler, table: str, name: str
) -> None:
    """A client that came after the change hears nothing of it, whatever it is told or not told."""
    script = of_table(FRESH[name], table)
    others.everywhere(of_table(PREPARE, table), [BLIND])
    sql(running_postgres, CHANGES["column_added"].format(table=table))
    with direct(running_postgres) as wire:
        expected = run(wire, script)
    for _ in range(2):
        with pooled(pooler, "tx") as wire:
            assert_same(expected, others.lead(wire, script))


@pytest.mark.parametrize("name", SEEN)
def test_change_that_is_seen(
    running_postgres: Postgres, others: Others, pooler: Pooler, table: str, name: str
) -> None:
    """After a change that came through pooler nobody who parses meets the old statement, ever."""
    use = of_table([Step(parse(TEXT, "a") + bind((), "a") + describe() + RUN)], table)
    script = [Step(query("BEGIN")), *use, Step(query("COMMIT"))]
    others.everywhere(of_table(PREPARE, table), [BLIND])
    with pooled(pooler, "tx") as wire:
        assert "E" not in types(run(wire, of_table(SEEN[name], table)))
    with direct(running_postgres) as wire:
        expected = run(wire, script)
    assert "E" not in types(expected)

    def newcomer() -> list[Message]:
        with pooled(pooler, "tx") as wire:
            return run(wire, script)

    assert_same(expected * SERVERS, others.on_each(newcomer))


def test_undone_change(running_postgres: Postgres, others: Others, pooler: Pooler, table: str) -> None:
    """What was parsed in a transaction that is rolled back is parsed again, in it and afterwards."""
    use = of_table([Step(bind((), "a") + describe() + RUN)], table)
    prepare = of_table([Step(parse(TEXT, "a") + SYNC)], table)
    change = query(CHANGES["type"].format(table=table))
    script = [
        *(Step(query("BEGIN")), Step(query("SAVEPOINT s")), Step(change), *prepare, *use),
        *(Step(query("ROLLBACK TO s")), Step(close("S", "a") + SYNC), *prepare, *use),
        *(Step(change), Step(close("S", "a") + SYNC), *prepare, *use, Step(query("ROLLBACK"))),
        *(Step(query("BEGIN")), Step(close("S", "a") + SYNC), *prepare, *use, Step(query("COMMIT"))),
    ]
    with direct(running_postgres) as wire:
        expected = run(wire, script)
    assert "E" not in types(expected)
    with pooled(pooler, "tx") as wire:
        assert_same(expected, others.lead(wire, script))


def test_in_a_transaction(running_postgres: Postgres, others: Others, pooler: Pooler, table: str) -> None:
    """There the error cannot be hidden, but once is enough; nor need it come."""
    prepare, use = of_table(PREPARE, table), [Step(bind((), "a") + describe() + RUN)]
    others.everywhere(prepare, [BLIND])
    with pooled(pooler, "tx") as wire, direct(running_postgres) as after:
        run(wire, [*prepare, *use])
        sql(running_postgres, CHANGES["column_dropped"].format(table=table))
        run(after, prepare)
        script = [Step(query("BEGIN")), *use, Step(query("ROLLBACK"))]
        expected, failures = run(after, script), []
        for _ in range(3):
            for answers in others.each(lambda: run(wire, script)):
                failures += [message.fields["M"] for message in answers if message.type == "E"]
                if types(answers) != "CZEZCZ":
                    assert_same(expected, answers)
        assert failures in ([], ["cached plan must not change result type"])


def test_behind_something_that_was_executed(
    running_postgres: Postgres, others: Others, pooler: Pooler, table: str
) -> None:
    """What has run is not run twice: the error is the client's, but only once."""
    prepare = [*of_table(PREPARE, table), Step(parse("SELECT nextval('ran')", "n") + SYNC)]
    use = [Step(bind((), "n") + execute() + bind((), "a") + describe() + RUN)]
    sql(running_postgres, "DROP SEQUENCE IF EXISTS ran; CREATE SEQUENCE ran")
    others.everywhere(of_table(PREPARE, table), [BLIND])
    with pooled(pooler, "tx") as wire:
        run(wire, [*prepare, *use])
        sql(running_postgres, CHANGES["column_added"].format(table=table))
        told = types(run(wire, use)) + types(others.on_each(lambda: run(wire, use)))
        assert told.replace("2DCEZ", "", 1) in ("2DC2TDDDCZ" * SERVERS, "2DC2TDDDCZ" * (SERVERS + 1))
        assert wire.rows("SELECT last_value FROM ran") == [[b"%d" % (2 + SERVERS)]]


@pytest.mark.parametrize("kilobytes", [5, 60, 200])
def test_large_values(
    running_postgres: Postgres, others: Others, pooler: Pooler, table: str, kilobytes: int
) -> None:
    """A pipeline that is too large to be kept fails as in PostgreSQL itself; the next small one heals it."""
    text = "SELECT *, length($1::text) FROM {table}"
    prepare = of_table([Step(parse(text, "a") + SYNC)], table)
    large, small = ([Step(bind([b"x" * n], "a") + describe() + RUN)] for n in (kilobytes * 1000, 1))
    others.everywhere(prepare, small)
    with pooled(pooler, "tx") as wire, direct(running_postgres) as before, direct(running_postgres) as after:
        for client in (before, wire):
            run(client, [*prepare, *small])
        others.on_each(lambda: run(wire, small))  # so that every server has it
        sql(running_postgres, CHANGES["column_added"].format(table=table))
        run(after, prepare)
        expected = run(after if kilobytes < 64 else before, large)
        assert_same(expected * SERVERS, others.on_each(lambda: run(wire, large)))
        expected = run(after, [*small, *large])
        assert_same(expected * SERVERS, others.on_each(lambda: run(wire, [*small, *large])))


def test_execute(running_postgres: Postgres, others: Others, pooler: Pooler, table: str) -> None:
    """EXECUTE of a statement that was prepared by Parse is asked again like the protocol's."""
    prepare, use = of_table(PREPARE, table), [Step(query("EXECUTE a"))]
    others.everywhere(prepare, use)
    with pooled(pooler, "tx") as wire, direct(running_postgres) as after:
        run(wire, [*prepare, *use])
        sql(running_postgres, CHANGES["column_added"].format(table=table))
        run(after, prepare)
        assert_same(run(after, use) * SERVERS, others.on_each(lambda: run(wire, use)))


def test_execute_of_what_cannot_be_prepared(
    running_postgres: Postgres, others: Others, pooler: Pooler, table: str
) -> None:
    """One error, whether the server had the statement or not, and its place is in the statement's text."""
    prepare, use = of_table(PREPARE, table), [Step(query("EXECUTE a")), Step(query("SELECT 1; EXECUTE a"))]
    with pooled(pooler, "tx") as wire, direct(running_postgres) as before:
        for client in (wire, before):
            run(client, [*prepare, *use])
        sql(running_postgres, f"DROP TABLE {table}")
        expected = run(before, use)
        assert types(expected) == "EZTDCEZ"
        assert_same(expected * SERVERS, others.on_each(lambda: run(wire, use)))


@pytest.fixture
def knowing(
    running_postgres: Postgres, pooler: Pooler, others: Others, table: str
) -> Iterator[tuple[Wire, Wire]]:
    """A client of PostgreSQL and one of pooler who were told of the table's columns, and go by them."""
    others.everywhere(of_table(PREPARE, table), [BLIND])
    with direct(running_postgres) as before, pooled(pooler, "tx") as wire:
        for client in (before, wire):
            run(client, [*of_table(PREPARE, table), Step(describe("S", "a") + SYNC), BLIND])
        yield before, wire


def without_place(messages: list[Message]) -> list[Message]:
    """Errors without the line of PostgreSQL's source, which pooler does not know."""
    return [
        Message("E", b"\0".join(f for f in m.body.split(b"\0") if f[:1] != b"L")) if m.type == "E" else m
        for m in messages
    ]


@pytest.mark.parametrize("send", [at_once, byte_by_byte])
@pytest.mark.parametrize("state", ["prepared_anew", "new_servers"])
def test_columns_that_are_no_more(
    pooler: Pooler, others: Others, table: str, knowing: tuple[Wire, Wire], state: str, send: Send
) -> None:
    """A client that goes by columns is refused whether or not another has prepared the statement anew."""
    before, wire = knowing
    alter, prepare = query(CHANGES["type"].format(table=table)), of_table(PREPARE, table)
    last = GOING_BY["formats_again"]
    script = [BLIND, Step(query("BEGIN")), Step(query("SELECT 1")), BLIND, Step(query("ROLLBACK")), last]
    with pooled(pooler, "tx") as other:
        run(other, [Step(alter)])
    if state == "new_servers":
        pooler.console("RECONNECT tx")
    else:
        anew = [Step(close("S", "a") + close("S", "b") + SYNC), *prepare, BLIND]
        for other in others.wires:
            run(other, anew[:1])
        others.everywhere(anew)
    expected = without_place(run(before, script))
    assert types(expected) == "EZCZTDCZEZCZEZ"
    assert_same(expected * SERVERS, without_place(others.on_each(lambda: run(wire, script, send))))
    again = [
        Step(bind((), "a") + describe() + RUN),
        *of_table([Step(close("S", "a") + parse(TEXT, "a") + SYNC)], table),
    ]
    assert types(others.on_each(lambda: run(wire, [again[0], BLIND], send))) == "2TDDDCZ2DDDCZ" * SERVERS
    run(before, again[1:])
    assert_same(run(before, [BLIND]) * SERVERS, others.on_each(lambda: run(wire, [BLIND])))


def test_columns_that_are_still_there(
    pooler: Pooler, others: Others, table: str, knowing: tuple[Wire, Wire]
) -> None:
    """Nobody is refused because something else was altered, or the same table made again."""
    before, wire = knowing
    with pooled(pooler, "tx") as other:
        other.query(f"CREATE INDEX ON {table} (n)")
        other.query(f"BEGIN; CREATE TABLE copy AS TABLE {table}; DROP TABLE {table}")
        other.query(f"ALTER TABLE copy RENAME TO {table}; COMMIT")
    expected = run(before, [BLIND])
    assert types(expected) == "2DDDCZ"
    assert_same(expected * SERVERS, others.on_each(lambda: run(wire, [BLIND])))
    pooler.console("RECONNECT tx")
    assert_same(expected * SERVERS, others.on_each(lambda: run(wire, [BLIND])))


#: What comes in one write behind a Bind whose error waits: its Sync, and other pipelines; what each is
#: answered with. A client that is told of the columns hears of no error, and what is used behind one has
#: been prepared again.
BEHIND: dict[str, tuple[bytes, list[str]]] = {
    "its_end": (RUN, ["EZ"]),
    "another": (RUN + bind((), "b") + RUN, ["EZ", "2DDDCZ"]),
    "described": (describe() + RUN + bind((), "a") + describe() + RUN, ["2TDDDCZ", "2TDDDCZ"]),
    "query": (RUN + query("SELECT 1"), ["EZ", "TDCZ"]),
    "three": (RUN + (bind((), "b") + RUN) * 2, ["EZ", "2DDDCZ", "2DDDCZ"]),
}


@pytest.mark.parametrize("behind", BEHIND)
def test_more_pipelines_behind_an_error_that_waits(
    running_postgres: Postgres, others: Others, pooler: Pooler, table: str, behind: str
) -> None:
    prepare, (rest, expected) = of_table(PREPARE, table), BEHIND[behind]
    others.everywhere(prepare, [BLIND, Step(bind((), "b") + RUN)])
    with pooled(pooler, "tx") as wire, others.busy():
        others.wires[0].query("COMMIT")
        run(wire, [*prepare, Step(bind((), "a") + describe() + RUN), Step(bind((), "b") + RUN)])
        sql(running_postgres, CHANGES["type"].format(table=table))
        wire.send(bind((), "a"))
        time.sleep(0.2)  # for the error, of which no answer tells
        wire.send(rest)
        for (
            wanted
        ) in expected:  # where it came later than that, what was sent behind it has errors of its own
            assert types(wire.receive_until()) in (wanted, "EZ")
        others.wires[0].query("BEGIN")
