"""What a login may know of the TLS it runs in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TlsInfo:
    """An encrypted connection. `certificate_hash` is tls-server-end-point (RFC 5929) of the server's
    certificate: what SCRAM binds itself to."""

    certificate_hash: bytes | None = None
