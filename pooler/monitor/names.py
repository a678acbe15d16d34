"""Names as they can be told: those of users and databases need not be UTF-8, labels and JSON have to be."""

from __future__ import annotations


def readable(name: str) -> str:
    """The same for every name that is UTF-8; of others each byte that is not as \\xNN."""
    if name.isascii():
        return name
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
