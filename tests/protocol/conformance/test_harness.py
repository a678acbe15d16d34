"""The harness itself: on PostgreSQL neighbours do no harm; they use every server, and are noticed."""

from __future__ import annotations

import itertools

import pytest

from tests.protocol.conformance.case import case
from tests.protocol.conformance.cases import SCRIPTS
from tests.protocol.conformance.run import assert_same, difference
from tests.protocol.conformance.world import SIZES, Direct, Pools, Size

#: Some of every topic; `scripts/conformance` tries all.
SAMPLE = list(SCRIPTS)[::20]


@pytest.mark.parametrize("name", SAMPLE)
def test_neighbours_of_postgres_change_nothing(direct: Direct, name: str) -> None:
    """Where everybody has a server, neighbours are not noticed, and two runs are the same."""
    script = SCRIPTS[name]
    expected = direct.run(script.scenes, script.case)
    gang = direct.gang(script.case.user)
    try:
        assert_same(expected, direct.run(script.scenes, script.case, gang))
    finally:
        gang.close()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_step_meets_another_server(direct: Direct, pools: Pools, size: Size) -> None:
    """A client who holds nothing finds all servers used, and lands on another one every time."""
    world = pools(size)
    world.gang("bouncer").rounds.clear()
    probe = case(*["SELECT pg_backend_pid()"] * 8)
    lines = world.run(probe.scenes("simple"), probe)
    served = [line for line in lines if " < D " in line]
    rounds = world.gang("bouncer").rounds
    assert len(rounds) >= 8
    for holding, pid in rounds[:8]:
        assert len(holding) == size.servers, "neighbours have all servers"
        assert f"a < D [b'{pid}']" in served, "the server that was left to the client"
    if size.servers > 1:
        pids = [pid for _, pid in rounds]
        assert all(one != other for one, other in itertools.pairwise(pids))


@pytest.mark.parametrize("name", ["tenants-set-simple", "settings-set-simple", "prepared-prepare-simple"])
def test_leaks_are_seen(direct: Direct, pools: Pools, name: str) -> None:
    """Without care for sessions' state the same scripts differ."""
    script = SCRIPTS[name]
    expected = direct.run(script.scenes, script.case)
    found = difference(expected, pools(SIZES[-1], session_state="off").run(script.scenes, script.case))
    assert found
