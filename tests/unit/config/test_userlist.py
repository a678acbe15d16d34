"""The file of users: quoting, comments, limits, and that a bad line is an error instead of shifted fields."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pooler.config.userlist import parse_userlist, read_userlist


def problems_of(data: bytes) -> list[str]:
    return [str(problem) for problem in parse_userlist(data, "u")[1]]


def test_lines() -> None:
    data = b'; comment\n\n"a" "secret"\r\n  "b"\t"" the rest\n"q""x" "y""""z"\n"a b" ";#"\n'
    users, problems = parse_userlist(data, "u")
    assert users == {"a": "secret", "b": "", 'q"x': 'y""z', "a b": ";#"}
    assert problems == []


def test_names_need_not_be_utf8() -> None:
    assert parse_userlist(b'"\xff" "\xc3"', "u")[0] == {"\udcff": "\udcc3"}


def test_the_later_of_two_lines_counts() -> None:
    assert parse_userlist(b'"a" "1"\n"a" "2"\n', "u")[0] == {"a": "2"}


@pytest.mark.parametrize(
    "line",
    [
        b"junk",
        b"# comment",
        b'"a"',
        b'"a" "b',
        b'"a "b"',
        b'"a""b"',
        b"'a' 'b'",
        b'a "b"',
        b'"a" x "b"',
        b'"a" "b\0"',
    ],
)
def test_a_bad_line_is_an_error_with_its_number_and_shifts_nothing(line: bytes) -> None:
    users, problems = parse_userlist(b'"first" "1"\n' + line + b'\n"last" "2"\n', "u")
    assert users == {"first": "1", "last": "2"}
    assert [(p.file, p.line, p.severity) for p in problems] == [("u", 2, "error")]


def test_problems_show_no_secret() -> None:
    assert "hunter2" not in "".join(problems_of(b'"a" "hunter2\nhunter2\n"" "hunter2"\n'))


@pytest.mark.parametrize(("length", "fits"), [(127, True), (128, False)])
def test_length_of_names_in_bytes(length: int, fits: bool) -> None:
    for name in ("a" * length, "é" * (length // 2) + "a" * (length % 2)):
        assert (problems_of(f'"{name}" "x"'.encode()) == []) is fits


@pytest.mark.parametrize(("length", "fits"), [(65530, True), (65531, False)])
def test_length_of_secrets(length: int, fits: bool) -> None:
    assert (problems_of(b'"a" "' + b"x" * length + b'"') == []) is fits


def test_empty_name() -> None:
    assert problems_of(b'"" "x"') == ["u:1: error: empty username in auth file"]


def test_junk_without_end() -> None:
    assert len(problems_of(b"junk\n" * 100_000)) < 1000


def test_missing_file() -> None:
    users, problems = read_userlist("/nonexistent/users")
    assert users == {}
    assert [str(p) for p in problems] == [
        "/nonexistent/users: error: could not open auth_file: No such file or directory"
    ]


@pytest.mark.parametrize(
    ("mode", "secret", "warned"),
    [(0o600, "x", False), (0o640, "x", True), (0o604, "x", True), (0o620, "x", True), (0o644, "", False)],
)
def test_mode_of_the_file(tmp_path: Path, mode: int, secret: str, warned: bool) -> None:
    file = tmp_path / "users"
    file.write_text(f'"a" "{secret}"\n')
    os.chmod(file, mode)
    users, problems = read_userlist(str(file))
    assert users == {"a": secret}
    assert [p.severity for p in problems] == ["warning"] * warned


@settings(database=None, max_examples=300)
@given(st.binary(max_size=200))
def test_arbitrary_bytes(data: bytes) -> None:
    users, problems = parse_userlist(data, "u")
    assert all(user for user in users)
    assert all(0 < problem.line <= data.count(b"\n") + 1 for problem in problems)


_NAME = st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]), max_size=40)


@settings(database=None, max_examples=200)
@given(st.dictionaries(_NAME.filter(bool), _NAME))
def test_round_trip(users: dict[str, str]) -> None:
    def quote(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    text = "\n".join(f"{quote(user)} {quote(secret)}" for user, secret in users.items())
    assert parse_userlist(text.encode(), "u") == (users, [])
