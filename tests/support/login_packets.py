"""Packets that open a connection, as the core reads them (core/login/packet.h): faults are raised."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from pooler.core import _core
from pooler.errors import ClientFault
from pooler.worker.parameters import TrackedParameters


class Startup(NamedTuple):
    """A StartupMessage."""

    minor: int
    user: bytes
    database: bytes
    replication: str
    options: bytes
    settings: tuple[tuple[bytes, bytes], ...]
    extensions: tuple[bytes, ...]


def packet(body: bytes, code: int = 3 << 16) -> bytes:
    """One packet with a right length."""
    return (len(body) + 8).to_bytes(4, "big") + code.to_bytes(4, "big") + body


def fields(*texts: str | bytes) -> bytes:
    """Names and values with their terminators."""
    raw = (text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape") for text in texts)
    return b"".join(text + b"\0" for text in raw) + b"\0"


def checked(found: tuple[Any, ...]) -> tuple[Any, ...]:
    """What the core returned, unless it is a fault."""
    if found[0] == "fault":
        raise ClientFault(found[2].decode("utf-8", "surrogateescape"), found[1])
    return found


def check_length(head: bytes) -> int:
    """The length of a packet by its first four bytes."""
    found = _core.login_packet_length(head)
    if isinstance(found, tuple):
        raise ClientFault(found[1].decode(), found[0])
    return found


def parse(raw: bytes) -> tuple[Any, ...]:
    """Kind and contents of a packet."""
    return checked(_core.login_packet(raw))


def read(body: bytes, code: int = 3 << 16) -> Startup:
    """One startup message."""
    kind, *rest = parse(packet(body, code))
    assert kind == "startup"
    return Startup(*rest)


def wanted_of(
    raw: bytes, extra: Iterable[str] = (), ignored: Iterable[str] = (), accept_unknown: bool = False
) -> tuple[dict[str, bytes], dict[bytes, bytes]]:
    """The settings that the client of a packet shall have: tracked by canonical names, and others."""
    names = TrackedParameters(tuple(extra)).names
    ignore = [name.lower().encode("utf-8", "surrogateescape") for name in ignored]
    _, tracked, others = checked(
        _core.login_wanted(raw, [name.encode() for name in names], ignore, accept_unknown)
    )
    found = {name: value for name, value in zip(names, tracked, strict=True) if value is not None}
    assert len(dict(others)) == len(others)
    return found, dict(others)
