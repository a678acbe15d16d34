"""Messages we send as a frontend: their bytes."""

from __future__ import annotations

import pytest

from pooler.protocol import frontend
from pooler.protocol.startup import CancelRequest, GssRequest, SslRequest, StartupPacket, parse
from tests.support.messages import gssenc_request


def test_startup_is_what_we_would_accept() -> None:
    packet = parse(frontend.startup("u\udcff", "d", {"client_encoding": "UTF8", "application_name": ""}))
    assert isinstance(packet, StartupPacket)
    assert (packet.user, packet.database) == ("u\udcff", "d")
    assert packet.settings == (("client_encoding", "UTF8"), ("application_name", ""))


def test_requests_without_type() -> None:
    assert parse(frontend.ssl_request()) == SslRequest()
    assert parse(gssenc_request()) == GssRequest()
    assert parse(frontend.cancel_request(0xFFFFFFFF, b"abcd")) == CancelRequest(0xFFFFFFFF, b"abcd")


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
