"""How long a pool waits after a failed login."""

from __future__ import annotations

import pytest

from pooler.worker.server import pause_s

LONGEST_S = 15.0


@pytest.mark.parametrize("is_away", [True, False])
def test_it_begins_short_and_doubles(is_away: bool) -> None:
    assert [pause_s(n, LONGEST_S, is_away) for n in range(4)] == [0.05, 0.1, 0.2, 0.4]


def test_a_postgresql_that_is_away_is_looked_for_all_the_time() -> None:
    """Whatever server_login_retry says; with the janitor's grain of a third that is less than a second."""
    assert max(pause_s(n, LONGEST_S, True) for n in range(5000)) == 0.6


def test_a_refusal_is_not_repeated_often() -> None:
    assert [pause_s(n, LONGEST_S, False) for n in (7, 8, 9, 5000)] == [6.4, 12.8, 15.0, 15.0]


@pytest.mark.parametrize("is_away", [True, False])
def test_the_setting_is_the_limit(is_away: bool) -> None:
    assert max(pause_s(n, 0.3, is_away) for n in range(50)) == 0.3
    assert pause_s(9, 0.0, is_away) == 0.0
