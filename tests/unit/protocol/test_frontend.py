"""Messages we send as a frontend: their bytes."""

from __future__ import annotations

import pytest

from pooler.protocol import frontend
from tests.support.login_packets import parse
from tests.support.messages import gssenc_request


def test_startup_is_what_we_would_accept() -> None:
    packet = frontend.startup("u\udcff", "d", {"client_encoding": "UTF8", "application_name": ""})
    settings = ((b"client_encoding", b"UTF8"), (b"application_name", b""))
    assert parse(packet) == ("startup", 0, b"u\xff", b"d", "none", b"", settings, ())


def test_requests_without_type() -> None:
    assert parse(frontend.ssl_request()) == ("ssl",)
    assert parse(gssenc_request()) == ("gss",)
    assert parse(frontend.cancel_request(0xFFFFFFFF, b"abcd")) == ("cancel", 0xFFFFFFFF, b"abcd")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (frontend.query("SELECT 1"), b"Q\0\0\0\x0dSELECT 1\0"),
        (frontend.password(b"x"), b"p\0\0\0\x06x\0"),
        (frontend.sasl_initial_response("M", b"ab"), b"p\0\0\0\x0cM\0\0\0\0\x02ab"),
        (frontend.sasl_response(b"ab"), b"p\0\0\0\x06ab"),
        (frontend.parse("s", "t", [23]), b"P\0\0\0\x0es\0t\0\0\1\0\0\0\x17"),
        (frontend.bind("", "s", ["v", None]), b"B\0\0\0\x16\0s\0\0\0\0\2\0\0\0\1v\xff\xff\xff\xff\0\0"),
        (frontend.describe(b"S", "s"), b"D\0\0\0\x07Ss\0"),
        (frontend.execute(""), b"E\0\0\0\x09\0\0\0\0\0"),
        (frontend.close(b"P", ""), b"C\0\0\0\x06P\0"),
        (frontend.flush(), b"H\0\0\0\4"),
        (frontend.sync(), b"S\0\0\0\4"),
        (frontend.terminate(), b"X\0\0\0\4"),
    ],
)
def test_bytes(data: bytes, expected: bytes) -> None:
    assert data == expected
