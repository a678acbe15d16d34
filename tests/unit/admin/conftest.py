"""The console's test bench as a fixture, and the same local time everywhere."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.local_time import local_time
from tests.unit.admin.fakes import Bench


@pytest.fixture
def bench() -> Bench:
    """A console over empty tables."""
    return Bench()


@pytest.fixture
def utc() -> Iterator[None]:
    """Times are printed in local time; make that the same everywhere."""
    with local_time("UTC"):
        yield
