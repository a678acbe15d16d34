"""What clients receive is what PostgreSQL would have sent, whatever others do to the servers meanwhile.

Every script runs in one of the pools here, the two forms of a case in different ones; `scripts/conformance`
runs all in all of them. What cannot be hidden is in `cases/known.py`.
"""

from __future__ import annotations

import pytest

from tests.protocol.conformance.cases import SCRIPTS, Script
from tests.protocol.conformance.cases.known import KNOWN, is_expected, tolerated
from tests.protocol.conformance.run import assert_same, difference
from tests.protocol.conformance.world import SIZES, Direct, Pools, Size

#: Three servers in turn; scripts/conformance has all scripts beside quiet neighbours.
QUIET = Size(1, 3)
QUIET_TOPICS = ("prepared-", "startup-", "wire_prepared-")


def size_for(script: Script) -> Size:
    """The pool that it runs in: the next one that is large enough."""
    sizes = [size for size in SIZES if size.servers >= script.case.servers]
    return sizes[script.number % len(sizes)]


@pytest.mark.parametrize("name", SCRIPTS)
def test_same_as_directly(direct: Direct, pools: Pools, name: str) -> None:
    script = SCRIPTS[name]
    expected = direct.run(script.scenes, script.case)
    got = pools(size_for(script)).run(script.scenes, script.case)
    known = tolerated(name)
    if known and is_expected(difference(expected, got), known):
        return
    assert_same(expected, got)


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name.startswith(QUIET_TOPICS)])
def test_beside_quiet_neighbours(direct: Direct, pools: Pools, name: str) -> None:
    """They leave what the client has on other servers there: its next step must not go by that."""
    script = SCRIPTS[name]
    expected = direct.run(script.scenes, script.case)
    got = pools(QUIET).run(script.scenes, script.case, quiet=True)
    known = tolerated(name)
    if known and is_expected(difference(expected, got), known):
        return
    assert_same(expected, got)


@pytest.mark.parametrize("name", KNOWN)
def test_known_differences_are_no_others(direct: Direct, pools: Pools, name: str) -> None:
    known = KNOWN[name]
    scenes = known.case.scenes("simple")
    for size in SIZES:
        found = difference(direct.run(scenes, known.case), pools(size).run(scenes, known.case))
        assert not found or is_expected(found, known), found
