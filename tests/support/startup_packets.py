"""Packets that open a connection, read in Python: core/login/packet.c is compared with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from pooler.errors import ClientFault
from pooler.protocol import codes
from pooler.protocol.messages import decode
from pooler.protocol.startup import TRACKED, CancelRequest
from tests.support.messages import GSSENC_REQUEST

LATEST_MINOR = 2

#: cant_change_runtime_param: a setting that only the beginning of a session takes.
CANNOT_CHANGE_NOW = "55P02"

#: PostgreSQL's MAX_STARTUP_PACKET_LENGTH; the secret in a CancelRequest; PgBouncer's limits of names.
MIN_STARTUP_BYTES, MAX_STARTUP_BYTES = 8, 10_000
MIN_CANCEL_KEY_BYTES, MAX_CANCEL_KEY_BYTES = 4, 256
MAX_USER_BYTES, MAX_DATABASE_BYTES = 127, 63

#: The role of a session must not be chosen in a startup packet, whatever the configuration tracks.
NEVER_TRACKED = frozenset({"role", "session_authorization", "is_superuser"})

_BAD_LAYOUT = "invalid startup packet layout: expected terminator as last byte"
_BAD_OPTIONS = "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed"
_SPACES = " \t\n\r\v\f"

#: How PostgreSQL spells truth values; it takes any case and unambiguous beginnings, which nobody sends.
_TRUE = frozenset({"true", "on", "yes", "1", "t", "y"})
_FALSE = frozenset({"false", "off", "no", "0", "f", "n"})

#: What every transaction begins with anew: PostgreSQL takes these in a startup packet, and nothing follows.
_OF_TRANSACTIONS = {
    "transaction_isolation": {"serializable", "repeatable read", "read committed", "read uncommitted"},
    "transaction_read_only": _TRUE | _FALSE,
    "transaction_deferrable": _TRUE | _FALSE,
}

Replication = Literal["none", "physical", "logical"]


@dataclass(frozen=True)
class SslRequest:
    """The client would like TLS."""


@dataclass(frozen=True)
class GssRequest:
    """The client would like GSSAPI encryption."""


@dataclass(frozen=True)
class StartupPacket:
    """A StartupMessage of protocol 3.x."""

    minor: int
    user: str
    database: str
    replication: Replication
    options: str
    settings: tuple[tuple[str, str], ...]  # all other parameters, in their order
    extensions: tuple[str, ...]  # names of `_pq_.` parameters

    @property
    def is_replication(self) -> bool:
        """Whether the client wants a walsender. The keyword `replication` of an HBA file is for physical
        ones; logical ones match by their database's name."""
        return self.replication != "none"


Opening = SslRequest | GssRequest | CancelRequest | StartupPacket


def check_length(word: bytes) -> int:
    """Length of a whole packet without type byte, by its first four bytes; out of bounds is a fault.

    Read unsigned. Bytes that are no startup packet (HTTP, a typed message, TLS) mean huge numbers here.
    """
    length = int.from_bytes(word, "big")
    if len(word) != 4 or not MIN_STARTUP_BYTES <= length <= MAX_STARTUP_BYTES:
        raise ClientFault(f"bad packet header: '{word.hex()}'")
    return length


def parse(packet: bytes) -> Opening:
    """Take one packet apart, from its length word to its last byte."""
    if check_length(packet[:4]) != len(packet):
        raise ClientFault(f"bad packet header: '{packet[:8].hex()}'")
    code, body = int.from_bytes(packet[4:8], "big"), packet[8:]
    if code == codes.CANCEL_REQUEST:
        return _cancel_request(body)
    if code in (codes.SSL_REQUEST, GSSENC_REQUEST):
        if body:
            raise ClientFault(f"bad packet header: '{packet[:8].hex()}'")
        return SslRequest() if code == codes.SSL_REQUEST else GssRequest()
    major, minor = code >> 16, code & 0xFFFF
    if major == 2:
        raise ClientFault("old V2 protocol not supported")
    if major != 3:
        raise ClientFault(
            f"unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{LATEST_MINOR}"
        )
    return _startup(minor, _pairs(body))


def lower(text: str) -> str:
    """As PostgreSQL compares names of settings: letters of ASCII only."""
    return "".join(char.lower() if char.isascii() else char for char in text)


def wanted_parameters(
    packet: StartupPacket, extra: Iterable[str], ignored: Iterable[str], accept_unknown: bool = False
) -> tuple[dict[str, str], dict[str, str]]:
    """The settings that this client shall have: tracked ones by their canonical names, and others.

    A parameter that is neither tracked nor ignored is refused unless `accept_unknown`: dropping it silently
    would give the client a session other than it asked for. `options` among the ignored names means to
    ignore unknown settings in there. The options of a replication client are not looked at; it gets a server
    of its own.
    """
    names = {lower(name): name for name in (*TRACKED, *extra) if lower(name) not in NEVER_TRACKED}
    ignore = frozenset(lower(name) for name in ignored)
    from_options: dict[str, str] = {}
    others: dict[str, str] = {}
    if not packet.is_replication:
        for name, value in parse_options(packet.options):
            if lower(name) in names:
                from_options[names[lower(name)]] = value
            elif ignore & {lower(name), "options"}:
                continue
            elif accept_unknown:
                others |= _other(lower(name), value)
            else:
                raise ClientFault(f"unsupported startup parameter in options: {name}")
    result: dict[str, str] = {}
    for name, value in packet.settings:
        if lower(name) in names:
            result[names[lower(name)]] = value
        elif lower(name) in ignore:
            continue
        elif accept_unknown:
            others |= _other(lower(name), value)
        else:
            raise ClientFault(f"unsupported startup parameter: {name}")
    # a parameter of its own wins over one in options, as in PostgreSQL
    return {**from_options, **result}, others


def _other(name: str, value: str) -> dict[str, str]:
    """A setting that no server reports. Libraries are loaded while a session begins, and ours have begun."""
    if name == "local_preload_libraries" and value.strip():
        raise ClientFault(f'parameter "{name}" cannot be set after connection start', CANNOT_CHANGE_NOW)
    return {} if lower(value) in _OF_TRANSACTIONS.get(name, ()) else {name: value}


def parse_options(text: str) -> list[tuple[str, str]]:
    """Settings in the `options` parameter: `-c name=value`, `-cname=value` and `--name=value`.

    A backslash takes the next character literally. Anything else that a server's command line knows is
    refused. One pass over the words; each word yields one setting, so this ends whatever the text is.
    """
    found = []
    words = _words(text)
    for word in words:
        if word == "-c":
            setting = next(words, "")
        elif word.startswith(("-c", "--")):
            setting = word[2:]
        else:
            raise ClientFault(_BAD_OPTIONS)
        name, equals, value = setting.partition("=")
        if not name or not equals:
            raise ClientFault(_BAD_OPTIONS)
        found.append((name.replace("-", "_"), value))
    return found


def _words(text: str) -> Iterator[str]:
    """Split at white space that no backslash stands before, and take the backslashes away."""
    word: list[str] = []
    characters = iter(text)
    for char in characters:
        if char == "\\":
            escaped = next(characters, None)
            if escaped is None:
                raise ClientFault(_BAD_OPTIONS)  # nothing behind it
            word.append(escaped)
        elif char not in _SPACES:
            word.append(char)
        elif word:
            yield "".join(word)
            word.clear()
    if word:
        yield "".join(word)


def _cancel_request(body: bytes) -> CancelRequest:
    if not MIN_CANCEL_KEY_BYTES <= len(body) - 4 <= MAX_CANCEL_KEY_BYTES:
        raise ClientFault("invalid length of cancel request packet")
    return CancelRequest(int.from_bytes(body[:4], "big"), body[4:])


def _pairs(body: bytes) -> Iterator[tuple[str, str]]:
    """Names and values. Each ends with NUL, and a NUL of its own, the last byte, ends them all."""
    if b"\0" not in body:
        raise ClientFault(_BAD_LAYOUT)
    *fields, terminator, behind = body.split(b"\0")
    names, values = fields[::2], fields[1::2]
    if terminator or behind or len(names) != len(values) or not all(names):
        raise ClientFault(_BAD_LAYOUT)
    return zip(map(decode, names), map(decode, values), strict=True)


def _startup(minor: int, pairs: Iterable[tuple[str, str]]) -> StartupPacket:
    """Sort the parameters of a StartupMessage."""
    special: dict[str, str] = {}
    settings: list[tuple[str, str]] = []
    extensions: list[str] = []
    for name, value in pairs:
        if name in ("user", "database") and name in special:
            raise ClientFault(f"startup parameter given twice: {name}")
        if name in ("user", "database", "replication", "options"):
            special[name] = value
        elif name.startswith("_pq_."):
            extensions.append(name)
        else:
            settings.append((name, value))
    user = special.get("user", "")
    if not user:
        raise ClientFault("no username supplied")
    _check_size("username", user, MAX_USER_BYTES)
    database = special.get("database") or user
    _check_size("database name", database, MAX_DATABASE_BYTES)
    replication = _replication(special.get("replication", "false"))
    options = special.get("options", "")
    return StartupPacket(minor, user, database, replication, options, tuple(settings), tuple(extensions))


def _check_size(what: str, name: str, max_bytes: int) -> None:
    if len(name.encode("utf-8", "surrogateescape")) > max_bytes:
        raise ClientFault(f"{what} too long")


def _replication(value: str) -> Replication:
    word = lower(value)
    if word == "database":
        return "logical"
    if word in _TRUE:
        return "physical"
    if word in _FALSE:
        return "none"
    raise ClientFault(f'invalid value for parameter "replication": "{value}"')
