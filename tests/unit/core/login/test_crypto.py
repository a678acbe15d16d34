"""Digests, keys and base64 of logins: published vectors, and the same as Python's own libraries."""

from __future__ import annotations

import hashlib
import hmac
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pooler.auth import scram
from pooler.core._core import (
    login_base64,
    login_hmac,
    login_md5,
    login_pbkdf2,
    login_random,
    login_same,
    login_sha256,
    login_unbase64,
)

#: Lengths around a block of SHA-256 and of MD5 (64 bytes, the last 8 or 9 of them for the length).
LENGTHS = [0, 1, 54, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129, 1000, 70_000]


# FIPS 180-4
@pytest.mark.parametrize(("data", "wanted"), [
    (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    (b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"),
])  # fmt: skip
def test_sha256(data: bytes, wanted: str) -> None:
    assert login_sha256(data).hex() == wanted


# RFC 4231; its fifth case is about a shorter form
@pytest.mark.parametrize(("key", "data", "wanted"), [
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (b"Jefe", b"what do ya want for nothing?",
     "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (bytes(range(1, 26)), b"\xcd" * 50, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
    (b"\xaa" * 131, b"Test Using Larger Than Block-Size Key - Hash Key First",
     "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
    (b"\xaa" * 131, b"This is a test using a larger than block-size key and a larger than block-size data. "
     b"The key needs to be hashed before being used by the HMAC algorithm.",
     "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"),
])  # fmt: skip
def test_hmac(key: bytes, data: bytes, wanted: str) -> None:
    for cut in (0, 1, len(data)):
        assert login_hmac(key, data[:cut], data[cut:]).hex() == wanted


# RFC 1321
@pytest.mark.parametrize(("data", "wanted"), [
    (b"", "d41d8cd98f00b204e9800998ecf8427e"),
    (b"a", "0cc175b9c0f1b6a831c399e269772661"),
    (b"message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
    (b"1234567890" * 8, "57edf4a22be3c955ac49da2e2107b67a"),
])  # fmt: skip
def test_md5(data: bytes, wanted: str) -> None:
    for cut in (0, 1, len(data)):
        assert login_md5(data[:cut], data[cut:]).decode() == wanted


# The cases of RFC 6070 with SHA-256, and the first of RFC 7914
@pytest.mark.parametrize(("password", "salt", "iterations", "wanted"), [
    (b"password", b"salt", 1, "120fb6cffcf8b32c43e7225256c4f837a86548c92ccc35480805987cb70be17b"),
    (b"password", b"salt", 2, "ae4d0c95af6b46d32d0adff928f06dd02a303f8ef3c251dfd6e2d85a95474c43"),
    (b"password", b"salt", 4096, "c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a"),
    (b"passwordPASSWORDpassword", b"saltSALTsaltSALTsaltSALTsaltSALTsalt", 4096,
     "348c89dbcbd32b2f32d814b8116e84cf2b17347ebc1800181c4e2a1fb8dd53e1"),
    (b"pass\0word", b"sa\0lt", 4096, "89b69d0516f829893c696226650a8687"),
    (b"passwd", b"salt", 1, "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"),
])  # fmt: skip
def test_pbkdf2(password: bytes, salt: bytes, iterations: int, wanted: str) -> None:
    made = login_pbkdf2(password, salt, iterations)
    assert made is not None
    assert made.hex().startswith(wanted)


@pytest.mark.parametrize("iterations", [0, 2**31, 2**32 - 1])
def test_pbkdf2_refuses_counts_that_openssl_has_no_number_for(iterations: int) -> None:
    assert login_pbkdf2(b"password", b"salt", iterations) is None


@settings(max_examples=30)
@given(st.binary(max_size=200), st.binary(max_size=80), st.integers(1, 30))
def test_pbkdf2_is_that_of_python(password: bytes, salt: bytes, iterations: int) -> None:
    assert login_pbkdf2(password, salt, iterations) == hashlib.pbkdf2_hmac(
        "sha256", password, salt, iterations
    )


@pytest.mark.parametrize("length", LENGTHS)
def test_lengths(length: int) -> None:
    data = bytes(number * 7 % 251 for number in range(length))
    assert login_sha256(data) == hashlib.sha256(data).digest()
    assert login_md5(data).decode() == hashlib.md5(data).hexdigest()
    assert login_md5(b"x", data).decode() == hashlib.md5(b"x" + data).hexdigest()
    assert login_hmac(data, b"data") == hmac.digest(data, b"data", "sha256")
    assert login_hmac(b"key", data, data) == hmac.digest(b"key", data + data, "sha256")


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=200))
def test_digests_are_those_of_python(key: bytes, first: bytes, second: bytes) -> None:
    """One context serves all of them, in any order."""
    assert login_hmac(key, first, second) == hmac.digest(key, first + second, "sha256")
    assert login_md5(first, second).decode() == hashlib.md5(first + second).hexdigest()
    assert login_sha256(first) == hashlib.sha256(first).digest()


def test_each_thread_has_a_context_of_its_own() -> None:
    """Threads come and go; none disturbs a digest of another one."""
    wrong: list[bytes] = []

    def work(number: int) -> None:
        for turn in range(50):
            data = b"%d %d" % (number, turn)
            if login_hmac(data, data) != hmac.digest(data, data, "sha256"):
                wrong.append(data)

    for _ in range(3):
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_same() -> None:
    assert login_same(b"", b"")
    assert login_same(b"abc", b"abc")
    for other in (b"bbc", b"acc", b"abd", b"\xe1bc"):
        assert not login_same(b"abc", other)


def test_random() -> None:
    assert login_random(0) == b""
    assert len(login_random(18)) == 18
    assert login_random(18) != login_random(18)
    assert set(login_random(100_000)[99_000:]) - {0}, "filled to the end"


# -- base64 --------------------------------------------------------------------------------------------------


# RFC 4648
@pytest.mark.parametrize(("data", "text"), [
    (b"", b""), (b"f", b"Zg=="), (b"fo", b"Zm8="), (b"foo", b"Zm9v"), (b"foob", b"Zm9vYg=="),
    (b"fooba", b"Zm9vYmE="), (b"foobar", b"Zm9vYmFy"), (b"\xfb\xff\xbf", b"+/+/"),
])  # fmt: skip
def test_base64(data: bytes, text: bytes) -> None:
    assert login_base64(data) == text
    assert login_unbase64(text) == data


@pytest.mark.parametrize("text", [
    b"=", b"==", b"===", b"====", b"Z", b"Zg", b"Zg=", b"Zg===", b"Zg====", b"Z===", b"Zm8", b"Zm8==",
    b"Zm9v=", b"Zm9v==", b"Zm9v===", b"Zm9v====", b"Zg==Zg==", b"Z=g=", b"=Zg=", b"Zm=v", b"Zm9vZ", b"Zm9v\n",
    b" Zm9v", b"Zm 9", b"Zm\n9", b"Zm-_", b"Zm\xff9", b"Zm\x009", b"Zm8=Zm9v", b"Zg=v",
])  # fmt: skip
def test_no_base64(text: bytes) -> None:
    assert login_unbase64(text) is None
    with pytest.raises(ValueError, match=r"."):
        scram.b64decode(text)


@pytest.mark.parametrize("data", [b"f", b"fo", b"foo", b"foob", bytes(300)])
def test_only_as_many_bytes_as_have_space(data: bytes) -> None:
    assert login_unbase64(login_base64(data), len(data)) == data
    assert login_unbase64(login_base64(data), len(data) - 1) is None
    assert login_unbase64(login_base64(data), 0) is None


@given(st.binary(max_size=200))
def test_there_and_back(data: bytes) -> None:
    assert login_base64(data) == scram.b64encode(data)
    assert login_unbase64(scram.b64encode(data)) == data


@given(st.lists(st.sampled_from([b"A", b"b", b"9", b"+", b"/", b"=", b"AAAA", b"\n", b"-"]), max_size=12))
def test_the_same_texts_are_base64(parts: list[bytes]) -> None:
    text = b"".join(parts)
    try:
        wanted: bytes | None = scram.b64decode(text)
    except ValueError:
        wanted = None
    assert login_unbase64(text) == wanted
