"""What the values of settings must not be, whatever file they came from: rules over all of [pgbouncer].

Nothing here makes a setting silently insecure: what promises protection that isn't there yet is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pooler.config.ini import Place
from pooler.config.model import CONSOLE_DATABASES
from pooler.config.settings import NO_EFFECT_YET, SETTINGS, Settings
from pooler.errors import Problem

#: Ways to authenticate that are known, but can't be used yet.
AUTH_TYPES_TO_COME = ("cert", "hba", "ldap", "pam")

#: Modes that promise TLS. Without it, a password or a query would go in clear where the operator forbade it.
TLS_PROMISES = ("require", "verify-ca", "verify-full")


def judge_settings(settings: Settings, places: Mapping[str, Place]) -> Iterator[tuple[str, Problem]]:
    """Every problem with the name of its setting; `places` says where settings were given."""
    nowhere = Place("", 0)
    for name, text, severity in _objections(settings):
        yield name, places.get(name, nowhere).problem(text, severity)


def _objections(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Setting, text and severity."""
    if settings.auth_type in AUTH_TYPES_TO_COME:
        yield "auth_type", f"auth_type={settings.auth_type} is not supported yet", "error"
    if settings.auth_dbname in CONSOLE_DATABASES:
        text = f'cannot use the reserved "{settings.auth_dbname}" database as an auth_dbname'
        yield "auth_dbname", text, "error"
    yield from _tls_objections(settings)
    for name, setting in SETTINGS.items():
        judged_apart = name in ("client_tls_sslmode", "server_tls_sslmode")
        if not setting.works and not judged_apart and getattr(settings, name) != setting.default:
            yield name, f"{name} {NO_EFFECT_YET}", "warning"


def _tls_objections(settings: Settings) -> Iterator[tuple[str, str, str]]:
    client, server = settings.client_tls_sslmode, settings.server_tls_sslmode
    if client in TLS_PROMISES:
        text = f"client_tls_sslmode={client} is not supported yet: clients would get in without TLS"
        yield "client_tls_sslmode", text, "error"
    elif client != "disable":
        text = f"client_tls_sslmode={client} has no effect yet: clients are told that there is no TLS"
        yield "client_tls_sslmode", text, "warning"
    if server in TLS_PROMISES:
        text = f"server_tls_sslmode={server} is not supported yet: connections to PostgreSQL have no TLS"
        yield "server_tls_sslmode", text, "error"
