"""The documents: links that lead somewhere, names that are there, pages that are read in one go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

README_BYTES = 6_000
PAGE_BYTES = 8_000
#: Of prose; tables, code and what cannot be broken (a link alone on its line) may have more.
LINE_COLUMNS = 120
TABLE_COLUMNS = 200

#: Made from the code by scripts/reference, as long as what they list.
GENERATED = {
    DOCS / name
    for name in (
        "reference/settings.md",
        "reference/console.md",
        "reference/command-line.md",
        "reference/metrics.md",
        "internals/states.md",
    )
}

PAGES = sorted(DOCS.rglob("*.md"))
WRITTEN = [page for page in PAGES if page not in GENERATED]
INTERNALS = sorted((DOCS / "internals").glob("*.md"))
TEXTS = [
    *(ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    ROOT / "pooler/core/README.md",
    *PAGES,
]

#: Words in backticks on pages of docs/internals that name something outside of the project.
OUTSIDE = {"_s", "_us", "ps", "config.mak", "tls_support", "build/sanitize/reports", ".../test"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a document outside of code, with their numbers."""
    code = False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.lstrip().startswith("```"):
            code = not code
        elif not code and not line.startswith("    "):
            yield number, line


def anchors(path: Path) -> set[str]:
    """The headings of a page as GitHub and mkdocs make anchors of them."""
    headings = (line.lstrip("#").strip() for _, line in prose(path) if line.startswith("#"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def tracked() -> frozenset[str]:
    """Files of the project. (Not by git: an sdist has none.)"""
    folders = ("pooler", "tests", "scripts", "docs", "etc", ".ci")
    found = [*ROOT.glob("*"), *(path for folder in folders for path in (ROOT / folder).rglob("*"))]
    return frozenset(name_of(path) for path in found if path.is_file() and path.suffix not in {".pyc", ".so"})


@cache
def code_words() -> frozenset[str]:
    """All words of the code."""
    suffixes = {".py", ".pyx", ".pxi", ".pxd", ".c", ".h", ".ini", ""}
    here = name_of(Path(__file__).resolve())
    words: set[str] = set()
    for name in tracked():
        if (
            Path(name).suffix in suffixes
            and name != here
            and not name.endswith(("_core.c", "_core_testing.c"))
            and "corpus" not in name
        ):
            words.update(re.findall(r"\w+", (ROOT / name).read_text(errors="replace")))
    return frozenset(words)


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_links(path: Path) -> None:
    text = "\n".join(line for _, line in prose(path))
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", text)):
        if re.match(r"[a-z]+://", target):
            continue
        name, _, anchor = target.partition("#")
        other = (path.parent / name).resolve() if name else path
        assert other.is_file(), f"{target} leads nowhere"
        assert not anchor or anchor in anchors(other), f"{target}: no such heading"


@pytest.mark.parametrize("path", TEXTS, ids=name_of)
def test_lines_are_short(path: Path) -> None:
    for number, line in prose(path):
        limit = TABLE_COLUMNS if line.startswith("|") else LINE_COLUMNS
        broken = len(line.split()) > 1 and not re.fullmatch(r"\[.*\]\(\S+\)[.,;]?", line.strip())
        assert len(line) <= limit or not broken, f"line {number} has {len(line)} columns"


@pytest.mark.parametrize("path", WRITTEN, ids=name_of)
def test_pages_are_short(path: Path) -> None:
    assert path.stat().st_size <= PAGE_BYTES, "a page answers one question"


def test_readme_is_short() -> None:
    assert (ROOT / "README.md").stat().st_size <= README_BYTES


@pytest.mark.parametrize("path", WRITTEN, ids=name_of)
def test_first_sentence_stands_first(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# "), "a page begins with its question"
    assert lines[1] == "", lines[1]
    assert re.match(r"[\w`*\"-]", lines[2]), "then its answer, in a sentence"


@pytest.mark.parametrize("path", INTERNALS, ids=name_of)
def test_names_in_internals(path: Path) -> None:
    text = "\n".join(line for _, line in prose(path))
    named = re.findall(r"`([^`]+)`", text)
    assert named
    for name in named:
        parts = {part for part in re.split(r"[\s,]+", name) if part} - OUTSIDE
        missing = sorted(part for part in parts if not is_there(part))
        assert not missing, f"`{name}` is not in the project: {missing}"


def is_there(name: str) -> bool:
    """Whether a word in backticks is a file, a folder, or a name of the code."""
    if "/" in name or re.search(r"\.(py|pyx|c|h|md|ini)$", name):
        wanted = re.escape(name.rstrip("/")).replace(r"\*", "[^/]*")
        return any(re.search(rf"(^|/){wanted}(/|$)", file) for file in tracked())
    return set(re.findall(r"\w+", name)) <= code_words()
