"""SCRAM-SHA-256 (RFC 5802, 7677): keys, verifiers and the arithmetic both sides share.

What is derived from what:

    SaltedPassword = PBKDF2(password, salt, iterations)      the dear step, some milliseconds
    ClientKey, ServerKey = HMAC(SaltedPassword, "Client Key" / "Server Key")
    StoredKey = SHA256(ClientKey)

A verifier (what PostgreSQL stores) is salt, iterations, StoredKey and ServerKey: enough to check a client,
not enough to log in as one. A client that proves itself reveals its ClientKey to whoever holds the
verifier; with it pooler can log in to a server that stores the same verifier, without the password.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from collections import OrderedDict
from dataclasses import dataclass

from pooler.auth.saslprep import saslprep

KEY_BYTES = 32

#: The only type of channel binding that is spoken, as in PostgreSQL: to the server's certificate (RFC 5929).
BOUND = b"p=tls-server-end-point"

#: PBKDF2 runs that often, so a peer that names the count may not burn hours of our time (CVE-2026-42198).
MAX_ITERATIONS = 1_000_000

#: Derived keys kept in memory; one per user with a plain password, so thousands are plenty.
MAX_CACHED_KEYS = 4_096

_VERIFIER = re.compile(
    r"SCRAM-SHA-256\$(\d{1,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)", re.A
)


@dataclass(frozen=True, repr=False)
class ScramKeys:
    """What lets its owner log in (ClientKey) and recognize the server (ServerKey); secret, hence no repr."""

    client_key: bytes
    server_key: bytes


@dataclass(frozen=True, repr=False)
class Verifier:
    """What is stored to check a client."""

    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes


class KeyCache:
    """Remembers derived keys, so that PBKDF2 runs once for each password and salt and not for each login.

    Only for passwords of the configuration: what a client sends must not fill it. Used by several threads;
    each method does single dictionary operations, and losing a race costs one derivation.
    """

    def __init__(self, max_keys: int = MAX_CACHED_KEYS) -> None:
        self._max_keys = max_keys
        self._keys: OrderedDict[tuple[bytes, bytes, int], ScramKeys] = OrderedDict()

    def find(self, password: bytes, salt: bytes, iterations: int) -> ScramKeys | None:
        """The keys if they are known; cheap."""
        return self._keys.get((password, salt, iterations))

    def derive(self, password: bytes, salt: bytes, iterations: int) -> ScramKeys:
        """The keys; slow, to be called where nobody waits for this thread."""
        keys = derive_keys(password, salt, iterations)
        while len(self._keys) >= self._max_keys:
            try:
                self._keys.popitem(last=False)
            except KeyError:  # another thread has emptied it meanwhile
                break
        self._keys[password, salt, iterations] = keys
        return keys

    def clear(self) -> None:
        """Forget everything, as after a reload that changed passwords."""
        self._keys.clear()


#: The cache of this process.
KEYS = KeyCache()


def derive_keys(password: bytes, salt: bytes, iterations: int) -> ScramKeys:
    """The keys of a password; slow."""
    salted = hashlib.pbkdf2_hmac("sha256", saslprep(password), salt, iterations)
    return ScramKeys(hmac_sha256(salted, b"Client Key"), hmac_sha256(salted, b"Server Key"))


def parse_verifier(text: str) -> Verifier | None:
    """`SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`, or None if this is something else."""
    match = _VERIFIER.fullmatch(text)
    if match is None:
        return None
    try:
        salt, stored_key, server_key = map(b64decode, (part.encode() for part in match.groups()[1:]))
    except ValueError:
        return None
    iterations = int(match[1])
    if iterations < 1 or not salt or len(stored_key) != KEY_BYTES or len(server_key) != KEY_BYTES:
        return None
    return Verifier(iterations, salt, stored_key, server_key)


# -- arithmetic ----------------------------------------------------------------------------------------------


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """HMAC with SHA-256."""
    return hmac.digest(key, data, "sha256")


def sha256(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


def xor(left: bytes, right: bytes) -> bytes:
    """Exclusive or of two keys."""
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def b64encode(raw: bytes) -> bytes:
    """Base64 without line ends."""
    return binascii.b2a_base64(raw, newline=False)


def b64decode(text: bytes) -> bytes:
    """Strict base64; anything else is a ValueError."""
    if len(text) % 4 or text.endswith(b"==="):  # Python 3.11 passes over padding that nothing needs
        raise ValueError("base64 with wrong padding")
    return binascii.a2b_base64(text, strict_mode=True)


def is_nonce(text: bytes) -> bool:
    """Whether these bytes may be a nonce: printable ASCII without comma, and not empty."""
    return bool(text) and all(0x21 <= byte <= 0x7E and byte != 0x2C for byte in text)


def attribute(field: bytes, letter: bytes) -> bytes:
    """The value of `letter=value`; a ValueError if this is another attribute."""
    if field[:2] != letter + b"=":
        raise ValueError(f"attribute {letter.decode()} expected")
    return field[2:]
