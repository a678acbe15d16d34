"""Bytes that wait are those that were added, in their order; numbers are in network order."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.core._core import BYTES_LIMIT, WaitingBytes, number_in_network_order

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3000)), st.tuples(st.just("take"), st.integers(0, 3000))
    ),
    max_size=60,
)


@given(STEPS)
def test_against_plain_bytes(steps: list[tuple[str, int]]) -> None:
    waiting, plain = WaitingBytes(), bytearray()
    for number, (what, n) in enumerate(steps):
        if what == "add":
            more = bytes((number + i) % 251 for i in range(n))
            assert waiting.add(more)
            plain += more
        else:
            assert waiting.take(n) == bytes(plain[:n])
            del plain[:n]
        assert waiting.pending == bytes(plain)
        assert waiting.capacity >= len(plain)


def test_the_place_of_what_was_taken_is_used_again() -> None:
    """A stream that is passed on as it comes needs no more memory than what waits of it."""
    waiting = WaitingBytes()
    for _ in range(10_000):
        assert waiting.add(b"x" * 100)
        assert waiting.add(b"y" * 100)
        assert waiting.take(200) == b"x" * 100 + b"y" * 100
    assert waiting.capacity == 512
    for _ in range(10_000):  # nor when something is left each time
        assert waiting.add(b"x" * 100)
        assert waiting.take(90)
        waiting.take(10 * (len(waiting.pending) > 300))
    assert waiting.capacity <= 262144


@pytest.mark.parametrize("before", [0, 1, 513])
def test_more_than_any_message_has_is_refused(before: int) -> None:
    waiting = WaitingBytes()
    assert waiting.add(b"x" * before)
    for n in {BYTES_LIMIT + 1 - before, 0xFFFFFFFF}:
        assert not waiting.claims(n)
    assert waiting.pending == b"x" * before
    assert waiting.add(b"y"), "it goes on with what it has"


@given(st.integers(0, 0xFFFFFFFF))
def test_numbers(number: int) -> None:
    assert number_in_network_order(number) == (struct.pack("!I", number), number)
