"""SCRAM-SHA-256 when we prove ourselves to a server, and it itself to us."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from pooler.auth import scram
from pooler.auth.scram import ScramKeys, attribute
from pooler.errors import ServerFault

#: What the first message begins with, and the last one signs: no channel binding (and no authorization
#: identity); that we would bind, had it been offered; that we do.
UNBOUND, WOULD_BIND, BOUND = b"n,,", b"y,,", scram.BOUND + b",,"

NONCE_BYTES = 18

#: PostgreSQL's nonce has 24 characters beside ours; a server that sends kilobytes is hostile (CVE-2026-6665).
MAX_NONCE_BYTES = 512
MAX_SALT_BYTES = 1_024


@dataclass(frozen=True)
class ServerFirst:
    """A server-first-message, taken apart."""

    raw: bytes
    nonce: bytes
    salt: bytes
    iterations: int


@dataclass(frozen=True)
class Proof:
    """Our client-final-message, and what the server must answer."""

    client_final: bytes
    server_signature: bytes


def new_nonce(random: bytes) -> bytes:
    """Our part of the nonce."""
    return scram.b64encode(random)


def client_first(nonce: bytes, flag: bytes = UNBOUND) -> bytes:
    """The client-first-message; PostgreSQL takes the user from the startup packet."""
    return flag + _bare(nonce)


def parse_server_first(data: bytes, nonce: bytes) -> ServerFirst:
    """Read `r=nonce,s=salt,i=iterations` and check it against our own nonce and against the limits."""
    try:
        nonce_field, salt_field, count_field, *_extensions = data.split(b",")
        combined = attribute(nonce_field, b"r")  # "m=..." stands here when a mandatory extension is asked for
        if not combined.startswith(nonce) or len(combined) == len(nonce):
            raise ValueError("nonce does not continue ours")
        if len(combined) > MAX_NONCE_BYTES or not scram.is_nonce(combined):
            raise ValueError("nonce is too long or has characters that are not allowed")
        salt = scram.b64decode(attribute(salt_field, b"s"))
        if not 0 < len(salt) <= MAX_SALT_BYTES:
            raise ValueError("salt is empty or too long")
        count = attribute(count_field, b"i")
        if not count.isdigit() or len(count) > 7 or not 1 <= int(count) <= scram.MAX_ITERATIONS:
            raise ValueError("iteration count is out of range")
    except ValueError as exc:
        raise _fault(f"malformed SCRAM message from server: {exc}") from exc
    return ServerFirst(data, combined, salt, int(count))


def prove(keys: ScramKeys, nonce: bytes, server: ServerFirst, channel: bytes = UNBOUND) -> Proof:
    """Prove that we have the keys; `channel`: the flag, and if it is BOUND, the certificate's hash."""
    without_proof = b"c=%b,r=%b" % (scram.b64encode(channel), server.nonce)
    auth_message = b",".join((_bare(nonce), server.raw, without_proof))
    client_signature = scram.hmac_sha256(scram.sha256(keys.client_key), auth_message)
    proof = scram.xor(keys.client_key, client_signature)
    return Proof(
        b"%b,p=%b" % (without_proof, scram.b64encode(proof)), scram.hmac_sha256(keys.server_key, auth_message)
    )


def check_server_final(data: bytes, server_signature: bytes) -> None:
    """Check `v=signature`: a server that cannot give it does not know our password's verifier."""
    field = data.split(b",")[0]
    if field.startswith(b"e="):
        raise _fault(
            f"server rejected SCRAM exchange: {field[2:34]!r}"
        )  # repr: a stranger's bytes go to a log
    try:
        signature = scram.b64decode(attribute(field, b"v"))
    except ValueError as exc:
        raise _fault(f"malformed SCRAM message from server: {exc}") from exc
    if not hmac.compare_digest(signature, server_signature):
        raise _fault("invalid server signature")


def _bare(nonce: bytes) -> bytes:
    return b"n=,r=" + nonce


def _fault(reason: str) -> ServerFault:
    return ServerFault(f"server login failed: {reason}")
