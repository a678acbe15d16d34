"""Stored secrets in the core: their kinds, answers that are checked against them, and keys."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pooler.auth import scram
from pooler.auth.passwords import Secret, md5_answer, md5_secret, parse_secret
from pooler.auth.saslprep import saslprep
from pooler.core._core import (
    LoginSecret,
    login_answers_md5,
    login_derive,
    login_is_password,
    login_mock,
    login_stable_salt,
)
from tests.support import stored_secrets
from tests.support.stored_secrets import KINDS, MD5, SCRAM
from tests.unit.core.login.sources import login_source

KEY = "A" * 43 + "="


def stored(text: str) -> LoginSecret:
    raw = text.encode("utf-8", "surrogateescape")
    return LoginSecret(raw, saslprep(raw))


def verifier_of(secret: Secret) -> tuple[int, bytes, bytes, bytes] | None:
    found = secret.verifier
    return None if found is None else (found.iterations, found.salt, found.stored_key, found.server_key)


# -- kinds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *KINDS,
        ("md5" + "A" * 32, "plain"),
        ("md5" + "٣" * 16, "plain"),
        (SCRAM + "=", "plain"),
        (SCRAM + "A", "plain"),
        (SCRAM + ":", "plain"),
        (SCRAM.replace("$10:", "$000000000:"), "plain"),
        (SCRAM.replace("$10:", "$+1:"), "plain"),
        (SCRAM.replace("$10:", "$:"), "plain"),
        (SCRAM.replace("$10:", "$1 :"), "plain"),
        (SCRAM.replace("$10:", "$٣:"), "plain"),
        (SCRAM.replace("$10:", "$000000010:"), "scram"),
        (SCRAM.replace("$10:", "$999999999:"), "scram"),
        (SCRAM.lower(), "plain"),
        (f"SCRAM-SHA-256$1:AA==${KEY}:{KEY}", "scram"),
        (f"SCRAM-SHA-256$1:AA==${KEY}:{KEY}:", "plain"),
        (f"SCRAM-SHA-256$1:AA==${KEY}:{KEY}${KEY}", "plain"),
        (f"SCRAM-SHA-256$1:AA==:{KEY}:{KEY}", "plain"),
        (f"SCRAM-SHA-256$1:${KEY}:{KEY}", "plain"),
        (f"SCRAM-SHA-256$1:AAAA=${KEY}:{KEY}", "plain"),
        (f"SCRAM-SHA-256$1:AAAA====${KEY}:{KEY}", "plain"),
        (f"SCRAM-SHA-256$1:A-A_${KEY}:{KEY}", "plain"),
        (f"SCRAM-SHA-256$1:AA==${'A' * 40}:{KEY}", "plain"),
        (f"SCRAM-SHA-256$1:AA==${KEY}:{'A' * 44}", "plain"),
        (f"SCRAM-SHA-256$1:AA==$:{KEY}", "plain"),
        (f"SCRAM-SHA-256$1:{'AAAA' * 3000}${KEY}:{KEY}", "scram"),
        ("SCRAM-SHA-256", "plain"),
    ],
)
def test_kinds(text: str, kind: str) -> None:
    secret = stored(text)
    assert secret.kind == kind == parse_secret(text).kind
    assert secret.raw == text.encode()
    assert secret.prepared == (saslprep(text.encode()) if kind == "plain" else b"")
    assert secret.verifier == verifier_of(parse_secret(text))


def test_scram_secret_cut_anywhere() -> None:
    assert all(stored(SCRAM[:end]).kind == "plain" for end in range(len(SCRAM)))


@given(
    st.sampled_from([MD5, SCRAM]),
    st.integers(0, 200),
    st.integers(0, 3),
    st.sampled_from(["", "=", "==", "A", "0", "$", ":", "é", "\n", "\0", "\udcff", "AAAA", "f"]),
)
def test_the_same_kind_as_python_tells(text: str, at: int, gone: int, new: str) -> None:
    changed = text[:at] + new + text[at + gone :]
    secret, known = stored(changed), parse_secret(changed)
    assert secret.kind == known.kind
    assert secret.verifier == verifier_of(known)


def test_prepared_form_is_the_one_given() -> None:
    assert LoginSecret("a\u00a0b".encode(), b"a b").prepared == b"a b"
    assert LoginSecret(b"x", b"longer than the password").prepared == b"longer than the password"


def test_a_password_is_never_prepared_to_nothing() -> None:
    assert LoginSecret(b"secret", b"").prepared == b"secret"
    assert LoginSecret(b"", b"").prepared == b""


# -- MD5 -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["secret", MD5])
def test_md5_answers(text: str) -> None:
    salt = b"\0\1\2\3"
    right = md5_answer(MD5.encode(), salt)
    assert login_answers_md5(stored(text), b"me", salt, right)
    for wrong in (b"", b"secret", right[:-1], right + b"0", right.upper(), MD5.encode(), b"\xff" * 35):
        assert not login_answers_md5(stored(text), b"me", salt, wrong)
    assert not login_answers_md5(stored(text), b"me", b"\0\1\2\4", right)


def test_md5_answer_of_another_user() -> None:
    right = md5_answer(MD5.encode(), b"salt")
    assert not login_answers_md5(stored("secret"), b"you", b"salt", right)
    assert login_answers_md5(stored(MD5), b"you", b"salt", right), "what is stored has the user in it"


def test_md5_answer_never_fits_a_scram_secret() -> None:
    made = md5_answer(md5_secret(SCRAM.encode(), b"me"), b"abcd")  # as if the stored text were the password
    assert not login_answers_md5(stored(SCRAM), b"me", b"abcd", made)


@pytest.mark.parametrize("password", [b"", b"\0no such user"])
@pytest.mark.parametrize("secret", [None, LoginSecret(b"", b"")])
def test_no_answer_and_no_password_fits_where_there_is_no_secret(
    password: bytes, secret: LoginSecret | None
) -> None:
    """Neither an empty secret nor the text that stands in for one lets a client in."""
    answer = md5_answer(md5_secret(password, b"me"), b"salt")
    assert not login_answers_md5(secret, b"me", b"salt", answer)
    assert not login_is_password(secret, b"me", password)


# -- passwords in clear --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["secret", MD5])
def test_clear_passwords(text: str) -> None:
    assert login_is_password(stored(text), b"me", b"secret")
    for wrong in (b"", b"secre", b"secrets", b"\xff", b"secret\0", b"SECRET", MD5.encode()):
        assert not login_is_password(stored(text), b"me", wrong)


def test_stored_text_is_no_password() -> None:
    assert not login_is_password(stored(SCRAM), b"me", SCRAM.encode())
    assert not login_is_password(stored(MD5), b"me", MD5.encode())


def test_the_longest_password() -> None:
    longest = b"p" * 65_531
    assert login_is_password(LoginSecret(longest, longest), b"me", longest)
    assert not login_is_password(LoginSecret(longest, longest), b"me", longest[:-1])
    assert not login_is_password(LoginSecret(longest, longest), b"me", longest[:-1] + b"q")


def test_any_bytes_in_a_plain_password() -> None:
    raw = bytes(range(1, 256))
    assert login_is_password(LoginSecret(raw, raw), b"me", raw)


TEXTS = st.sampled_from(["secret", "x", MD5, SCRAM, "md5", "é", "\udcff"]) | st.text("ab", min_size=1)


@given(TEXTS, st.sampled_from([b"me", b"you", b"\xff", b""]), st.binary(min_size=4, max_size=4), st.data())
def test_the_same_decisions_as_python(text: str, user: bytes, salt: bytes, data: st.DataObject) -> None:
    known, secret = parse_secret(text), stored(text)
    password = data.draw(st.sampled_from([b"secret", known.raw, known.raw[:-1], b""]) | st.binary(max_size=9))
    assert login_is_password(secret, user, password) == stored_secrets.check_password(known, user, password)
    answers = [md5_answer(md5_secret(password, user), salt), md5_answer(known.raw, salt), b"md5", password]
    answer = data.draw(st.sampled_from(answers))
    assert login_answers_md5(secret, user, salt, answer) == stored_secrets.check_md5_answer(
        known, user, salt, answer
    )


def test_cve_2026_6478_compares_in_constant_time() -> None:
    """Only what is no secret is compared otherwise: prefixes that tell the kind, a flag, the binding."""
    compared = [
        match[1]
        for name in ("secret.c", "scram.c", "crypto.c")
        for match in re.finditer(r"\bmemcmp\(([^()]*)\)", login_source(name))
    ]
    assert sorted(compared) == sorted([
        "raw, MD5_PREFIX, MD5_PREFIX_BYTES", "raw, SCRAM_PREFIX, SCRAM_PREFIX_BYTES", "f->at, text, n",
        "channel, x->channel, x->channel_bytes",
    ])  # fmt: skip
    assert "strcmp" not in login_source("secret.c") + login_source("scram.c")
    assert len(re.findall(r"\bcrypto_same\(", login_source("secret.c"))) == 1  # same()
    assert len(re.findall(r"\bcrypto_same\(", login_source("scram.c"))) == 2  # the nonce, and the key


# -- keys ----------------------------------------------------------------------------------------------------


def derived(password: bytes, salt: bytes, iterations: int) -> scram.ScramKeys:
    made = login_derive(saslprep(password), salt, iterations)
    assert made is not None
    return scram.ScramKeys(*made)


def test_keys_of_rfc_7677() -> None:
    salt = scram.b64decode(b"W22ZaJ0SNY7soEsUEjb6gQ==")
    assert derived(b"pencil", salt, 4096) == scram.derive_keys(b"pencil", salt, 4096)
    assert derived(b"pencils", salt, 4096) != scram.derive_keys(b"pencil", salt, 4096)


@settings(max_examples=40)
@given(st.binary(max_size=100) | st.text(max_size=30).map(str.encode), st.binary(max_size=40))
def test_keys_are_those_of_python(password: bytes, salt: bytes) -> None:
    assert derived(password, salt, 3) == scram.derive_keys(password, salt, 3)


def test_prepared_passwords_are_the_same_password() -> None:
    assert derived("a\u00a0b".encode(), b"s", 1) == derived(b"a b", b"s", 1)


def test_no_keys_without_iterations() -> None:
    assert login_derive(b"secret", b"salt", 0) is None


def test_mock_is_stable_and_differs_by_user_and_installation() -> None:
    stored_key, server_key = login_mock(b"secret", b"user")
    salt = login_stable_salt(b"secret", b"user")
    assert len(salt) == stored_secrets.SALT_BYTES
    assert (stored_key, server_key, salt) == (
        *login_mock(b"secret", b"user"),
        login_stable_salt(b"secret", b"user"),
    )
    assert (
        len({stored_key, server_key, *login_mock(b"secret", b"user2"), *login_mock(b"other", b"user")}) == 6
    )
    assert len({salt, login_stable_salt(b"secret", b"user2"), login_stable_salt(b"other", b"user")}) == 3


@given(st.binary(max_size=100), st.binary(max_size=127).filter(lambda user: b"\0" not in user))
def test_mock_is_that_of_python(key: bytes, user: bytes) -> None:
    """Salts that clients have seen stay the same."""
    known = stored_secrets.mock_verifier(key, user, 4096)
    assert login_mock(key, user) == (known.stored_key, known.server_key)
    assert login_stable_salt(key, user) == known.salt
