"""What clients receive is what PostgreSQL would have sent, whatever others do to the servers meanwhile."""

from __future__ import annotations

from functools import cache

import pytest

from tests.conformance.case import Case, Scene
from tests.conformance.cases import TOPICS
from tests.conformance.run import assert_same
from tests.conformance.world import SIZES, Direct, Pooled

#: What is run by its name: a case in simple and in extended protocol.
SCRIPTS: dict[str, tuple[Case, list[Scene]]] = {
    f"{topic}-{name}-{protocol}": (case, case.scenes(protocol))
    for topic, cases in TOPICS.items()
    for name, case in cases.items()
    for protocol in (["raw"] if case.is_raw else ["simple", "extended"])
}

ALONE = [name for name, (case, _) in SCRIPTS.items() if case.servers == 1]
SEVERAL = [name for name, (case, _) in SCRIPTS.items() if case.servers > 1]
LARGE = [size for size in SIZES if size.servers > 1]


@cache
def expected(direct: Direct, name: str) -> list[str]:
    """What PostgreSQL sends; asked once for all pools."""
    case, scenes = SCRIPTS[name]
    return direct.run(scenes, case)


@pytest.mark.parametrize("name", SCRIPTS)
def test_neighbours_of_postgres_change_nothing(direct: Direct, name: str) -> None:
    """The harness itself: with a server for everybody no neighbour is noticed, and two runs are the same."""
    case, scenes = SCRIPTS[name]
    gang = direct.gang(case.user)
    try:
        assert_same(expected(direct, name), direct.run(scenes, case, gang))
    finally:
        gang.close()


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("pooled", SIZES, indirect=True, ids=str)
def test_same_as_directly(direct: Direct, pooled: Pooled, name: str) -> None:
    case, scenes = SCRIPTS[name]
    assert_same(expected(direct, name), pooled.run(scenes, case))


@pytest.mark.parametrize("name", SEVERAL)
@pytest.mark.parametrize("pooled", LARGE, indirect=True, ids=str)
def test_clients_who_hold_servers_at_the_same_time(direct: Direct, pooled: Pooled, name: str) -> None:
    case, scenes = SCRIPTS[name]
    assert_same(expected(direct, name), pooled.run(scenes, case))
