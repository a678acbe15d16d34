"""A client that made some state leaves, in every way there is: the next ones see nothing of it.

POOLER_LEAKS_ALL=1 goes every way with each number of workers and by both protocols.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.leaks.catalog import KINDS, SORTS, TESTED
from tests.leaks.conftest import start_scene
from tests.leaks.exits import WAYS, Way
from tests.leaks.kind import Kind
from tests.leaks.reference import Reference
from tests.leaks.scene import Scene, report
from tests.support.shared import StartPooler


@pytest.fixture(scope="module", params=[1, 2], ids=["1-worker", "2-workers"])
def scene(request: pytest.FixtureRequest, start_pooler: StartPooler, reference: Reference) -> Iterator[Scene]:
    made = start_scene(start_pooler, reference, request.param, pool_size=1)
    yield made
    made.finish()


@pytest.mark.parametrize("kind", TESTED, ids=str)
def test_leaving(scene: Scene, kind: Kind, possible: bool) -> None:
    if not possible:
        return
    scene.reference.prepare(kind)
    report(scene.all_ways(kind, _share(kind, scene.workers)))


def _share(kind: Kind, workers: int) -> Iterator[tuple[Way, bool]]:
    """The ways for this number of workers, and by which protocol. All ways of one kind of each sort are gone,
    and every third way of the rest, in an even mixture of protocols and numbers of workers.
    """
    step = 2 if kind in SORTS else 6
    for number, way in enumerate((way for way in WAYS if way.suits(kind)), KINDS.index(kind)):
        if os.environ.get("POOLER_LEAKS_ALL"):
            yield from ((way, False), (way, True))
        elif number % step == (workers - 1) * step // 2:
            yield way, number // step % 2 == 1
