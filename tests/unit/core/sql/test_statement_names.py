"""EXECUTE, DEALLOCATE and PREPARE in a text: which names, and where they stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.core._core import statement_deeds, statement_names

Use = tuple[str, int, bool, bytes, bytes]


def names(text: str) -> list[Use]:
    found = statement_names(text.encode())
    assert found is not None
    return found[0]


@pytest.mark.parametrize(("text", "wanted"), [
    ("EXECUTE a", ("execute", 0, True, b"a", b"a")),
    ("execute A(1, 'x')", ("execute", 0, False, b"A", b"a")),
    ('EXECUTE "A b"', ("execute", 0, True, b'"A b"', b"A b")),
    ('EXECUTE "a""b";', ("execute", 0, True, b'"a""b"', b'a"b')),
    (r'EXECUTE U&"\0041\+000062"', ("execute", 0, True, rb'U&"\0041\+000062"', b"Ab")),
    ("/* x */ EXECUTE/**/a", ("execute", 0, True, b"a", b"a")),
    ("EXPLAIN EXECUTE a", ("execute", 0, True, b"a", b"a")),
    ("EXPLAIN ANALYZE VERBOSE EXECUTE a", ("execute", 0, True, b"a", b"a")),
    ("EXPLAIN (ANALYZE, FORMAT json) EXECUTE a", ("execute", 0, True, b"a", b"a")),
    ("CREATE TABLE t AS EXECUTE a", ("execute", 0, True, b"a", b"a")),
    ("SELECT 1; EXECUTE a; SELECT 2", ("execute", 1, True, b"a", b"a")),
    ("DEALLOCATE a", ("deallocate", 0, True, b"a", b"a")),
    ("DEALLOCATE PREPARE a", ("deallocate", 0, True, b"a", b"a")),
    ("DEALLOCATE prepare", ("deallocate", 0, True, b"prepare", b"prepare")),
    ('DEALLOCATE "all"', ("deallocate", 0, True, b'"all"', b"all")),
    ("PREPARE a AS SELECT 1", ("prepare", 0, False, b"a", b"a")),
    ("PREPARE a (int) AS SELECT $1", ("prepare", 0, False, b"a", b"a")),
])  # fmt: skip
def test_one_name(text: str, wanted: Use) -> None:
    assert names(text) == [wanted]


@pytest.mark.parametrize("text", [
    "", ";", "SELECT 'EXECUTE a'", "SELECT $$; EXECUTE a$$", "-- EXECUTE a", "DEALLOCATE ALL",
    "PREPARE TRANSACTION 'x'", "SELECT execute FROM a", "GRANT EXECUTE ON FUNCTION f TO r",
    "CREATE TRIGGER t AFTER INSERT ON x EXECUTE FUNCTION f()", "EXECUTE", 'EXECUTE ""',
    "SELECT '; EXECUTE a(1)'", "SELECT $$; EXECUTE a(1)$$, $x$; EXECUTE a(1); $$ $x$",
    r"SELECT E'\'; EXECUTE a(1); --'", "SELECT 1 AS execute -- ; EXECUTE a(1)", "EXECUTE 'a'", 'EXECUTE "a',
    r'EXECUTE U&"\00e9"', r"""EXECUTE U&"!0041" UESCAPE '!'""", "EXECUTE " + 64 * "a",
])  # fmt: skip
def test_no_name(text: str) -> None:
    assert names(text) == []


def test_several_statements() -> None:
    text = "PREPARE a AS SELECT 1; EXECUTE a; DEALLOCATE a"
    found = statement_names(text.encode())
    assert found is not None
    uses, statements, clears = found
    assert [(verb, number) for verb, number, *_ in uses] == [
        ("prepare", 0),
        ("execute", 1),
        ("deallocate", 2),
    ]
    assert (statements, clears) == (3, True)


def test_there_is_a_limit() -> None:
    assert len(names("EXECUTE a;" * 8)) == 8
    assert statement_names(b"EXECUTE a;" * 9) is None


@pytest.mark.parametrize(("text", "clears"), [
    ("DISCARD ALL", True), ("DISCARD TEMP", True), ("DEALLOCATE ALL", True), ("SELECT 1", False),
    ("RESET ALL", False),
])  # fmt: skip
def test_all_names_may_be_gone(text: str, clears: bool) -> None:
    found = statement_names(text.encode())
    assert found is not None
    assert found[2] is clears


@pytest.mark.parametrize(("text", "deeds"), [
    ("COPY t FROM STDIN", {"copy"}), ("; ;copy t TO STDOUT", {"copy"}), ("EXECUTE a", {"copy"}),
    ("DISCARD ALL", {"clear"}), ("DEALLOCATE a", {"clear"}), ("SELECT 1", set()), ("", set()),
    ("copying", set()), ('"copy"', set()),
])  # fmt: skip
def test_deeds(text: str, deeds: set[str]) -> None:
    assert statement_deeds(text.encode()) == deeds


@pytest.mark.parametrize("beginning", ["", "CO", "COPY", "/* no end"])
def test_a_beginning_may_become_anything(beginning: str) -> None:
    assert statement_deeds(beginning.encode(), whole=False) == {"copy", "clear"}


@given(st.text("aA\"'$;\\U& (", max_size=40).map("EXECUTE ".__add__))
def test_a_name_stands_where_it_is_said_to(text: str) -> None:
    found = statement_names(text.encode())
    for _, _, _, written, name in found[0] if found else ():
        assert written in text.encode()
        assert 0 < len(name) <= len(written)
