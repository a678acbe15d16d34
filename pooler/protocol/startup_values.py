"""How PostgreSQL would write the values of a startup packet."""

from __future__ import annotations

import re

#: What PostgreSQL keeps of a name.
NAME_BYTES = 63


def printable(name: str, server_version: str) -> str:
    """What PostgreSQL makes of an application_name that is not plain ASCII: `?`, since version 16 `\\x..`."""
    raw = name.encode("utf-8", "surrogateescape")
    if len(raw) > NAME_BYTES:  # cut where a character ends
        raw = raw[:NAME_BYTES].decode("utf-8", "ignore").encode() if _is_utf8(raw) else raw[:NAME_BYTES]
    major = re.match(r"\d+", server_version)
    new = major is not None and int(major[0]) >= 16
    return "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" if new else "?" for byte in raw)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def spelled_as(usual: dict[str, str], given: dict[str, str]) -> dict[str, str]:
    """Values of a startup packet in the server's spelling, where they are its own: utf-8 is UTF8, ISO is
    "ISO, MDY".
    """

    def plain(text: str) -> str:
        return "".join(filter(str.isalnum, text)).lower()

    def spelled(name: str, value: str) -> str:
        if name == "application_name":
            return printable(value, usual.get("server_version", ""))
        there = usual.get(name, "")
        same = (name == "client_encoding" and plain(value) == plain(there)) or (
            name == "DateStyle" and there.lower().startswith(f"{value.lower()},")
        )
        return there if same and value else value

    return {name: spelled(name, value) for name, value in given.items()}
