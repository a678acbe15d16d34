"""Sets of names: whatever they hold, each is found again, and nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pooler.core import _core

NAME = st.binary(max_size=20).map(lambda name: name.replace(b"\0", b""))
#: More names than a table begins with has places, often the same.
NAMES = st.lists(st.tuples(NAME | st.sampled_from([b"a", b"b", b""]), st.integers(1, 9)), max_size=60)


@given(
    pairs=NAMES, others=st.lists(NAME), key=st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
)
def test_like_a_dictionary(pairs: list[tuple[bytes, int]], others: list[bytes], key: tuple[int, int]) -> None:
    names = _core.NameSet(key)
    expected: dict[bytes, int] = {}
    for name, value in pairs:
        assert names.put(name, value) == expected.get(name)
        expected[name] = value
    assert names.count == len(expected)
    for name in [*expected, *others]:
        assert names.get(name) == expected.get(name)


def test_nothing_is_found_in_an_empty_one() -> None:
    names = _core.NameSet()
    assert (names.count, names.capacity, names.get(b""), names.get(b"a")) == (0, 0, None, None)


def test_many() -> None:
    names = _core.NameSet((2**64 - 1, 7))
    for number in range(1, 20_001):
        assert names.put(f"user{number}".encode(), number) is None
    assert names.count == 20_000
    assert names.capacity & (names.capacity - 1) == 0
    assert names.capacity < 4 * names.count
    for number in range(1, 20_001):
        assert names.get(f"user{number}".encode()) == number
    assert names.get(b"user20001") is None


def test_cleared_it_can_be_filled_again() -> None:
    names = _core.NameSet()
    names.put(b"a", 1)
    names.clear()
    assert (names.count, names.get(b"a")) == (0, None)
    assert names.put(b"a", 2) is None
    assert names.get(b"a") == 2


def test_a_name_that_is_not_there_is_looked_for_until_a_free_place() -> None:
    """So there always is one: a full table would be searched for ever."""
    names = _core.NameSet()
    for number in range(1, 100):
        names.put(f"n{number}".encode(), number)
        assert names.count <= names.capacity * 3 // 4
        assert names.get(b"other") is None
