"""SQL for values, names of settings by what they change, and keyed digests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.core._core import keyed_digest, setting_kind, sql_literal

#: The key of SipHash's published vectors: the bytes 0 to 15.
KEY = (0x0706050403020100, 0x0F0E0D0C0B0A0908)


@pytest.mark.parametrize(("value", "wanted"), [
    (b"", b"''"), (b"plain ~ text", b"'plain ~ text'"), (b'"quoted"', b"'\"quoted\"'"),
])  # fmt: skip
def test_a_plain_value_stands_as_it_is(value: bytes, wanted: bytes) -> None:
    assert sql_literal(value) == wanted


@pytest.mark.parametrize("value", [b"'", b"\\", b"it's", b"\n", b"\x7f", b"\xe9", "é".encode()])
def test_any_other_value_is_in_hexadecimal(value: bytes) -> None:
    expression = b"pg_catalog.convert_from(pg_catalog.decode('%s','hex'),%s)"
    database = b"pg_catalog.getdatabaseencoding()"
    assert sql_literal(value) == expression % (value.hex().encode(), database)
    assert sql_literal(value, b"SJIS") == expression % (value.hex().encode(), b"'SJIS'")
    assert sql_literal(value, b"it's") == expression % (value.hex().encode(), database), "no such encoding"


@given(st.binary(max_size=80).map(lambda value: value.replace(b"\0", b"")), st.integers(1, 300))
def test_it_fits_or_there_is_none(value: bytes, size: int) -> None:
    whole = sql_literal(value)
    assert whole is not None
    assert sql_literal(value, None, size) == (whole if len(whole) < size else None)


@pytest.mark.parametrize(("name", "kind"), [
    ("application_name", "nothing"), ("APPLICATION_NAME", "nothing"), ("statement_timeout", "nothing"),
    ("log_statement", "nothing"), ("app.tenant", "nothing"), ("track_activities", "nothing"),
    ("plpgsql.variable_conflict", "literals"), ("postgis.backend", "literals"), ("DateStyle", "literals"),
    ("TimeZone", "literals"), ("standard_conforming_strings", "literals"), ("bytea_output", "literals"),
    ("a_name_of_a_later_release", "literals"),
    ("search_path", "text"), ("role", "text"), ("session_authorization", "text"), ("row_security", "text"),
    ("enable_seqscan", "text"), ("jit", "text"), ("jit_above_cost", "text"), ("random_page_cost", "text"),
    ("work_mem", "text"), ("debug_parallel_query", "text"),
])  # fmt: skip
def test_what_a_setting_changes(name: str, kind: str) -> None:
    assert setting_kind(name.encode()) == kind


@pytest.mark.parametrize(("length", "digest"), [
    (0, "a3817f04ba25a8e66df67214c7550293"), (1, "da87c1d86b99af44347659119b22fc45"),
])  # fmt: skip
def test_digests_are_siphash_2_4_of_128_bits(length: int, digest: str) -> None:
    """Vectors of its reference implementation."""
    high, low = keyed_digest(KEY, bytes(range(length)))
    assert (high.to_bytes(8, "little") + low.to_bytes(8, "little")).hex() == digest


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_digests_tell_texts_apart(one: bytes, other: bytes) -> None:
    assert (keyed_digest(KEY, one) == keyed_digest(KEY, other)) is (one == other)
    assert keyed_digest((1, 2), one) != keyed_digest(KEY, one)
