"""Texts of prepared statements: one for all clients that mean the same by it, as long as one of them does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pooler.core._core import StatementStore

KEY = (1, 2)
LITERALS, RUN, NOTHING = b"bytea_output\0escape\0", b"search_path\0a\0", b"app.tenant\0a\0"


def body(text: str, *types: int) -> bytes:
    """A Parse message behind its name."""
    oids = b"".join(oid.to_bytes(4, "big") for oid in types)
    return text.encode() + b"\0" + len(types).to_bytes(2, "big") + oids


def test_a_text_is_there_once_and_as_long_as_it_is_used() -> None:
    store = StatementStore(KEY)
    first = store.intern(body("SELECT 1"))
    assert store.intern(body("SELECT 1")) == (*first[:2], 2)
    assert store.count == 1
    assert store.drop(body("SELECT 1")) == 1
    assert store.count == 1
    assert store.drop(body("SELECT 1")) == 0
    assert store.count == 0
    assert store.intern(body("SELECT 1")) == first, "under the same digest when it comes again"


def test_what_makes_another_statement() -> None:
    """The text, its types, and the settings that decide what it means; no other ones."""
    store = StatementStore(KEY)
    plain, plain_literals, _ = store.intern(body("SELECT $1"))
    for other in (body("SELECT $1", 23), body("SELECT  $1")):
        digest, literals, _ = store.intern(other)
        assert (digest[0] != plain[0], digest[1] != plain[1]) == (True, True)
        assert literals != plain_literals
    for extras, means_else, reads_else in (
        (LITERALS, True, True),
        (RUN, True, False),
        (NOTHING, False, False),
    ):
        digest, literals, _ = store.intern(body("SELECT $1"), extras)
        assert (digest != plain, literals != plain_literals) == (means_else, reads_else)


def test_what_is_not_shared_is_apart() -> None:
    store = StatementStore(KEY)
    digests = {store.intern(body("SELECT 1"), apart=number)[0] for number in (0, 1, 2, 1)}
    assert len(digests) == 3
    assert len({store.intern(body("SELECT 1"), apart=number)[1] for number in (0, 1, 2)}) == 1
    assert store.intern(body("SELECT 1"), RUN, apart=3)[0] == store.intern(body("SELECT 1"), apart=3)[0]


def test_no_client_chooses_texts_that_meet() -> None:
    """Digests are keyed, all of their 128 bits."""
    mine, its = (StatementStore(key).intern(body("SELECT 1")) for key in (KEY, (1, 3)))
    for a, b in zip(mine[:2], its[:2], strict=True):
        assert a[0] != b[0]
        assert a[1] != b[1]


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 150), st.sampled_from([b"", LITERALS, RUN])), max_size=300
    )
)
def test_references(steps: list[tuple[bool, int, bytes]]) -> None:
    store = StatementStore(KEY)
    counts: dict[tuple[int, bytes], int] = {}
    digests: dict[tuple[int, bytes], tuple[int, int]] = {}
    for takes, number, extras in steps:
        key = (number, extras)
        if takes:
            digest, _, references = store.intern(body(f"SELECT {number}"), extras)
            counts[key] = counts.get(key, 0) + 1
            assert references == counts[key]
            assert digests.setdefault(key, digest) == digest
        elif counts.get(key):
            counts[key] -= 1
            assert store.drop(body(f"SELECT {number}"), extras) == counts[key]
        assert store.count == sum(1 for n in counts.values() if n)
    assert len(set(digests.values())) == len(digests)


def test_it_grows() -> None:
    store = StatementStore(KEY)
    first = [store.intern(body(f"SELECT {n}")) for n in range(1000)]
    assert store.count == len({digest for digest, _, _ in first}) == 1000
    assert [store.intern(body(f"SELECT {n}"))[:2] for n in range(1000)] == [one[:2] for one in first]
    assert store.count == 1000
