"""Every kind of state is real: on PostgreSQL itself its maker sees it, and a fresh connection does not."""

from __future__ import annotations

import pytest

from tests.leaks.catalog import KINDS, KNOWN
from tests.leaks.kind import Kind
from tests.leaks.reference import Reference, can_be_asked, make


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_direct(reference: Reference, kind: Kind) -> None:
    if kind.needs and not reference.works(kind.needs, kind.user):
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
