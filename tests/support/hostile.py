"""What tests with hostile bytes share: reading a refusal, a SCRAM client that can be bent, raw headers."""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
from collections.abc import Callable, Mapping

from tests.support.wire import EndOfStream, Message, Wire, message, startup


def header(kind: str, length: int, rest: bytes = b"") -> bytes:
    """A typed message that claims any length."""
    return kind.encode("latin-1") + struct.pack("!I", length & 0xFFFFFFFF) + rest


def raw_startup(pairs: bytes, version: int = 3 << 16, length: int | None = None) -> bytes:
    """A startup packet with any inside and any length word."""
    body = struct.pack("!I", version) + pairs
    return struct.pack("!I", (len(body) + 4 if length is None else length) & 0xFFFFFFFF) + body


def read_to_end(wire: Wire) -> list[Message]:
    """Everything up to the end of the stream; a message that is cut off is a fault of the sender."""
    received: list[Message] = []
    while True:
        try:
            received.append(wire.receive())
        except EndOfStream as end:
            if end.received:
                raise AssertionError(f"cut off after {received}: {end.received!r}") from None
            return received


def assert_refused(wire: Wire) -> dict[str, str]:
    """The connection ends without a login; the fields of the last words, {} if there were none."""
    received = read_to_end(wire)
    let_in = [m for m in received if m.type in "ZK" or (m.type == "R" and m.body == b"\0\0\0\0")]
    assert not let_in, f"let in: {received}"
    last = received[-1] if received else None
    if last is None or last.type != "E":
        return {}
    assert last.fields["S"] == "FATAL", last.fields
    assert len(last.fields["C"]) == 5, last.fields
    return last.fields


#: A hook may replace what is about to be sent; it gets the text and returns bytes.
Bend = Callable[[bytes], bytes]


class Scram:
    """A SCRAM-SHA-256 client: `bend` names the messages ("first", "final", "initial") that are replaced."""

    def __init__(self, user: str, password: str, bend: Mapping[str, Bend] | None = None) -> None:
        self.user = user
        self.password = password.encode()
        self.bend = dict(bend or {})
        self.nonce = b"rOprNGfwEbeRWgbNEkqO"
        self.final = b""

    def _sent(self, name: str, data: bytes) -> bytes:
        return self.bend[name](data) if name in self.bend else data

    def start(self, wire: Wire, database: str = "p0", mechanism: str = "SCRAM-SHA-256") -> None:
        """Sends startup packet and the initial response."""
        wire.send(startup(self.user, database))
        (offer,) = wire.expect("R")
        assert struct.unpack_from("!I", offer.body)[0] == 10, offer
        first = self._sent("first", b"n,,n=,r=" + self.nonce)
        initial = mechanism.encode() + b"\0" + struct.pack("!I", len(first)) + first
        wire.send(message("p", self._sent("initial", initial)))

    def finish(self, wire: Wire) -> None:
        """Reads the challenge and sends the proof."""
        (challenge,) = wire.expect("R")
        server_first = challenge.body[4:]
        parts = dict(part.split(b"=", 1) for part in server_first.split(b","))
        without_proof = b"c=biws,r=" + parts[b"r"]
        salted = hashlib.pbkdf2_hmac("sha256", self.password, base64.b64decode(parts[b"s"]), int(parts[b"i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        signed = b"n=,r=" + self.nonce + b"," + server_first + b"," + without_proof
        signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self.final = self._sent("final", without_proof + b",p=" + base64.b64encode(proof))
        wire.send(message("p", self.final))

    def login(self, wire: Wire, database: str = "p0") -> None:
        """The whole exchange, up to ReadyForQuery."""
        self.start(wire, database)
        self.finish(wire)
        wire.receive_until("Z")
