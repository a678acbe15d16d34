"""What the values of settings must not be, whatever file they came from: rules over all of [pgbouncer].

Nothing here makes a setting silently insecure: what promises protection that isn't there yet is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pooler.config.hba import HbaRule, read_hba
from pooler.config.http import parse_networks
from pooler.config.ini import Place
from pooler.config.ldap import parse_ldap_options
from pooler.config.settings import CONSOLE_DATABASES, SERVER_METHODS, Settings
from pooler.errors import Problem


def judge_settings(settings: Settings, places: Mapping[str, Place]) -> Iterator[tuple[str, Problem]]:
    """Every problem with the name of its setting; `places` says where settings were given."""
    nowhere = Place("", 0)
    for name, text, severity in _objections(settings):
        yield name, places.get(name, nowhere).problem(text, severity)


def _objections(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Setting, text and severity."""
    yield from _auth_objections(settings)
    if settings.auth_dbname in CONSOLE_DATABASES:
        text = f'cannot use the reserved "{settings.auth_dbname}" database as an auth_dbname'
        yield "auth_dbname", text, "error"
    yield from _http_objections(settings)


def _http_objections(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Of the other port."""
    try:
        parse_networks(settings.http_allow)
    except ValueError as error:
        yield "http_allow", f"http_allow: {error}", "error"
    port, same = settings.http_listen_port, {*settings.http_listen_addr} & {*settings.listen_addr}
    if port == settings.listen_port and (same or "*" in (*settings.http_listen_addr, *settings.listen_addr)):
        yield (
            "http_listen_port",
            f"http_listen_port {port} is listen_port: HTTP needs a port of its own",
            "error",
        )
    if port and not settings.http_listen_addr:
        yield "http_listen_addr", "http_listen_port without http_listen_addr: nowhere to listen on", "error"


def _auth_objections(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """What the ways of login need beside auth_type."""
    if settings.auth_type == "cert":
        if settings.client_tls_sslmode != "verify-full":
            yield "auth_type", "auth_type=cert requires client_tls_sslmode=SSLMODE_VERIFY_FULL", "error"
        if not settings.client_tls_ca_file:
            yield "auth_type", "auth_type=cert requires client_tls_ca_file", "error"
    if settings.auth_type == "hba" and not settings.auth_hba_file:
        yield "auth_type", "auth_type=hba needs auth_hba_file", "error"
    for name in ("auth_hba_file", "auth_ident_file"):
        if settings.auth_type != "hba" and getattr(settings, name):
            yield name, f"{name} has no effect: only auth_type=hba reads it", "warning"
    if settings.auth_type == "ldap":
        try:
            parse_ldap_options(settings.auth_ldap_options or "")
        except ValueError as error:  # as in PgBouncer it is no error: everybody is refused
            yield "auth_type", f"auth_ldap_options: {error}; nobody can log in", "warning"
    words = {word.removeprefix("!") for word in settings.server_require_auth}
    for word in sorted(words - set(SERVER_METHODS)):
        text = f"invalid server_require_auth value: {word!r}, known are {', '.join(SERVER_METHODS)}"
        yield "server_require_auth", text, "error"
    if len({word.startswith("!") for word in settings.server_require_auth}) > 1:
        text = "server_require_auth: methods with and without ! cannot be mixed"
        yield "server_require_auth", text, "error"


def read_rules(settings: Settings) -> tuple[tuple[HbaRule, ...], list[Problem]]:
    """The rules of auth_hba_file, which is looked at for auth_type=hba only, as in PgBouncer."""
    if settings.auth_type != "hba" or not settings.auth_hba_file:
        return (), []
    return read_hba(settings.auth_hba_file, settings.auth_ident_file)
