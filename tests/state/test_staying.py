"""A client that made some state stays: others see nothing of it, and it still sees it on whatever server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.state.catalog import TESTED
from tests.state.conftest import start_scene, stay
from tests.state.kind import Kind
from tests.state.reference import Reference
from tests.state.scene import Scene, report
from tests.state.schema import FULL, PLAIN
from tests.support.shared import StartPooler

PLACES = {"1-worker": (1, PLAIN), "2-workers": (2, PLAIN), "full": (2, FULL)}


@pytest.fixture(scope="module", params=list(PLACES.values()), ids=list(PLACES))
def scene(
    request: pytest.FixtureRequest, start_pooler: StartPooler, reference_of: Callable[[str], Reference]
) -> Scene:
    workers, database = request.param
    return start_scene(start_pooler, reference_of(database), workers, pool_size=3)


@pytest.mark.parametrize("kind", TESTED, ids=str)
def test_staying(scene: Scene, kind: Kind) -> None:
    report(stay(scene, kind))
