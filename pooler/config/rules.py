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
    for name, setting in SETTINGS.items():
        if not setting.works and getattr(settings, name) != setting.default:
            yield name, f"{name} {NO_EFFECT_YET}", "warning"
