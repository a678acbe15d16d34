"""The address list of HTTP: addresses and networks, or `*` for all."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_ALL = ("0.0.0.0/0", "::/0")


def parse_networks(words: Iterable[str]) -> tuple[Network, ...]:
    """What http_allow names; raises ValueError. Bits behind the mask are passed over."""
    found: list[Network] = []
    for word in words:
        found += [ipaddress.ip_network(name, strict=False) for name in (_ALL if word == "*" else (word,))]
    return tuple(found)
