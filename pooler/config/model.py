"""A loaded configuration as plain frozen values, and what follows from it for one database and user.

`Config` is whole and checked: nothing that holds one needs to doubt it. It is never changed; a reload makes
another and everybody swaps one reference. Workers get it by `to_wire`/`from_wire`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, TypeVar

from pooler.config.constraints import judge_settings, read_rules
from pooler.config.hba import HbaRule, rules_from_wire, rules_to_wire
from pooler.config.ini import Place
from pooler.config.options import option
from pooler.config.settings import (
    CONSOLE_DATABASES,
    POOL_MODES,
    SESSION_STATES,
    SETTINGS,
    Settings,
    Value,
    parse_setting,
    setting_rows,
)
from pooler.config.tls import TlsSetup
from pooler.config.userlist import byte_length
from pooler.errors import ConfigError, Problem

#: PostgreSQL's NAMEDATALEN less the NUL.
DATABASE_NAME_BYTES_MAX = 63

#: The changes of a database after which its servers lead to the wrong place, or were prepared in another way.
CONNECTION_FIELDS = (
    "dbname",
    "host",
    "port",
    "user",
    "connect_query",
    "auth_dbname",
    "auth_query",
    "load_balance_hosts",
)


@dataclass(frozen=True)
class Database:
    """An entry of [databases]; None: inherited, or not given."""

    name: str
    dbname: str = option(
        "text", "", text="Name of the database at PostgreSQL; as the entry is named, if not given."
    )
    host: str | None = option(
        "text", text="Where PostgreSQL is: a name, an address, a folder of sockets, @name, or a comma list."
    )
    port: int = option("port", 5432, text="Port of PostgreSQL.")
    user: str | None = option("user", text="Log in to PostgreSQL as this user, for every client.")
    password: str | None = option("text", secret=True, text="Password of that user.")
    auth_user: str | None = option("user")
    auth_query: str | None = option("text")
    auth_dbname: str | None = option("text")
    pool_size: int | None = option("size", unlimited=True)
    min_pool_size: int | None = option("size")
    reserve_pool_size: int | None = option("size", aliases=("reserve_pool",))
    connect_query: str | None = option("text", text="SQL that each new server runs before its first client.")
    pool_mode: str | None = option("word", words=POOL_MODES)
    query_wait_timeout: float | None = option("seconds")
    load_balance_hosts: str = option(
        "word",
        "round-robin",
        words=("round-robin", "disable"),
        text="With a list of hosts: begin with each in turn, or keep to one until it fails.",
    )
    max_db_connections: int | None = option("limit")
    max_db_client_connections: int | None = option("limit")
    server_lifetime: float | None = option("seconds")
    session_state: str | None = option("word", words=SESSION_STATES)
    pin_limit: int | None = option("limit")
    client_encoding: str | None = option("text", text="Value of this parameter at the login to PostgreSQL.")
    datestyle: str | None = option("text", text="Value of this parameter at the login to PostgreSQL.")
    timezone: str | None = option("text", text="Value of this parameter at the login to PostgreSQL.")
    application_name: str | None = option("text", text="Value of this parameter at the login to PostgreSQL.")

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of `host`; none: the socket in unix_socket_dir. `/dir` and `@name` are sockets too."""
        return tuple(name for name in (part.strip() for part in (self.host or "").split(",")) if name)

    @property
    def startup_parameters(self) -> dict[str, str]:
        """What goes into the startup packet to PostgreSQL besides user and database."""
        names = ("client_encoding", "datestyle", "timezone", "application_name")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class UserOptions:
    """An entry of [users]; None: inherited."""

    name: str
    pool_size: int | None = option("size", unlimited=True)
    reserve_pool_size: int | None = option("size")
    pool_mode: str | None = option("word", words=POOL_MODES)
    max_user_connections: int | None = option("limit")
    max_user_client_connections: int | None = option("limit")
    query_timeout: float | None = option("seconds")
    query_wait_timeout: float | None = option("seconds")
    idle_transaction_timeout: float | None = option("seconds")
    transaction_timeout: float | None = option("seconds")
    client_idle_timeout: float | None = option("seconds")
    session_state: str | None = option("word", words=SESSION_STATES)
    pin_limit: int | None = option("limit")


@dataclass(frozen=True)
class Peer:
    """An entry of [peers]: another instance behind the same address."""

    id: int
    host: str = option("text", "", text="Where the peer is: an address, or the folder of its unix socket.")
    port: int = option("port", 6432, text="Its port, also of the unix socket's name.")
    pool_size: int | None = option(
        "size", unlimited=True, text="Cancel requests that may be under way to it at once."
    )


@dataclass(frozen=True)
class PoolLimits:
    """What holds for one pool: user before database before global. 0: no limit, or off."""

    pool_mode: str
    pool_size: int
    min_pool_size: int
    reserve_pool_size: int
    reserve_pool_timeout: float
    query_timeout: float
    query_wait_timeout: float
    idle_transaction_timeout: float
    transaction_timeout: float
    client_idle_timeout: float
    server_lifetime: float
    session_state: str
    pin_limit: int
    max_user_connections: int
    max_user_client_connections: int
    max_db_connections: int
    max_db_client_connections: int


@dataclass(frozen=True)
class Config:
    """One configuration. `auto_database` is the entry `*`; `problems` are the warnings of its load."""

    path: str
    settings: Settings = field(default_factory=Settings)
    databases: Mapping[str, Database] = field(default_factory=dict)
    auto_database: Database | None = None
    users: Mapping[str, UserOptions] = field(default_factory=dict)
    peers: Mapping[int, Peer] = field(default_factory=dict)
    userlist: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls: TlsSetup = field(default_factory=TlsSetup)  # in force: what is asked for, if it could be set up
    hba: tuple[HbaRule, ...] = ()  # of auth_type=hba
    problems: tuple[Problem, ...] = field(default=(), compare=False)
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def forced_users(self) -> frozenset[str]:
        """The users that databases log in as, whoever the client is."""
        return frozenset(row.user for row in self.databases.values() if row.user is not None)

    def find_database(self, name: str) -> Database | None:
        """The database a client means by `name`; None: there is none. The console is no database."""
        database = self.databases.get(name)
        if database is not None or self.auto_database is None:
            return database
        if name in CONSOLE_DATABASES or not 0 < byte_length(name) <= DATABASE_NAME_BYTES_MAX:
            return None
        return replace(self.auto_database, name=name, dbname=self.auto_database.dbname or name)

    def pool_limits(self, database: Database, user: str) -> PoolLimits:
        """The limits for `user` (where the database forces one, that one for the pool) on `database`."""
        options = self.users.get(user)
        effective: list[Any] = []
        for name, default in self._pool_defaults:  # a reload does this for each database, in each worker
            value = getattr(options, name, None)
            if value is None:
                value = getattr(database, name, None)
            effective.append(default if value is None else value)
        return PoolLimits(*effective)

    @cached_property
    def _pool_defaults(self) -> tuple[tuple[str, Any], ...]:
        """What the settings say of each field of PoolLimits, in its order."""
        inherited = {"pool_size": "default_pool_size"}
        names = [f.name for f in fields(PoolLimits)]
        return tuple((name, getattr(self.settings, inherited.get(name, name))) for name in names)

    def with_overrides(self, texts: Mapping[str, str]) -> Config:
        """This configuration with some settings changed, as by SET on the console; raises ConfigError.

        As in PgBouncer, a setting that needs a restart is left as it is; here with a warning.
        """
        changed: dict[str, Any] = {}
        problems: list[Problem] = []
        for name, text in texts.items():
            try:
                value = parse_setting(name, text)
            except ValueError as error:
                problems.append(Problem("SET", 0, str(error)))
                continue
            if SETTINGS[name].changeable:
                changed[name] = value
            else:
                problems.append(Problem("SET", 0, f"{name} needs a restart, not changed", "warning"))
        settings = replace(self.settings, **changed)
        judged = judge_settings(settings, {name: Place("SET", 0) for name in changed})
        problems += [problem for name, problem in judged if name in changed]
        hba = self.hba
        if changed.keys() & {"auth_type", "auth_hba_file", "auth_ident_file"}:
            hba, found = read_rules(settings)
            problems += found
        if any(problem.severity == "error" for problem in problems):
            raise ConfigError(problems)
        return replace(self, settings=settings, hba=hba, problems=tuple(problems))

    def to_wire(self) -> dict[str, Any]:
        """Plain dicts, lists, numbers and bytes (all text is bytes: names need not be UTF-8)."""
        return {
            "path": _pack(self.path),
            "settings": _pack_row(self.settings),
            "databases": [_pack_row(database) for database in self.databases.values()],
            "auto_database": None if self.auto_database is None else _pack_row(self.auto_database),
            "users": [_pack_row(user) for user in self.users.values()],
            "peers": [_pack_row(peer) for peer in self.peers.values()],
            "userlist": [[_pack(user), _pack(secret)] for user, secret in self.userlist.items()],
            "tls": self.tls.to_wire(),
            "hba": rules_to_wire(self.hba),
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> Config:
        """The configuration that `to_wire` described, less problems and places."""
        auto = wire["auto_database"]
        return cls(
            path=_unpack(wire["path"]),
            settings=_unpack_row(Settings, wire["settings"]),
            databases={row.name: row for row in (_unpack_row(Database, r) for r in wire["databases"])},
            auto_database=None if auto is None else _unpack_row(Database, auto),
            users={row.name: row for row in (_unpack_row(UserOptions, r) for r in wire["users"])},
            peers={row.id: row for row in (_unpack_row(Peer, r) for r in wire["peers"])},
            userlist={_unpack(user): _unpack(secret) for user, secret in wire["userlist"]},
            tls=TlsSetup.from_wire(wire["tls"]),
            hba=rules_from_wire(wire["hba"]),
        )


def config_rows(config: Config) -> list[tuple[str, str | None, str | None, str]]:
    """SHOW CONFIG: key, value, default, changeable."""
    return setting_rows(config.settings)


_Row = TypeVar("_Row", Settings, Database, UserOptions, Peer)


def _pack(value: Value) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, tuple):
        return [_pack(item) for item in value]
    return value


def _unpack(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, (list, tuple)):
        return tuple(_unpack(item) for item in value)
    return value


def _pack_row(row: Settings | Database | UserOptions | Peer) -> dict[str, Any]:
    return {f.name: _pack(getattr(row, f.name)) for f in fields(row)}


def _unpack_row(cls: type[_Row], wire: Mapping[str, Any]) -> _Row:
    return cls(**{name: _unpack(value) for name, value in wire.items()})
