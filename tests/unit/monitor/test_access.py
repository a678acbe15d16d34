"""Addresses that may ask by HTTP, and others."""

from __future__ import annotations

import pytest

from pooler.config import Config
from pooler.config.http import parse_networks
from pooler.config.settings import Settings
from pooler.monitor.access import Access


@pytest.mark.parametrize(
    ("allowed", "address", "wanted"),
    [
        (("127.0.0.0/8", "::1"), "127.0.0.1", True),
        (("127.0.0.0/8", "::1"), "::1", True),
        (("127.0.0.0/8", "::1"), "::ffff:127.0.0.1", True),
        (("127.0.0.0/8", "::1"), "10.0.0.1", False),
        (("10.1.2.3/8",), "10.200.0.1", True),
        (("fe80::/10",), "fe80::1%eth0", True),
        (("*",), "10.0.0.1", True),
        (("*",), "2001:db8::1", True),
        ((), "127.0.0.1", False),
        (("*",), "", False),
    ],
)
def test_addresses(allowed: tuple[str, ...], address: str, wanted: bool) -> None:
    assert Access(Config("p.ini", Settings(http_allow=allowed))).allows(address) == wanted


@pytest.mark.parametrize("word", ["localhost", "10.0.0.0/33", "1.2.3", ""])
def test_what_is_no_address(word: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        parse_networks((word,))
