"""Startup packets: what is accepted, what is refused and with which words."""

from __future__ import annotations

import contextlib
import time

import pytest

from pooler.errors import ClientFault
from pooler.protocol import startup
from pooler.protocol.startup import StartupPacket, check_length, parse, parse_options, wanted_parameters


def packet(body: bytes, code: int = 3 << 16) -> bytes:
    """One packet with a right length."""
    return (len(body) + 8).to_bytes(4, "big") + code.to_bytes(4, "big") + body


def read(body: bytes, code: int = 3 << 16) -> StartupPacket:
    """One startup message."""
    result = parse(packet(body, code))
    assert isinstance(result, StartupPacket)
    return result


def fields(*texts: str) -> bytes:
    """Names and values with their terminators."""
    return b"".join(text.encode() + b"\0" for text in texts) + b"\0"


@pytest.mark.parametrize("length", [0, 4, 7, 10_001, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1])
def test_length_out_of_bounds(length: int) -> None:
    with pytest.raises(ClientFault, match="bad packet header: '"):
        check_length(length.to_bytes(4, "big"))


@pytest.mark.parametrize("word", [b"", b"\0\0\0", b"GET ", b"p\0\0\0", b"\x16\x03\x01\x02"])
def test_first_bytes_that_are_no_length(word: bytes) -> None:
    with pytest.raises(ClientFault):
        check_length(word)


@pytest.mark.parametrize("length", [8, 9, 10_000])
def test_length_within_bounds(length: int) -> None:
    assert check_length(length.to_bytes(4, "big")) == length


def test_largest_packet() -> None:
    body = fields("user", "u", "application_name", "x" * (10_000 - 8 - 26))
    assert len(packet(body)) == 10_000
    assert len(read(body).settings[0][1]) == 10_000 - 8 - 26


def test_plain_startup() -> None:
    got = read(fields("user", "me", "database", "db", "client_encoding", "UTF8", "_pq_.a", "1"))
    assert (got.user, got.database, got.minor, got.replication, got.options) == ("me", "db", 0, "none", "")
    assert got.settings == (("client_encoding", "UTF8"),)
    assert got.extensions == ("_pq_.a",)


def test_database_defaults_to_user() -> None:
    assert read(fields("user", "me")).database == "me"
    assert read(fields("user", "me", "database", "")).database == "me"


def test_cut_anywhere() -> None:
    body = fields("user", "me", "database", "db", "options", "-c a=b", "application_name", "")
    read(body)
    for end in range(len(body)):
        with pytest.raises(ClientFault, match="expected terminator as last byte"):
            parse(packet(body[:end]))
        with pytest.raises(ClientFault, match="bad packet header"):
            parse(packet(body)[: end + 8])


@pytest.mark.parametrize(
    "body",
    [
        b"user\0me\0",
        b"user\0me\0\0\0",
        b"user\0me\0\0x\0y\0\0",
        b"user\0me\0x\0\0",
        b"user\0me\0\0trailing",
        b"user",
        b"\0user\0me\0\0",
        b"",
        b"\0\0\0",
    ],
)
def test_layout(body: bytes) -> None:
    with pytest.raises(ClientFault, match="expected terminator as last byte"):
        parse(packet(body))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"\0", "no username supplied"),
        (fields("database", "x"), "no username supplied"),
        (fields("user", ""), "no username supplied"),
        (fields("user", "a", "user", "b"), "startup parameter given twice: user"),
        (fields("user", "a", "user", "a"), "startup parameter given twice: user"),
        (fields("user", "a", "database", "b", "database", "c"), "startup parameter given twice: database"),
        (fields("user", "u" * 128), "username too long"),
        (fields("user", "u", "database", "d" * 64), "database name too long"),
        (fields("user", "u" * 64), "database name too long"),
        (fields("user", "u", "database", "d" * 9000), "database name too long"),
        (fields("user", "u", "database", "ä" * 32), "database name too long"),
        (fields("user", "u", "replication", "maybe"), 'invalid value for parameter "replication": "maybe"'),
    ],
)
def test_refused(body: bytes, text: str) -> None:
    with pytest.raises(ClientFault) as caught:
        parse(packet(body))
    assert (caught.value.message, caught.value.sqlstate, caught.value.severity) == (text, "08P01", "FATAL")


def test_longest_names() -> None:
    got = read(fields("user", "u" * 127, "database", "d" * 63))
    assert (len(got.user), len(got.database)) == (127, 63)


def test_names_are_opaque() -> None:
    raw = b"\xff\x1b\n'\"../\xc3"
    got = parse(packet(b"user\0" + raw + b"\0\0"))
    assert isinstance(got, StartupPacket)
    assert got.user.encode("utf-8", "surrogateescape") == raw


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (2 << 16, "old V2 protocol not supported"),
        (4 << 16, "unsupported frontend protocol 4.0: server supports 3.0 to 3.2"),
        (0, "unsupported frontend protocol 0.0: server supports 3.0 to 3.2"),
        (1234 << 16, "unsupported frontend protocol 1234.0: server supports 3.0 to 3.2"),
    ],
)
def test_versions_refused(code: int, text: str) -> None:
    with pytest.raises(ClientFault) as caught:
        parse(packet(fields("user", "u"), code))
    assert caught.value.message == text


def test_later_minor_version() -> None:
    assert read(fields("user", "u"), (3 << 16) + 99).minor == 99


@pytest.mark.parametrize("body", [b"", b"\0" * 7, b"\0" * 261])
def test_cancel_request_of_another_length(body: bytes) -> None:
    with pytest.raises(ClientFault, match="cancel request"):
        parse(packet(body, 80877102))


@pytest.mark.parametrize("code", [80877103, 80877104])
def test_encryption_request_with_a_body(code: int) -> None:
    with pytest.raises(ClientFault):
        parse(packet(b"x", code))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("database", "logical"),
        ("true", "physical"),
        ("ON", "physical"),
        ("1", "physical"),
        ("off", "none"),
        ("0", "none"),
    ],
)
def test_replication(value: str, expected: str) -> None:
    assert read(fields("user", "u", "replication", value)).replication == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("   ", []),
        ("-c a=b", [("a", "b")]),
        ("-ca=b", [("a", "b")]),
        ("--a=b", [("a", "b")]),
        ("  -c  a=b\t--c=d -ce=f ", [("a", "b"), ("c", "d"), ("e", "f")]),
        ("-c a=", [("a", "")]),
        ("-c a=b=c", [("a", "b=c")]),
        (r"-c a=x\ y", [("a", "x y")]),
        (r"-c a=x\\y", [("a", r"x\y")]),
        (r"--search_path=\"$user\",\ public", [("search_path", '"$user", public')]),
        ("-c a=b -c a=c", [("a", "b"), ("a", "c")]),
        ("-c a=\u00a0b", [("a", "\u00a0b")]),
    ],
)
def test_options(text: str, expected: list[tuple[str, str]]) -> None:
    assert parse_options(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "-c=",
        "--=",
        "-c",
        "--",
        "-c a=b -c",
        "-c =b",
        "-c a",
        "--a",
        "a=b",
        "-d 5",
        "-",
        "-c a=b\\",
        "\\",
        "-c -c",
        "- c a=b",
    ],
)
def test_options_refused(text: str) -> None:
    with pytest.raises(ClientFault) as caught:
        parse_options(text)
    assert caught.value.message == (
        "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed"
    )


@pytest.mark.parametrize("unit", ["-c=", "--=", "\\", "\\ ", " ", "-c a=b ", "-c", "-", "--a=\\\\ "])
def test_options_end_soon_whatever_they_are(unit: str) -> None:
    began = time.thread_time()  # of our own work: what is not linear takes minutes
    with contextlib.suppress(ClientFault):
        parse_options(unit * (9_900 // len(unit)))
    assert time.thread_time() - began < 5


def settings(*pairs: str, extra: tuple[str, ...] = (), ignored: tuple[str, ...] = ()) -> dict[str, str]:
    return wanted_parameters(read(fields("user", "u", *pairs)), extra, ignored)[0]


def test_tracked_names_are_canonical() -> None:
    got = settings(
        "CLIENT_ENCODING", "UTF8", "datestyle", "ISO", "intervalstyle", "iso_8601", extra=("IntervalStyle",)
    )
    assert got == {"client_encoding": "UTF8", "DateStyle": "ISO", "IntervalStyle": "iso_8601"}


def test_options_are_parameters_too() -> None:
    assert settings("options", "-c timezone=UTC --application_name=x") == {
        "TimeZone": "UTC",
        "application_name": "x",
    }
    assert settings("application_name", "direct", "options", "-c application_name=o") == {
        "application_name": "direct"
    }
    assert settings("options", "-c timezone=UTC -c TimeZone=CET") == {"TimeZone": "CET"}


def test_unknown_parameter() -> None:
    with pytest.raises(ClientFault, match=r"^unsupported startup parameter: extra_float_digits$"):
        settings("extra_float_digits", "2")
    assert settings("extra_float_digits", "2", ignored=("Extra_Float_Digits",)) == {}


def test_unknown_parameter_in_options() -> None:
    with pytest.raises(ClientFault, match=r"^unsupported startup parameter in options: search_path$"):
        settings("options", "-c search_path=x")
    assert settings("options", "-c search_path=x", ignored=("search_path",)) == {}
    assert settings("options", "-c search_path=x -c timezone=UTC", ignored=("options",)) == {
        "TimeZone": "UTC"
    }


def test_options_that_cannot_be_read_are_refused_even_if_ignored() -> None:
    with pytest.raises(ClientFault, match="only '-c config=val'"):
        settings("options", "-d 5", ignored=("options",))


def test_console_takes_unknown_parameters() -> None:
    got = read(fields("user", "u", "database", "pgbouncer", "extra_float_digits", "2", "options", "-c x=y"))
    assert wanted_parameters(got, (), (), accept_unknown=True)[0] == {}


def others(*pairs: str) -> dict[str, str]:
    return wanted_parameters(read(fields("user", "u", *pairs)), (), (), accept_unknown=True)[1]


def test_settings_of_one_transaction_are_over_when_the_first_begins() -> None:
    assert others("transaction_isolation", "Serializable", "options", "-c transaction_read_only=on") == {}
    assert others("transaction_deferrable", "maybe") == {
        "transaction_deferrable": "maybe"
    }  # PostgreSQL says so


@pytest.mark.parametrize(
    "pairs", [("local_preload_libraries", "x"), ("options", "-c local_preload_libraries=x")]
)
def test_libraries_are_not_loaded_into_sessions_that_have_begun(pairs: tuple[str, str]) -> None:
    with pytest.raises(
        ClientFault, match=r'^parameter "local_preload_libraries" cannot be set after'
    ) as refused:
        others(*pairs)
    assert refused.value.sqlstate == "55P02"
    assert others("local_preload_libraries", "") == {"local_preload_libraries": ""}


@pytest.mark.parametrize("name", ["role", "session_authorization", "is_superuser"])
def test_identity_is_never_a_setting(name: str) -> None:
    with pytest.raises(ClientFault, match="unsupported startup parameter"):
        settings(name, "postgres", extra=(name,))
    with pytest.raises(ClientFault, match="unsupported startup parameter in options"):
        settings("options", f"-c {name.upper()}=postgres", extra=(name,))
    assert settings(name, "postgres", extra=(name,), ignored=(name,)) == {}


def test_replication_options_are_verbatim() -> None:
    got = read(fields("user", "u", "replication", "database", "options", "-d 5"))
    assert wanted_parameters(got, (), ())[0] == {}
    assert got.options == "-d 5"


def test_hostile_values_stay_values() -> None:
    assert settings("timezone", "UTC'; select 1; --") == {"TimeZone": "UTC'; select 1; --"}


def test_forbidden_list_is_lower_case() -> None:
    assert all(name == name.lower() for name in startup.NEVER_TRACKED)
