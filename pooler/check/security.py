"""Logins and files that are open to more people than they should be, as far as files and permissions tell."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from pooler.config import Config
from pooler.config.ini import Place
from pooler.errors import Problem

_OTHERS_READ = stat.S_IRGRP | stat.S_IROTH
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

EVERYWHERE = ("*", "0.0.0.0", "::")
NAMES_MAX = 5


def risks(config: Config) -> Iterator[Problem]:
    """Warnings; those that settings alone tell are in `pooler.config.advice`."""
    for rule in RULES:
        yield from rule(config)


def _warning(config: Config, key: str, text: str) -> Problem:
    return config.places.get(key, Place(config.path, 0)).problem(text, "warning")


def _mode(path: str) -> int:
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:  # the load has said so, or it is not there yet
        return 0


def _named(names: list[str]) -> str:
    return ", ".join(names[:NAMES_MAX]) + (" ..." if len(names) > NAMES_MAX else "")


def _passwords_in_the_ini(config: Config) -> Iterator[Problem]:
    with_password = [f"databases/{name}" for name, row in config.databases.items() if row.password]
    if config.auto_database is not None and config.auto_database.password:
        with_password.append("databases/*")
    by_file: dict[str, list[str]] = {}
    for key in with_password:
        by_file.setdefault(config.places[key].file, []).append(key)
    for file, keys in by_file.items():
        mode = _mode(file)
        what = f"{_named([key.partition('/')[2] for key in keys])}: password in the ini"
        if mode & _OTHERS_READ:
            yield _warning(
                config, keys[0], f"{what}, which others may read (mode {mode:04o}), better: chmod 600"
            )
        else:
            yield _warning(config, keys[0], f"{what}; better in auth_file, with user= alone in the entry")


def _files_others_write(config: Config) -> Iterator[Problem]:
    files = {config.path, *(place.file for place in config.places.values())}
    for file in sorted(files):
        mode = _mode(file)
        if mode & _OTHERS_WRITE:
            text = f"others may write this file (mode {mode:04o}), and so decide who gets in"
            yield Problem(file, 0, text, "warning")


def _md5_everywhere(config: Config) -> Iterator[Problem]:
    settings = config.settings
    everywhere = [address for address in settings.listen_addr if address in EVERYWHERE]
    clear = settings.client_tls_sslmode in ("disable", "allow", "prefer")
    if settings.auth_type == "md5" and everywhere and clear:
        text = (
            f"auth_type=md5 on all addresses (listen_addr = {everywhere[0]}) without TLS: who listens on the"
            " way can find out passwords, and a stored md5 secret is as good as the password;"
            " better: auth_type=scram-sha-256, client_tls_sslmode=require"
        )
        yield _warning(config, "auth_type", text)


def _empty_secrets(config: Config) -> Iterator[Problem]:
    if config.settings.auth_type in ("any", "trust"):
        return
    empty = [user for user, secret in config.userlist.items() if not secret]
    if empty:
        text = (
            f"{len(empty)} users have an empty password in auth_file and can't log in by it: {_named(empty)}"
        )
        yield _warning(config, "auth_file", text)


def _gullible(config: Config) -> Iterator[Problem]:
    """A server, or whoever sits in between, may ask for a password in clear, or skip its own proof."""
    settings = config.settings
    entries = [*config.databases.values(), *([config.auto_database] if config.auto_database else [])]
    remote = [one.name for one in entries if any(not _is_local(host) for host in one.hosts)]
    secrets = any(config.userlist.values()) or any(one.password for one in entries)
    clear = settings.server_tls_sslmode not in ("require", "verify-ca", "verify-full")
    if remote and secrets and clear and not settings.server_require_auth:
        text = (
            f"server_tls_sslmode={settings.server_tls_sslmode}: the way to PostgreSQL may be in clear"
            f" ({_named(remote)}), and whoever answers there may ask for passwords in clear;"
            " better: server_require_auth=scram-sha-256, server_tls_sslmode=verify-full"
        )
        yield _warning(config, "server_tls_sslmode", text)


def _is_local(host: str) -> bool:
    """Whether the way there stays on this machine."""
    return host.startswith(("/", "@", "127.")) or host in ("", "localhost", "::1")


def _console(config: Config) -> Iterator[Problem]:
    """Administrators whom the console asks for no password."""
    settings = config.settings
    if settings.auth_type == "trust" and settings.admin_users:
        text = (
            "auth_type=trust: whoever names himself "
            f"{_named(list(settings.admin_users))} may give every order on the console"
        )
        yield _warning(config, "admin_users", text)


RULES = (_passwords_in_the_ini, _files_others_write, _md5_everywhere, _empty_secrets, _console, _gullible)
