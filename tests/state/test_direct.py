"""Every kind of state is real: on PostgreSQL itself its maker sees it, and a fresh connection does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.state.catalog import KINDS, KNOWN, WORDLESS
from tests.state.conftest import can_be_had
from tests.state.kind import Kind
from tests.state.reference import Reference, can_be_asked, make
from tests.state.schema import FULL, PLAIN


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_direct(reference_of: Callable[[str], Reference], kind: Kind) -> None:
    reference = reference_of(FULL if kind.name in WORDLESS else PLAIN)
    if not can_be_had(kind, reference):
        return
    for extended in (False, True):
        if not can_be_asked(kind):
            with reference.postgres.client(kind.user) as wire:
                make(wire, kind, extended, 0, reference.postgres)
        else:
            is_seen = reference.kept(kind, extended) != reference.fresh_own(kind, extended)
            assert is_seen == kind.kept, reference.kept(kind, extended)


def test_names() -> None:
    names = [kind.name for kind in KINDS]
    assert len(names) == len(set(names))
    assert set(KNOWN) <= set(names)
