"""How many connections the pools of a configuration may open to each PostgreSQL, if all of them are full.

A database that names its user has one pool, others have one for each user that logs in: for them as many are
assumed as auth_file and [users] name, and at least one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pooler.config import Config, Database
from pooler.config.ini import Place
from pooler.errors import Problem

#: PostgreSQL's default max_connections, of which 3 are for superusers.
USUAL_MAX_CONNECTIONS = 97


@dataclass
class Total:
    """What may be opened to one PostgreSQL; most: None is no limit."""

    host: str
    port: int
    databases: list[Database] = field(default_factory=list)
    most: int | None = 0
    per_user: int | None = 0  # as if each database had one user

    @property
    def where(self) -> str:
        return f"{self.host}:{self.port}"

    def add(self, one: int | None, all_users: int | None) -> None:
        self.per_user = None if self.per_user is None or one is None else self.per_user + one
        self.most = None if self.most is None or all_users is None else self.most + all_users


Totals = Mapping[tuple[str, int], Total]


def totals(config: Config) -> Totals:
    """By host and port; a list of hosts counts for each."""
    found: dict[tuple[str, int], Total] = {}
    users = sorted({*config.userlist, *config.users}) or [""]
    for database in config.databases.values():
        for host in database.hosts or (config.settings.unix_socket_dir or "/tmp",):
            total = found.setdefault((host, database.port), Total(host, database.port))
            total.databases.append(database)
            names = [database.user] if database.user is not None else users
            sizes = [_pool(config, database, name) for name in names]
            total.add(_at_most(config, database, sizes[:1]), _at_most(config, database, sizes))
    limit = config.settings.max_server_connections
    for total in found.values():
        if limit:
            total.most = limit if total.most is None else min(limit, total.most)
            total.per_user = limit if total.per_user is None else min(limit, total.per_user)
    return found


def _pool(config: Config, database: Database, user: str) -> int | None:
    limits = config.pool_limits(database, user)
    size = limits.pool_size + limits.reserve_pool_size if limits.pool_size else None
    most = limits.max_user_connections
    if most:
        size = most if size is None else min(size, most)
    return size


def _at_most(config: Config, database: Database, sizes: list[int | None]) -> int | None:
    """The pools of one database together."""
    together: int | None = 0
    for size in sizes:
        together = None if together is None or size is None else together + size
    limit = config.pool_limits(database, "").max_db_connections
    if limit:
        together = limit if together is None else min(limit, together)
    return together


def unknown(config: Config, found: Totals) -> Iterator[Problem]:
    """Warnings where PostgreSQL's own limit isn't known: compared with its default."""
    place = config.places.get("default_pool_size", Place(config.path, 0))
    for total in found.values():
        if total.per_user is None:
            text = f"the pools for {total.where} have no limit"
        elif total.per_user > USUAL_MAX_CONNECTIONS:
            text = f"the pools for {total.where} add up to {total.per_user} connections for each user"
        else:
            continue
        text += "; compare with its max_connections (pooler check --connect), or set max_server_connections"
        yield place.problem(text, "warning")
