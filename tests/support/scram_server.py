"""SCRAM-SHA-256 of a server, in Python: what plays one for our logins at servers, and what the core
(core/login/scram.c) is compared with. The reason of a refusal is a note of the exception.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from pooler.auth import scram
from pooler.auth.scram import Verifier, attribute
from pooler.errors import PROTOCOL_VIOLATION, ClientFault

FAILED = "SASL authentication failed"
WRONG_PASSWORD = "28P01"

#: PostgreSQL's SCRAM_RAW_NONCE_LEN, before base64.
NONCE_BYTES = 18


@dataclass(frozen=True)
class ClientFirst:
    """A client-first-message, taken apart."""

    channel: bytes  # "n,,", "y,," or "p=…,," and what it is bound to: repeated in the final message
    bare: bytes
    nonce: bytes


@dataclass(frozen=True)
class Proven:
    """A client that has proven itself."""

    server_final: bytes  # to be sent, so that the client can check us
    client_key: bytes  # revealed by the proof; good for logging in elsewhere with the same verifier


def parse_client_first(data: bytes, plus: bool = False, certificate: bytes | None = None) -> ClientFirst:
    """Read `n,,n=user,r=nonce`. The user is ignored, as PostgreSQL does: the startup packet named it.

    `certificate` is the hash to bind to, if binding was offered; `plus`: the client has chosen to.
    """
    try:
        flag, authzid, user, nonce, *_extensions = data.split(b",")
        if plus != (flag == scram.BOUND) or (plus and certificate is None):
            raise ValueError("the channel binding flag is not that of the mechanism")
        if flag not in (b"n", b"y", scram.BOUND):
            raise ValueError("channel binding of another type was asked for")
        if flag == b"y" and certificate is not None:  # somebody between us took the offer away
            raise ValueError("the client supports channel binding but thinks the server does not")
        if authzid:
            raise ValueError("an authorization identity is not supported")
        attribute(user, b"n")  # "m=..." stands here when a mandatory extension is asked for
        nonce = attribute(nonce, b"r")
        if not scram.is_nonce(nonce):
            raise ValueError("the nonce has characters that are not allowed")
    except ValueError as exc:
        raise failed(f"client-first-message: {exc}") from exc
    bound_to = certificate if plus and certificate else b""
    return ClientFirst(flag + b",," + bound_to, data[len(flag) + 2 :], nonce)


def server_first(first: ClientFirst, salt: bytes, iterations: int, random: bytes) -> bytes:
    """The server-first-message, with a nonce that ends in our own random part."""
    nonce = first.nonce + scram.b64encode(random)
    return b"r=%b,s=%b,i=%d" % (nonce, scram.b64encode(salt), iterations)


def check_client_final(data: bytes, first: ClientFirst, server_said: bytes, verifier: Verifier) -> Proven:
    """Check `c=...,r=nonce,p=proof`, the answer to `server_said`."""
    try:
        signed, separator, proof_field = data.rpartition(b",")
        if not separator:
            raise ValueError("no proof")
        binding, nonce, *extensions = signed.split(b",")
        if scram.b64decode(attribute(binding, b"c")) != first.channel:  # nothing secret
            raise ValueError("channel binding differs from that of the first message")
        if not hmac.compare_digest(nonce, server_said.split(b",")[0]):
            raise ValueError("altered nonce")
        if any(field.startswith(b"m=") for field in extensions):
            raise ValueError("mandatory extension")
        proof = scram.b64decode(attribute(proof_field, b"p"))
        if len(proof) != scram.KEY_BYTES:
            raise ValueError("proof has the wrong length")
    except ValueError as exc:
        raise failed(f"client-final-message: {exc}") from exc
    auth_message = b",".join((first.bare, server_said, signed))
    client_key = scram.xor(proof, scram.hmac_sha256(verifier.stored_key, auth_message))
    if not hmac.compare_digest(scram.sha256(client_key), verifier.stored_key):
        raise failed("wrong password", WRONG_PASSWORD)
    signature = scram.hmac_sha256(verifier.server_key, auth_message)
    return Proven(b"v=" + scram.b64encode(signature), client_key)


def failed(reason: str, sqlstate: str = PROTOCOL_VIOLATION) -> ClientFault:
    """The exception for any failure; `reason` becomes a note and is never told to the client."""
    fault = ClientFault(FAILED, sqlstate)
    fault.add_note(reason)
    return fault
