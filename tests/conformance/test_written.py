"""What clients receive is what PostgreSQL would have sent, whatever others do to the servers meanwhile.

Every script runs in one of the pools here, the two forms of a case in different ones; `scripts/conformance`
runs all in all of them, and those that still differ (`cases/known.py`: OPEN).
"""

from __future__ import annotations

import re

import pytest

from tests.conformance.cases import SCRIPTS, Script
from tests.conformance.cases.known import KNOWN, is_open
from tests.conformance.run import assert_same, difference
from tests.conformance.world import SIZES, Direct, Pools, Size

#: All but those that still differ.
CHOSEN = [name for name in SCRIPTS if not is_open(name)]


def size_for(script: Script) -> Size:
    """The pool that it runs in: the next one that is large enough."""
    sizes = [size for size in SIZES if size.servers >= script.case.servers]
    return sizes[script.number % len(sizes)]


@pytest.mark.parametrize("name", CHOSEN)
def test_same_as_directly(direct: Direct, pools: Pools, name: str) -> None:
    script = SCRIPTS[name]
    expected = direct.run(script.scenes, script.case)
    assert_same(expected, pools(size_for(script)).run(script.scenes, script.case))


@pytest.mark.parametrize("name", KNOWN)
def test_known_differences_are_no_others(direct: Direct, pools: Pools, name: str) -> None:
    known = KNOWN[name]
    scenes = known.case.scenes("simple")
    for size in SIZES:
        found = difference(direct.run(scenes, known.case), pools(size).run(scenes, known.case))
        pattern = f"directly: .*{known.directly}.*\n.*through pooler: .*{known.through_pooler}"
        assert not found or re.search(pattern, found), found
