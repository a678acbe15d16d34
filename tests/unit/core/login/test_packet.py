"""Packets that open a connection: what is accepted, what is refused and with which words."""

from __future__ import annotations

import contextlib
import time

import pytest

from pooler.core import _core
from pooler.errors import ClientFault
from tests.support.login_packets import check_length, fields, packet, parse, read, wanted_of

BAD_OPTIONS = "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed"
FAULT_BYTES = 512


@pytest.mark.parametrize("length", [0, 4, 7, 10_001, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1])
def test_length_out_of_bounds(length: int) -> None:
    with pytest.raises(ClientFault, match=f"^bad packet header: '{length:08x}'$"):
        check_length(length.to_bytes(4, "big"))


@pytest.mark.parametrize("word", [b"GET ", b"p\0\0\0", b"\x16\x03\x01\x02"])
def test_first_bytes_that_are_no_length(word: bytes) -> None:
    with pytest.raises(ClientFault):
        check_length(word)


@pytest.mark.parametrize("raw", [b"", b"\0\0\0", b"\0\0\0\x08", b"\0\0\0\x08\0\3\0"])
def test_less_than_a_head(raw: bytes) -> None:
    with pytest.raises(ClientFault) as caught:
        parse(raw)
    assert caught.value.message == f"bad packet header: '{raw.hex()}'"


@pytest.mark.parametrize("length", [8, 9, 10_000])
def test_length_within_bounds(length: int) -> None:
    assert check_length(length.to_bytes(4, "big")) == length


def test_largest_packet() -> None:
    body = fields("user", "u", "application_name", "x" * (10_000 - 8 - 26))
    assert len(packet(body)) == 10_000
    assert len(read(body).settings[0][1]) == 10_000 - 8 - 26
    with pytest.raises(ClientFault, match="bad packet header: '00002711"):
        parse(packet(body + b"\0"))


def test_plain_startup() -> None:
    got = read(fields("user", "me", "database", "db", "client_encoding", "UTF8", "_pq_.a", "1"))
    assert (got.user, got.database, got.minor, got.replication, got.options) == (b"me", b"db", 0, "none", b"")
    assert got.settings == ((b"client_encoding", b"UTF8"),)
    assert got.extensions == (b"_pq_.a",)


def test_settings_and_extensions_keep_their_order() -> None:
    got = read(fields("b", "1", "_pq_.z", "1", "user", "u", "a", "2", "_pq_.y", "2", "b", "3", "_pq_", "4"))
    assert got.settings == ((b"b", b"1"), (b"a", b"2"), (b"b", b"3"), (b"_pq_", b"4"))
    assert got.extensions == (b"_pq_.z", b"_pq_.y")


def test_as_many_parameters_as_there_can_be() -> None:
    count = (10_000 - 8 - 7 - 1) // 3
    got = read(fields("user", "u", *("a", "") * count))
    assert len(got.settings) == count
    got = read(fields("user", "u", *("_pq_.", "") * (count // 3)))
    assert len(got.extensions) == count // 3


def test_database_defaults_to_user() -> None:
    assert read(fields("user", "me")).database == b"me"
    assert read(fields("user", "me", "database", "")).database == b"me"


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
    with pytest.raises(ClientFault) as caught:
        parse(packet(body))
    assert caught.value.message == "invalid startup packet layout: expected terminator as last byte"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"\0", "no username supplied"),
        (fields("database", "x"), "no username supplied"),
        (fields("user", ""), "no username supplied"),
        (fields("User", "u"), "no username supplied"),
        (fields("user", "a", "user", "b"), "startup parameter given twice: user"),
        (fields("user", "a", "user", "a"), "startup parameter given twice: user"),
        (fields("user", "", "user", "a"), "startup parameter given twice: user"),
        (fields("user", "a", "database", "b", "database", "c"), "startup parameter given twice: database"),
        (fields("user", "u" * 128), "username too long"),
        (fields("user", "u", "database", "d" * 64), "database name too long"),
        (fields("user", "u" * 64), "database name too long"),
        (fields("user", "u", "database", "d" * 9000), "database name too long"),
        (fields("user", "u", "database", "ä" * 32), "database name too long"),
        (fields("user", "u", "replication", "maybe"), 'invalid value for parameter "replication": "maybe"'),
        (fields("user", "u", "replication", ""), 'invalid value for parameter "replication": ""'),
    ],
)
def test_refused(body: bytes, text: str) -> None:
    with pytest.raises(ClientFault) as caught:
        parse(packet(body))
    assert (caught.value.message, caught.value.sqlstate) == (text, "08P01")


def test_longest_names() -> None:
    got = read(fields("user", "u" * 127, "database", "d" * 63))
    assert (len(got.user), len(got.database)) == (127, 63)


def test_names_are_opaque() -> None:
    raw = b"\xff\x1b\n'\"../\xc3"
    assert read(b"user\0" + raw + b"\0\0").user == raw


@pytest.mark.parametrize("character", ["x", "ä", "€", "😀", "\udcff"])
@pytest.mark.parametrize("shift", range(4))
def test_a_fault_is_cut_behind_a_whole_character(character: str, shift: int) -> None:
    value = "y" * shift + character * 600
    with pytest.raises(ClientFault) as caught:
        read(fields("user", "u", "replication", value))
    whole = f'invalid value for parameter "replication": "{value}"'
    assert whole.startswith(caught.value.message)
    size = len(caught.value.message.encode("utf-8", "surrogateescape"))
    width = len(character.encode("utf-8", "surrogateescape"))
    assert FAULT_BYTES - 1 - width < size <= FAULT_BYTES - 1


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (2 << 16, "old V2 protocol not supported"),
        (4 << 16, "unsupported frontend protocol 4.0: server supports 3.0 to 3.2"),
        (0, "unsupported frontend protocol 0.0: server supports 3.0 to 3.2"),
        (1234 << 16, "unsupported frontend protocol 1234.0: server supports 3.0 to 3.2"),
        (2**32 - 1, "unsupported frontend protocol 65535.65535: server supports 3.0 to 3.2"),
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
    with pytest.raises(ClientFault, match=r"^invalid length of cancel request packet$"):
        parse(packet(body, 80877102))


@pytest.mark.parametrize("size", [4, 32, 256])
def test_cancel_request(size: int) -> None:
    key = bytes(range(256))[:size]
    assert parse(packet(b"\xff\0\0\1" + key, 80877102)) == ("cancel", 0xFF000001, key)


@pytest.mark.parametrize(("code", "kind"), [(80877103, "ssl"), (80877104, "gss")])
def test_encryption_request(code: int, kind: str) -> None:
    assert parse(packet(b"", code)) == (kind,)
    with pytest.raises(ClientFault, match=rf"^bad packet header: '00000009{code:08x}'$"):
        parse(packet(b"x", code))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("database", "logical"),
        ("DataBase", "logical"),
        ("true", "physical"),
        ("ON", "physical"),
        ("1", "physical"),
        ("y", "physical"),
        ("off", "none"),
        ("0", "none"),
    ],
)
def test_replication(value: str, expected: str) -> None:
    assert read(fields("user", "u", "replication", value)).replication == expected


def test_last_replication_and_options_count() -> None:
    got = read(
        fields("user", "u", "replication", "maybe", "replication", "on", "options", "x", "options", "y")
    )
    assert (got.replication, got.options) == ("physical", b"y")


# -- options


def options_of(text: str) -> dict[bytes, bytes]:
    return wanted_of(packet(fields("user", "u", "options", text)), accept_unknown=True)[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("   ", {}),
        ("-c a=b", {"a": "b"}),
        ("-ca=b", {"a": "b"}),
        ("--a=b", {"a": "b"}),
        ("--A-b=c", {"a_b": "c"}),
        ("  -c  a=b\t--c=d -ce=f ", {"a": "b", "c": "d", "e": "f"}),
        ("-c a=", {"a": ""}),
        ("-c a=b=c", {"a": "b=c"}),
        (r"-c a=x\ y", {"a": "x y"}),
        (r"-c a=x\\y", {"a": r"x\y"}),
        (r"\-c a\=x", {"a": "x"}),
        (r"--search_path=\"$user\",\ public", {"search_path": '"$user", public'}),
        ("-c a=b -c a=c", {"a": "c"}),
        ("-c a=\u00a0b", {"a": "\u00a0b"}),
        ("-c a=\\\u00a0b", {"a": "\u00a0b"}),
    ],
)
def test_options(text: str, expected: dict[str, str]) -> None:
    assert options_of(text) == {name.encode(): value.encode() for name, value in expected.items()}


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
        "-c a=b \\",
    ],
)
def test_options_refused(text: str) -> None:
    with pytest.raises(ClientFault) as caught:
        options_of(text)
    assert (caught.value.message, caught.value.sqlstate) == (BAD_OPTIONS, "08P01")


@pytest.mark.parametrize(
    "unit",
    ["-c=", "--=", "\\", "\\ ", " ", "-c a=b ", "-c", "-", "--a=\\\\ ", "--a= ", "--a=b ", "-c\\ =", "="],
)
def test_options_end_soon_whatever_they_are(unit: str) -> None:
    began = time.thread_time()  # of our own work: what is not linear takes seconds
    for _ in range(100):
        with contextlib.suppress(ClientFault):
            options_of(unit * (9_900 // len(unit)))
    assert time.thread_time() - began < 5


@pytest.mark.parametrize(
    "options", ["-c=", "--=", "-c", "-c a=b -c", "\\", "-c a=b\\", "-c=" * 2700, "\\" * 8001]
)
def test_cve_2026_107349_options_that_spin(options: str) -> None:
    with pytest.raises(ClientFault, match=r"^unsupported options startup parameter"):
        wanted_of(packet(fields("user", "me", "database", "db", "options", options)))


# -- what a session is to begin with


def settings(*pairs: str, extra: tuple[str, ...] = (), ignored: tuple[str, ...] = ()) -> dict[str, str]:
    found = wanted_of(packet(fields("user", "u", *pairs)), extra, ignored)[0]
    return {name: value.decode() for name, value in found.items()}


def test_tracked_names_are_canonical() -> None:
    got = settings(
        "CLIENT_ENCODING", "UTF8", "datestyle", "ISO", "intervalstyle", "iso_8601", extra=("IntervalStyle",)
    )
    assert got == {"client_encoding": "UTF8", "DateStyle": "ISO", "IntervalStyle": "iso_8601"}


def test_options_are_parameters_too() -> None:
    assert settings("options", "-c timezone=UTC --application-name=x") == {
        "TimeZone": "UTC",
        "application_name": "x",
    }
    direct = ("application_name", "direct")
    assert settings(*direct, "options", "-c application_name=o") == {"application_name": "direct"}
    assert settings("options", "-c timezone=UTC -c TimeZone=CET") == {"TimeZone": "CET"}


def test_unknown_parameter() -> None:
    with pytest.raises(ClientFault, match=r"^unsupported startup parameter: Extra_float_digits$"):
        settings("Extra_float_digits", "2")
    assert settings("extra_float_digits", "2", ignored=("Extra_Float_Digits",)) == {}


def test_unknown_parameter_in_options() -> None:
    with pytest.raises(ClientFault, match=r"^unsupported startup parameter in options: Search_path$"):
        settings("options", "-c Search-path=x")
    assert settings("options", "-c search_path=x", ignored=("search_path",)) == {}
    assert settings("options", "-c search_path=x -c timezone=UTC", ignored=("options",)) == {
        "TimeZone": "UTC"
    }


def test_options_that_cannot_be_read_are_refused_even_if_ignored() -> None:
    with pytest.raises(ClientFault, match="only '-c config=val'"):
        settings("options", "-d 5", ignored=("options",))
    with pytest.raises(ClientFault, match="only '-c config=val'"):
        settings("options", "-c search_path=x -d 5")


def test_cve_2025_12819_search_path_is_not_taken_over() -> None:
    for pairs in (("search_path", "evil"), ("options", "-c search_path=evil")):
        with pytest.raises(ClientFault, match="unsupported startup parameter"):
            settings(*pairs)
        assert settings(*pairs, ignored=("search_path",)) == {}


def others(*pairs: str) -> dict[str, str]:
    found = wanted_of(packet(fields("user", "u", *pairs)), accept_unknown=True)[1]
    return {name.decode(): value.decode() for name, value in found.items()}


def test_console_takes_unknown_parameters() -> None:
    raw = packet(fields("user", "u", "database", "pgbouncer", "extra_float_digits", "2", "options", "-c x=y"))
    assert wanted_of(raw, accept_unknown=True)[0] == {}


def test_last_value_of_each_name_counts() -> None:
    assert others("A", "1", "b", "2", "a", "3", "options", "-c b=4 -c c=5 -c C=6") == {
        "a": "3",
        "b": "2",
        "c": "6",
    }


def test_as_many_other_settings_as_there_can_be() -> None:
    names = [f"{number:x}" for number in range(1700)]
    assert others(*(text for name in names for text in (name, ""))) == dict.fromkeys(names, "")
    options = " ".join(f"--{number:x}=" for number in range(1300))
    assert others("options", options) == {f"{number:x}": "" for number in range(1300)}


def test_settings_of_one_transaction_are_over_when_the_first_begins() -> None:
    assert others("transaction_isolation", "Serializable", "options", "-c transaction_read_only=on") == {}
    refused_by_postgresql = {"transaction_deferrable": "maybe"}
    assert others("transaction_deferrable", "maybe") == refused_by_postgresql
    assert others("transaction_deferrable", "maybe", "transaction_deferrable", "on") == refused_by_postgresql


@pytest.mark.parametrize(
    "pairs", [("local_preload_libraries", "x"), ("options", "-c local_preload_libraries=x")]
)
def test_libraries_are_not_loaded_into_sessions_that_have_begun(pairs: tuple[str, str]) -> None:
    with pytest.raises(
        ClientFault, match=r'^parameter "local_preload_libraries" cannot be set after connection start$'
    ) as refused:
        others(*pairs)
    assert refused.value.sqlstate == "55P02"
    for blank in ("", " \t"):
        assert others("local_preload_libraries", blank) == {"local_preload_libraries": blank}


@pytest.mark.parametrize("name", ["role", "session_authorization", "is_superuser"])
def test_identity_is_never_a_setting(name: str) -> None:
    with pytest.raises(ClientFault, match="unsupported startup parameter"):
        settings(name, "postgres", extra=(name,))
    with pytest.raises(ClientFault, match="unsupported startup parameter in options"):
        settings("options", f"-c {name.upper()}=postgres", extra=(name,))
    assert settings(name, "postgres", extra=(name,), ignored=(name,)) == {}


@pytest.mark.parametrize("kind", ["database", "on"])
def test_replication_options_are_verbatim(kind: str) -> None:
    body = fields("user", "u", "replication", kind, "options", "-d 5", "datestyle", "ISO")
    assert wanted_of(packet(body)) == ({"DateStyle": b"ISO"}, {})
    assert read(body).options == b"-d 5"


def test_hostile_values_stay_values() -> None:
    assert settings("timezone", "UTC'; select 1; --") == {"TimeZone": "UTC'; select 1; --"}


def test_more_names_than_can_be_tracked_are_not() -> None:
    names = [f"n{number}".encode() for number in range(33)]
    raw = packet(fields("user", "u", "n31", "x", "n32", "y"))
    _, tracked, rest = _core.login_wanted(raw, names, [], True)
    assert (tracked[31], rest) == (b"x", ((b"n32", b"y"),))


# -- attacks on poolers and drivers, by the names of their reports


@pytest.mark.parametrize("length", [64, 128, 9000])
def test_cve_2012_4575_long_database_name(length: int) -> None:
    with pytest.raises(ClientFault, match=r"^database name too long$"):
        read(fields("user", "me", "database", "d" * length))


def test_cve_2015_4054_password_before_startup() -> None:
    with pytest.raises(ClientFault, match=r"^bad packet header: '70000000'$"):
        parse(b"p\0\0\0\5\0")


@pytest.mark.parametrize("length", [0x80000000, 0x80000001, 0xFFFFFFFF, 0x7FFFFFFF, 3, 0])
def test_cve_2026_6668_and_107348_lengths_that_wrap(length: int) -> None:
    with pytest.raises(ClientFault, match=r"^bad packet header"):
        parse(length.to_bytes(4, "big") + b"\0\3\0\0" + fields("user", "u"))


def test_pgpool_empty_user() -> None:
    for raw in (packet(fields("user", "", "database", "db")), b"\0\0\0\x09\0\3\0\0\0"):
        with pytest.raises(ClientFault, match=r"^no username supplied$"):
            parse(raw)
