"""auth_ident_file: names of the system, users they may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from pooler.config.ident import IdentMap, read_ident


def maps_of(folder: Path, text: str) -> tuple[dict[str, IdentMap], list[str]]:
    (folder / "ident").write_text(text)
    maps, problems = read_ident(str(folder / "ident"))
    return maps, [problem.text for problem in problems]


@pytest.mark.parametrize(
    ("line", "yes", "no"),
    [
        ("m root admin", [("root", "admin")], [("root", "root"), ("roots", "admin"), ("admin", "root")]),
        ("m root all", [("root", "anybody")], [("other", "anybody")]),
        ('m root "all"', [("root", "all")], [("root", "anybody")]),
        ('m "CN with, space" u', [("CN with, space", "u")], [("CN", "u")]),
        (r"m /^(.*)@example\.com$ \1", [("anna@example.com", "anna")], [("anna@example.org", "anna")]),
        (r"m /^(.*)@example\.com$ \1", [], [("anna@example.com", "berta"), ("@example.com", "x")]),
        (r"m /^a guest", [("anna", "guest"), ("a", "guest")], [("banna", "guest")]),
        (r"m /^a(x)?$ \1", [("ax", "x")], [("a", "all"), ("a", "a")]),
        ("m /. all", [("x", "anybody")], [("", "anybody")]),
    ],
)
def test_lines(tmp_path: Path, line: str, yes: list[tuple[str, str]], no: list[tuple[str, str]]) -> None:
    maps, problems = maps_of(tmp_path, f"# maps\n\n{line} # behind it\n")
    assert problems == []
    assert IdentMap.from_wire(maps["m"].to_wire()) == maps["m"]
    assert [pair for pair in yes if not maps["m"].permits(*pair)] == []
    assert [pair for pair in no if maps["m"].permits(*pair)] == []


def test_several_lines_of_a_map(tmp_path: Path) -> None:
    maps, _ = maps_of(tmp_path, "m root a\nn root c\nm root b\n")
    assert [user for user in "abc" if maps["m"].permits("root", user)] == ["a", "b"]
    assert [user for user in "abc" if maps["n"].permits("root", user)] == ["c"]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("m", "expected a map, a system name and a user"),
        ("m root", "expected a map, a system name and a user"),
        ("m root a b", "unsupported parameters"),
        ("m root a, b", "unsupported parameters"),
        ('m root ""', "the user is empty"),
        ("m /( a", "invalid regular expression: "),
        (r"m /^x$ \1", "\\1 needs a group"),
        ('m "root a', "unterminated quote"),
    ],
)
def test_bad_line_is_named(tmp_path: Path, line: str, text: str) -> None:
    maps, problems = maps_of(tmp_path, f"{line}\nm root all\n")
    assert problems[0].startswith(f"could not parse ident config line 1: {text}")
    assert len(maps["m"].identities) == 1
