"""What the settings of TLS must not leave out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pooler.config import Config
from pooler.config.settings import Settings
from pooler.config.tls import TlsSetup, TlsSetupError, read_tls
from pooler.tls import set_up

CERTIFIED = Settings(client_tls_key_file="key", client_tls_cert_file="cert")


def read(name: str) -> bytes:
    return name.encode()


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_who_verifies_clients_says_by_whom(mode: str) -> None:
    """The system's authorities sign for everybody: any certificate there is would let a client in."""
    settings = replace(CERTIFIED, client_tls_sslmode=mode)
    with pytest.raises(TlsSetupError, match="client_tls_sslmode requires client_tls_ca_file"):
        read_tls(settings, read)
    side = read_tls(replace(settings, client_tls_ca_file="ca"), read).client
    assert (side.verify, side.authorities) == ("required", b"ca")


def test_servers_of_any_name_are_verified_by_authorities_that_are_named() -> None:
    """The system's sign for everybody; with verify-full they have done so for this very host."""
    with pytest.raises(TlsSetupError, match="server_tls_sslmode=verify-ca requires server_tls_ca_file"):
        read_tls(Settings(server_tls_sslmode="verify-ca"), read)
    side = read_tls(Settings(server_tls_sslmode="verify-ca", server_tls_ca_file="ca"), read).server
    assert side.authorities == b"ca"
    assert read_tls(Settings(server_tls_sslmode="verify-full"), read).server.authorities == b""


@pytest.mark.parametrize("mode", ["allow", "prefer", "require"])
def test_who_does_not_verify_needs_no_authorities(mode: str) -> None:
    side = read_tls(replace(CERTIFIED, client_tls_sslmode=mode), read).client
    assert side.verify == "no"


@pytest.mark.parametrize(
    "given", [Settings(client_tls_key_file="key"), Settings(client_tls_cert_file="cert")]
)
def test_tls_with_clients_needs_key_and_certificate(given: Settings) -> None:
    with pytest.raises(TlsSetupError, match="client_tls_key_file and client_tls_cert_file must be set"):
        read_tls(replace(given, client_tls_sslmode="allow"), read)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (Settings(server_tls13_ciphers="TLS_NO_SUCH"), "failed to set the TLSv1.3 cipher suites"),
        (Settings(server_tls_ciphers="no such"), "no ciphers for that list"),
    ],
)
def test_texts_that_tools_look_for(settings: Settings, text: str) -> None:
    config = Config("", settings=replace(settings, server_tls_sslmode="prefer"))
    with pytest.raises(TlsSetupError, match=f"server_tls: {text}"):
        set_up(config)


def test_tls_of_http_needs_what_it_names() -> None:
    with pytest.raises(TlsSetupError, match="http_tls_sslmode requires http_tls_key_file and http_tls_cert"):
        read_tls(Settings(http_tls_sslmode="require", http_tls_key_file="key"), read)
    given = Settings(http_tls_sslmode="require", http_tls_key_file="key", http_tls_cert_file="cert")
    setup = read_tls(given, read)
    assert (setup.http.verify, setup.http.key, setup.client.enabled) == ("no", b"key", False)
    assert TlsSetup.from_wire(setup.to_wire()) == setup
    given = replace(given, http_tls_sslmode="verify-ca")
    with pytest.raises(TlsSetupError, match="http_tls_sslmode=verify-ca requires http_tls_ca_file"):
        read_tls(given, read)
    assert read_tls(replace(given, http_tls_ca_file="ca"), read).http.verify == "required"
