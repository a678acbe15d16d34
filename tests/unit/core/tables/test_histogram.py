"""Histograms of times: two buckets for each power of two of microseconds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.core._core import time_bucket

LAST = 63


def begin_of(bucket: int) -> int:
    """The shortest time of a bucket, in microseconds."""
    power, second = divmod(bucket, 2)
    return (1 << power) + (1 << power >> 1) * second


@pytest.mark.parametrize(
    ("us", "bucket"),
    [(0, 0), (1, 0), (2, 2), (3, 3), (4, 4), (5, 4), (6, 5), (7, 5), (8, 6), (1000, 19), (10**6, 39)],
)
def test_buckets(us: int, bucket: int) -> None:
    assert time_bucket(us) == bucket


@given(st.integers(2, (1 << 32) - 1) | st.integers(2, 5000))
def test_a_time_is_between_the_begin_of_its_bucket_and_the_next(us: int) -> None:
    bucket = time_bucket(us)
    assert begin_of(bucket) <= us < begin_of(bucket + 1)


@pytest.mark.parametrize("bucket", range(2, LAST + 1))
def test_where_each_bucket_begins(bucket: int) -> None:
    assert time_bucket(begin_of(bucket)) == bucket
    assert time_bucket(begin_of(bucket) - 1) == max(bucket - 1, 0) - (bucket == 2)


@given(st.integers(begin_of(LAST), (1 << 64) - 1))
def test_what_takes_more_than_an_hour_is_in_the_last(us: int) -> None:
    assert time_bucket(us) == LAST
