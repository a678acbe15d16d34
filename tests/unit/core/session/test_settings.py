"""Sets of settings in the core: what tells them apart, and the SQL that puts one in force on a server."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.core import _core

NAMES = (b"client_encoding", b"DateStyle", b"TimeZone", b"application_name", b"search_path")
TRACKED = (b"UTF8", b"ISO, MDY", b"UTC", b"app", b"public")

TEXT = st.binary(max_size=40).map(lambda text: text.replace(b"\0", b""))
#: What a quote, a backslash or the second byte of a character of SJIS, BIG5, GBK can be, often.
SHARP = st.lists(st.sampled_from([b"'", b"\\", b"\x83", b"\x5c", b"\xe4", b";", b"\n", b"x"])).map(b"".join)

HEX = re.compile(rb"pg_catalog\.convert_from\(pg_catalog\.decode\('([0-9a-f]*)','hex'\),([^)]*\)?)\)")


def joined(values: tuple[bytes, ...], *extras: bytes) -> bytes:
    return b"".join(value + b"\0" for value in (*values, *extras))


def store(key: tuple[int, int] = (1, 2)) -> Any:
    return _core.Settings(key, *NAMES)


def test_sets_are_told_apart_by_a_keyed_digest_of_128_bits() -> None:
    values = joined(TRACKED, b"app.a", b"1")
    *digests, _ = store().look(values)
    assert store().look(values)[:3] == tuple(digests), "every worker comes to the same"
    for key in ((1, 3), (2, 2)):
        *others, _ = store(key).look(values)
        for mine, its in zip(digests, others, strict=True):
            assert mine[0] != its[0]
            assert mine[1] != its[1]
    assert all(part > 2**32 for part in digests[0]), "all of it"


def test_a_set_is_itself_among_many() -> None:
    """The table of sets grows with them; where it could not, they would be found all the same."""
    many = store()
    first = [many.look(joined(TRACKED, b"app.a", b"%d" % n))[0] for n in range(1000)]
    assert len(set(first)) == 1000
    assert [many.look(joined(TRACKED, b"app.a", b"%d" % n))[0] for n in range(1000)] == first


#: What a statement's literals are read under (l), what names are looked up (p) and plans are made by (n)
#: when it is run, what matters for none of that.
KINDS = {
    "l": """xmloption array_nulls backslash_quote transform_null_equals lc_monetary
        default_text_search_config bytea_output extra_float_digits
        quote_all_identifiers plpgsql.variable_conflict not_known_at_all""",
    "p": "role session_authorization row_security session_replication_role",
    "n": """work_mem enable_seqscan jit jit_above_cost random_page_cost cpu_tuple_cost from_collapse_limit
        geqo geqo_threshold constraint_exclusion plan_cache_mode max_parallel_workers_per_gather
        min_parallel_table_scan_size parallel_setup_cost effective_cache_size hash_mem_multiplier
        cursor_tuple_fraction join_collapse_limit recursive_worktable_factor debug_parallel_query""",
    "-": """statement_timeout lock_timeout transaction_timeout app.tenant log_statement
        default_transaction_isolation client_min_messages temp_buffers""",
}
TRACKED_KINDS = dict(zip(NAMES, "lll-p", strict=True))


@pytest.mark.parametrize(("kind", "name"), [(kind, n) for kind in KINDS for n in KINDS[kind].split()])
def test_what_decides_the_meaning_of_a_statement(kind: str, name: str) -> None:
    _, literals, run, _ = store().look(joined(TRACKED))
    for value in (b"a", b"b"):
        _, with_literals, with_run, _ = store().look(joined(TRACKED, name.encode(), value))
        assert (with_literals != literals, with_run != run) == (kind == "l", kind != "-")


@pytest.mark.parametrize("name", NAMES)
def test_which_reported_parameters_decide_the_meaning(name: bytes) -> None:
    _, literals, run, _ = store().look(joined(TRACKED))
    values = tuple(b"else" if n == name else value for n, value in zip(NAMES, TRACKED, strict=True))
    _, with_literals, with_run, _ = store().look(joined(values))
    kind = TRACKED_KINDS[name]
    assert (with_literals != literals, with_run != run) == (kind == "l", kind != "-")


@given(st.lists(TEXT.filter(bool), min_size=4, max_size=4, unique=True))
def test_where_a_value_ends_is_part_of_the_set(parts: list[bytes]) -> None:
    a, b, c, d = parts
    sets = (joined(TRACKED, a, b, c, d), joined(TRACKED, a + b, b"", c, d), joined(TRACKED, a, b + c, b"", d))
    assert len({store().look(values)[0] for values in sets}) == len(set(sets))


@given(TEXT | SHARP, TEXT | SHARP, SHARP.filter(bool))
def test_no_value_is_ever_lexed(tracked: bytes, extra: bytes, name: bytes) -> None:
    """The text is ASCII, so that no encoding reads it otherwise; quotes stand around plain letters."""
    values = joined((b"UTF8", tracked, b"UTC", b"app", b"public"), b"n." + name, extra)
    *_, sql = store().look(values)
    assert all(0x20 <= byte < 0x7F for byte in sql)
    assert b"\\" not in sql
    assert sql.count(b"'") % 2 == 0
    literals = re.findall(rb"'([^']*)'", sql)
    decoded = [bytes.fromhex(text.decode()) for text, _ in HEX.findall(sql)]
    wanted = [b"n." + name, *([extra] if extra else []), *([tracked] if tracked else [])]
    assert all(value in literals or value in decoded for value in wanted)


def test_values_are_in_the_encoding_in_which_they_were_told() -> None:
    values = joined((b"LATIN1", b"ISO", b"UTC", b"", b"sch\xe4ma"), b"app.name", b"M\xc3\xbcller")
    database = b"pg_catalog.getdatabaseencoding()"
    *_, told = store().look(values)
    assert HEX.findall(told) == [
        (b"sch\xe4ma".hex().encode(), b"'LATIN1'"),
        (b"M\xc3\xbcller".hex().encode(), database),
    ]
    *_, startup = store().look(values, told=False)  # PostgreSQL converts nothing of a startup packet
    assert [encoding for _, encoding in HEX.findall(startup)] == [database] * 2


def test_what_others_have_set_does_not_limit_a_reset() -> None:
    *_, sql = store().look(joined(TRACKED), reset=True)
    first, *rest = sql.split(b";")
    assert first == b"SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
    assert rest.index(b"SET LOCAL statement_timeout=0") < rest.index(b"RESET ALL")
