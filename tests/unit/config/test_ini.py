"""The ini dialect: sections, keys, comments, includes, and places of what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pooler.config import load
from pooler.config.ini import INCLUDE_LEVELS_MAX, PROBLEMS_MAX, Assignment, Header, read_ini
from pooler.errors import ConfigError


def read(tmp_path: Path, text: str | bytes) -> tuple[list[str], list[str]]:
    """Tokens and problems in short: `section/key=value@line`, `line: text`."""
    file = tmp_path / "t.ini"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    tokens, problems = read_ini(str(file))
    short = []
    for token in tokens:
        name = Path(token.place.file).name
        place = f"@{token.place.line}" if name == "t.ini" else f"@{name}:{token.place.line}"
        if isinstance(token, Header):
            short.append(f"[{token.section}]{place}")
        elif isinstance(token, Assignment):
            short.append(f"{token.section}/{token.key}={token.value}{place}")
    return short, [f"{Path(p.file).name}:{p.line}: {p.text}" for p in problems]


def good(tmp_path: Path, text: str | bytes) -> list[str]:
    tokens, problems = read(tmp_path, text)
    assert problems == []
    return tokens


def test_sections_and_keys(tmp_path: Path) -> None:
    assert good(tmp_path, "[a]\nk = v\nl=w\n\n[b]\nk=\n") == [
        "[a]@1",
        "a/k=v@2",
        "a/l=w@3",
        "[b]@5",
        "b/k=@6",
    ]


def test_white_space(tmp_path: Path) -> None:
    assert good(tmp_path, " \t[a]\r\n\t k\t = \tv w \t\r\n") == ["[a]@1", "a/k=v w@2"]


def test_key_behind_header(tmp_path: Path) -> None:
    assert good(tmp_path, "[a] k=v\n[b] ; comment\n[c][d]x=y") == [
        "[a]@1",
        "a/k=v@1",
        "[b]@2",
        "[c]@3",
        "[d]@3",
        "d/x=y@3",
    ]


def test_section_names_are_literal(tmp_path: Path) -> None:
    assert good(tmp_path, "[ a]\n[]\n") == ["[ a]@1", "[]@2"]


def test_comments_only_where_a_key_could_start(tmp_path: Path) -> None:
    assert good(tmp_path, "; x\n# y\n[a]\n  ;k=v\nk = v ; w # z\n") == ["[a]@3", "a/k=v ; w # z@5"]


def test_keys(tmp_path: Path) -> None:
    text = "[a]\n* = x\nA.b-c_1=y\n'my db; [=]' = z\n'é'=w\n"
    assert good(tmp_path, text)[1:] == ["a/*=x@2", "a/A.b-c_1=y@3", "a/my db; [=]=z@4", "a/é=w@5"]


def test_no_line_continuation(tmp_path: Path) -> None:
    tokens, problems = read(tmp_path, "[a]\nk = v\\\nmore\n")
    assert tokens == ["[a]@1", "a/k=v\\@2"]
    assert problems == ["t.ini:3: syntax error: expected name = value"]


def test_bytes_that_are_no_utf8_survive(tmp_path: Path) -> None:
    assert good(tmp_path, b"[a]\nk = \xff\xc3\n") == ["[a]@1", "a/k=\udcff\udcc3@2"]


def test_unicode_space_is_not_space(tmp_path: Path) -> None:
    assert good(tmp_path, "[a]\nk = v\u00a0\u2028\x85\n") == ["[a]@1", "a/k=v\u00a0\u2028\x85@2"]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ('"my db" = x', "syntax error: odd names go in single quotes, 'like this' = ..."),
        ("'my db = x", "syntax error: expected 'name' = value"),
        ("'' = x", "syntax error: expected 'name' = value"),
        ("= x", "syntax error: expected name = value"),
        ("k", "syntax error: expected name = value"),
        ("my db = x", "syntax error: expected name = value"),
        ("k : v", "syntax error: expected name = value"),
        ("[b", "syntax error: no ] after ["),
        ("%include", "syntax error: expected %include FILE"),
        ("%includes x", "syntax error: expected %include FILE"),
        ("k = a\0b", "NUL byte in a line"),
    ],
)
def test_every_mistake_has_its_line_and_the_rest_is_read(tmp_path: Path, line: str, text: str) -> None:
    tokens, problems = read(tmp_path, f"[a]\n\n{line}\nlast = 1\n{line}\n")
    assert problems == [f"t.ini:3: {text}", f"t.ini:5: {text}"]
    assert tokens == ["[a]@1", "a/last=1@4"]


def test_key_outside_of_sections(tmp_path: Path) -> None:
    assert read(tmp_path, "k=v\n")[1] == ["t.ini:1: k is outside of any section"]


def test_missing_file() -> None:
    tokens, problems = read_ini("/nonexistent/x.ini")
    assert tokens == []
    assert [str(p) for p in problems] == [
        '/nonexistent/x.ini: error: could not load file "/nonexistent/x.ini": No such file or directory'
    ]


def test_directory_and_impossible_path(tmp_path: Path) -> None:
    assert "Is a directory" in read_ini(str(tmp_path))[1][0].text
    assert "null" in read_ini("a\0b")[1][0].text


def test_include_keeps_the_section_and_names_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("k=1\n[b]\nbad\n")
    tokens, problems = read(tmp_path, f"[a]\n %include\t {tmp_path}/more \nl=2\n")
    assert tokens == ["[a]@1", "a/k=1@more:1", "[b]@more:2", "b/l=2@3"]
    assert problems == ["more:3: syntax error: expected name = value"]


def test_include_is_relative_to_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "more").write_text("k=1\n")
    (tmp_path / "more").write_text("k=2\n")
    monkeypatch.chdir(tmp_path / "here")
    assert good(tmp_path, "[a]\n%include more\n")[1] == "a/k=1@more:1"


def test_missing_include_is_reported_where_it_is_named(tmp_path: Path) -> None:
    assert read(tmp_path, "[a]\n\n%include /nonexistent\n")[1] == [
        't.ini:3: could not load file "/nonexistent": No such file or directory'
    ]


def chain(tmp_path: Path, levels: int) -> str:
    """A file at the end of `levels` includes."""
    for level in range(levels):
        (tmp_path / f"f{level}").write_text(f"%include {tmp_path}/f{level + 1}\n")
    (tmp_path / f"f{levels}").write_text("[a]\nk=v\n")
    return f"{tmp_path}/f0"


def test_includes_nest_to_the_limit(tmp_path: Path) -> None:
    tokens, problems = read_ini(chain(tmp_path, INCLUDE_LEVELS_MAX))
    assert (len(tokens), problems) == (2, [])


def test_includes_nest_no_deeper(tmp_path: Path) -> None:
    tokens, problems = read_ini(chain(tmp_path, INCLUDE_LEVELS_MAX + 1))
    assert tokens == []
    assert [Path(p.file).name for p in problems] == [f"f{INCLUDE_LEVELS_MAX}"]
    assert "too deep" in problems[0].text


def test_circular_includes_end(tmp_path: Path) -> None:
    text = f"%include {tmp_path}/t.ini\n" * 10
    problems = read(tmp_path, text)[1]
    assert len(problems) == 1
    assert "too deep" in problems[0]


def test_includes_that_multiply_end(tmp_path: Path) -> None:
    for level in range(INCLUDE_LEVELS_MAX):
        (tmp_path / f"f{level}").write_text(f"%include {tmp_path}/f{level + 1}\n" * 9)
    (tmp_path / f"f{INCLUDE_LEVELS_MAX}").write_text("")
    problems = read_ini(f"{tmp_path}/f0")[1]
    assert len(problems) == 1
    assert "files included" in problems[0].text


def test_file_that_is_no_ini_file(tmp_path: Path) -> None:
    problems = read(tmp_path, b"\x7fELF\n" * 100_000)[1]
    assert len(problems) == PROBLEMS_MAX + 1
    assert "too many problems" in problems[-1]


_PIECES = [
    b"[pgbouncer]\n",
    b"[databases]\n",
    b"[users]\n",
    b"[peers]\n",
    b"[",
    b"]",
    b"\n",
    b"=",
    b" ",
    b"'",
    b'"',
    b"%include ",
    b"%include /nonexistent\n",
    b";",
    b"\0",
    b"\r\n",
    b"auth_file",
    b"listen_port = ",
    b"6432\n",
    b"max_client_conn=",
    b"* = ",
    b"host=",
    b"port=",
    b"pool_size=",
    b"password=",
    b"auth_type = ",
    b"hba\n",
    b"workers=auto\n",
    b"\xff",
    b"99999999999999999999",
]


@settings(
    database=None,
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.one_of(st.binary(max_size=300), st.lists(st.sampled_from(_PIECES), max_size=30).map(b"".join)))
def test_arbitrary_bytes_give_a_config_or_a_config_error(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "fuzz.ini"
    file.write_bytes(data)
    lines = data.count(b"\n") + 1
    for text in (data, b"[pgbouncer]\n" + data):
        file.write_bytes(text)
        try:
            problems = load(str(file)).problems
        except ConfigError as error:
            problems = error.problems
            assert any(problem.severity == "error" for problem in problems)
        assert all(0 <= problem.line <= lines + 1 for problem in problems)
        assert all(problem.text for problem in problems)
