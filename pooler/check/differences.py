"""Where pooler does another thing than PgBouncer with the same file, on purpose: what concerns this file.

docs/differences.md has the reasons; here is one line each, with the way to have it as in PgBouncer if any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pooler.config import Config
from pooler.config.ini import Place
from pooler.config.settings import SETTINGS
from pooler.errors import Problem


def _pool_modes(config: Config) -> set[str]:
    databases = [*config.databases.values(), config.auto_database]
    modes = {config.settings.pool_mode, *(user.pool_mode for user in config.users.values())}
    return {mode for mode in (*modes, *(one.pool_mode for one in databases if one)) if mode}


def _follows(config: Config) -> bool:
    return config.settings.session_state != "off" and _pool_modes(config) != {"session"}


#: Setting that it is about, whether it concerns this configuration, text.
_DIFFERENCES: tuple[tuple[str, Callable[[Config], bool], str], ...] = (
    (
        "workers",
        lambda config: config.settings.worker_count > 1,
        "several worker processes serve as one: every size and limit holds over all of them"
        " (workers = 1: one process)",
    ),
    (
        "session_state",
        _follows,
        "in transaction and statement pooling what a session sets, listens on, locks or creates stays its"
        " client's (session_state = off: PgBouncer's way)",
    ),
    (
        "server_login_retry",
        lambda _: True,
        "while PostgreSQL cannot be reached clients wait (query_wait_timeout), and do not get the error of"
        " the last attempt; retries after 50 ms, doubling up to 0.6 s, or up to server_login_retry when it"
        " refuses",
    ),
    (
        "query_wait_timeout",
        lambda config: not config.settings.query_wait_timeout,
        "with query_wait_timeout = 0 they wait for ever",
    ),
    (
        "auth_file",
        lambda config: config.settings.auth_file is not None,
        "a broken line of auth_file is an error with its line, and the old list stays; PgBouncer shifts the"
        " fields behind it",
    ),
    (
        "conffile",
        lambda _: True,
        "a reload of a file with a mistake changes nothing at all; PgBouncer applies the lines before it",
    ),
)


def differences(config: Config) -> Iterator[Problem]:
    """Notes on what this file will do otherwise."""
    for name, concerns, text in _DIFFERENCES:
        if concerns(config):
            place = config.places.get(name, Place(config.path, 0))
            yield place.problem(f"{name}: {text}", "note")


def inert(config: Config) -> Iterator[Problem]:
    """Settings of the file that never will have an effect here, with the reason."""
    for name, setting in SETTINGS.items():
        if setting.inert and name in config.places and getattr(config.settings, name) != setting.default:
            yield config.places[name].problem(f"{name} has no effect: {setting.inert}", "note")
