"""Secrets as they are stored, and what one allows us at a server."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Literal

from pooler.auth.saslprep import saslprep
from pooler.auth.scram import ScramKeys, Verifier, derive_keys, parse_verifier

_MD5 = re.compile(r"md5[0-9a-f]{32}")


@dataclass(frozen=True, repr=False)
class Secret:
    """What is stored for one user; made by `parse_secret`, and without a repr so that no log shows it."""

    kind: Literal["plain", "md5", "scram"]
    text: str
    verifier: Verifier | None = None  # of kind scram

    @property
    def raw(self) -> bytes:
        """The text as bytes."""
        return self.text.encode("utf-8", "surrogateescape")

    @property
    def prepared(self) -> bytes:
        """What SASLprep makes of a password in clear; of other secrets nothing is needed."""
        return saslprep(self.raw) if self.kind == "plain" else b""


@dataclass(frozen=True, repr=False)
class Credential:
    """What pooler has to log in to a server with; made by `credential`."""

    kind: Literal["none", "plain", "md5", "scram"]
    text: bytes = b""  # the password, or "md5" and 32 digits
    keys: ScramKeys | None = None  # of kind scram


def parse_secret(text: str) -> Secret:
    """Tell the kind of a stored secret by its form, as PostgreSQL and PgBouncer do."""
    if _MD5.fullmatch(text):
        return Secret("md5", text)
    verifier = parse_verifier(text)
    return Secret("plain", text) if verifier is None else Secret("scram", text, verifier)


def credential(secret: Secret | None, keys: ScramKeys | None = None) -> Credential:
    """What a stored secret allows us to do at a server.

    A stored SCRAM secret is of no use alone; with the keys of a client that has logged in, it is.
    """
    if secret is not None and secret.kind != "scram" and secret.text:
        return Credential(secret.kind, secret.raw)
    return Credential("none") if keys is None else Credential("scram", keys=keys)


def is_password(secret: Secret, user: bytes, password: bytes) -> bool:
    """Whether this is the password that the secret was made of; slow for SCRAM. No secret has none."""
    if not secret.text or not password:
        return False
    if secret.kind == "plain":
        return hmac.compare_digest(secret.raw, password)
    if secret.kind == "md5":
        return hmac.compare_digest(secret.raw, md5_secret(password, user))
    assert secret.verifier is not None
    keys = derive_keys(password, secret.verifier.salt, secret.verifier.iterations)
    return hmac.compare_digest(keys.server_key, secret.verifier.server_key)


def md5_secret(password: bytes, user: bytes) -> bytes:
    """The form in which PostgreSQL stores an MD5 password."""
    return _md5(password + user)


def md5_answer(stored: bytes, salt: bytes) -> bytes:
    """The answer to an MD5 challenge by someone who has the stored form."""
    return _md5(stored[3:] + salt)


def _md5(data: bytes) -> bytes:
    return b"md5" + hashlib.md5(data, usedforsecurity=False).hexdigest().encode()
