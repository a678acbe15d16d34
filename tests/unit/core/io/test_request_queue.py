"""The requests that a server has not answered: a queue that grows, against one of Python."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.core._core import REQUESTS_LIMIT, Requests

INLINE = 32
OWN = 0x80
COPY_AHEAD = ord("c")

LETTERS = st.sampled_from(b"QPBDECSFUpxc")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), LETTERS),
        st.tuples(st.just("pop"), st.just(0)),
        st.tuples(st.just("own head"), st.just(0)),
        st.tuples(st.just("take"), st.integers(1, 40)),
        st.tuples(st.just("many"), st.integers(1, 80)),
    ),
    max_size=60,
)


def full(letters: bytes) -> Requests:
    made = Requests()
    assert all(made.push(letter) for letter in letters)
    return made


@given(STEPS)
def test_against_a_plain_queue(steps: list[tuple[str, int]]) -> None:
    queue, plain, pushed = Requests(), bytearray(), 0
    for what, value in steps:
        if what == "push":
            assert queue.push(value)
            plain.append(value)
            pushed += 1
        elif what == "many":
            for _ in range(value):
                assert queue.push(ord("Q"))
            plain += b"Q" * value
            pushed += value
        elif what == "pop" and plain:
            queue.pop()
            del plain[0]
            while plain and plain[0] == COPY_AHEAD:  # they were sent in case what is answered begins a COPY
                del plain[0]
        elif what == "own head" and plain:
            queue.own_head()
            plain[0] |= OWN
        elif what == "take" and value < len(plain):
            queue.take_behind_head(value)
            del plain[1 : 1 + value]
        assert queue.waiting == bytes(plain)
        assert queue.head == (plain[0] if plain else 0)
        assert queue.number == pushed - len(plain)


@pytest.mark.parametrize("before", [0, 1, INLINE - 1])
def test_it_grows_wherever_it_begins(before: int) -> None:
    queue = full(b"S" * before)
    for _ in range(before):
        queue.pop()
    letters = bytes(b"PBDES"[i % 5] for i in range(3 * INLINE))
    assert all(queue.push(letter) for letter in letters)
    assert queue.waiting == letters


def test_it_has_a_limit_and_keeps_what_it_has() -> None:
    queue = full(b"B" * REQUESTS_LIMIT)
    assert not queue.push(ord("S"))
    assert queue.waiting == b"B" * REQUESTS_LIMIT
    queue.pop()
    assert queue.push(ord("S"))


def test_an_answer_takes_the_end_of_a_copy_that_never_began() -> None:
    queue = full(b"Qccc" + b"E")
    queue.pop()
    assert queue.waiting == b"E"
    queue = full(b"Qcc")
    queue.pop()
    assert (queue.waiting, queue.head) == (b"", 0)
