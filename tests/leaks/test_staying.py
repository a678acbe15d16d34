"""A client that made some state stays: others see nothing of it, and it still sees it on whatever server."""

from __future__ import annotations

import pytest

from tests.leaks.catalog import KINDS, TESTED
from tests.leaks.conftest import start_scene
from tests.leaks.kind import Kind
from tests.leaks.reference import Reference
from tests.leaks.scene import Scene, report
from tests.support.shared import StartPooler


@pytest.fixture(scope="module", params=[1, 2], ids=["1-worker", "2-workers"])
def scene(request: pytest.FixtureRequest, start_pooler: StartPooler, reference: Reference) -> Scene:
    return start_scene(start_pooler, reference, request.param, pool_size=3)


@pytest.mark.parametrize("kind", TESTED, ids=str)
def test_staying(scene: Scene, kind: Kind, possible: bool) -> None:
    if not possible:
        return
    scene.reference.prepare(kind)
    extended = (KINDS.index(kind) + scene.workers) % 2 == 0
    try:
        found = scene.staying(kind, extended)
    except TimeoutError:
        found = ["stuck"]
    if found:
        scene.renew()
    report([f"{'extended' if extended else 'simple'}: {problem}" for problem in found])
