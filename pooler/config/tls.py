"""What TLS is made of on each side (clients, PostgreSQL, HTTP): settings, and the contents of their files.

The files are read here, once for all workers, so that all have the same and a worker that is forked later has
what counts, not what lies on the disk by then. Whether OpenSSL can use them is found out by `pooler.master`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pooler.config.ini import read_limited
from pooler.config.settings import Settings

#: Of one file. All authorities of a system are a quarter of a megabyte.
FILE_BYTES_MAX = 16 * 1024 * 1024

#: What a client must not do without.
REQUIRED_MODES = ("require", "verify-ca", "verify-full")

_VERSIONS = {"tlsv1.0": 1, "tlsv1.1": 2, "tlsv1.2": 4, "tlsv1.3": 8}
_PROTOCOLS = {**_VERSIONS, "tlsv1": 15, "all": 15, "legacy": 15, "secure": 12, "default": 12}

#: Words for lists of ciphers up to TLS 1.2; None is OpenSSL's own default.
_CIPHERS: Mapping[str, str | None] = {
    "": None,
    "default": None,
    "secure": None,
    "normal": None,
    "fast": None,
    "compat": "HIGH:+3DES:!aNULL",
    "legacy": "HIGH:+3DES:!aNULL",
    "all": "ALL:!aNULL:!eNULL",
    "insecure": "ALL:!aNULL:!eNULL",
}

_DH = {"none": 0, "": 1, "auto": 1, "legacy": 2}


class TlsSetupError(ValueError):
    """TLS can't be set up as the settings ask for; the text is for the operator."""


@dataclass(frozen=True)
class TlsSide:
    """One side, ready to be made into a context; `mode` "disable": there is none."""

    mode: str = "disable"
    files: tuple[str, ...] = ()  # names of key, certificate and authorities
    key: bytes = field(default=b"", repr=False)
    certificate: bytes = b""
    authorities: bytes = b""
    protocols: int = 12
    ciphers: str | None = None
    ciphers13: str | None = None
    curve: str | None = None
    dh: int = 1

    @property
    def enabled(self) -> bool:
        return self.mode != "disable"

    @property
    def required(self) -> bool:
        """Whether there must be no connection without TLS."""
        return self.mode in REQUIRED_MODES

    @property
    def verify(self) -> str:
        """For clients: whether they have to show a certificate. One that is shown is verified in every mode,
        if there is anything to verify it with."""
        if self.mode in ("verify-ca", "verify-full"):
            return "required"
        return "optional" if self.authorities else "no"

    def same_settings(self, other: TlsSide) -> bool:
        """Whether only the contents of files differ, if anything does."""
        blank = {"key": b"", "certificate": b"", "authorities": b""}
        return replace(self, **blank) == replace(other, **blank)  # type: ignore[arg-type]


@dataclass(frozen=True)
class TlsSetup:
    """All sides."""

    client: TlsSide = TlsSide()
    server: TlsSide = TlsSide()
    http: TlsSide = TlsSide()

    def to_wire(self) -> dict[str, Any]:
        """Plain dicts, as `Config.to_wire`."""
        return {side.name: _pack(getattr(self, side.name)) for side in fields(self)}

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> TlsSetup:
        return cls(**{side.name: _unpack(wire[side.name]) for side in fields(cls)})


def read_tls(settings: Settings, read: Callable[[str], bytes] | None = None) -> TlsSetup:
    """The set-up that the settings ask for, with the contents of their files; raises TlsSetupError."""
    _judge(settings)
    read = read or _read
    return TlsSetup(*(_side(settings, f"{side.name}_tls", read) for side in fields(TlsSetup)))


def _judge(settings: Settings) -> None:
    mode = settings.client_tls_sslmode
    if mode != "disable" and not (settings.client_tls_key_file and settings.client_tls_cert_file):
        raise TlsSetupError(
            "To allow TLS connections from clients, client_tls_key_file and client_tls_cert_file must be set."
        )
    if settings.auth_type == "cert" and mode != "verify-full":
        raise TlsSetupError("auth_type=cert requires client_tls_sslmode=SSLMODE_VERIFY_FULL")
    if settings.auth_type == "cert" and not settings.client_tls_ca_file:
        raise TlsSetupError("auth_type=cert requires client_tls_ca_file")
    if mode in ("verify-ca", "verify-full") and not settings.client_tls_ca_file:
        raise TlsSetupError("client_tls_sslmode requires client_tls_ca_file")
    if settings.http_tls_sslmode != "disable" and not (
        settings.http_tls_key_file and settings.http_tls_cert_file
    ):
        raise TlsSetupError("http_tls_sslmode requires http_tls_key_file and http_tls_cert_file")
    if settings.http_tls_sslmode == "verify-ca" and not settings.http_tls_ca_file:
        raise TlsSetupError("http_tls_sslmode=verify-ca requires http_tls_ca_file")
    if settings.server_tls_sslmode == "verify-ca" and not settings.server_tls_ca_file:
        raise TlsSetupError(
            "server_tls_sslmode=verify-ca requires server_tls_ca_file: any certificate that the system's"
            " authorities have signed would do"
        )


def _side(settings: Settings, prefix: str, read: Callable[[str], bytes]) -> TlsSide:
    def given(name: str, default: Any = "") -> Any:
        return getattr(settings, f"{prefix}_{name}", default)

    mode = given("sslmode")
    if mode == "disable":
        return TlsSide()
    curve = given("ecdhcurve", "auto")
    ciphers = _lookup(_CIPHERS, given("ciphers"), given("ciphers"))
    if curve == "none":
        ciphers, curve = f"{ciphers or 'DEFAULT'}:!kECDHE", "auto"
    dh = _lookup(_DH, given("dheparams", "auto"), None)
    if dh is None:
        raise TlsSetupError(f"invalid {prefix}_dheparams: {given('dheparams')}")
    names = tuple(given(f"{kind}_file") for kind in ("key", "cert", "ca"))
    try:
        contents = [read(name) if name else b"" for name in names]
    except OSError as error:
        kind = ("key", "cert", "ca")[names.index(error.filename)] if error.filename in names else "key"
        raise TlsSetupError(f"invalid {prefix}_{kind}_file: {error.filename}: {error.strerror}") from None
    return TlsSide(
        mode,
        names,
        key=contents[0],
        certificate=contents[1],
        authorities=contents[2],
        protocols=_protocols(prefix, given("protocols")),
        ciphers=ciphers,
        ciphers13=getattr(settings, f"{prefix.removesuffix('_tls')}_tls13_ciphers", None),
        curve=None if curve in ("", "auto") else curve,
        dh=dh,
    )


def _lookup(table: Mapping[str, Any], word: str, otherwise: Any) -> Any:
    return table.get(word.lower(), otherwise)


def _protocols(prefix: str, text: str) -> int:
    """`secure`, `all`, or versions separated by commas or colons; `!` takes one away."""
    found = 0
    for word in (text or "secure").replace(":", ",").split(","):
        name = word.strip().lower()
        negative = name.startswith("!")
        bits = _PROTOCOLS.get(name.lstrip("!").strip())
        if bits is None:
            raise TlsSetupError(f"invalid {prefix}_protocols: {text}")
        if negative:
            found = (found or 15) & ~bits
        else:
            found |= bits
    return found


def _read(name: str) -> bytes:
    return read_limited(name, FILE_BYTES_MAX)


def _pack(side: TlsSide) -> dict[str, Any]:
    row = {f.name: getattr(side, f.name) for f in fields(side)}
    return {
        name: list(map(_bytes, value)) if isinstance(value, tuple) else _bytes(value)
        for name, value in row.items()
    }


def _bytes(value: Any) -> Any:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def _unpack(wire: Mapping[str, Any]) -> TlsSide:
    row = dict(wire)
    for name in ("mode", "ciphers", "ciphers13", "curve"):
        row[name] = None if row[name] is None else row[name].decode("utf-8", "surrogateescape")
    row["files"] = tuple(part.decode("utf-8", "surrogateescape") for part in row["files"])
    return TlsSide(**row)
