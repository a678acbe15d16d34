"""When a worker's janitor does what it does now and then."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pooler.worker.janitor import Janitor


@pytest.mark.parametrize("period_s", [1, 60])
def test_one_that_replaces_another_writes_the_stats_in_its_turn(period_s: int) -> None:
    """Not a whole period after its own start: with a worker killed now and then there would be none."""
    context: Any = SimpleNamespace(config=SimpleNamespace(settings=SimpleNamespace(stats_period=period_s)))
    unused: Any = None
    due = {
        Janitor(context, unused)._next_stats(600 * period_s + started * period_s)
        for started in (0.0, 0.3, 0.9)
    }
    assert due == {601 * period_s}
