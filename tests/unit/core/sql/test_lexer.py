"""The words of a text, cut as PostgreSQL's scan.l cuts them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.core._core import tokens

#: A text, and its tokens as they stand there: w(ord), q(uoted), s(tring), o(perator), x (other).
CUT = [
    ("SELECT a1_$, b", "w:SELECT w:a1_$ x:, w:b"),
    ("/* /* nested */ still */ x -- to the end\ny", "w:x w:y"),
    ('"A ""b"";" x', 'q:"A ""b"";" w:x'),
    ("'it''s;' x", "s:'it''s;' w:x"),
    (r"E'it\';' x", r"s:E'it\';' w:x"),
    ("$$ ' ; $$ x", "s:$$ ' ; $$ w:x"),
    ("$tag$ $$ ; $tag$ x", "s:$tag$ $$ ; $tag$ w:x"),
    ("a$b$c x", "w:a$b$c w:x"),
    ("1.5e-3 x", "x:1.5e-3 w:x"),
    ("a<=b", "w:a o:<= w:b"),
    ("a+-b", "w:a o:+ o:- w:b"),
    ("a@-b", "w:a o:@- w:b"),
    ("a --b\nc", "w:a w:c"),
    ("a*/*b*/c", "w:a o:* w:c"),
    ("f(x);", "w:f x:( w:x x:) x:;"),
    ("1 <=+-+ 2", "x:1 o:<= o:+ o:- o:+ x:2"),
    ("a @+-+ b", "w:a o:@+-+ w:b"),
    ("+-+/**/-+1", "o:+ o:- o:+ o:- o:+ x:1"),
    ("x::int", "w:x x:: x:: w:int"),
]

WORDS = {"w": "word", "q": "quoted", "s": "string", "o": "operator", "x": "other"}

PIECES = st.sampled_from(
    [
        "a",
        "E",
        "U&",
        "'",
        '"',
        "$",
        "$a$",
        "\\",
        "--",
        "/*",
        "*/",
        "\n",
        ";",
        "1",
        ".",
        "+",
        "-",
        "<",
        "é",
        " ",
    ]
)


def cut(text: str, backslash: bool = False) -> tuple[list[tuple[str, str]], bool]:
    whole = text.encode()
    found, incomplete = tokens(whole, backslash)
    return [(kind, whole[start:end].decode()) for kind, start, end in found], incomplete


@pytest.mark.parametrize(("text", "wanted"), CUT, ids=[text for text, _ in CUT])
def test_tokens(text: str, wanted: str) -> None:
    found, incomplete = cut(text)
    assert not incomplete
    short = {long: letter for letter, long in WORDS.items()}
    assert " ".join(f"{short[kind]}:{piece}" for kind, piece in found) == wanted


@pytest.mark.parametrize("text", ["'a", '"a', "/* a", "/* /* */", "$$ a", "$b$ a $$", "E'\\'"])
def test_what_has_no_end_is_incomplete(text: str) -> None:
    assert cut(f"x {text}")[1]


@pytest.mark.parametrize("backslash", [False, True])
def test_a_backslash_in_a_plain_string(backslash: bool) -> None:
    """It escapes where standard_conforming_strings is off."""
    found, incomplete = cut(r"'\' ; '", backslash)
    assert incomplete is not backslash
    assert found[0] == ("string", r"'\' ; '" if backslash else r"'\'")


@given(st.lists(PIECES, max_size=30).map("".join), st.booleans())
def test_tokens_follow_each_other(text: str, backslash: bool) -> None:
    """None is empty, none overlaps another or goes beyond the text; between are blanks and comments."""
    whole, at = text.encode(), 0
    for _, start, end in tokens(whole, backslash)[0]:
        assert at <= start < end <= len(whole)
        between = whole[at:start].decode(errors="replace")
        assert not between.strip() or "--" in between or "/*" in between
        at = end


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes(text: bytes, backslash: bool) -> None:
    found, _ = tokens(text, backslash)
    assert all(start < end <= len(text) for _, start, end in found)
