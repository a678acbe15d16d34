"""What a login may know of the TLS it runs in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TlsInfo:
    """An encrypted connection. `certificate_hash` is tls-server-end-point (RFC 5929) of the server's
    certificate, whichever side we are: what SCRAM binds itself to."""

    version: str
    cipher: str
    peer_common_name: str | None = None
    peer_dn: str | None = None
    certificate_hash: bytes | None = None
