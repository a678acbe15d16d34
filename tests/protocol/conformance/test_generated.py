"""Conversations by chance, always the same ones; `scripts/conformance` has others, for as long as asked."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.protocol.conformance.case import Case, Part
from tests.protocol.conformance.generated import conversations
from tests.protocol.conformance.run import assert_same
from tests.protocol.conformance.world import SIZES, Direct, Pooled, Pools, Size

EXAMPLES = settings(
    max_examples=4,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],  # to shrink takes minutes; scripts/conformance does it
    suppress_health_check=list(HealthCheck),
)


def compare(direct: Direct, pooled: Pooled, parts: list[Part], protocol: str) -> None:
    """The same conversation in both worlds."""
    case = Case(tuple(parts), notified_late=True)
    scenes = case.scenes(protocol)
    assert_same(direct.run(scenes, case), pooled.run(scenes, case))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_one_client(direct: Direct, pools: Pools, size: Size, protocol: str) -> None:
    @EXAMPLES
    @given(conversations("a"))
    def run(parts: list[Part]) -> None:
        compare(direct, pools(size), parts, protocol)

    run()


@pytest.mark.parametrize("size", [size for size in SIZES if size.servers == 3], ids=str)
@pytest.mark.parametrize("protocol", ["simple", "extended"])
def test_three_clients(direct: Direct, pools: Pools, size: Size, protocol: str) -> None:
    @EXAMPLES
    @given(conversations("abc"))
    def run(parts: list[Part]) -> None:
        compare(direct, pools(size), parts, protocol)

    run()
