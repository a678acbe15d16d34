"""Prepared statements of the protocol in transaction pooling: the bytes are PostgreSQL's, whoever is there.

Between any two steps other clients use the same few servers, so a statement is rarely where it was prepared.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.crowd import at_once as all_at_once
from tests.support.exchange import Script, Step, assert_same, direct, pooled
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.shared import StartPooler
from tests.support.wire import SYNC, Message, Wire, bind, close, describe, execute, message, parse, query

FLUSH = message("H")
RUN = execute() + SYNC


def use(name: str, *values: bytes) -> bytes:
    return bind(values, name) + describe() + RUN


SCRIPTS: dict[str, Script] = {
    "use_later": [Step(parse("SELECT 1", "a") + SYNC), Step(use("a")), Step(use("a"))],
    "all_in_one": [Step(parse("SELECT $1::int", "a") + describe("S", "a") + bind([b"7"], "a") + RUN)],
    "describe_later": [Step(parse("SELECT $1::int AS n", "a") + SYNC), Step(describe("S", "a") + SYNC)],
    "unknown": [
        Step(use("nobody")),
        Step(describe("S", "nobody") + SYNC),
        Step(close("S", "nobody") + SYNC),
    ],
    "twice": [Step(parse("SELECT 1", "a") + SYNC), Step(parse("SELECT 2", "a") + SYNC), Step(use("a"))],
    "closed": [Step(parse("SELECT 1", "a") + SYNC), Step(close("S", "a") + SYNC), Step(use("a"))],
    "closed_and_new": [
        Step(parse("SELECT 1", "a") + SYNC),
        Step(close("S", "a") + parse("SELECT 2", "a") + use("a")),
        Step(use("a")),
    ],
    "same_text_two_names": [
        Step(parse("SELECT 1", "a") + parse("SELECT 1", "b") + use("a") + use("b"), "ZZ"),
    ],
    "syntax_error": [
        Step(parse("SELEC", "a") + parse("SELECT 1", "b") + SYNC),
        Step(use("a")),
        Step(use("b")),
    ],
    "error_behind": [Step(parse("SELECT 1", "a") + use("nobody")), Step(use("a"))],
    "error_before": [Step(bind((), "nobody") + parse("SELECT 1", "a") + SYNC), Step(use("a"))],
    "close_is_undone": [
        Step(parse("SELECT 1", "a") + SYNC),
        Step(bind((), "nobody") + close("S", "a") + SYNC),
        Step(use("a")),
    ],
    "closed_behind_a_parse_that_is_undone": [
        Step(bind((), "nobody") + parse("SELECT 1", "a") + SYNC + close("S", "a") + SYNC + use("a"), "ZZZ"),
        Step(parse("SELECT 2", "a") + use("a")),
    ],
    "closed_and_made_behind_a_parse_that_is_undone": [
        Step(
            bind((), "nobody")
            + parse("SELECT 1", "a")
            + SYNC
            + close("S", "a")
            + parse("SELECT 3", "a")
            + use("a"),
            "ZZ",
        ),
        Step(use("a")),
        Step(close("S", "a") + use("a")),
    ],
    "long_name": [
        Step(parse("SELECT 1", name) + describe("S", name) + use(name))
        for name in ("a" * 1000, "b" * 8185, "c" * 8200, "d" * 9900)
    ]
    + [
        Step(close("S", "d" * 9900) + SYNC),
        Step(parse("SELECT 2", "d" * 9900) + use("d" * 9900)),
        Step(describe("S", "c" * 8200) + SYNC),
    ],
    "longest_name": [
        Step(parse("SELECT 1", "e" * 65_000) + use("e" * 65_000)),
        Step(use("e" * 65_000)),
    ],
    "execute_behind_a_parse_that_fails": [
        Step(parse("SELECT 'b'", "b") + SYNC),
        Step(parse("this is no statement", "a") + query("EXECUTE b") + close("S", "a") + SYNC),
        Step(use("b")),
    ],
    "execute_behind_a_parse": [
        Step(parse("SELECT 'b'", "b") + SYNC),
        Step(parse("SELECT 'a'", "a") + query("EXECUTE b") + use("a"), "ZZ"),
        Step(use("b")),
    ],
    "execute_of_a_statement_on_its_way": [
        Step(parse("SELEC", "a") + SYNC + query("EXECUTE a") + query("SELECT 1"), "ZZZ"),
        Step(parse("SELECT 1", "a") + query("EXECUTE a") + SYNC, "ZZ"),
    ],
    "deallocate_of_a_statement_on_its_way": [
        Step(parse("SELECT 1", "a") + query("DEALLOCATE a") + SYNC, "ZZ"),
        Step(use("a")),
        Step(parse("SELECT 2", "a") + use("a")),
    ],
    **{
        f"{how}_{where}_{command.split()[0].lower()}_all": [
            Step(parse("SELECT 'old'", "before") + SYNC),
            Step(first + parse("SELECT 'new'", name) + use(name), "ZZ"),
            Step(use("before")),
            Step(use(name)),
            Step(close("S", name) + parse("SELECT 'third'", name) + use(name)),
        ]
        for command in ("DEALLOCATE ALL", "DISCARD ALL")
        for where, first in (
            ("behind", query(command)),
            ("behind_the_execution_of", parse(command) + bind() + RUN),
        )
        for how, name in (("made", "later"), ("made_anew", "before"))
    },
    "closed_behind_deallocate_all": [
        Step(parse("SELECT 'old'", "a") + SYNC),
        Step(query("DEALLOCATE ALL") + close("S", "a") + bind((), "nobody") + SYNC, "ZZ"),
        Step(use("a")),
    ],
    "unnamed_behind_discard_all": [
        Step(query("DISCARD ALL") + parse("SELECT 1") + SYNC, "ZZ"),
        Step(bind() + RUN),
    ],
    "both_undone": [
        Step(
            bind((), "nobody")
            + parse("SELECT 1", "a")
            + close("S", "a")
            + parse("SELECT 3", "a")
            + SYNC
            + use("a"),
            "ZZ",
        ),
        Step(parse("SELECT 4", "a") + use("a")),
    ],
    "made_anew_behind_a_close_that_is_undone": [
        Step(parse("SELECT 1", "a") + SYNC),
        Step(bind((), "nobody") + close("S", "a") + SYNC + parse("SELECT 2", "a") + use("a"), "ZZ"),
        Step(use("a")),
    ],
    "flush": [Step(parse("SELECT 1", "a") + FLUSH, "1"), Step(bind((), "a") + FLUSH, "2"), Step(RUN)],
    "in_transaction": [
        Step(query("BEGIN")),
        Step(parse("SELECT 1", "a") + SYNC),
        Step(use("a")),
        Step(query("COMMIT")),
        Step(use("a")),
    ],
    "in_failed_transaction": [
        Step(parse("SELECT 1", "a") + parse("ROLLBACK", "back") + SYNC),
        Step(query("BEGIN")),
        Step(query("SELECT 1/0")),
        Step(use("a")),
        Step(use("back")),
        Step(use("a")),
    ],
    "deallocate_all": [Step(parse("SELECT 1", "a") + SYNC), Step(query("DEALLOCATE ALL")), Step(use("a"))],
    "discard_all": [Step(parse("SELECT 1", "a") + SYNC), Step(query("DISCARD ALL")), Step(use("a"))],
    "deallocate": [
        Step(parse("SELECT 1", "A b") + SYNC),
        Step(query('DEALLOCATE "A b"')),
        Step(use("A b")),
        Step(parse("SELECT 2", "A b") + use("A b")),
    ],
    "unnamed_later": [
        Step(parse("SELECT $1::text", "", [25]) + SYNC),
        Step(use("", b"x")),
        Step(use("", b"y")),
    ],
    "unnamed_that_resets": [Step(parse("RESET TimeZone") + SYNC), Step(use(""))],
    "unnamed_that_resets_in_one_write": [Step(parse("RESET TimeZone") + SYNC + use(""), "ZZ")],
    "unnamed_that_sets": [Step(parse("SET array_nulls = off") + SYNC), Step(use(""))],
    "unnamed_that_sets_by_default": [Step(parse("SET DateStyle TO DEFAULT") + SYNC), Step(use(""))],
    "unnamed_of_nobody": [Step(use(""))],
    "unnamed_ends_with_a_query": [Step(parse("SELECT 1") + SYNC), Step(query("SELECT 2")), Step(use(""))],
    "unnamed_that_failed": [
        Step(parse("SELECT 1") + SYNC),
        Step(parse("SELEC") + SYNC),
        Step(use("")),
    ],
    "unnamed_large_later": [
        Step(parse("SELECT length('" + "x" * 900_000 + "')") + SYNC),
        Step(describe("S") + SYNC),
        Step(use("")),
    ],
    "unnamed_closed": [Step(parse("SELECT 1") + SYNC), Step(close("S", "") + SYNC), Step(use(""))],
    "many": [
        *(Step(parse(f"SELECT {n}", f"s{n}") + SYNC) for n in range(12)),
        *(Step(use(f"s{n}")) for n in range(12)),
    ],
    "large": [Step(parse("SELECT length('" + "x" * 200_000 + "')", "a") + SYNC), Step(use("a"))],
    "large_unnamed": [Step(parse("SELECT length('" + "x" * 200_000 + "')") + use(""))],
    "large_value": [Step(parse("SELECT length($1::text)", "a") + SYNC), Step(use("a", b"x" * 300_000))],
    "pipeline": [
        Step(
            parse("SELECT $1::int", "a")
            + b"".join(bind([b"%d" % n], "a") + execute() for n in range(50))
            + SYNC
        )
    ],
}


@pytest.fixture(
    scope="module", params=[(1, 1), (2, 2), (3, 1)], ids=lambda p: f"{p[0]}-workers-{p[1]}-servers"
)
def pooler(request: pytest.FixtureRequest, start_pooler: StartPooler) -> Pooler:
    """Few servers that keep few statements, so that statements are evicted and prepared again."""
    workers, servers = request.param
    return start_pooler(
        workers=workers,
        databases={"tx": f"dbname=p0 pool_size={servers}", "pair": "dbname=p0 pool_size=2"},
        max_prepared_statements=5,
    )


@pytest.fixture
def neighbours(pooler: Pooler) -> Iterator[list[Wire]]:
    wires = [pooled(pooler, "tx") for _ in range(4)]
    yield wires
    for wire in wires:
        wire.close()


def disturb(neighbours: list[Wire], turn: int) -> None:
    """What others do to the servers meanwhile: names and texts alike, unnamed statements, DISCARD ALL."""
    for number, wire in enumerate(neighbours):
        name = f"a{turn}"
        wire.send(parse(f"SELECT {100 + number}", name) + parse(f"SELECT {number}") + use(""))
        wire.receive_until()
        wire.send(use(name) if number % 2 else query("DISCARD ALL"))
        wire.receive_until()


def talk_disturbed(wire: Wire, script: Script, neighbours: list[Wire]) -> list[Message]:
    received: list[Message] = []
    in_transaction = False
    for turn, step in enumerate(script):
        if not in_transaction:  # else the only server may be this client's
            disturb(neighbours, turn)
        wire.send(step.data)
        for kind in step.until:
            received += wire.receive_until(kind)
        in_transaction = received[-1].type != "Z" or received[-1].body != b"I"
    return received


def without_source(messages: list[Message]) -> list[Message]:
    """Errors without the place in PostgreSQL's source: our Parse may fail where a Bind would have."""
    return [
        Message("E", b"\0".join(f for f in m.body.split(b"\0") if f[:1] not in b"LR")) if m.type == "E" else m
        for m in messages
    ]


@pytest.mark.parametrize("name", SCRIPTS)
def test_same_bytes(running_postgres: Postgres, pooler: Pooler, neighbours: list[Wire], name: str) -> None:
    with direct(running_postgres) as wire:
        expected = talk_disturbed(wire, SCRIPTS[name], [])
    with pooled(pooler, "tx") as wire:
        got = talk_disturbed(wire, SCRIPTS[name], neighbours)
    assert_same(without_source(expected), without_source(got))


@pytest.mark.parametrize("ended", [False, True], ids=["made anew", "ended by a query"])
def test_an_earlier_unnamed_statement_is_not_used(pooler: Pooler, ended: bool) -> None:
    """Two servers have one each of the same client: the earlier one must not run, wherever it is."""
    with pooled(pooler, "pair") as mine, pooled(pooler, "pair") as one, pooled(pooler, "pair") as two:
        # Others hold servers by names: a Query or a Parse would end the unnamed statement of a server.
        for holder in (one, two):
            for name in ("BEGIN", "COMMIT"):
                holder.send(parse(name, name) + SYNC)
                holder.receive_until()
        for turn in range(10):
            mine.send(parse(f"SELECT 'old {turn}'") + SYNC)
            mine.receive_until()
            hold(one, "BEGIN")  # one of the two servers
            if ended:
                mine.query("SELECT 1")
            else:
                mine.send(parse(f"SELECT 'new {turn}'") + SYNC)
                mine.receive_until()
            first, last = (one, two) if turn % 2 else (two, one)
            hold(two, "BEGIN")
            hold(first, "COMMIT")  # this server is free, or that one
            mine.send(use(""))
            answer = mine.receive_until()
            hold(last, "COMMIT")
            if ended:
                assert answer[0].fields["C"] == "26000"
            else:
                (row,) = [message for message in answer if message.type == "D"]
                assert row.body.endswith(f"new {turn}".encode())


def hold(wire: Wire, name: str) -> None:
    wire.send(bind((), name) + RUN)
    assert [message.type for message in wire.receive_until()] == ["2", "C", "Z"]


def talk_behind_deallocate_all(wire: Wire) -> list[Message]:
    """More is sent when all names are gone and a pipeline that fails is not answered yet."""
    wire.send(query("DEALLOCATE ALL") + query("SELECT pg_sleep(0.3)"))
    wire.send(bind((), "nobody") + parse("SELECT 1", "y") + SYNC)
    received = wire.receive_until("Z")
    wire.send(parse("SELECT 2", "x") + close("S", "x") + SYNC + use("y") + parse("SELECT 3", "x") + use("x"))
    for _ in range(5):
        received += wire.receive_until("Z")
    return received


def test_names_made_while_all_others_go(running_postgres: Postgres, pooler: Pooler) -> None:
    """Each answer still meets the change that it is about."""
    with direct(running_postgres) as wire:
        expected = talk_behind_deallocate_all(wire)
    for _ in range(3):
        with pooled(pooler, "tx") as wire:
            assert_same(without_source(expected), without_source(talk_behind_deallocate_all(wire)))


def test_many_clients_of_one_name(pooler: Pooler) -> None:
    """Every client has its own text under the same name, as drivers number their statements."""

    def work(number: int) -> None:
        dice = random.Random(number)
        with psycopg.connect(pooler.dsn(dbname="tx"), autocommit=True, prepare_threshold=1) as connection:
            connection.prepared_max = 3
            for _ in range(60):
                k = dice.randrange(6)
                row = connection.execute(f"SELECT %s::int + {k}", (number,)).fetchone()
                assert row == (number + k,)

    all_at_once(12, work)
    assert pooler.show("servers", database="tx")


OURS = "SELECT name FROM pg_prepared_statements WHERE NOT from_sql"


@pytest.mark.parametrize("way", ["close", "deallocate", "deallocate_prepare", "quoted", "dynamic"])
def test_nobody_closes_what_servers_have_of_others(start_pooler: StartPooler, way: str) -> None:
    """By the name that pooler has given it there."""
    ways = {
        "close": lambda name: close("S", name) + SYNC,
        "deallocate": lambda name: query(f"DEALLOCATE {name}"),
        "deallocate_prepare": lambda name: query(f"SELECT 1; DEALLOCATE PREPARE {name.upper()}"),
        "quoted": lambda name: query(f'DEALLOCATE "{name}"'),
        "dynamic": lambda name: query(f"DO $$ BEGIN EXECUTE 'DEALLOCATE ' || '{name}'; END $$"),
    }
    pooler = start_pooler(databases={"ours": "dbname=p0 pool_size=1"})
    pooler.learn_catalogs("ours")
    with pooled(pooler, "ours") as mine, pooled(pooler, "ours") as other:
        mine.send(parse("SELECT 'mine'", "a") + SYNC)
        mine.receive_until()
        ((name,),) = other.rows(OURS)
        assert name is not None
        other.send(ways[way](name.decode()))
        assert not [m.fields for m in other.receive_until() if m.type == "E"]
        other.close()
        for _ in range(2):
            mine.send(use("a"))
            assert [m.values for m in mine.receive_until() if m.type == "D"] == [[b"mine"]]


ALL_GO = "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$"


@pytest.mark.parametrize(
    "script",
    [
        [query(ALL_GO), parse("SELECT 'theirs'", "a") + SYNC],
        [query("BEGIN"), query(ALL_GO), parse("SELECT 'theirs'", "a") + SYNC, query("ROLLBACK")],
        [parse(ALL_GO) + bind() + execute() + parse("SELECT 'theirs'", "a") + SYNC],
    ],
    ids=["apart", "transaction", "pipeline"],
)
def test_nobody_replaces_what_servers_have_of_others(start_pooler: StartPooler, script: list[bytes]) -> None:
    """By a Parse of a name that is there, behind what deallocates all where pooler does not see it."""
    pooler = start_pooler(databases={"ours": "dbname=p0 pool_size=1"})
    pooler.learn_catalogs("ours")
    with pooled(pooler, "ours") as mine, pooled(pooler, "ours") as other:
        for wire in (mine, other):  # whoever comes last has made what both use
            wire.send(parse("SELECT 'mine'", "a") + SYNC)
            wire.receive_until()
        failed = []
        for step in script:
            other.send(step)
            failed += [m.fields for m in other.receive_until() if m.type == "E"]
        assert [e["M"] for e in failed] == ['prepared statement "a" already exists']
        other.close()
        for _ in range(2):
            mine.send(use("a"))
            assert [m.values for m in mine.receive_until() if m.type == "D"] == [[b"mine"]]
