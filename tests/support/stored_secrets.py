"""Answers and passwords checked against stored secrets in Python, and secrets of users who do not exist:
core/login/secret.c is compared with it.
"""

from __future__ import annotations

import hmac

from pooler.auth import scram
from pooler.auth.passwords import Secret, md5_answer, md5_secret
from pooler.auth.scram import ScramKeys, Verifier

SALT_BYTES = 16


def verifier_of(keys: ScramKeys, salt: bytes, iterations: int) -> Verifier:
    """The verifier that these keys satisfy."""
    return Verifier(iterations, salt, scram.sha256(keys.client_key), keys.server_key)


def verifier_text(verifier: Verifier) -> str:
    """The form of pg_authid.rolpassword and of userlist.txt."""
    parts = (verifier.salt, verifier.stored_key, verifier.server_key)
    salt, stored, server = (scram.b64encode(part).decode() for part in parts)
    return f"SCRAM-SHA-256${verifier.iterations}:{salt}${stored}:{server}"


def scram_secret(password: str, salt: bytes = b"0123456789abcdef", iterations: int = 1000) -> str:
    """A stored SCRAM secret, as PostgreSQL would have made it."""
    return verifier_text(
        verifier_of(scram.derive_keys(password.encode(), salt, iterations), salt, iterations)
    )


#: What PostgreSQL stores of `secret`, the password of `me`.
MD5 = md5_secret(b"secret", b"me").decode()
SCRAM = scram_secret("secret", b"salt", 10)

#: Texts, and what kinds of secrets they are.
KINDS = [
    ("", "plain"),
    ("secret", "plain"),
    (MD5, "md5"),
    (MD5.upper(), "plain"),
    (MD5[:-1], "plain"),
    (MD5 + "0", "plain"),
    (MD5 + "\n", "plain"),
    ("md5" + "g" * 32, "plain"),
    ("md5" + "٣" * 32, "plain"),
    (SCRAM, "scram"),
    (SCRAM + "\n", "plain"),
    (SCRAM.replace(":salt", ":"), "scram"),
    (SCRAM.replace("$10:", "$0:"), "plain"),
    (SCRAM.replace("$10:", "$-1:"), "plain"),
    (SCRAM.replace("$10:", "$9999999999:"), "plain"),
    (SCRAM[:-4], "plain"),
    ("SCRAM-SHA-256$10:!!!!$aa:bb", "plain"),
    ("SCRAM-SHA-256$10:a$aa:bb", "plain"),
    ("SCRAM-SHA-256$", "plain"),
]


def check_md5_answer(secret: Secret, user: bytes, salt: bytes, answer: bytes) -> bool:
    """Whether this answers the challenge; a SCRAM secret never does."""
    stored = secret.raw if secret.kind == "md5" else md5_secret(secret.raw, user)
    right = hmac.compare_digest(md5_answer(stored, salt), answer)
    return right and secret.kind != "scram"


def check_password(secret: Secret, user: bytes, password: bytes) -> bool:
    """Whether this is the password of a plain or MD5 secret."""
    if secret.kind == "md5":
        return hmac.compare_digest(secret.raw, md5_secret(password, user))
    return hmac.compare_digest(secret.raw, password) and secret.kind == "plain"


def verify_password(verifier: Verifier, password: bytes) -> bool:
    """Whether this is the password behind a verifier; slow."""
    keys = scram.derive_keys(password, verifier.salt, verifier.iterations)
    return hmac.compare_digest(keys.server_key, verifier.server_key)


def stable_salt(mock_secret: bytes, user: bytes) -> bytes:
    """The salt of a user who has none stored: always the same one, and not to be told from a stored one."""
    return scram.hmac_sha256(mock_secret, b"salt\0" + user)[:SALT_BYTES]


def mock_verifier(mock_secret: bytes, user: bytes, iterations: int) -> Verifier:
    """A verifier for a user who does not exist; nobody knows a ClientKey that satisfies it."""
    stored_key, server_key = (
        scram.hmac_sha256(mock_secret, label + user) for label in (b"stored\0", b"server\0")
    )
    return Verifier(iterations, stable_salt(mock_secret, user), stored_key, server_key)
