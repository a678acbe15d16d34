"""Averages of SHOW STATS: two samples of the cumulative counters, one `stats_period` apart.

A timer calls `tick` every stats_period. What is shown at any moment is the difference between the counters
now and those of the last tick but one, so that an average always covers between one and two periods and
does not jump to zero right after a tick. The line for the log covers exactly the period that ended with the
tick.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: The counters of a pool, in the order of SHOW STATS. Times are microseconds.
COUNTERS = (
    "server_assignment_count",
    "xact_count",
    "query_count",
    "bytes_received",
    "bytes_sent",
    "xact_time",
    "query_time",
    "wait_time",
    "client_parse_count",
    "server_parse_count",
    "bind_count",
    "client_login_count",
)

#: A time is averaged over the events it was spent in; everything else is averaged per second.
_TIME_PER = {"xact_time": "xact_count", "query_time": "query_count", "wait_time": "server_assignment_count"}

#: Before the first two ticks the window reaches back this far before the start: PgBouncer's choice, which
#: keeps the first averages from dividing by nearly nothing.
_FIRST_WINDOW_S = 1.0

Counters = Mapping[str, int]
PoolStats = Mapping[int, Mapping[str, Any]]
NO_COUNTERS: Counters = dict.fromkeys(COUNTERS, 0)


def total(parts: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The sum of several sets of counters."""
    sums = dict.fromkeys(COUNTERS, 0)
    for part in parts:
        for name in COUNTERS:
            sums[name] += part[name]
    return sums


def average(now: Counters, before: Counters, duration_s: float) -> dict[str, int]:
    """Averages between two sums, as whole numbers like PgBouncer's."""
    if duration_s <= 0:
        return dict(NO_COUNTERS)
    # A pool whose row was given to another one starts again at zero: never show a negative average.
    grown = {name: max(now[name] - before[name], 0) for name in COUNTERS}
    averages = {}
    for name in COUNTERS:
        per = _TIME_PER.get(name)
        if per is None:
            averages[name] = int(grown[name] / duration_s)
        else:
            averages[name] = grown[name] // grown[per] if grown[per] else 0
    return averages


class StatsSampler:
    """Remembers the counters of the last two ticks.

    It starts from the counters as it finds them: the shared tables outlive the worker that samples them.
    """

    def __init__(self, now: float, stats: PoolStats) -> None:
        self._newer_time = now
        self._older_time = now - _FIRST_WINDOW_S
        self._newer = self._older = _sample(stats)

    def tick(self, now: float, stats: PoolStats) -> str:
        """Take a sample; returns the line for the log about the period that ends here."""
        self._older_time, self._newer_time = self._newer_time, now
        self._older, self._newer = self._newer, _sample(stats)
        before = total(self.earlier(pool) for pool in self._newer)
        return stats_line(average(total(self._newer.values()), before, self.window_s(now)))

    def earlier(self, pool: int) -> Counters:
        """The counters of a pool where the window begins; zero if the pool did not exist then."""
        return self._older.get(pool, NO_COUNTERS)

    def window_s(self, now: float) -> float:
        """How far the window reaches back."""
        return now - self._older_time


def _sample(stats: PoolStats) -> dict[int, Counters]:
    return {pool: {name: row[name] for name in COUNTERS} for pool, row in stats.items()}


def stats_line(averages: Counters) -> str:
    """The line that PgBouncer logs every stats_period, word for word: log readers match it."""
    return (
        "stats: {xact_count} xacts/s, {query_count} queries/s, {client_parse_count} client parses/s,"
        " {server_parse_count} server parses/s, {bind_count} binds/s, in {bytes_received} B/s,"
        " out {bytes_sent} B/s, xact {xact_time} us, query {query_time} us, wait {wait_time} us"
    ).format_map(averages)
