"""Values as text: PgBouncer's dialect, case by case."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pooler.config import values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("20", 20),
        ("-1", -1),
        ("+5", 5),
        ("0777", 0o777),
        ("0x1f", 31),
        ("0X1F", 31),
        (" 7", 7),
        ("2147483647", 2147483647),
    ],
)
def test_integer_as_strtol(text: str, value: int) -> None:
    assert values.parse_integer(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "x",
        "08",
        "5s",
        "5 ",
        "1.5",
        "0x",
        "1_000",
        "٣",
        "--1",
        "2147483648",
        "-2147483649",
        "9" * 5000,
    ],
)
def test_not_an_integer(text: str) -> None:
    with pytest.raises(ValueError, match=r"not an integer|out of range"):
        values.parse_integer(text)


def test_integer_bounds_are_named() -> None:
    with pytest.raises(ValueError, match="allowed is 1 to 10"):
        values.parse_integer("11", 1, 10)


@pytest.mark.parametrize(("text", "value"), [("0", False), ("1", True), ("7", True), ("0x0", False)])
def test_switch(text: str, value: bool) -> None:
    assert values.parse_switch(text) is value


@pytest.mark.parametrize("text", ["on", "off", "true", "yes", ""])
def test_switches_are_no_words(text: str) -> None:
    with pytest.raises(ValueError, match="0 or 1"):
        values.parse_switch(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0.0), ("5", 5.0), ("0.25", 0.25), (".5", 0.5), ("1e3", 1000.0), ("0x10", 16.0), ("-0", 0.0)],
)
def test_seconds_as_strtod(text: str, value: float) -> None:
    parsed = values.parse_seconds(text)
    assert (parsed, str(parsed)) == (value, str(value))


@pytest.mark.parametrize(
    "text", ["", "5s", "5 s", "-1", "nan", "inf", "1e1000", "1_0", "0x", "0x1p9999", "1e13"]
)
def test_not_seconds(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a time|out of range"):
        values.parse_seconds(text)


@pytest.mark.parametrize(
    ("text", "shown"), [("120", "120"), ("0.25", "0.25"), ("1234567", "1.23457e+06"), ("0", "0")]
)
def test_seconds_are_shown_as_pgbouncer_does(text: str, shown: str) -> None:
    assert values.format_seconds(values.parse_seconds(text)) == shown


def test_words_in_any_case() -> None:
    assert values.parse_word("Session", ("session", "statement")) == "session"
    with pytest.raises(ValueError, match="one of session, statement"):
        values.parse_word("sess", ("session", "statement"))


@pytest.mark.parametrize(
    ("text", "names"),
    [("", ()), ("a", ("a",)), ("a,b", ("a", "b")), (" a ,  b c,", ("a", "b", "c")), (",", ())],
)
def test_lists(text: str, names: tuple[str, ...]) -> None:
    assert values.parse_list(text) == names


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("10", (10, True)),
        ("-1", (-1, True)),
        ("10s", (10, False)),
        ("1.5", (1, False)),
        ("ten", (0, False)),
        ("0x10", (0, False)),
        ("010", (10, True)),
    ],
)
def test_leading_integer_as_atoi(text: str, result: tuple[int, bool]) -> None:
    assert values.parse_leading_integer(text) == result


def test_leading_integer_does_not_wrap_around() -> None:
    for text in ("99999999999", "9" * 5000):
        with pytest.raises(ValueError, match="out of range"):
            values.parse_leading_integer(text)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", []),
        ("   ", []),
        ("host=a", [("host", "a")]),
        ("host=a port=5", [("host", "a"), ("port", "5")]),
        ("host = a   port =5 ", [("host", "a"), ("port", "5")]),
        ("password='it''s = x'", [("password", "it's = x")]),
        ("a='''' b=c", [("a", "'"), ("b", "c")]),
        ("a=x=y", [("a", "x=y")]),
        ("a=x'y", [("a", "x'y")]),
        ("a=1 a=2", [("a", "1"), ("a", "2")]),
        ("host=a\tport=5", [("host", "a\tport=5")]),  # as PgBouncer: only spaces separate
    ],
)
def test_pairs(text: str, pairs: list[tuple[str, str]]) -> None:
    assert values.parse_pairs(text) == pairs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("host", "expected name=value at character 1"),
        ("=a", "expected name=value at character 1"),
        ("host=a port", "expected name=value at character 8"),
        ("host=", "empty value of host"),
        ("host=''", "empty value of host"),
        ("host= ", "empty value of host"),
        ("host='a", "unterminated quote in value of host"),
        ("host='a'port=5", "no space after the quoted value of host"),
    ],
)
def test_broken_pairs(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        values.parse_pairs(text)


def test_errors_about_pairs_show_no_pieces_of_passwords() -> None:
    for text in ("password=top secret", "password='top", "password=top s3cr3t! x=", "password=x s3cr3t!="):
        with pytest.raises(ValueError, match=r".") as caught:
            values.parse_pairs(text)
        assert "top" not in str(caught.value)
        assert "s3cr3t" not in str(caught.value)


@settings(database=None, max_examples=300)
@given(st.dictionaries(st.text("abcdefgh_", min_size=1), st.text(min_size=1)))
def test_pairs_round_trip(pairs: dict[str, str]) -> None:
    def quoted(value: str) -> str:
        plain = value and "'" not in value and " " not in value
        return value if plain else "'" + value.replace("'", "''") + "'"

    text = " ".join(f"{key}={quoted(value)}" for key, value in pairs.items())
    assert dict(values.parse_pairs(text)) == pairs


@settings(database=None, max_examples=500)
@given(st.text(st.sampled_from("0x9a '=\t,.-+eE_n\0é\u0663")))
def test_parsers_raise_nothing_but_value_error(text: str) -> None:
    for parse in (
        values.parse_integer,
        values.parse_switch,
        values.parse_seconds,
        values.parse_list,
        values.parse_leading_integer,
        values.parse_pairs,
    ):
        with suppress(ValueError):
            parse(text)


def test_suggestions() -> None:
    assert values.suggestion("pool_sise", ["pool_size", "port"]) == ", did you mean pool_size?"
    assert values.suggestion("zzz", ["pool_size", "port"]) == ""
