"""SHOW HISTOGRAMS: quantiles of the core's buckets, since the start and of late."""

from __future__ import annotations

import random
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.admin.histograms import BUCKETS, NOTHING, Histogram, HistogramSampler, begin_of, histogram
from pooler.core._core import time_bucket
from tests.unit.admin.fakes import Bench


def of(*times_us: int) -> Histogram:
    """The histogram that the core makes of these times."""
    counts = [0] * BUCKETS
    for us in times_us:
        counts[time_bucket(us)] += 1
    return Histogram(sum(times_us), tuple(counts))


def raw(found: Histogram) -> tuple[int, bytes]:
    return found.sum_us, array("Q", found.counts).tobytes()


@given(st.integers(0, 1 << 31))
def test_buckets_begin_where_the_core_lets_them(us: int) -> None:
    bucket = time_bucket(us)
    assert begin_of(bucket) <= us
    assert us < begin_of(bucket + 1) or us < 2


def test_of_nothing() -> None:
    assert (NOTHING.count, NOTHING.quantile(0.5)) == (0, None)
    assert histogram(raw(NOTHING)) == NOTHING


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 0.999])
def test_quantiles_are_right_within_a_bucket(share: float) -> None:
    rng = random.Random(1)
    times = sorted(int(rng.lognormvariate(7, 2)) for _ in range(20_000))
    found = of(*times).quantile(share)
    assert found is not None
    true = times[int(len(times) * share)]
    bucket = time_bucket(true)
    assert begin_of(bucket - 1) <= found <= begin_of(bucket + 2)
    assert abs(found - true) <= true * 0.25


def test_those_that_take_an_hour() -> None:
    assert of(1 << 40).quantile(0.5) == begin_of(63) + (begin_of(64) - begin_of(63)) // 2


def test_since_a_time_and_both_together() -> None:
    assert of(5, 7, 900).since(of(5)) == of(7, 900)
    assert of(5).since(of(5, 7)) == NOTHING, "a row that was given to another pool"
    assert of(5) + of(900) == of(5, 900)


def test_the_window_reaches_back_to_the_last_tick_but_one() -> None:
    def pools(found: Histogram) -> dict[int, dict[str, tuple[int, bytes]]]:
        return {3: {"wait": raw(found)}}

    sampler = HistogramSampler()
    assert sampler.earlier(3, "wait") == NOTHING
    sampler.tick(pools(of(1)), {"md5": raw(of(2))})
    assert sampler.earlier(3, "wait") == NOTHING
    sampler.tick(pools(of(1, 1)), {"md5": raw(of(2, 2))})
    assert sampler.earlier(3, "wait") == of(1)
    assert sampler.earlier_login("md5") == of(2)
    assert (sampler.earlier(4, "wait"), sampler.earlier_login("plain")) == (NOTHING, NOTHING)


def test_rows(bench: Bench) -> None:
    empty = {name: raw(NOTHING) for name in ("query", "transaction", "dial")}
    bench.tables.pool_histograms = {
        1: {"database": "b", "user": "u", "wait": raw(of(1000)), **empty},
        0: {"database": "a", "user": "u", "wait": raw(NOTHING), **empty, "query": raw(of(*[1000] * 100))},
    }
    bench.tables.method_histograms = {"md5": raw(NOTHING), "scram-sha-256": raw(of(5000))}
    tables = bench.tables
    bench.console.histograms.tick(tables.histograms(), tables.login_histograms())
    bench.console.histograms.tick({}, {})
    rows = bench.run("SHOW HISTOGRAMS").rows
    assert [row[:5] for row in rows] == [
        ("a", "u", "query", None, 100),
        ("b", "u", "wait", None, 1),
        (None, None, "login", "scram-sha-256", 1),
    ]
    assert all(row[9:] == (0, None, None, None, None) for row in rows), "all of it is older"
    assert 768 <= int(str(rows[0][5])) <= int(str(rows[0][8])) <= 1024
