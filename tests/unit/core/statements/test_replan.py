"""A plan whose result has changed: who hears of it, and when the statement is sent again instead."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from pooler.protocol import codes
from pooler.protocol.messages import command_complete, data_row, message, ready
from tests.support.messages import row_description
from tests.support.wire import FLUSH, SYNC, TERMINATE, bind, close, describe, execute, parse, query
from tests.unit.core.stage import Stage, messages

TEXT = "SELECT * FROM t"
RUN = execute() + SYNC
#: What reaches the client when it does not hear of the change.
FINE = "2DCZ"


def error(code: str = "0A000", routine: str = "RevalidateCachedQuery", text: str = "plan changed") -> bytes:
    fields = {"S": "FEHLER", "V": "ERROR", "C": code, "M": text, "F": "plancache.c", "L": "721", "R": routine}
    return message(b"E", b"".join(f"{kind}{value}\0".encode() for kind, value in fields.items()), b"\0")


CHANGED = error()
#: The statement of an EXECUTE is not there.
GONE = b""


def gone(name: str) -> bytes:
    return error("26000", "FetchPreparedStatement", f'prepared statement "{name}" does not exist')


def named(letter: str, body: bytes) -> bytes:
    """The name of the statement that a message makes or uses."""
    names = body.split(b"\0")
    return {"P": names[0], "B": names[1] if letter == "B" else b"", "D": body[1:]}.get(letter, b"")


class Postgres:
    """Answers as PostgreSQL does. The next messages of the kind `fails_at` that use a statement of the client
    fail, as many as there are `errors` (an empty one: it does not fail); `heard`: the letters of those that
    make or use one. Without a `column` statements have no rows."""

    def __init__(self) -> None:
        self.fails_at = ""
        self.errors: list[bytes] = []
        self.status = codes.STATUS_IDLE
        self.skips = False
        self.heard = ""
        self.column = "n"
        self._unread = b""

    def answers(self, data: bytes) -> bytes:
        """To what is whole by now."""
        self._unread += data
        at = end = 0
        while end <= len(self._unread):
            at, end = end, end + 1 + int.from_bytes(self._unread[end + 1 : end + 5].ljust(4, b"\xff"), "big")
        whole, self._unread = self._unread[:at], self._unread[at:]
        return b"".join(self.answer(letter, body) for letter, body in messages(whole))

    def answer(self, letter: str, body: bytes) -> bytes:
        uses = re.fullmatch(rb"pooler_[1-9]\d*\0?", named(letter, body)) is not None
        self.heard += letter * uses
        if letter == "S":
            self.skips = False
            return ready(self.status)
        if self.skips:
            return b""
        executed = re.search(rb"EXECUTE (pooler_\d+)\0", body) if letter == "Q" else None
        if executed:
            self.heard += letter
        if executed and self.fails_at == "Q" and self.errors:
            return (self.errors.pop(0) or gone(executed[1].decode())) + ready(self.status)
        theirs = uses or (letter == "B" and not named(letter, body))
        if letter == self.fails_at and theirs and self.errors and (failed := self.errors.pop(0)):
            self.skips = True
            return failed
        columns = row_description([(self.column, 23)]) if self.column else message(b"n")
        return {
            "P": message(b"1"),
            "B": message(b"2"),
            "C": message(b"3"),
            "D": (message(b"t", b"\0\0") if body[:1] == b"S" else b"") + columns,
            "E": data_row(["1"]) + command_complete("SELECT 1"),
            "Q": command_complete("SELECT 1") + ready(self.status),
        }.get(letter, b"")


class Play:
    """A client and PostgreSQL, through the relay."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.postgres = Postgres()

    def say(self, data: bytes) -> str:
        """The letters of what the client gets for this."""
        self.stage.client_says(data)
        while sent := self.stage.server_hears():
            if answer := self.postgres.answers(sent):
                self.stage.server_says(answer)
        self.last = self.stage.client_hears()
        return "".join(letter for letter, _ in messages(self.last))

    def fail(self, at: str, *errors: bytes) -> None:
        """From now on PostgreSQL answers so; what it has heard is forgotten."""
        self.postgres.fails_at, self.postgres.errors, self.postgres.heard = at, list(errors), ""


@pytest.fixture
def play() -> Iterator[Play]:
    made = Play()
    assert made.say(parse(TEXT, "a") + SYNC) == "1Z"
    yield made
    made.stage.close()


def tell(play: Play) -> None:
    """The client asks for the columns of its statement."""
    assert play.say(describe("S", "a") + SYNC) == "tTZ"


# ---- who hears of it ----


@pytest.mark.parametrize(
    "pipeline",
    [bind((), "a") + RUN, bind((), "a") + execute() + FLUSH + SYNC],
    ids=["portal", "flush"],
)
def test_a_client_that_never_asked_for_columns_hears_nothing(play: Play, pipeline: bytes) -> None:
    play.fail("B", CHANGED)
    assert play.say(pipeline) == FINE
    assert play.postgres.heard.count("B") == 2, "it was bound again,"
    assert "P" in play.postgres.heard, "of a statement that was parsed anew"
    play.fail("")
    assert play.say(bind((), "a") + RUN) == FINE
    assert "P" not in play.postgres.heard, "once is enough"


def test_a_client_that_was_told_of_columns_hears_it(play: Play) -> None:
    tell(play)
    play.fail("B", CHANGED)
    assert play.say(bind((), "a") + RUN) == "EZ"
    assert CHANGED in play.last, "in the words of PostgreSQL"
    assert play.postgres.heard.count("B") == 1


@pytest.mark.parametrize(
    ("pipeline", "hears"),
    [
        (bind((), "a") + describe() + RUN, "2TDCZ"),
        (bind((), "a", "p") + describe("P", "p") + execute("p") + SYNC, "2TDCZ"),
        (bind((), "a", "p") + describe("P", "q") + execute("p") + SYNC, "EZ"),  # another portal
        (bind((), "a") + execute() + describe() + SYNC, "EZ"),  # it is run before
        (bind((), "a", "b") + describe("S", "b") + execute("b") + SYNC, "EZ"),  # a statement of that name
    ],
    ids=["portal", "named portal", "another portal", "too late", "statement"],
)
def test_a_client_that_asks_again_hears_nothing(play: Play, pipeline: bytes, hears: str) -> None:
    tell(play)
    play.fail("B", CHANGED)
    assert play.say(pipeline) == hears


def test_a_client_that_asks_for_formats_by_column_hears_it(play: Play) -> None:
    """It knows how many there are."""
    tell(play)
    play.fail("B", CHANGED)
    formats = message(b"B", b"\0a\0", b"\0\0", b"\0\0", b"\0\2\0\0\0\1")
    assert play.say(formats + describe() + RUN) == "EZ"


@pytest.mark.parametrize("told", [False, True])
def test_a_client_that_asks_for_the_columns_hears_nothing(play: Play, told: bool) -> None:
    if told:
        tell(play)
    play.fail("D", CHANGED)
    assert play.say(describe("S", "a") + SYNC) == "tTZ"
    assert play.postgres.heard.count("D") > 2, "it was asked again, of a statement that was parsed anew"


def test_a_client_that_parses_in_the_same_pipeline_hears_nothing(play: Play) -> None:
    """It may ask for the columns of a portal with a name later."""
    play.fail("B", CHANGED)
    assert play.say(parse(TEXT, "c") + bind((), "c", "p") + execute("p") + SYNC) == "1" + FINE


def test_a_client_that_parses_another_statement_hears_it(play: Play) -> None:
    tell(play)
    play.fail("B", CHANGED)
    assert play.say(parse("SELECT 2", "b") + bind((), "a") + RUN) == "1EZ"


def test_a_client_that_parses_it_later_hears_it(play: Play) -> None:
    tell(play)
    play.fail("B", CHANGED)
    assert play.say(bind((), "a") + execute() + close("S", "a") + parse(TEXT, "a") + SYNC) == "EZ"


def test_the_unnamed_statement_is_the_clients(play: Play) -> None:
    """It has parsed it itself, on this server."""
    assert play.say(parse(TEXT) + SYNC) == "1Z"
    play.fail("B", CHANGED)
    assert play.say(bind(()) + RUN) == "EZ"


def test_a_client_that_parses_it_anew_hears_nothing(play: Play) -> None:
    tell(play)
    play.fail("B", CHANGED)
    assert play.say(close("S", "a") + parse(TEXT, "a") + bind((), "a") + RUN) == "31" + FINE


# ---- what may not be sent again ----


def test_within_a_transaction_it_hears_it_and_goes_on(play: Play) -> None:
    play.postgres.status = codes.STATUS_IN_TRANSACTION
    assert play.say(query("BEGIN")) == "CZ"
    play.fail("B", CHANGED)
    assert play.say(bind((), "a") + RUN) == "EZ"
    play.postgres.status = codes.STATUS_IDLE
    assert play.say(query("ROLLBACK")) == "CZ"
    play.fail("")
    assert play.say(bind((), "a") + RUN) == FINE
    assert play.postgres.heard[0] == "P", "it was parsed anew"


def test_behind_what_was_executed_it_hears_it(play: Play) -> None:
    assert play.say(parse("INSERT", "b") + SYNC) == "1Z"
    assert play.say(bind((), "b") + execute() + FLUSH) == "2DC"
    play.fail("B", CHANGED)
    assert play.say(bind((), "a") + RUN) == "EZ"
    assert play.postgres.heard.count("B") == 1


def test_twice_is_too_often(play: Play) -> None:
    play.fail("B", CHANGED, CHANGED)
    assert play.say(bind((), "a") + RUN) == "EZ"
    assert play.postgres.heard.count("B") == 2


def test_what_was_executed_is_not_executed_again(play: Play) -> None:
    """Though no answer to it was sent."""
    pipeline = bind((), "b") + execute() + bind((), "a") + RUN
    assert play.say(parse("INSERT", "b") + SYNC) == "1Z"
    assert play.say(pipeline) == "2DC2DCZ"
    play.fail("B", b"", CHANGED)
    assert play.say(pipeline) == "2DCEZ"
    assert play.postgres.heard.count("B") == 2


@pytest.mark.parametrize(
    ("pipeline", "column", "hears"),
    [
        (bind((), "b") + bind((), "a") + RUN, "n", "22DCZ"),
        (bind((), "b") + describe() + bind((), "a") + describe() + RUN, "n", "2T2TDCZ"),
        (bind((), "b") + describe() + bind((), "a") + describe() + RUN, "", "2n2nDCZ"),
        (parse("SELECT 3", "c") + bind((), "b") + bind((), "a") + RUN, "n", "122DCZ"),
        (bind((), "b") + parse("SELECT 3", "c") + bind((), "a") + RUN, "n", "21EZ"),
        (bind((), "b") + close("S", "c") + bind((), "a") + RUN, "n", "23EZ"),
    ],
    ids=["bound", "described", "no data", "parse in front", "parse between", "close between"],
)
def test_all_is_repeated_that_was_answered_before(
    play: Play, pipeline: bytes, column: str, hears: str
) -> None:
    """In their order; what holds already, a Parse or a Close, cannot be between."""
    play.postgres.column = column
    assert play.say(parse("SELECT 2", "b") + SYNC) == "1Z"
    assert play.say(bind((), "b") + bind((), "a") + RUN) == "22DCZ"  # nothing of ours comes between any more
    play.fail("B", b"", CHANGED)
    assert play.say(pipeline) == hears


def test_what_was_told_is_not_repeated(play: Play) -> None:
    assert play.say(bind((), "a") + FLUSH) == "2"
    play.fail("B", CHANGED)
    assert play.say(bind((), "a") + RUN) == "EZ"
    assert play.postgres.heard.count("B") == 1


def test_requests_of_ours_between_do_not_count(play: Play) -> None:
    """The second statement has to be prepared anew."""
    assert play.say(parse("SELECT 2", "b") + SYNC) == "1Z"
    assert play.say(describe("S", "b") + SYNC) == "tTZ"
    play.fail("B", CHANGED)
    assert play.say(bind((), "b") + RUN) == "EZ"
    play.fail("B", CHANGED)
    assert play.say(bind((), "a") + bind((), "b") + RUN) == "22DCZ"


def test_a_client_that_leaves_hears_it(play: Play) -> None:
    play.fail("B", CHANGED)
    assert play.say(bind((), "a") + RUN + TERMINATE) == "EZ"
    assert play.postgres.heard == "B"


def test_before_another_pipeline_it_hears_it(play: Play) -> None:
    """Answers of both are on their way."""
    play.fail("B", CHANGED)
    assert play.say((bind((), "a") + RUN) * 2) == "EZ" + FINE


def test_a_long_pipeline_is_not_kept(play: Play) -> None:
    play.fail("B", CHANGED)
    assert play.say(bind((b"x" * 70_000,), "a") + RUN) == "EZ"
    assert play.postgres.heard.count("B") == 1


@pytest.mark.parametrize(("code", "routine"), [
    ("22P02", "RevalidateCachedQuery"), ("0A000", "exec_bind_message"), ("0A000", "Revalidate"),
])  # fmt: skip
def test_other_errors_are_the_clients(play: Play, code: str, routine: str) -> None:
    other = error(code, routine)
    play.fail("B", other)
    assert play.say(bind((), "a") + RUN) == "EZ"
    assert other in play.last
    assert play.postgres.heard == "B", "nothing is parsed anew"


# ---- EXECUTE in a Query ----


@pytest.mark.parametrize("end", [b"", TERMINATE], ids=["stays", "leaves"])
@pytest.mark.parametrize("text", [TEXT, "DISCARD PLANS"], ids=["rows", "might take statements away"])
def test_an_execute_is_asked_again(play: Play, text: str, end: bytes) -> None:
    """All of it is there, and nothing of it has run."""
    assert play.say(parse(text, "d") + SYNC) == "1Z"
    assert play.say(query("EXECUTE d")) == "CZ"
    play.fail("Q", GONE)
    assert play.say(query("EXECUTE d") + end) == "CZ"
    assert play.postgres.heard == "QPDQ", "it was parsed anew, and executed"


def test_an_execute_is_asked_again_once(play: Play) -> None:
    play.fail("Q", GONE, GONE)
    assert play.say(query("EXECUTE a")) == "EZ"
    assert play.postgres.heard.count("Q") == 2


def test_an_execute_within_a_transaction_is_not_asked_again(play: Play) -> None:
    play.postgres.status = codes.STATUS_IN_TRANSACTION
    assert play.say(query("BEGIN")) == "CZ"
    assert play.say(query("EXECUTE a")) == "CZ"
    play.fail("Q", GONE)
    assert play.say(query("EXECUTE a")) == "EZ"
    assert play.postgres.heard == "Q"


def test_an_execute_with_another_statement_is_not_asked_again(play: Play) -> None:
    """It may have run before."""
    assert play.say(query("EXECUTE a")) == "CZ"
    play.fail("Q", GONE)
    assert play.say(query("SELECT 1; EXECUTE a")) == "EZ"
    assert play.postgres.heard == "Q"


@pytest.mark.parametrize("other", ["SELECT 1", "EXECUTE b"])
def test_an_execute_before_another_query_is_not_asked_again(play: Play, other: str) -> None:
    """That would come before it."""
    assert play.say(parse("SELECT 2", "b") + SYNC) == "1Z"
    assert play.say(query("EXECUTE a") + query("EXECUTE b")) == "CZCZ"
    play.fail("Q", GONE)
    assert play.say(query("EXECUTE a") + query(other)) == "EZCZ"
    assert play.postgres.heard == "Q" * (1 + other.startswith("EXECUTE"))


# ---- more of the pipeline decides ----


def test_an_error_waits_for_the_end_of_a_message(play: Play) -> None:
    """What the client sends is not known yet."""
    long = bind((b"x" * 20_000,), "b")
    assert play.say(parse("SELECT 2", "b") + SYNC) == "1Z"
    play.fail("B", CHANGED)
    assert play.say(bind((), "a") + long[:17_000]) == ""
    assert play.stage.scene.verdict == "wait"
    assert play.say(long[17_000:] + RUN) == "22DCZ"


@pytest.mark.parametrize(
    ("told", "more", "hears"),
    [
        (True, describe() + RUN, "2TDCZ"),
        (True, RUN, "EZ"),
        (False, RUN, FINE),
        (False, FLUSH + RUN, FINE),
    ],
    ids=["asks", "goes by what it knows", "never knew", "flush"],
)
def test_an_error_waits_for_what_the_client_sends_next(
    play: Play, told: bool, more: bytes, hears: str
) -> None:
    if told:
        tell(play)
    play.fail("B", CHANGED)
    assert play.say(bind((), "a")) == "", "PostgreSQL answers before it is asked to: with an error"
    assert play.stage.scene.verdict == "wait"
    assert play.say(more) == hears
    assert play.stage.scene.verdict == "none"
    assert play.stage.scene.waiting == b""
