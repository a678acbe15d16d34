"""A client that made some state leaves, in every way there is: the next ones see nothing of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.leaks.catalog import KINDS
from tests.leaks.conftest import start_scene
from tests.leaks.exits import WAYS
from tests.leaks.kind import Kind
from tests.leaks.reference import Reference
from tests.leaks.scene import Scene, report
from tests.support.shared import StartPooler


@pytest.fixture(scope="module", params=[1, 2], ids=["1-worker", "2-workers"])
def scene(request: pytest.FixtureRequest, start_pooler: StartPooler, reference: Reference) -> Iterator[Scene]:
    made = start_scene(start_pooler, reference, request.param, pool_size=1)
    yield made
    made.finish()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_leaving(scene: Scene, kind: Kind, possible: bool) -> None:
    if not possible:
        return
    scene.reference.prepare(kind)
    problems: dict[str, list[str]] = {}
    for number, way in enumerate(way for way in WAYS if way.suits(kind)):
        # Each way by one protocol here and by the other one with the other number of workers.
        extended = (number + scene.workers) % 2 == 1
        name = f"{way.name} ({'extended' if extended else 'simple'})"
        try:
            found = scene.leaving(kind, way, extended)
        except TimeoutError:
            problems[name] = ["stuck"]
            scene.renew()
            break
        if found:
            problems[name] = found
            scene.renew()
    report([f"{name}: {'; '.join(found)}" for name, found in problems.items()])
