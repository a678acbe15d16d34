"""What is known about the TLS of a connection once its handshake is done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TlsInfo:
    """A connection's TLS; the peer's fields are None where it showed no certificate that was verified."""

    version: str  # as OpenSSL calls it: TLSv1.3
    cipher: str
    peer_common_name: str | None
    peer_dn: str | None
    certificate_hash: bytes | None  # of our own certificate, for channel binding by tls-server-end-point
