"""Another local time for this process: times are printed in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def local_time(zone: str) -> Iterator[None]:
    """`zone`: as TZ of the environment names it."""
    patch = pytest.MonkeyPatch()
    patch.setenv("TZ", zone)
    time.tzset()
    try:
        yield
    finally:
        patch.undo()
        time.tzset()
