"""From a configuration to the contexts of OpenSSL: the one place that knows both."""

from __future__ import annotations

from pooler.config import Config
from pooler.config.tls import TlsSetup, TlsSetupError, TlsSide, read_tls
from pooler.core import TlsContext, TlsError


def set_up(config: Config) -> TlsSetup:
    """What the settings of `config` ask for, read and tried out; raises TlsSetupError."""
    setup = read_tls(config.settings)
    client_context(setup.client)
    server_context(setup.server)
    http_context(setup.http)
    return setup


def client_context(side: TlsSide) -> TlsContext | None:
    """For connections from clients; None if there is no TLS. Raises TlsSetupError."""
    return _context("client_tls", side, True, side.verify) if side.enabled else None


def server_context(side: TlsSide) -> TlsContext | None:
    """For connections to PostgreSQL; None if there is no TLS. Raises TlsSetupError."""
    verify = "required" if side.mode in ("verify-ca", "verify-full") else "no"
    return _context("server_tls", side, False, verify) if side.enabled else None


def http_context(side: TlsSide) -> TlsContext | None:
    """Of HTTP: made to find out whether OpenSSL can use it. None if there is no TLS. Raises TlsSetupError."""
    return _context("http_tls", side, True, side.verify) if side.enabled else None


def _context(prefix: str, side: TlsSide, server: bool, verify: str) -> TlsContext:
    try:
        return TlsContext(
            server=server,
            key=side.key,
            certificate=side.certificate,
            authorities=side.authorities,
            verify=verify,
            protocols=side.protocols,
            ciphers=side.ciphers,
            ciphers13=side.ciphers13,
            curve=side.curve,
            dh=side.dh,
        )
    except TlsError as error:
        raise TlsSetupError(f"{prefix}: {error}") from None
