"""A client that speaks raw protocol messages: for what no driver would ever send, and for exact replies.

Its encoder and parser are its own on purpose: what pooler.protocol gets wrong must not look right here.
"""

from __future__ import annotations

import hashlib
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

PROTOCOL_3_0 = 3 << 16
CANCEL_REQUEST = 80877102
SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104


class EndOfStream(Exception):
    """The other side closed; `received` is what came of an incomplete message."""

    def __init__(self, received: bytes = b"") -> None:
        super().__init__(f"closed, after {received!r}")
        self.received = received


@dataclass(frozen=True)
class Message:
    """One message from the server side."""

    type: str
    body: bytes

    @property
    def fields(self) -> dict[str, str]:
        """The fields of an ErrorResponse or NoticeResponse by their letter: C is SQLSTATE, M the text."""
        assert self.type in "EN", f"{self} has no fields"
        parts = self.body.rstrip(b"\0").split(b"\0")
        return {part[:1].decode(): part[1:].decode(errors="replace") for part in parts if part}

    @property
    def values(self) -> list[bytes | None]:
        """The columns of a DataRow."""
        assert self.type == "D", f"{self} is not a row"
        count, position = struct.unpack_from("!H", self.body)[0], 2
        found: list[bytes | None] = []
        for _ in range(count):
            length = struct.unpack_from("!i", self.body, position)[0]
            position += 4
            found.append(None if length < 0 else self.body[position : position + length])
            position += max(length, 0)
        return found

    @property
    def text(self) -> str:
        """The body as text without its final zero: a CommandComplete's tag, a ReadyForQuery's state."""
        return self.body.rstrip(b"\0").decode(errors="replace")


class LoginRefused(AssertionError):
    """A login was answered with this ErrorResponse."""

    def __init__(self, error: Message) -> None:
        super().__init__(error.fields)
        self.error = error


def message(kind: str, *parts: bytes | str | int) -> bytes:
    """A typed message; str becomes a zero-terminated string, int a 16-bit number."""
    body = b"".join(map(_encode, parts))
    return kind.encode() + struct.pack("!I", len(body) + 4) + body


def untyped(code: int, body: bytes = b"") -> bytes:
    """A message without a type byte: startup packet and the three requests that look like one."""
    return struct.pack("!II", len(body) + 8, code) + body


def startup(
    user: str = "bouncer", database: str = "p0", version: int = PROTOCOL_3_0, **parameters: str
) -> bytes:
    """A startup packet."""
    pairs = {"user": user, "database": database, **parameters}
    return untyped(version, b"".join(_encode(k) + _encode(v) for k, v in pairs.items()) + b"\0")


def _encode(part: bytes | str | int) -> bytes:
    if isinstance(part, bytes):
        return part
    return part.encode() + b"\0" if isinstance(part, str) else struct.pack("!H", part)


def query(text: str) -> bytes:
    return message("Q", text)


def parse(text: str, name: str = "", types: Iterable[int] = ()) -> bytes:
    types = list(types)
    return message("P", name, text, len(types), b"".join(struct.pack("!I", oid) for oid in types))


def bind(values: Iterable[bytes | None] = (), name: str = "", portal: str = "") -> bytes:
    """Bind with all values and results in text format."""
    values = list(values)
    packed = b"".join(struct.pack("!i", -1) if v is None else struct.pack("!I", len(v)) + v for v in values)
    return message("B", portal, name, 0, len(values), packed, 0)


def describe(kind: str = "P", name: str = "") -> bytes:
    return message("D", kind.encode(), name)


def execute(portal: str = "", max_rows: int = 0) -> bytes:
    return message("E", portal, struct.pack("!I", max_rows))


def close(kind: str = "S", name: str = "") -> bytes:
    return message("C", kind.encode(), name)


def extended(text: str, *values: bytes) -> bytes:
    """Parse, Bind, Describe, Execute of the unnamed statement, without Sync."""
    return parse(text) + bind(values) + describe() + execute()


SYNC = message("S")
FLUSH = message("H")
TERMINATE = message("X")


class Wire:
    """One raw connection."""

    def __init__(self, sock: socket.socket, timeout_s: float = 10) -> None:
        self.socket = sock
        sock.settimeout(timeout_s)
        self.backend_key = (0, b"")
        self.parameters: dict[str, str] = {}

    @classmethod
    def unix(cls, path: Path, timeout_s: float = 10) -> Wire:
        """A connection to a unix socket."""
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(timeout_s)
            sock.connect(str(path))
        except OSError:
            sock.close()
            raise
        return cls(sock, timeout_s)

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, *messages: bytes) -> None:
        """Sends all in one write."""
        self.socket.sendall(b"".join(messages))

    def send_slowly(self, data: bytes) -> None:
        """Sends byte by byte, each in a packet of its own."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for position in range(len(data)):
            self.socket.sendall(data[position : position + 1])

    def read_exactly(self, size: int) -> bytes:
        """That many bytes; EndOfStream if fewer come."""
        received = bytearray()
        while len(received) < size:
            try:
                more = self.socket.recv(size - len(received))
            except ConnectionResetError:
                more = b""
            if not more:
                raise EndOfStream(bytes(received))
            received += more
        return bytes(received)

    def receive(self) -> Message:
        """The next message."""
        kind, length = struct.unpack("!cI", self.read_exactly(5))
        return Message(kind.decode("latin-1"), self.read_exactly(length - 4))

    def receive_until(self, last: str = "Z") -> list[Message]:
        """All messages up to the first of that type, with it."""
        received = [self.receive()]
        while received[-1].type != last:
            received.append(self.receive())
        return received

    def expect(self, types: str) -> list[Message]:
        """Messages of exactly these types in this order: expect("TDCZ")."""
        received = []
        for position, kind in enumerate(types):
            got = self.receive()
            what = f"{got.fields}" if got.type in "EN" else f"{got.body[:80]!r}"
            assert got.type == kind, f"message {position + 1} of {types} is {got.type} {what}"
            received.append(got)
        return received

    def expect_error(self, sqlstate: str | None = None, text: str | None = None) -> dict[str, str]:
        """The next message is an ErrorResponse with this code and text; its fields."""
        (error,) = self.expect("E")
        assert sqlstate is None or error.fields["C"] == sqlstate, error.fields
        assert text is None or error.fields["M"] == text, error.fields
        return error.fields

    def expect_closed(self) -> None:
        """Nothing more comes but the end."""
        try:
            extra = self.read_exactly(1)
        except EndOfStream:
            return
        raise AssertionError(f"still open, got {extra!r}")

    def expect_silence(self, seconds: float = 0.2) -> None:
        """Nothing comes within that time, not even the end."""
        timeout = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            got = self.socket.recv(1)
        except TimeoutError:
            return
        finally:
            self.socket.settimeout(timeout)
        raise AssertionError(f"expected silence, got {got!r}")

    def login(
        self, user: str = "bouncer", database: str = "p0", password: str = "", **parameters: Any
    ) -> Wire:
        """Logs in with no, a clear text or an MD5 password and reads up to ReadyForQuery."""
        self.send(startup(user, database, **parameters))
        return self.read_login(user, password)

    def read_login(self, user: str = "bouncer", password: str = "") -> Wire:
        """The same behind a startup packet that has been sent."""
        while True:
            got = self.receive()
            if got.type == "R":
                self._answer(got.body, user, password)
            elif got.type == "S":
                name, value, _ = got.body.split(b"\0")
                self.parameters[name.decode()] = value.decode()
            elif got.type == "K":
                self.backend_key = (struct.unpack_from("!I", got.body)[0], got.body[4:])
            elif got.type == "Z":
                return self
            else:
                if got.type == "E":
                    raise LoginRefused(got)
                assert got.type == "N", got

    def _answer(self, body: bytes, user: str, password: str) -> None:
        kind = struct.unpack_from("!I", body)[0]
        if kind == 3:
            self.send(message("p", password))
        elif kind == 5:
            inner = hashlib.md5((password + user).encode()).hexdigest()
            self.send(message("p", "md5" + hashlib.md5(inner.encode() + body[4:8]).hexdigest()))
        else:
            assert kind == 0, f"authentication request {kind} is for a driver"

    def query(self, text: str) -> list[Message]:
        """A simple query and all of its answer."""
        self.send(query(text))
        return self.receive_until("Z")

    def rows(self, text: str) -> list[list[bytes | None]]:
        """The rows of a simple query; an AssertionError if it failed."""
        answer = self.query(text)
        errors = [m.fields for m in answer if m.type == "E"]
        assert not errors, errors
        return [m.values for m in answer if m.type == "D"]

    def cancel_request(self) -> bytes:
        """The packet that cancels this connection's query, to be sent on another one."""
        pid, key = self.backend_key
        return untyped(CANCEL_REQUEST, struct.pack("!I", pid) + key)

    def close(self) -> None:
        """The orderly end."""
        try:
            self.socket.sendall(TERMINATE)
        finally:
            self.socket.close()
