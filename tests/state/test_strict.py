"""session_state = strict: whatever a client has done, the next one gets a server as new, without an
exception; and what is its own follows it as in auto.

The kinds are those of the other tests: one of each sort, those that auto cannot hide, and some of the rest,
in some of the ways. POOLER_LEAKS_ALL=1 takes them all, every way with each number of workers and by both
protocols.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice

import pytest

from pooler.dev.postgres import SUPERUSER
from tests.state.catalog import KINDS, KNOWN, SORTS, named
from tests.state.conftest import can_be_had, start_scene, stay
from tests.state.exits import WAYS
from tests.state.kind import Kind
from tests.state.reference import Reference
from tests.state.scene import Scene, report
from tests.state.test_leaving import share
from tests.support.shared import StartPooler

ALL = bool(os.environ.get("POOLER_LEAKS_ALL"))
CHOSEN = [
    kind for place, kind in enumerate(KINDS) if ALL or kind in SORTS or kind.name in KNOWN or place % 10 == 0
]
CHOSEN.sort(key=lambda kind: "dblink" in kind.needs)


def start_strict(start_pooler: StartPooler, reference: Reference, workers: int, pool_size: int) -> Scene:
    """A scene; where dblink is installed servers would be closed instead of reset."""
    with reference.postgres.client(SUPERUSER) as wire:
        wire.rows("DROP EXTENSION IF EXISTS dblink")
        wire.close()
    return start_scene(start_pooler, reference, workers, pool_size, session_state="strict")


def only_leaks(kind: Kind, problems: list[str]) -> list[str]:
    """What auto cannot follow may be lost; nothing may be seen."""
    return [problem for problem in problems if kind.name not in KNOWN or "LEAK" in problem]


@pytest.fixture(scope="module", params=[1, 2] if ALL else [2], ids=lambda n: f"{n}-workers")
def narrow(
    request: pytest.FixtureRequest, start_pooler: StartPooler, reference: Reference
) -> Iterator[Scene]:
    made = start_strict(start_pooler, reference, request.param, pool_size=1)
    yield made
    made.finish()


def test_servers_are_reset(narrow: Scene) -> None:
    """These tests look at servers that were reset, not at new ones only."""
    kinds = named(
        "SET work_mem", "SET custom", "set_config of a built name", "temp table", "PREPARE", "SET ROLE"
    )
    narrow.renew()
    narrow.servers.clear()
    for kind in kinds:
        narrow.reference.prepare(kind)
        report(narrow.leaving(kind, WAYS[0], False))
    assert narrow.servers["same"] >= len(kinds) - 1


@pytest.mark.parametrize("kind", CHOSEN, ids=str)
def test_leaving(narrow: Scene, kind: Kind) -> None:
    if not can_be_had(kind, narrow.reference):
        return
    narrow.reference.prepare(kind)
    ways = list(islice(share(kind, place=1), None if ALL else 2 if kind in SORTS else 1))
    report(only_leaks(kind, narrow.all_ways(kind, ways)))


@pytest.fixture(scope="module", params=[1, 2] if ALL else [1], ids=lambda n: f"{n}-workers")
def wide(request: pytest.FixtureRequest, start_pooler: StartPooler, reference: Reference) -> Scene:
    return start_strict(start_pooler, reference, request.param, pool_size=3)


@pytest.mark.parametrize("kind", CHOSEN, ids=str)
def test_staying(wide: Scene, kind: Kind) -> None:
    report(only_leaks(kind, stay(wide, kind)))
