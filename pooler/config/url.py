"""A database as platforms give it, in the place of its first keys: `postgres://user:secret@host:5432/name`.

As libpq reads URLs (PostgreSQL's documentation, 34.1.1.2), but that all hosts have one port. Parameters
behind `?` are keys of the entry. What is wrong is a ValueError that shows no value: some are passwords.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from pooler.config.values import parse_pairs, shown_name

SCHEMES = ("postgres://", "postgresql://")

_HOST = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^:\[\]]*)(?::([0-9]*))?")


def parse_pairs_or_url(text: str) -> list[tuple[str, str]]:
    """The keys and values of an entry, which may begin with a URL; the last of equal keys counts."""
    first, _, rest = text.partition(" ")
    if not first.startswith(SCHEMES):
        return parse_pairs(text)
    return [*parse_url(first), *parse_pairs(rest)]


def parse_url(text: str) -> list[tuple[str, str]]:
    """Keys and values of one URL; what it does not name is left out."""
    address, _, parameters = text.partition("://")[2].partition("?")
    authority, _, name = address.partition("/")
    account, _, places = authority.rpartition("@")
    user, colon, password = account.partition(":")
    hosts, port = _hosts(places)
    found = [("host", hosts), ("port", port), ("dbname", name), ("user", user)]
    pairs = [(key, _decoded(value)) for key, value in found if value]
    if colon:
        pairs.append(("password", _decoded(password)))
    for parameter in filter(None, parameters.split("&")):
        key, equals, value = parameter.partition("=")
        if not equals or not key:
            raise ValueError("a parameter of the URL has no value")
        pairs.append((_decoded(key), _decoded(value)))
    for key, value in pairs:
        if not value:
            raise ValueError(f"empty value of {shown_name(key)}")
    return pairs


def _hosts(places: str) -> tuple[str, str]:
    """All hosts, separated by commas, and the port of all."""
    hosts, ports = [], set()
    for place in places.split(","):
        match = _HOST.fullmatch(place)
        if match is None:
            raise ValueError("the host of the URL cannot be read; is all of the password encoded?")
        hosts.append(match[1].strip("[]"))
        ports.add(match[2] or "")
    if len(ports) > 1:
        raise ValueError("hosts of one URL have different ports")
    return ",".join(hosts), ports.pop()


def _decoded(text: str) -> str:
    if re.search("%(?![0-9a-fA-F]{2})", text):
        raise ValueError("a % in a URL that is no code; a percent sign itself is %25")
    data = unquote_to_bytes(text)
    if b"\0" in data:
        raise ValueError("a NUL byte in a URL")
    return data.decode("utf-8", "surrogateescape")
