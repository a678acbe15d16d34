"""Texts that leave nothing behind are scanned once; what stands in their literals makes no difference."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pooler.core._core import CleanTexts, clean_text_mask, scan, scan_reads_literals

MASKED = [
    (b"SELECT * FROM t WHERE id = 15", b"SELECT * FROM t WHERE id = 0"),
    (b"SELECT 'it''s', 'x;y'", b"SELECT '''', ''"),
    (b"SELECT 1.5, .25, -3, a1, t.c2", b"SELECT 0.0, .0, -0, a1, t.c2"),
    (b"SELECT $1, $12 + 7", b"SELECT $1, $12 + 0"),
    (b"SELECT 1e5, 0x1F, 1_000, 7", b"SELECT 1e5, 0x1F, 1_000, 0"),
    (b"SELECT 'a'\n'b'", b"SELECT ''\n''"),
    (b"SELECT '-- /* $$ \"'", b"SELECT ''"),
]

NOT_MASKED = [
    b"SELECT a FROM t",
    b"SELECT $1",
    b"SELECT 1 -- it's",
    b"SELECT /* ' */ 'a'",
    b"SELECT $$'$$, 'a'",
    b"SELECT $t$'$t$, 'a'",
    b"SELECT $1$t$ ' $t$",
    b"SELECT E'\\'', 'a'",
    b"SELECT e'x', 1",
    b"SELECT U&'x', 1",
    b"SELECT \"'\", 'a'",
    b"SELECT 'a\\', 'b'",
    "SELECT 'é', 1".encode(),
    b"SELECT 'open",
    b"SELECT 1, '\0'",
    b"SELECT 1, 'app.tenant'",
]


@pytest.mark.parametrize(("text", "masked"), MASKED)
def test_masked(text: bytes, masked: bytes) -> None:
    assert clean_text_mask(text) == masked


@pytest.mark.parametrize("text", NOT_MASKED)
def test_not_masked(text: bytes) -> None:
    assert clean_text_mask(text) is None


#: Pieces that texts are made of: each may meet each.
PIECES = st.sampled_from(
    [
        *(
            b"SELECT ",
            b"INSERT INTO t VALUES (",
            b"SET ",
            b"DO ",
            b"CREATE FUNCTION f() AS ",
            b"COMMENT ON x IS ",
        ),
        *(
            b"set_config(",
            b"current_setting(",
            b"pg_advisory_lock(",
            b"nextval(",
            b"EXECUTE ",
            b"a",
            b"t.c",
            b"e",
        ),
        *(
            b"'",
            b"''",
            b"'a.b'",
            b"'x'",
            b"'SET a.b = 1'",
            b"'SELECT pg_advisory_lock(1)'",
            b"E'",
            b"u&'",
            b"\\",
        ),
        *(
            b"1",
            b"23",
            b".5",
            b"1e3",
            b"$1",
            b"$",
            b"$$",
            b"$a$",
            b'"',
            b"--",
            b"/*",
            b"*/",
            b"\n",
            b" ",
            b";",
        ),
        *(b"(", b")", b",", b"=", b"::text", b"-", b"&", b"\xc3\xa9", b"TRUE", b"_"),
    ]
)


@given(st.lists(PIECES, max_size=14).map(b"".join), st.booleans())
@example(b"SELECT 1'a', 'b.c'", False)
@example(b"SELECT '1' '2'", True)
def test_masked_says_the_same(text: bytes, backslash: bool) -> None:
    masked = clean_text_mask(text)
    if masked is None or scan_reads_literals(text):
        return
    assert scan(masked, backslash) == scan(text, backslash)


@given(st.lists(PIECES, max_size=14).map(b"".join), st.lists(PIECES, max_size=14).map(b"".join))
def test_what_is_kept_is_clean(one: bytes, other: bytes) -> None:
    texts = CleanTexts()
    for text in (one, one, other, one, other):
        if texts.scan(text):
            assert scan(text) == (set(), set(), [])


def test_kept_when_it_comes_again() -> None:
    texts = CleanTexts()
    assert [texts.scan(b"SELECT 1") for _ in range(3)] == [False, False, True]
    assert texts.scan(b"SELECT 2")
    assert not texts.scan(b"SELECT 2, 3")


def test_what_a_scan_depends_on() -> None:
    texts = CleanTexts()
    for _ in range(2):
        texts.scan(b"SELECT 1")
    assert not texts.scan(b"SELECT 1", serial=2)
    assert not texts.scan(b"SELECT 1", backslash=True)


def test_literals_that_count() -> None:
    texts = CleanTexts()
    for _ in range(3):
        texts.scan(b"SELECT current_setting('work_mem')")
    assert not texts.scan(b"SELECT current_setting('app.tenant')")


@pytest.mark.parametrize("text", [b"SET a.b = 1", b"LISTEN c", b"SELECT " + b"1," * 1100 + b"1"])
def test_never_kept(text: bytes) -> None:
    texts = CleanTexts()
    assert [texts.scan(text) for _ in range(4)] == [False] * 4


def test_one_that_is_used_keeps_its_place() -> None:
    texts = CleanTexts()
    for _ in range(2):
        texts.scan(b"SELECT a")
    for i in range(20_000):  # each place is asked for some twenty times
        texts.scan(b"SELECT c%d" % i)
        assert texts.scan(b"SELECT a")
