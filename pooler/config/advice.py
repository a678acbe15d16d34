"""What can be said about settings alone, without a look at files, processes or PostgreSQL (`pooler.check`).

Beside what keeps a file from loading, this gives advice: settings that are valid each, but don't go
together, or that let in more people than the operator may think.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pooler.config.http import parse_networks
from pooler.config.ini import Place
from pooler.config.load import load
from pooler.config.model import Config, Database
from pooler.config.settings import Settings
from pooler.errors import ConfigError, Problem

EVERYWHERE = ("*", "0.0.0.0", "::")
#: Names of this machine, and what is the same.
LOOPBACK_OF = {
    "localhost": {"localhost", "127.0.0.1", "::1"},
    "127.0.0.1": {"localhost", "127.0.0.1"},
    "::1": {"localhost", "::1"},
}
LOOPBACK = frozenset(LOOPBACK_OF)
#: How a secret begins that checks passwords, and is none.
STORED_SCRAM = "SCRAM-SHA-256$"


def check(path: str) -> list[Problem]:
    """Every problem of the file; those of severity error keep it from being loaded."""
    try:
        config = load(path)
    except ConfigError as error:
        return list(error.problems)
    return [*config.problems, *advice(config)]


def advice(config: Config) -> list[Problem]:
    """Warnings about a configuration that loads."""
    return [problem for _, rule in RULES for problem in rule(config)]


def _place(config: Config, key: str) -> Place:
    return config.places.get(key, Place(config.path, 0))


def _warning(config: Config, key: str, text: str) -> Problem:
    return _place(config, key).problem(text, "warning")


def _access(config: Config) -> Iterator[Problem]:
    """Clients that get in without a password."""
    auth_type = config.settings.auth_type
    if auth_type in ("any", "trust") and config.settings.listen_addr:
        text = f"auth_type={auth_type} lets in everybody who reaches listen_addr, without a password"
        yield _warning(config, "auth_type", text)
    if auth_type == "plain" and config.settings.listen_addr:
        yield _warning(config, "auth_type", "auth_type=plain sends passwords in clear over the network")


def _no_way_in(config: Config) -> Iterator[Problem]:
    """Logins that fail whoever tries."""
    settings, auth_type = config.settings, config.settings.auth_type
    askers = {row.auth_user: f"databases/{row.name}" for row in _databases(config)}
    askers[settings.auth_user] = "auth_user"
    askers.pop(None, None)
    if auth_type not in ("any", "pam") and settings.auth_file is None and not askers:
        text = f"auth_type={auth_type} without auth_file or auth_user: nobody can log in"
        yield _warning(config, "auth_type", text)
    if "auth_query" in config.places and not askers:
        yield _warning(config, "auth_query", "auth_query without auth_user: nobody is looked up")
    for user, key in askers.items():
        if user is not None and config.userlist.get(user, "").startswith(STORED_SCRAM):
            text = (
                f"auth_user {user} has only a SCRAM secret in auth_file, and pooler cannot log in by that:"
                " nobody is looked up; write its password there"
            )
            yield _warning(config, key, text)
    if auth_type == "any":
        for database in _databases(config):
            if database.user is None:
                text = f"auth_type=any needs a user= in the entry of {database.name!r}: nobody can use it"
                yield _warning(config, f"databases/{database.name}", text)


def _console_users(config: Config) -> Iterator[Problem]:
    settings = config.settings
    if settings.auth_file is None or settings.auth_type in ("any", "pam") or settings.auth_user:
        return
    for setting in ("admin_users", "stats_users"):
        missing = [user for user in getattr(config.settings, setting) if user not in config.userlist]
        if missing:
            text = f"{setting} names users that auth_file lacks: {', '.join(missing)}"
            yield _warning(config, setting, text)


def _useless_secrets(config: Config) -> Iterator[Problem]:
    """Stored secrets that can't be used for the way of login, as PgBouncer sees it."""
    if config.settings.auth_type != "scram-sha-256":
        return
    stored = [user for user, secret in config.userlist.items() if _is_md5(secret)]
    if stored:
        some = ", ".join(stored[:5]) + (" ..." if len(stored) > 5 else "")
        text = f"{len(stored)} users have an md5 secret and can't log in with scram-sha-256: {some}"
        yield _warning(config, "auth_file", text)


def _is_md5(secret: str) -> bool:
    return len(secret) == 35 and secret.startswith("md5") and not set(secret[3:]) - set("0123456789abcdef")


def _listening(config: Config) -> Iterator[Problem]:
    if not config.settings.listen_addr and not config.settings.unix_socket_dir:
        text = "neither listen_addr nor unix_socket_dir: there is nothing to listen on"
        yield _warning(config, "listen_addr", text)
    if not config.databases and config.auto_database is None:
        yield Problem(config.path, 0, "no databases: only the console can be used", "note")


def _sizes(config: Config) -> Iterator[Problem]:
    """Numbers of one pool that don't go together."""
    for database in _databases(config):
        limits = config.pool_limits(database, database.user or "")
        key = f"databases/{database.name}"
        if 0 < limits.pool_size < limits.min_pool_size:
            text = f"min_pool_size {limits.min_pool_size} is above pool_size {limits.pool_size}"
            yield _warning(config, key, text)
        if 0 < limits.max_db_connections < limits.pool_size:
            text = f"pool_size {limits.pool_size} is above max_db_connections {limits.max_db_connections}"
            yield _warning(config, key, text)
    settings = config.settings
    if settings.reserve_pool_size and not settings.reserve_pool_timeout:
        yield _warning(config, "reserve_pool_timeout", "reserve_pool_timeout=0 switches the reserve off")
    for setting in ("max_db_client_connections", "max_user_client_connections"):
        if getattr(settings, setting) > settings.max_client_conn:
            text = f"{setting} is above max_client_conn and never reached"
            yield _warning(config, setting, text)


def _http(config: Config) -> Iterator[Problem]:
    """Figures for people who should not see them, or for none."""
    settings = config.settings
    if not settings.http_listen_port:
        return
    local = all(network.is_loopback for network in parse_networks(settings.http_allow))
    if settings.auth_type in ("any", "trust") and not local:
        text = f"auth_type={settings.auth_type}: addresses of http_allow need no password for the figures"
        yield _warning(config, "http_allow", text)
    elif not local and settings.http_tls_sslmode == "disable":
        text = "http_tls_sslmode=disable: passwords of console users go over the network in clear"
        yield _warning(config, "http_allow", text)
    if not settings.admin_users and not settings.stats_users and settings.auth_type != "any":
        text = "neither admin_users nor stats_users: by HTTP only /healthz and /readyz can be asked for"
        yield _warning(config, "http_listen_port", text)


def _octal_mode(config: Config) -> Iterator[Problem]:
    mode = config.settings.unix_socket_mode
    if mode > 0o777 and set(str(mode)) <= set("01234567"):
        text = f"unix_socket_mode={mode} is decimal, that is {mode:#o}; did you mean 0{mode}?"
        yield _warning(config, "unix_socket_mode", text)


def is_own_address(settings: Settings, host: str, port: int) -> bool:
    """Whether this instance itself listens there, as far as names and addresses tell without a look-up."""
    if port != settings.listen_port:
        return False
    if host.startswith(("/", "@")):
        return host.rstrip("/") == settings.unix_socket_dir.rstrip("/")
    mine = set(settings.listen_addr)
    if settings.so_reuseport or not mine:  # several instances have that port
        return False
    if mine & set(EVERYWHERE) and host in LOOPBACK:
        return True
    return host in mine or (host in LOOPBACK and bool(mine & LOOPBACK_OF[host]))


def _peers(config: Config) -> Iterator[Problem]:
    """A cancel request for a peer that is this process would come back, and be handed on again."""
    for peer in config.peers.values():
        if peer.id != config.settings.peer_id and is_own_address(config.settings, peer.host, peer.port):
            text = f"peer {peer.id} is this instance itself, whose peer_id is {config.settings.peer_id}"
            yield _warning(config, f"peers/{peer.id}", f"{text}: no cancel request is handed on to it")


def _databases(config: Config) -> Iterator[Database]:
    yield from config.databases.values()
    if config.auto_database is not None:
        yield config.auto_database


#: Every rule with the topic that a report tells it under.
RULES: tuple[tuple[str, Callable[[Config], Iterator[Problem]]], ...] = (
    ("unsafe", _access),
    ("login", _no_way_in),
    ("advice", _console_users),
    ("advice", _useless_secrets),
    ("advice", _listening),
    ("advice", _sizes),
    ("unsafe", _http),
    ("unsafe", _octal_mode),
    ("advice", _peers),
)
