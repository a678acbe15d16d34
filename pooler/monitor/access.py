"""Leave to ask: an address list, and users of the console with their passwords.

A password is checked on a thread, two at a time: PBKDF2 of a stored SCRAM secret takes milliseconds, or
more if whoever made that secret wanted it so. What was right is remembered until a reload, since a scrape
asks again and again.
"""

from __future__ import annotations

import binascii
import hmac
import ipaddress
import os

import gevent
from gevent.threadpool import ThreadPool

from pooler import log
from pooler.admin.console import access_of
from pooler.admin.model import Access as Level
from pooler.auth.passwords import is_password, parse_secret
from pooler.config import Config
from pooler.config.http import Network, parse_networks

#: Passwords that are checked at once.
CHECKS = 2
#: How long a wrong one is thought about.
WRONG_S = 0.5
#: Right ones that are remembered; there are a handful of users.
REMEMBERED = 1000
#: Longest user name and password, in bytes, as they come.
CREDENTIALS_BYTES = 4096


class Access:
    """The rules of the configuration in force."""

    def __init__(self, config: Config) -> None:
        self._threads = ThreadPool(CHECKS)
        self._key = os.urandom(32)
        self._right: dict[bytes, None] = {}
        self._networks: tuple[Network, ...] = ()
        self.adopt(config)

    def adopt(self, config: Config) -> None:
        """Another configuration."""
        self._config = config
        self._networks = parse_networks(config.settings.http_allow)
        self._right = {}

    def allows(self, address: str) -> bool:
        """Whether http_allow names this address."""
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None)
        found = mapped or found
        return any(found in network for network in self._networks)

    def level(self, header: str, address: str) -> Level | None:
        """What who sends this Authorization header may do; None: it has to log in. May wait."""
        settings = self._config.settings
        user, password = _credentials(header)
        level = access_of(settings, user)
        if settings.auth_type in ("any", "trust"):  # names are believed, as on the console
            return level
        if level is not None and self._is_right(user, password):
            return level
        if header:
            log.warning("login by HTTP of %s from %s failed", user or "(nouser)", address)
            gevent.sleep(WRONG_S)
        return None

    def _is_right(self, user: str, password: str) -> bool:
        stored = self._config.userlist.get(user, "")
        mark = hmac.digest(self._key, repr((user, password, stored)).encode(), "sha256")
        right = self._right
        if mark in right:
            return True
        secret = parse_secret(stored)
        if not self._threads.apply(is_password, (secret, _raw(user), _raw(password))):
            return False
        if len(right) >= REMEMBERED:
            right.clear()
        right[mark] = None
        return True


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _credentials(header: str) -> tuple[str, str]:
    """User and password of HTTP's Basic authentication (RFC 7617); empty ones if there are none."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic" or len(encoded) > CREDENTIALS_BYTES:
        return "", ""
    try:
        text = binascii.a2b_base64(encoded.strip().encode("latin-1")).decode("utf-8", "surrogateescape")
    except ValueError:
        return "", ""
    user, _, password = text.partition(":")
    return user, password
