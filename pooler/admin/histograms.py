"""Histograms of times over a window, and what is read from them: quantiles.

The core counts since the start (core/tables/histogram.h): the bucket of number 2 k begins at 2**k
microseconds, the next at half as long again. A timer calls `tick` every PERIOD_S; what is shown of late is
the difference between the counts now and those of the last tick but one, as for averages (`averages`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Between two ticks, in seconds.
PERIOD_S = 60.0

#: What is counted for each pool, in the order in which it is shown.
MEASURES = ("wait", "query", "transaction", "dial")

BUCKETS = 64

#: Pools by their rows, as the tables hand them out, and logins by method.
PoolTimes = Mapping[int, Mapping[str, Any]]
LoginTimes = Mapping[str, tuple[int, bytes]]


@dataclass(frozen=True)
class Histogram:
    """Times that were counted: their sum in microseconds, and how many are in each bucket."""

    sum_us: int
    counts: tuple[int, ...]

    @property
    def count(self) -> int:
        return sum(self.counts)

    def since(self, before: Histogram) -> Histogram:
        """What has come since then. A row that was given to another pool began again: nothing is below 0."""
        counts = (max(now - then, 0) for now, then in zip(self.counts, before.counts, strict=True))
        return Histogram(max(self.sum_us - before.sum_us, 0), tuple(counts))

    def __add__(self, other: Histogram) -> Histogram:
        """Both together."""
        counts = (one + two for one, two in zip(self.counts, other.counts, strict=True))
        return Histogram(self.sum_us + other.sum_us, tuple(counts))

    def quantile(self, share: float) -> int | None:
        """The time in microseconds that this share of all are below; None: there are none.

        Within a bucket times are taken to be spread evenly.
        """
        left = self.count * share
        if not left:
            return None
        for bucket, count in enumerate(self.counts):
            if count and left <= count:
                begin, end = begin_of(bucket), begin_of(bucket + 1)
                return round(begin + (end - begin) * left / count)
            left -= count
        return begin_of(BUCKETS)


NOTHING = Histogram(0, (0,) * BUCKETS)


def begin_of(bucket: int) -> int:
    """The shortest time of a bucket, in microseconds. Of the first two only the first is used, from 0 on."""
    if bucket < 2:
        return 2 * bucket
    power, second = divmod(bucket, 2)
    return (1 << power) + (1 << power >> 1) * second


def histogram(raw: tuple[int, bytes]) -> Histogram:
    """As the tables hand it out."""
    return Histogram(raw[0], tuple(memoryview(raw[1]).cast("Q")))


class HistogramSampler:
    """Remembers the counts of the last two ticks; before those the window reaches back to the start."""

    def __init__(self) -> None:
        self._newer: tuple[PoolTimes, LoginTimes] = ({}, {})
        self._older: tuple[PoolTimes, LoginTimes] = ({}, {})

    def tick(self, pools: PoolTimes, logins: LoginTimes) -> None:
        """Take a sample."""
        self._older, self._newer = self._newer, (pools, logins)

    def earlier(self, pool: int, measure: str) -> Histogram:
        """That of a pool where the window begins."""
        row = self._older[0].get(pool)
        return histogram(row[measure]) if row else NOTHING

    def earlier_login(self, method: str) -> Histogram:
        """That of a way to log in."""
        found = self._older[1].get(method)
        return histogram(found) if found else NOTHING
