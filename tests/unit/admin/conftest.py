"""The console's test bench as a fixture."""

from __future__ import annotations

import pytest

from tests.unit.admin.fakes import Bench


@pytest.fixture
def bench() -> Bench:
    """A console over empty tables."""
    return Bench()
