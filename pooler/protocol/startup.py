"""What clients open a connection with, as far as Python has to know of it: the core reads it (core/login)."""

from __future__ import annotations

from dataclasses import dataclass

#: Settings that every PostgreSQL reports when they change, so that each client can have its own.
TRACKED = ("client_encoding", "DateStyle", "TimeZone", "standard_conforming_strings", "application_name")


@dataclass(frozen=True)
class CancelRequest:
    """Somebody wants a query cancelled; `pid` and `key` are what BackendKeyData told the client."""

    pid: int
    key: bytes
