"""Texts and the commands they are, by PgBouncer's grammar."""

from __future__ import annotations

import time

import pytest

from pooler.admin.model import CommandError
from pooler.admin.parse import MAX_COMMAND_BYTES, parse


@pytest.mark.parametrize(
    ("text", "words", "argument", "value"),
    [
        ("SHOW VERSION", ("show", "version"), "", ""),
        ("show version;", ("show", "version"), "", ""),
        ("\r\n\t show\tversion\n ; \n", ("show", "version"), "", ""),
        ("SELECT version", ("show", "version"), "", ""),
        ('"show" "Version"', ("show", "version"), "", ""),
        ("Show Timezone", ("show", "timezone"), "", ""),
        ("PAUSE", ("pause",), "", ""),
        ("PAUSE;", ("pause",), "", ""),
        ('PAUSE ""', ("pause",), "", ""),
        ("pause App_1;", ("pause",), "App_1", ""),
        ('pause "my ""db"";"', ("pause",), 'my "db";', ""),
        ("SHUTDOWN", ("shutdown",), "", ""),
        ("shutdown WAIT_FOR_SERVERS", ("shutdown", "wait_for_servers"), "", ""),
        ("SHUTDOWN wait_for_clients;", ("shutdown", "wait_for_clients"), "", ""),
        ("KILL_CLIENT 17", ("kill_client",), "17", ""),
        ("SET pool_mode=session", ("set",), "pool_mode", "session"),
        ("set pool_mode TO session ;", ("set",), "pool_mode", "session"),
        ("set a = 'it''s; 100%'", ("set",), "a", "it's; 100%"),
        ('set "a" = "B c"', ("set",), "a", "B c"),
        ("set a=''", ("set",), "a", ""),
        ("SET TimeZone = 'UTC'", ("set", "timezone"), "TimeZone", "UTC"),
        ("SET client_encoding TO UTF8", ("set", "client_encoding"), "client_encoding", "UTF8"),
    ],
)
def test_commands(text: str, words: tuple[str, ...], argument: str, value: str) -> None:
    command = parse(text.encode())
    assert (command.declaration.words, command.argument, command.value) == (words, argument, value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";",
        " ",
        "foo",
        "select 1",
        "show",
        "show foo;",
        "show version; show version",
        "show version;;",
        "show version -- why",
        "show version version",
        "/* x */ show version",
        "reload x",
        "suspend app",
        "shutdown now",
        "pause app-1",
        "pause a.b",
        'resume "app',
        "set",
        "set a",
        "set timezone",
        "set a=b c",
        "set a='b",
        "set a:=b",
        "BEGIN",
        "şhow version",
        "\u017fhow version",  # folds to an s in Unicode, not here
    ],
)
def test_no_commands(text: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse(text.encode())
    assert caught.value.message == f"invalid command '{text}', use SHOW HELP;"
    assert (caught.value.sqlstate, caught.value.severity) == ("08P01", "ERROR")


@pytest.mark.parametrize(
    "text",
    [
        "set ''=1",
        'set ""=1',
        f"pause {'x' * 64}",
        f"set {'x' * 64}=1",
        f"set a={'x' * 256}",
        "wait_for_servers_x",
    ],
)
def test_bad_arguments(text: str) -> None:
    with pytest.raises(CommandError, match=r"bad arguments|invalid command"):
        parse(text.encode())


@pytest.mark.parametrize("text", [f"pause {'x' * 63}", f"set a='{'é' * 127}'", f"set {'x' * 63}={'y' * 255}"])
def test_longest_arguments(text: str) -> None:
    assert parse(text.encode()).argument


def test_bytes_that_are_no_text_survive() -> None:
    command = parse(b'pause "caf\xe9"')
    assert command.argument.encode("utf-8", "surrogateescape") == b"caf\xe9"


def test_nul_is_no_command() -> None:
    with pytest.raises(CommandError, match="invalid command"):
        parse(b"set a='\0'")


def test_echo_of_a_long_text_is_cut() -> None:
    with pytest.raises(CommandError) as caught:
        parse(b"x" * 1_000_000)
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize(
    "text",
    [
        '"' * MAX_COMMAND_BYTES,
        "'" * 4000,
        '"" ' * 2700,
        " " * 8000,
        "set a='" + "''" * 4000,
        "show " + '"a' * 4000,
    ],
)
def test_hostile_texts_are_refused_at_once(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(CommandError):
        parse(text.encode())
    assert time.perf_counter() - start < 0.5
