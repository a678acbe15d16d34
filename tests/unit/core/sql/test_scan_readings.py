"""The scanner reads a text as PostgreSQL's lexer does, in every way in which that may read it, and with work
that is linear in its bytes.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pooler.core import _core as core

EVERYTHING = {"settings", "locks", "temp", "prepared", "cursors", "channels", "unsure"}

#: What the catalogs have.
KNOWN: dict[bytes, tuple[()]] = {name.encode(): () for name in ("=", "+", "*", "||", "p", "t", "a")}

#: SET y is a statement of these, whatever standard_conforming_strings says; nothing in them is in doubt.
SEEN = [
    "SELECT E'a'\n'\\''; SET y = 1 --'",  # the second part of an E string has escapes, too
    "SELECT E'a' -- why\n  -- so\n'\\''; SET y = 1 --'",
    "SELECT B'1\\'; SET y = 1 --'",
    "SELECT X'1\\'; SET y = 1 --'",
    "SELECT U&'\\'; SET y = 1 --'",
    "SELECT 1$a$ ' $a$; SET y = 1 --'",
    "SELECT 1e5'; '; SET y = 1 --",
    "SELECT 1e'\\''; SET y = 1 --'",
    "SELECT 1;SET y = 1",
    "SELECT 2 */* ; ' */ 3; SET y = 1 --'",
    "SELECT 2 +-- ; '\n 3; SET y = 1 --'",
    'SELECT "a""b"; SET y = 1 --"',
    "SELECT $é$ ' $é$; SET y = 1 --'",
    "SELECT $a$ $b$ ' $a$; SET y = 1 --'",
    "SELECT a$b$c; SET y = 1 --$b$",
    "EXPLAIN SELECT 1; SET y = 1",
]

#: It is not.
UNSEEN = [
    "SELECT E'a'\n'\\'; SET y = 1 --'",
    "SELECT E'a' --\n '\\'; SET y = 1 --'",
    "SELECT $a$ ; SET y = 1 $A$ $a$",
    "SELECT 1$a$; SET y = 1; $a$",
    "SELECT 'a' /* no newline */ '; SET y = 1'",
]


@pytest.mark.parametrize("text", SEEN)
def test_statement_seen(text: str) -> None:
    for backslash in (False, True):
        traits, _, names = core.scan(text.encode(), backslash, KNOWN)
        assert ("s", "y") in names
        assert "unsure" not in traits


@pytest.mark.parametrize("text", UNSEEN)
def test_string_seen(text: str) -> None:
    for backslash in (False, True):
        assert core.scan(text.encode(), backslash, KNOWN)[0] == set()


#: What is hidden in one of the two readings of a plain string with a backslash.
TWO_WAYS = [
    ("SELECT 'a\\'; CREATE TEMP TABLE t AS SELECT 1; SELECT ' '", "temp"),
    ("SELECT 'a\\'', pg_advisory_lock(1), ''", "locks"),
    ("SELECT N'a\\', pg_advisory_lock(1), ''", "locks"),
    ("SELECT 'a'\n'\\', pg_advisory_lock(1), ''", "locks"),
    ("SELECT 'a\\'; CREATE TEMP TABLE t AS SELECT 1; --'", "temp"),
]


@pytest.mark.parametrize("backslash", [False, True])
@pytest.mark.parametrize(("text", "trait"), TWO_WAYS)
def test_both_readings_count(text: str, trait: str, backslash: bool) -> None:
    assert trait in core.scan(text.encode(), backslash, KNOWN)[0]


@pytest.mark.parametrize("text", ["SELECT '\\d+'", "SELECT 'C:\\\\', '\\\\'"])
def test_backslashes_alone_say_nothing(text: str) -> None:
    for backslash in (False, True):
        assert core.scan(text.encode(), backslash, KNOWN)[0] == set()


def test_a_reading_without_an_end_is_an_error() -> None:
    assert core.scan(b"SELECT 'C:\\' || 'b'", False, KNOWN)[0] == set()


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 'a",
        'SELECT "a',
        "SELECT $$ a",
        "SELECT $a$ a $b$",
        "SELECT /* a",
        "SELECT E'\\'",
        "/* /* */ SELECT 1",
    ],
)
def test_texts_without_an_end(text: str) -> None:
    """What cannot be read to its end may be anything."""
    assert core.scan(text.encode(), False, KNOWN)[0] >= EVERYTHING


@pytest.mark.parametrize(
    "text",
    [
        "SELECT U&\"set!005fconfig\" UESCAPE '!' (1, 2, false)",
        'SELECT U&"\\0070g_temp"',
        "SELECT * FROM crosstab2('SELECT 1')",
        "SELECT * FROM crosstab3('SELECT 1')",
        "SELECT * FROM crosstab4('SELECT 1')",
        "SELECT pg_input_is_valid('1', 'some_domain')",
    ],
)
def test_names_that_are_not_in_the_text(text: str) -> None:
    assert core.scan(text.encode(), False, KNOWN)[0] >= EVERYTHING - {"unsure"}


@pytest.mark.parametrize("what", ["query", "table", "schema", "database", "cursor"])
@pytest.mark.parametrize("form", ["xml", "xmlschema", "xml_and_xmlschema"])
def test_functions_that_run_what_is_an_argument(what: str, form: str) -> None:
    """Though the catalogs may have another function of that name, which leaves nothing."""
    name = f"{what}_to_{form}"
    found = core.scan(f"SELECT {name}('v', true, false, '')".encode(), False, {**KNOWN, name.encode(): ()})[0]
    assert (found >= EVERYTHING - {"unsure"}) == (name != "cursor_to_xml_and_xmlschema")  # there is none


@pytest.mark.parametrize(
    "text",
    [
        "EXECUTE p",
        "EXPLAIN ANALYZE EXECUTE p",
        "EXPLAIN (ANALYZE, COSTS OFF) EXECUTE p(1)",
        "explain analyze verbose execute p",
        "CREATE TABLE t AS EXECUTE p",
        "EXPLAIN ANALYZE CREATE TABLE t AS EXECUTE p",
    ],
)
def test_prepared_statements_run(text: str) -> None:
    assert "execute" in core.scan(text.encode(), False, KNOWN)[0]


@pytest.mark.parametrize(
    "text", ["EXECUTE pooler_1", 'execute "pooler_2"', "EXPLAIN ANALYZE EXECUTE POOLER_3(1)"]
)
def test_statements_of_others_run(text: str) -> None:
    """Under the pooler's own name for it a client may run what another one has prepared."""
    assert core.scan(text.encode(), False, KNOWN)[0] >= EVERYTHING


@pytest.mark.parametrize(
    "text",
    [
        "SET client_encoding = 'SJIS'",
        "SET LOCAL NAMES 'BIG5'",
        "SET LOCAL client_encoding TO gbk",
        "SELECT set_config('client_encoding', $1, true)",
        "SELECT set_config($1, $2, true)",
    ],
)
def test_encoding_may_change(text: str) -> None:
    assert "encoding" in core.scan(text.encode(), False, KNOWN)[0]


NESTS = [
    "set_config(",
    f"'{'x' * 5000}'",
    f"/*{'x' * 5000}*/",
    "set_config('a', ",
    "current_setting(",
    "explain ",
    "(",
    "execute 'a' ",
    "do '",
    "$a$",
    "$",
    "'",
    "/*",
    "'a'\n",
    "'a' --\n",
    'U&"a"',
    "create function ",
    "as $$ set ",
    "'\\",
    "reset a.",
    "a.",
    "with ",
    "case ",
    "select ",
    ", ",
    ") ",
    "::",
    "do $$ execute $x$ do ",
    "+-",
    "*+",
]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(NESTS), min_size=1, max_size=4).map("".join), st.booleans())
def test_work_is_linear(piece: str, backslash: bool) -> None:
    """A text twice as long is at most about twice the work, whatever is repeated in it."""
    work = [core.scan_work(b"select " + piece.encode() * n, backslash) for n in (100, 200)]
    assert work[1] <= 2.2 * work[0] + 200
    assert work[1] <= 40 * (200 * len(piece) + 7)


@pytest.mark.parametrize("signs", ["+-", "+", "+*+", "=+-"])
def test_work_of_signs(signs: str) -> None:
    """Each is an operator of its own, and none is looked at once for each of those before it."""
    text = f"select {signs * 50_000}".encode()
    assert core.scan_work(text) <= 5 * len(text)


@pytest.mark.parametrize("before", ["set_config(", "set_config('a', ", "current_setting(", "(", "f(", "a."])
def test_work_before_a_long_literal(before: str) -> None:
    """It is not read once for each word that stands before it."""
    text = f"select {before * 60}'{'x' * 1_000_000}'".encode()
    assert core.scan_work(text) <= 5 * len(text)
