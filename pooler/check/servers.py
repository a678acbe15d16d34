"""PostgreSQL's side: logs in as pooler would, with the secrets that the files have, and compares limits.

Every database is tried with one user, every user that has a usable secret with one database of each
PostgreSQL. A stored SCRAM secret is of no use without a client who proves himself: such users are counted.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field

from pooler.auth.passwords import Credential, credential, parse_secret
from pooler.check.blocking_driver import BlockingDriver
from pooler.check.capacity import Total, Totals
from pooler.config import Config, Database
from pooler.config.ini import Place
from pooler.errors import Problem, ServerFault
from pooler.protocol.query import simple_query
from pooler.protocol.server_login import ServerTarget, TlsMode, server_login, start_tls

#: For one login when server_connect_timeout is off.
PATIENCE_S = 15.0
#: SQLSTATEs of a login that is refused (class 28, invalid authorization specification).
NOT_LET_IN = "28"
#: Logins tried at one PostgreSQL; the rest is counted.
LOGINS_MAX = 200

#: All names have their schema: the database may have given its sessions any search_path.
LIMITS = """SELECT pg_catalog.current_setting('max_connections')::pg_catalog.int4
    OPERATOR(pg_catalog.-) pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int4
    OPERATOR(pg_catalog.-)
    COALESCE(pg_catalog.current_setting('reserved_connections', true), '0')::pg_catalog.int4,
    pg_catalog.current_setting('max_connections')::pg_catalog.int4,
    (SELECT rolconnlimit FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) current_user),
    (SELECT datconnlimit FROM pg_catalog.pg_database
        WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database())"""


@dataclass
class Answer:
    """What was found out."""

    wrong: list[Problem] = field(default_factory=list)
    facts: list[Problem] = field(default_factory=list)


@dataclass
class _Server:
    """What one login learned."""

    version: str
    ordinary: int  # connections that are not reserved
    most: int
    user_limit: int
    database_limit: int


def ask(config: Config, totals: Totals) -> Answer:
    """Connects to each PostgreSQL that the file names."""
    answer = Answer()
    for total in totals.values():
        _ask_one(config, total, answer)
    if config.auto_database is not None:
        place = config.places.get("databases/*", Place(config.path, 0))
        answer.facts.append(place.problem("databases made from * are not known, and not tried", "note"))
    return answer


def _ask_one(config: Config, total: Total, answer: Answer) -> None:
    here = Place(config.path, 0)
    known: _Server | None = None
    logins, skipped = 0, 0
    console_users = {*config.settings.admin_users, *config.settings.stats_users}
    for database, user, secret in _logins(config, total):
        place = config.places.get(f"databases/{database.name}", here)
        who = f"{database.name} at {total.where}, user {user}"
        if secret is None or logins >= LOGINS_MAX:
            skipped += 1
            continue
        logins += 1
        try:
            found = _login(config, total, database, user, secret)
        except OSError as error:  # nobody is there: the other logins would say the same
            answer.wrong.append(place.problem(f"{total.where}: connect failed: {_reason(error)}", "warning"))
            return
        except ServerFault as error:
            if user in console_users and error.sqlstate.startswith(NOT_LET_IN):
                text = f"{who}: {error.message}; as a user of the console that is all right"
                answer.facts.append(place.problem(text, "note"))
            else:
                answer.wrong.append(place.problem(f"{who}: {error.message}", "warning"))
            continue
        known = known or found
        answer.wrong += _own_limits(config, database, user, found, place)
    if known is not None:
        answer.facts.append(here.problem(_fact(total, known, logins, skipped), "note"))
        answer.wrong += _compared(config, total, known)
    elif not logins:
        _reach(config, total, answer)


def _reach(config: Config, total: Total, answer: Answer) -> None:
    """Where no login can be tried: whether somebody is there, and speaks TLS if that is wanted."""
    here = Place(config.path, 0)
    try:
        with _driver(config, total) as dialogue:
            dialogue.hold(start_tls(_tls_mode(config, total)))
    except (ServerFault, OSError) as error:
        text = error.message if isinstance(error, ServerFault) else f"connect failed: {_reason(error)}"
        answer.wrong.append(here.problem(f"{total.where}: {text}", "warning"))
        return
    text = f"{total.where}: answers; no login could be tried, the files have no password for it"
    answer.facts.append(here.problem(text, "note"))


def _logins(config: Config, total: Total) -> Iterator[tuple[Database, str, Credential | None]]:
    """Database, user and what to log in with; None: a secret that only a client can use."""
    tried: set[str] = set()
    for database in total.databases:
        if database.user is not None:
            yield database, database.user, _secret(config, database, database.user)
            continue
        usable = [user for user in config.userlist if _secret(config, database, user) is not None]
        fresh = [user for user in usable if user not in tried] or usable[:1]
        for user in fresh:
            tried.add(user)
            yield database, user, _secret(config, database, user)
    for user in config.userlist:
        if user not in tried and any(database.user is None for database in total.databases):
            yield total.databases[0], user, None


def _secret(config: Config, database: Database, user: str) -> Credential | None:
    """As `credential_for` of a worker; None where only a client's keys would help."""
    text = database.password if database.password is not None else config.userlist.get(user)
    secret = None if text is None else parse_secret(text)
    if secret is not None and secret.kind == "scram":
        return None
    return credential(secret)


def _login(config: Config, total: Total, database: Database, user: str, secret: Credential) -> _Server:
    """One login; raises ServerFault or OSError."""
    target = ServerTarget(
        user, database.dbname, secret, database.startup_parameters, tls=_tls_mode(config, total)
    )
    with _driver(config, total) as dialogue:
        session = dialogue.hold(server_login(target))
        if database.connect_query:
            dialogue.hold(simple_query(database.connect_query))
        rows = dialogue.hold(simple_query(LIMITS)).rows
    numbers = [int(value or -1) for value in rows[0]]
    return _Server(session.parameters.get("server_version", "of unknown version"), *numbers)


def _is_unix(total: Total) -> bool:
    return total.host.startswith(("/", "@"))


def _tls_mode(config: Config, total: Total) -> TlsMode:
    mode = config.settings.server_tls_sslmode
    if _is_unix(total) or mode == "disable":
        return "disable"
    return "require" if mode in ("require", "verify-ca", "verify-full") else "prefer"


def _driver(config: Config, total: Total) -> BlockingDriver:
    """A connection on which nothing has been said; raises OSError."""
    unix = _is_unix(total)
    tls = None if _tls_mode(config, total) == "disable" else _context(config)
    patience_s = config.settings.server_connect_timeout or PATIENCE_S
    return BlockingDriver(_connect(total, unix, patience_s), tls, None if unix else total.host)


def _reason(error: OSError) -> str:
    """For people: no number of C's errno."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    return str(error.strerror or error)


def _connect(total: Total, unix: bool, patience_s: float) -> socket.socket:
    if not unix:
        return socket.create_connection((total.host, total.port), patience_s)
    path = f"{total.host}/.s.PGSQL.{total.port}"
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(patience_s)
        sock.connect("\0" + path[1:] if path.startswith("@") else path)
    except OSError:
        sock.close()
        raise
    return sock


def _context(config: Config) -> ssl.SSLContext:
    """The server side of TLS as the settings want it; raises OSError for files that cannot be used."""
    settings = config.settings
    context = ssl.create_default_context(cafile=settings.server_tls_ca_file or None)
    verify = settings.server_tls_sslmode in ("verify-ca", "verify-full")
    context.check_hostname = settings.server_tls_sslmode == "verify-full"
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    if settings.server_tls_cert_file:
        context.load_cert_chain(settings.server_tls_cert_file, settings.server_tls_key_file or None)
    return context


def _own_limits(
    config: Config, database: Database, user: str, found: _Server, place: Place
) -> Iterator[Problem]:
    """CONNECTION LIMIT of the role and of the database against the sizes of their pools."""
    limits = config.pool_limits(database, user)
    size = limits.pool_size + limits.reserve_pool_size
    if 0 <= found.user_limit < (size or found.user_limit + 1):
        text = f"role {user} may have {found.user_limit} connections, its pool {size or 'any number'}"
        yield place.problem(text, "warning")
    most = limits.max_db_connections or size
    if 0 <= found.database_limit < (most or found.database_limit + 1):
        text = (
            f"database {database.dbname} takes {found.database_limit} connections, its pools {most or 'any'}"
        )
        yield place.problem(text, "warning")


def _compared(config: Config, total: Total, known: _Server) -> Iterator[Problem]:
    place = config.places.get("default_pool_size", Place(config.path, 0))
    if total.per_user is not None and total.per_user <= known.ordinary:
        return
    pools = (
        "have no limit" if total.per_user is None else f"may open {total.per_user} connections for each user"
    )
    text = (
        f"the pools for {total.where} {pools}, PostgreSQL takes {known.ordinary} (max_connections ="
        f" {known.most} less those reserved); set max_server_connections = {known.ordinary}, or less"
    )
    yield place.problem(text, "warning")


def _fact(total: Total, known: _Server, logins: int, skipped: int) -> str:
    most = "without limit" if total.most is None else f"up to {total.most} with all users"
    per_user = "without limit" if total.per_user is None else f"{total.per_user} with one user each"
    untried = f", {skipped} users not tried (only their clients can log in)" if skipped else ""
    return (
        f"{total.where}: PostgreSQL {known.version}, takes {known.ordinary} connections; the pools may open"
        f" {per_user}, {most}; {logins} logins tried{untried}"
    )
