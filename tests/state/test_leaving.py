"""A client that made some state leaves, in every way there is: the next ones see nothing of it.

POOLER_LEAKS_ALL=1 goes every way with each number of workers, in each database and by both protocols.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.state.catalog import KINDS, SORTS, TESTED
from tests.state.conftest import can_be_had, start_scene
from tests.state.exits import WAYS, Way
from tests.state.kind import Kind
from tests.state.reference import Reference
from tests.state.scene import Scene, report
from tests.state.schema import FULL, PLAIN
from tests.support.shared import StartPooler

PLACES = {"1-worker": (1, PLAIN), "2-workers": (2, PLAIN), "full": (2, FULL)}


@pytest.fixture(scope="module", params=list(PLACES.values()), ids=list(PLACES))
def scene(
    request: pytest.FixtureRequest, start_pooler: StartPooler, reference_of: Callable[[str], Reference]
) -> Iterator[Scene]:
    workers, database = request.param
    made = start_scene(start_pooler, reference_of(database), workers, pool_size=1)
    yield made
    made.finish()


@pytest.mark.parametrize("kind", TESTED, ids=str)
def test_leaving(scene: Scene, kind: Kind) -> None:
    if not can_be_had(kind, scene.reference):
        return
    scene.reference.prepare(kind)
    place = list(PLACES.values()).index((scene.workers, scene.reference.postgres.database))
    report(scene.all_ways(kind, share(kind, place)))


def share(kind: Kind, place: int) -> Iterator[tuple[Way, bool]]:
    """The ways in this place, and by which protocol. All ways of one kind of each sort are gone, and every
    third way of the rest, in an even mixture of protocols and places.
    """
    step = 3 if kind in SORTS else 9
    for number, way in enumerate((way for way in WAYS if way.suits(kind)), KINDS.index(kind)):
        if os.environ.get("POOLER_LEAKS_ALL"):
            yield from ((way, False), (way, True))
        elif number % step == place * step // 3:
            yield way, number // step % 2 == 1
