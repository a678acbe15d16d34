"""What a server is asked about a session, and what its answer means: the text of the query, row by row."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.core._core import sql_literal
from pooler.worker.session_queries import QUESTIONS
from tests.unit.core.stage import USER, Stage, messages

WORDS = ("settings", "locks", "temp", "prepared", "cursors", "channels")
BEGIN = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;"
LIMITS = ("transaction_timeout", "statement_timeout", "lock_timeout")
LIFT = "SET LOCAL statement_timeout=0;SET LOCAL lock_timeout=0;"


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


@pytest.fixture(scope="module")
def lasting() -> Iterator[Stage]:
    """One for many probes, each of which is as if it were the first."""
    made = Stage()
    yield made
    made.close()


def asked(stage: Stage, *words: str) -> str:
    """The query that a probe has sent."""
    stage.scene.probe(*words)
    ((letter, body),) = messages(stage.server_hears())
    assert letter == "Q"
    assert body.endswith(b"\0")
    assert body.count(b"\0") == 1
    return body[:-1].decode()


def value_of(name: str) -> str:
    """What asks for the value of a setting."""
    return f"pg_catalog.current_setting('{name}',true)"


def setting(name: bytes, value: bytes) -> list[bytes | None]:
    return [b"s", name, value.hex().encode()]


# ---- the query ----


@pytest.mark.parametrize("words", [w for n in range(7) for w in itertools.combinations(WORDS, n)])
def test_what_is_asked_for_is_asked_and_nothing_else(words: tuple[str, ...], lasting: Stage) -> None:
    text = asked(lasting, *words)
    lasting.scene.begin()
    assert text.startswith(BEGIN)
    for word, question in zip(WORDS, QUESTIONS, strict=False):
        assert (question in text) == (word in words)
    *_, query = text.split(";")
    parts = [question for word, question in zip(WORDS, QUESTIONS, strict=False) if word in words]
    assert query.startswith(" UNION ALL ".join(parts))
    assert (value_of("role") in query, value_of("session_authorization") in query) == (
        ("settings" in words),
    ) * 2
    assert QUESTIONS[6] not in text, "the defaults are asked for elsewhere"


def test_settings_that_were_said_are_asked_for_by_name(stage: Stage) -> None:
    for kind, name in (("s", b"search_path"), ("r", b"work_mem"), ("s", b"app.tenant")):
        stage.scene.mention(kind, name)
    text = asked(stage, "locks")
    assert value_of("search_path") in text
    assert value_of("app.tenant") in text
    assert "work_mem" not in text, "what is reset is not set"
    assert LIFT not in text


def test_where_all_are_asked_for_none_is_by_name(stage: Stage) -> None:
    stage.scene.mention("s", b"search_path")
    assert value_of("search_path") not in asked(stage, "settings")


@given(st.binary(min_size=1, max_size=60).map(lambda name: name.replace(b"\0", b"x")))
def test_a_name_is_a_literal_whatever_it_is(lasting: Stage, name: bytes) -> None:
    lasting.scene.mention("s", name)
    text = asked(lasting)
    lasting.scene.begin()
    literal = sql_literal(name)
    assert literal is not None
    assert text == (
        f"{BEGIN}SELECT 's',{literal.decode()},pg_catalog.encode(pg_catalog.convert_to("
        f"pg_catalog.current_setting({literal.decode()},true),pg_catalog.getdatabaseencoding()),'hex')"
    )


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_of_the_client_is_told_and_then_lifted(stage: Stage, name: str) -> None:
    stage.scene.mention("s", name.encode())
    text = asked(stage, "locks")
    told, first = f"SELECT 's','{name}'", "set_config('transaction_timeout'"
    assert text.count(told) == 1
    assert text.index(told) < text.index(LIFT) < text.index(QUESTIONS[1])
    if name == "transaction_timeout":  # it ends the session: before anything else
        assert text.index(told) < text.index(first)
    else:
        assert text.index(first) < text.index(told)
    assert all(f"'s','{other}'" not in text for other in LIMITS if other != name)


def test_a_limit_of_the_startup_packet_is_lifted(stage: Stage) -> None:
    limited = Stage(b"statement_timeout", b"1s")
    assert LIFT in asked(limited, "locks")
    assert LIFT not in asked(stage, "locks")
    limited.close()


def test_with_all_settings_all_limits_are_told(stage: Stage) -> None:
    text = asked(stage, "settings")
    values = [f"SELECT 'v','{name}',{value_of(name)}" for name in LIMITS]
    assert all(text.count(value) == 1 for value in values)
    assert text.index(values[0]) < text.index(values[1]) < text.index(LIFT) < text.index(QUESTIONS[0])


def test_custom_settings_are_asked_for_by_name() -> None:
    """Those with a dot that no library has defined; PostgreSQL lists none of them."""
    stage = Stage(b"app.tenant", b"7", b"app.Us'er", b"x", b"work_mem", b"1MB")
    text = asked(stage, "settings")
    for name in (b"app.tenant", b"app.Us'er"):
        literal = sql_literal(name)
        assert literal is not None
        assert literal.decode() in text[text.index("unnest(ARRAY[") : text.index("]::pg_catalog.text[]")]
    assert "work_mem" not in text
    stage.close()


def test_what_may_connect_is_asked_for_where_something_unknown_was_called(stage: Stage) -> None:
    assert "pg_extension" not in asked(stage, "settings")
    stage.scene.begin()
    stage.scene.unseen()
    assert "pg_extension" in asked(stage, "settings")
    stage.scene.begin()
    stage.scene.unseen()
    assert "pg_extension" not in asked(stage, "locks")


# ---- its answer ----


@given(
    st.dictionaries(
        st.text("abcxyz_", min_size=1, max_size=20).filter(lambda name: name != "role"),
        st.binary(max_size=200).map(lambda value: value.replace(b"\0", b"")),
        max_size=8,
    )
)
def test_settings_come_in_hex(lasting: Stage, values: dict[str, bytes]) -> None:
    asked(lasting, "settings")
    for name, value in values.items():
        lasting.scene.row(setting(name.upper().encode(), value))
    assert lasting.scene.found == (set(), [(name.encode(), value) for name, value in values.items()], False)
    lasting.scene.begin()


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        (setting(b"role", b"none"), False),
        (setting(b"role", b"other"), True),
        (setting(b"session_authorization", USER.encode()), False),
        (setting(b"session_authorization", b"other"), True),
        (setting(b"transaction_isolation", b"serializable"), False),
        (setting(b"transaction_read_only", b"on"), False),
        (setting(b"transaction_deferrable", b"on"), False),
        (setting(b"TimeZone", b"UTC"), False),  # the server reports it by itself
        (setting(b"app.gone", b""), False),  # of another client, which had it
        (setting(b"app.mine", b""), True),
        (setting(b"search_path", b""), True),
        ([b"s", None, b"00"], False),
        ([b"s", b"work_mem", None], False),
        ([None, b"work_mem", b"00"], False),
        ([b"x", b"work_mem", b"00"], False),
        ([], False),
    ],
)
def test_what_is_a_setting_of_the_client(row: list[bytes | None], kept: bool) -> None:
    stage = Stage(b"app.mine", b"1")
    asked(stage, "settings")
    stage.scene.row(row)
    _, pairs, overflow = stage.scene.found
    assert (len(pairs), overflow) == (kept, False)
    stage.close()


@pytest.mark.parametrize(
    ("value", "default", "kept"),
    [(b"0", b"0", False), (b"1min", b"60000", False), (b"5s", b"0", True), (b"1500ms", b"1500", False),
     (b"2h", b"7200000", False), (b"1d", b"86400000", False), (b"5s", b"5", True)],
)  # fmt: skip
def test_a_limit_is_the_clients_where_it_is_not_the_default(
    stage: Stage, value: bytes, default: bytes, kept: bool
) -> None:
    asked(stage, "settings")
    stage.scene.row([b"v", b"lock_timeout", value])
    stage.scene.row([b"d", b"lock_timeout", default])
    assert stage.scene.found == (set(), [(b"lock_timeout", value)] if kept else [], False)


@pytest.mark.parametrize(
    "rows",
    [
        [[b"d", b"lock_timeout", b"0"]],  # without its value
        [[b"v", b"work_mem", b"0"]],
        [[b"v", b"lock_timeout", b"0" * 32]],
        [setting(b"a\0b", b"x")],
        [setting(b"a", b"x\0y")],
        [setting(b"a%d" % n, b"x" * 3000) for n in range(6)],
    ],
)
def test_what_cannot_be_known_follows_no_client(stage: Stage, rows: list[list[bytes | None]]) -> None:
    asked(stage, "settings")
    for row in rows:
        stage.scene.row(row)
    _, _, overflow = stage.scene.found
    assert overflow
    stage.scene.answered()
    assert stage.scene.pinned == {"opaque"}
    assert (stage.scene.is_opaque, stage.scene.is_known) == (True, False)


def test_a_row_that_is_too_long_to_be_read(stage: Stage) -> None:
    asked(stage, "settings")
    stage.scene.row(setting(b"a", b"x"), whole=False)
    assert stage.scene.found == (set(), [], True)


# ---- what follows ----


def test_all_settings_become_the_clients() -> None:
    stage = Stage(b"work_mem", b"1MB", b"app.old", b"x")
    asked(stage, "settings")
    stage.scene.row(setting(b"search_path", b"a, b"))
    stage.scene.row(setting(b"work_mem", b"2MB"))
    stage.scene.answered()
    assert stage.scene.settings == {b"search_path": b"a, b", b"work_mem": b"2MB"}
    assert (stage.scene.pinned, stage.scene.is_opaque, stage.scene.is_known) == (set(), False, True)
    stage.close()


def test_settings_by_name_leave_the_others() -> None:
    stage = Stage(b"work_mem", b"1MB", b"app.old", b"x")
    stage.scene.mention("s", b"search_path")
    stage.scene.mention("s", b"app.old")
    asked(stage)
    stage.scene.row(setting(b"search_path", b"a"))
    stage.scene.row([b"s", b"app.old", None])  # there is none
    stage.scene.answered()
    assert stage.scene.settings == {b"search_path": b"a", b"work_mem": b"1MB"}
    assert stage.scene.is_known
    stage.close()


@pytest.mark.parametrize("found", [(), (1,), (2, 4), (1, 2, 3, 4)])
def test_what_is_there_keeps_the_server(stage: Stage, found: tuple[int, ...]) -> None:
    """And what was there and is not any more does not; what was not asked for stays as it is."""
    stage.scene.pin("locks", "temp", "channels")
    asked(stage, "locks", "temp", "prepared", "cursors")
    for number in found:
        stage.scene.row([b"p", b"%d" % number, None])
    stage.scene.answered()
    assert stage.scene.pinned == {WORDS[number] for number in found} | {"channels"}


def test_a_connection_of_its_own_keeps_the_server(stage: Stage) -> None:
    stage.scene.unseen()
    asked(stage, "settings")
    stage.scene.row([b"p", b"7", None])
    stage.scene.answered()
    assert "opaque" in stage.scene.pinned


def test_a_question_without_an_answer_keeps_the_server(stage: Stage) -> None:
    asked(stage, "settings", "locks", "cursors")
    stage.scene.row([b"p", b"2", None])
    stage.scene.unanswered()
    assert stage.scene.pinned == {"locks", "cursors", "opaque"}
