"""SHOW POOLS, DATABASES, USERS, PEERS, PEER_POOLS: what is configured, with its counts of the moment.

Configuration comes from the loaded file, counts and flags from the shared tables. The console itself is
listed too, as the database, pool and user `pgbouncer`: PgBouncer does, and monitoring counts rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from pooler.admin.model import (
    CONSOLE_DATABASE,
    OWN_USER,
    Column,
    Row,
    Sources,
    TableRow,
    columns,
    name_order,
)
from pooler.config import Database

POOL_COLUMNS = columns("""
    database text, user text, cl_active int4, cl_waiting int4, cl_active_cancel_req int4,
    cl_waiting_cancel_req int4, sv_active int4, sv_active_cancel int4, sv_being_canceled int4, sv_idle int4,
    sv_used int4, sv_tested int4, sv_login int4, maxwait int4, maxwait_us int4, pool_mode text,
    load_balance_hosts text,
    pool_size int4, reserve_pool_size int4, paused int4, mean_wait_us int8
""")
#: Of those, behind PgBouncer's.
POOL_COLUMNS_OURS = 4
DATABASE_COLUMNS = columns("""
    name text, host text, port int4, database text, force_user text, pool_size int4, min_pool_size int4,
    reserve_pool_size int4, server_lifetime int4, pool_mode text, load_balance_hosts text,
    max_connections int4, current_connections int4, max_client_connections int4,
    current_client_connections int4, paused int4, disabled int4
""")
USER_COLUMNS = columns("""
    name text, pool_size text, reserve_pool_size text, pool_mode text, max_user_connections int4,
    current_connections int4, max_user_client_connections int4, current_client_connections int4
""")
PEER_COLUMNS = columns("peer_id int4, host text, port int4, pool_size int4")
PEER_POOL_COLUMNS = columns("""
    peer_id int4, cl_active_cancel_req int4, cl_waiting_cancel_req int4, sv_active_cancel int4, sv_login int4
""")

#: PgBouncer's console is a pool of this size in this mode; nothing is ever limited by it.
_CONSOLE_POOL_SIZE = 2
_CONSOLE_POOL_MODE = "statement"

_POOL_COUNTS = (
    "cl_waiting",
    "cl_active_cancel_req",
    "cl_waiting_cancel_req",
    "sv_active",
    "sv_active_cancel",
    "sv_being_canceled",
    "sv_idle",
    "sv_used",
    "sv_tested",
    "sv_login",
)


def pools(sources: Sources, shown: tuple[Column, ...]) -> list[Row]:
    """Rows of SHOW POOLS."""
    rows = [_pool(sources, row) for row in sources.tables.pools() if row["database"] != CONSOLE_DATABASE]
    rows.append(_console_pool(sources))
    rows = [row[: len(shown)] for row in rows]
    return sorted(rows, key=lambda row: (name_order(str(row[0])), name_order(str(row[1]))))


def pool_count(sources: Sources) -> int:
    """How many rows SHOW POOLS has."""
    return 1 + sum(1 for row in sources.tables.pools() if row["database"] != CONSOLE_DATABASE)


def _pool(sources: Sources, row: TableRow) -> Row:
    maxwait_s, maxwait_us = divmod(row["maxwait_us"], 1_000_000)
    database = sources.config.find_database(row["database"])
    return (
        row["database"],
        row["user"],
        row["cl_active"],  # idle clients included: PgBouncer's word for every client that is not waiting
        *(row[name] for name in _POOL_COUNTS),
        maxwait_s,
        maxwait_us,
        row["pool_mode"],
        _balancing(database) if database else None,
        row["pool_size"],
        row["reserve_pool_size"],
        int(row["paused"]),
        int(row["mean_wait_us"]),
    )


def _console_pool(sources: Sources) -> Row:
    return (
        CONSOLE_DATABASE,
        CONSOLE_DATABASE,
        _console_clients(sources),
        *(0 for _ in _POOL_COUNTS),
        0,
        0,
        _CONSOLE_POOL_MODE,
        None,
        _CONSOLE_POOL_SIZE,
        0,
        0,
        0,
    )


def _console_clients(sources: Sources) -> int:
    for row in sources.tables.databases():
        if row["name"] == CONSOLE_DATABASE:
            return int(row["client_count"])
    return 0  # its row is made for the first client


def database_names(sources: Sources) -> set[str]:
    """Databases that exist now: the configured ones, and those that `*` gave rise to. Without the console."""
    names = set(sources.config.databases)
    names.update(str(row["name"]) for row in sources.tables.databases())
    return names - {"", "*", CONSOLE_DATABASE}


def databases(sources: Sources) -> list[Row]:
    """Rows of SHOW DATABASES. One that was removed from the file is gone when its last client is."""
    counts = {row["name"]: row for row in sources.tables.databases()}
    rows = [_console_database(sources)]
    for name in database_names(sources):
        database = sources.config.find_database(name)
        if database is not None:
            rows.append(_database(sources, name, database, counts.get(name, {})))
    return sorted(rows, key=lambda row: name_order(str(row[0])))


def _database(sources: Sources, name: str, database: Database, row: TableRow) -> Row:
    limits = sources.config.pool_limits(database, "")  # no user: what holds for the database as such
    return (
        name,
        database.host,
        database.port,
        database.dbname,
        database.user,
        limits.pool_size,
        limits.min_pool_size,
        limits.reserve_pool_size,
        int(limits.server_lifetime),
        database.pool_mode,
        _balancing(database),
        limits.max_db_connections,
        row.get("server_count", 0),
        limits.max_db_client_connections,
        row.get("client_count", 0),
        int(row.get("paused", False)),
        int(row.get("disabled", False)),
    )


def _console_database(sources: Sources) -> Row:
    settings = sources.config.settings
    return (
        CONSOLE_DATABASE,
        None,
        settings.listen_port,
        CONSOLE_DATABASE,
        CONSOLE_DATABASE,
        _CONSOLE_POOL_SIZE,
        settings.min_pool_size,
        settings.reserve_pool_size,
        int(settings.server_lifetime),
        _CONSOLE_POOL_MODE,
        None,
        settings.max_db_connections,
        0,
        settings.max_db_client_connections,
        _console_clients(sources),
        0,
        0,
    )


def _balancing(database: Database) -> str | None:
    """How hosts are chosen, where there is a choice."""
    if database.host is None or "," not in database.host:
        return None
    return database.load_balance_hosts


def users(sources: Sources) -> list[Row]:
    """Rows of SHOW USERS."""
    counts = {row["name"]: row for row in sources.tables.users()}
    return [
        _user(sources, name, counts.get(name, {})) for name in sorted(user_names(sources), key=name_order)
    ]


def user_names(sources: Sources) -> set[str]:
    """Users that are known by file, by configuration or by their connections, and that of the console."""
    names = {OWN_USER, *sources.config.userlist, *sources.config.users}
    names.update(str(row["name"]) for row in sources.tables.users())
    return names - {""}


def _user(sources: Sources, name: str, row: TableRow) -> Row:
    settings = sources.config.settings
    options = sources.config.users.get(name)
    return (
        name,
        _padded(options.pool_size if options else None),
        _padded(options.reserve_pool_size if options else None),
        options.pool_mode if options else None,
        _own(options.max_user_connections if options else None, settings.max_user_connections),
        row.get("server_count", 0),
        _own(options.max_user_client_connections if options else None, settings.max_user_client_connections),
        row.get("client_count", 0),
    )


def _own(own: int | None, general: int) -> int:
    return general if own is None else own


def _padded(size: int | None) -> str:
    """PgBouncer prints these two as text, nine wide, and an unset one as an empty text."""
    return "" if size is None else f"{size:9d}"


def peers(sources: Sources) -> list[Row]:
    """Rows of SHOW PEERS."""
    return list(_peers(sources))


def _peers(sources: Sources) -> Iterator[Row]:
    default = sources.config.settings.default_pool_size
    for number, peer in sorted(sources.config.peers.items()):
        yield number, peer.host, peer.port, _own(peer.pool_size, default)


def peer_pools(sources: Sources) -> list[Row]:
    """Rows of SHOW PEER_POOLS: a pool to a peer exists once a cancel request was handed on to it."""
    return sorted(
        (row["peer_id"], row["active"], row["waiting"] + row["connecting"], row["active"], row["connecting"])
        for row in sources.tables.peers()
    )
