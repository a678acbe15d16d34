"""State of clients whose worker is killed, who undo it, or whose neighbours discard everything; prepared
transactions, which belong to no session; and that these tests find a leak where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.state import schema
from tests.state.catalog import SORTS, TESTED, is_possible, named
from tests.state.conftest import start_scene
from tests.state.exits import WAYS
from tests.state.hidden import HIDDEN
from tests.state.kind import Kind, ask
from tests.state.reference import Reference, can_be_asked, look, look_at_own, make
from tests.state.scene import Scene, report
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.shared import StartPooler
from tests.support.wire import Wire

# A worker is killed.


@pytest.fixture(scope="module")
def many_pools(start_pooler: StartPooler, reference: Reference) -> Pooler:
    """Two workers, and a pool of one server for each kind."""
    names = [f"leaks{number}" for number in range(len(SORTS))]
    return start_pooler(workers=2, databases=dict.fromkeys(names, f"dbname={schema.PLAIN} pool_size=1"))


@pytest.mark.parametrize("number", [0, 1])
def test_worker_killed(many_pools: Pooler, reference: Reference, number: int) -> None:
    """Its clients are gone without a word; their servers, idle or not, have nothing of them for the next."""
    clients: list[Wire] = []
    for position, kind in enumerate(SORTS):
        reference.prepare(kind)
        wire = many_pools.wire().login(kind.user, f"leaks{position}", **kind.startup)
        make(wire, kind, position % 2 == 0, position, reference.postgres)
        clients.append(wire)
    kept = {row["port"] for row in many_pools.show("clients") if row["worker"] != number}
    victims = [wire for wire in clients if wire.socket.getsockname()[1] not in kept]
    assert 0 < len(victims) < len(clients)
    many_pools.kill_worker(number)
    for wire in victims:
        wire.expect_closed()
    problems = []
    for position, (kind, wire) in enumerate(zip(SORTS, clients, strict=True)):
        if wire not in victims:
            problems += _kept(reference, wire, kind, position % 2 == 0, position)
            wire.close()
        wire.socket.close()
        with many_pools.wire().login(kind.user, f"leaks{position}") as following:
            problems += _nothing(reference, following, kind, position)
            following.close()
    report(problems)


def _kept(reference: Reference, wire: Wire, kind: Kind, extended: bool, number: int) -> list[str]:
    """The maker sees what it made."""
    if not can_be_asked(kind):
        return []
    seen, expected = (
        look_at_own(wire, kind, extended, number, reference.postgres),
        reference.kept(kind, extended),
    )
    return [] if seen == expected else [f"LOST: {kind}: its maker sees {seen}, not {expected}"]


def _nothing(reference: Reference, wire: Wire, kind: Kind, number: int) -> list[str]:
    """Somebody else sees nothing, by either protocol."""
    problems = []
    for extended in (False, True):
        seen, expected = look(wire, kind, extended, number), reference.fresh(kind, extended)
        if seen != expected:
            problems.append(f"LEAK: {kind}: another sees {seen}, not {expected}")
    return problems


# Nothing is known of a database yet.

UNKNOWN = [kind for kind in HIDDEN if kind.is_alone and kind in TESTED and is_possible(kind, schema.PLAIN)]


@pytest.fixture(scope="module")
def unknown(start_pooler: StartPooler, reference: Reference) -> Pooler:
    """A name of the database for each kind that hides: what is learned of one is not known of the other."""
    names = [f"leaks{number}" for number in range(len(UNKNOWN))]
    return start_pooler(workers=1, databases=dict.fromkeys(names, f"dbname={schema.PLAIN} pool_size=2"))


@pytest.mark.parametrize("kind", UNKNOWN, ids=str)
def test_first_client(unknown: Pooler, reference: Reference, kind: Kind) -> None:
    """The first statements ever in a database: others see nothing of them, their client sees it all."""
    reference.prepare(kind)
    database = f"leaks{UNKNOWN.index(kind)}"
    with unknown.wire().login(kind.user, database) as maker:
        make(maker, kind, False, 0, reference.postgres)
        with unknown.wire().login(kind.user, database) as other:
            ask(other, "SELECT 1")
            ask(other, "BEGIN")
            problems = _kept(reference, maker, kind, False, 0)
            ask(other, "COMMIT")
            problems += _nothing(reference, other, kind, 0)
            other.close()
        maker.close()
    with unknown.wire().login(kind.user, database) as following:
        problems += _nothing(reference, following, kind, 0)
        following.close()
    unknown.console(f"KILL {database}")  # its servers go: there are many such databases
    report(problems)


# A neighbour discards.


@pytest.fixture(scope="module")
def roomy(start_pooler: StartPooler, reference: Reference) -> Scene:
    return start_scene(start_pooler, reference, workers=2, pool_size=len(SORTS) + 2)


DISCARDING = [
    *("DISCARD ALL", "DISCARD PLANS", "DISCARD TEMP", "DISCARD SEQUENCES", "RESET ALL", "RESET ROLE"),
    *(
        "DEALLOCATE ALL",
        "UNLISTEN *",
        "CLOSE ALL",
        "SELECT pg_advisory_unlock_all()",
        "RESET SESSION AUTHORIZATION",
    ),
]


def test_neighbours_discard(roomy: Scene) -> None:
    """Whatever clients throw away is their own."""
    reference = roomy.reference
    clients = []
    for position, kind in enumerate(SORTS):
        reference.prepare(kind)
        wire = roomy.client(kind.user, **kind.startup)
        make(wire, kind, position % 2 == 0, position, reference.postgres)
        clients.append(wire)
    for statement in DISCARDING:
        with roomy.client("bouncer") as first, roomy.client("bouncer") as second:
            for extended in (False, True):
                for wire in (first, second):
                    answer = ask(wire, statement, extended)
                    assert not any(line.startswith("error") for line in answer), answer
    problems = []
    for position, (kind, wire) in enumerate(zip(SORTS, clients, strict=True)):
        problems += _kept(reference, wire, kind, position % 2 == 0, position)
    roomy.finish()
    report(problems)


# Clients undo what they made.

UNDONE = {
    "SET work_mem": "RESET work_mem",
    "SET custom": "RESET ALL",
    "SET ROLE": "RESET ROLE",
    "advisory lock exclusive": "SELECT pg_advisory_unlock(70)",
    "advisory lock of many": "SELECT pg_advisory_unlock_all()",
    "advisory lock in a function": "SELECT pg_advisory_unlock(75)",
    "temp table": "DROP TABLE left_behind",
    "temp table in a function": "DISCARD TEMP",
    "temp view": "DROP VIEW left_behind",
    "PREPARE": "DEALLOCATE left_behind",
    "PREPARE in a function": "DEALLOCATE ALL",
    "WITH HOLD": "CLOSE left_behind",
    "WITH HOLD in a function": "CLOSE ALL",
    "LISTEN": "UNLISTEN leaks",
    "currval": "DISCARD SEQUENCES",
    "set_config of a built name": "DISCARD ALL",
}


@pytest.fixture(scope="module")
def one_server(start_pooler: StartPooler, reference: Reference) -> Scene:
    return start_scene(start_pooler, reference, workers=1, pool_size=1)


@pytest.fixture
def narrow(one_server: Scene) -> Iterator[Scene]:
    """A pool of one server, that no client of another test has."""
    yield one_server
    one_server.renew()


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
@pytest.mark.parametrize("name", UNDONE)
def test_undone(narrow: Scene, name: str, extended: bool) -> None:
    """Then nothing is left, for any client, and the only server is free for others while its client stays."""
    (kind,) = named(name)
    narrow.reference.prepare(kind)
    maker, other = narrow.client(kind.user), narrow.client(kind.user)
    make(maker, kind, extended, 0, narrow.reference.postgres)
    answer = ask(maker, UNDONE[name], extended)
    assert not any(line.startswith("error") for line in answer), answer
    problems = _nothing(narrow.reference, other, kind, 0) + _nothing(narrow.reference, maker, kind, 0)
    report(problems)


# Statement pooling.


def test_statement_pooling(start_pooler: StartPooler, reference: Reference) -> None:
    """The same as in transaction pooling, but for what needs a transaction."""
    scene = start_scene(start_pooler, reference, workers=1, pool_size=1, pool_mode="statement")
    ways = [way for way in WAYS if not way.before and not any("BEGIN" in act for act in way.after)]
    problems = []
    for position, kind in enumerate(kind for kind in SORTS if not kind.open):
        reference.prepare(kind)
        suiting = [way for way in ways if way.suits(kind)][position % 3 :: 3]
        mixed = [(way, (position + number) % 2 == 0) for number, way in enumerate(suiting)]
        problems += [f"{kind}: {problem}" for problem in scene.all_ways(kind, mixed)]
    scene.finish()
    report(problems)


# What is no state of a session.


def test_prepared_transaction(narrow: Scene, running_postgres: Postgres) -> None:
    """It stays when its maker leaves, and anybody may commit it."""
    for number, way in enumerate(way for way in WAYS if not way.before and not way.last):
        with narrow.client("bouncer") as maker:
            for statement in ("BEGIN", "INSERT INTO opened VALUES (1)", f"PREPARE TRANSACTION 'p{number}'"):
                ask(maker, statement)
            way.leave(maker, narrow.kill)
        with narrow.client("bouncer") as following:
            assert ask(following, "SELECT gid FROM pg_prepared_xacts") == [
                f"row p{number}",
                "C SELECT 1",
                "Z I",
            ]
            assert ask(following, f"COMMIT PREPARED 'p{number}'") == ["C COMMIT PREPARED", "Z I"]
            following.close()
    (count,) = running_postgres.sql("DELETE FROM opened RETURNING 1", dbname=schema.PLAIN)[-1]
    assert count == 1


# The tests themselves.


def test_leaks_are_found(start_pooler: StartPooler, reference: Reference) -> None:
    """Without session state everything does leak, and is found to."""
    scene = start_scene(start_pooler, reference, workers=1, pool_size=1, session_state="off")
    for kind in named("SET work_mem", "SET custom", "SQL function", "SET ROLE", "temp table", "PREPARE"):
        reference.prepare(kind)
        found = scene.leaving(kind, WAYS[0], False)
        assert any(problem.startswith("LEAK") for problem in found), f"{kind}: {found}"
        scene.renew()
    scene.finish()


def test_same_server(narrow: Scene) -> None:
    """A client that left nothing behind leaves its server to the next one: that is where these tests look."""
    (kind,) = named("SET rolled back")
    narrow.reference.prepare(kind)
    narrow.servers.clear()
    for _ in range(5):
        assert narrow.leaving(kind, WAYS[0], False) == []
    assert narrow.servers["same"] >= 4
