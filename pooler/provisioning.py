"""From a configuration to the rows of the shared tables: the one place that knows both.

The master writes all limits at boot and at every reload; a worker opens the pool of a client that logs in.
"""

from __future__ import annotations

from dataclasses import replace

from pooler.config import CONSOLE_DATABASES, Config, ConfigDiff, Database, PoolLimits
from pooler.config.diff import CHANGED, REMOVED
from pooler.core import Tables

#: The console's row in the table of databases; it has clients, never servers.
CONSOLE = CONSOLE_DATABASES[0]

#: Rows that databases of `*` leave to those that a reload adds, beyond as many as there are.
RESERVED_DATABASES = 128


def instance_of(config: Config, database: Database) -> str:
    """What `max_server_connections` counts by: one PostgreSQL, as the configuration names it."""
    return f"{database.host or config.settings.unix_socket_dir}:{database.port}"


def apply(tables: Tables, config: Config) -> None:
    """Write every limit of a configuration into the rows that exist. Idempotent."""
    settings = config.settings
    check_delay_s = 0.0 if settings.check_query is None else settings.server_check_delay
    tables.set_global_limits(settings.max_client_conn, settings.server_round_robin, check_delay_s)
    tables.set_peer_id(settings.peer_id)
    tables.database(CONSOLE)
    for row in tables.databases():
        database = config.find_database(row["name"])
        if row["name"] == CONSOLE:
            tables.set_database(row["index"], 0, settings.max_db_client_connections, kept=True)
        elif database is not None:
            _set_database(tables, row["index"], config, database)
        else:
            tables.set_database(row["index"], 0, 0, kept=False)
    for row in tables.users():
        _set_user(tables, row["index"], config, row["name"])
    for row in tables.instances():
        tables.set_instance(row["index"], settings.max_server_connections)
    for pool in tables.pool_rows():
        database_name, user, _ = tables.pool_key(pool)
        database = config.find_database(database_name)
        if database is not None:
            _set_pool(tables, pool, config.pool_limits(database, user), database)
    for database in config.databases.values():
        # Its pool is known before any client comes, so that min_pool_size can be kept.
        if database.user is not None and config.pool_limits(database, database.user).min_pool_size:
            open_pool(tables, config, database, database.user)


def close_changed(tables: Tables, diff: ConfigDiff) -> None:
    """Have the servers of databases that lead elsewhere replaced, and the clients of removed ones closed."""
    tls_changed = not diff.old.tls.server.same_settings(diff.new.tls.server)
    for row in tables.databases():
        if row["name"] == CONSOLE:
            continue
        fate = diff.fate(row["name"])
        if tls_changed or fate in (CHANGED, REMOVED):
            tables.mark_close(row["index"])
        if fate == REMOVED:
            tables.kill_clients(row["index"], "database removed")


def automatic_share(tables: Tables, config: Config) -> float:
    """Which share of the rows that databases of `*` may have is taken.

    Their names are whatever clients say; those that the configuration names, and some more after a reload,
    have to find a row at any time.
    """
    return tables.automatic_share(len(config.databases) + RESERVED_DATABASES)


def has_rows(tables: Tables, config: Config, database: Database, user: str, auth: bool = False) -> bool:
    """Whether rows are there, or may be made, for a pool of a database of `*`."""
    if automatic_share(tables, config) < 1:
        return True
    rows = (
        tables.database(database.name, create=False),
        tables.user(user, create=False),
        tables.instance(instance_of(config, database), create=False),
    )
    return min(rows) >= 0 and tables.open_pool(*rows, create=False, auth=auth) >= 0


def open_pool(
    tables: Tables, config: Config, database: Database, user: str, auth: bool = False
) -> tuple[int, int]:
    """Rows of (database, pool) for clients whose server user is `user`; -1 where a table is full.

    `auth`: the pool whose servers run auth_query.
    """
    if database.name not in config.databases and not has_rows(tables, config, database, user, auth):
        return -1, -1
    database_row = tables.database(database.name)
    user_row = tables.user(user)
    instance_row = tables.instance(instance_of(config, database))
    if min(database_row, user_row, instance_row) < 0:
        return database_row, -1
    _set_database(tables, database_row, config, database)
    _set_user(tables, user_row, config, user)
    tables.set_instance(instance_row, config.settings.max_server_connections)
    pool = tables.open_pool(database_row, user_row, instance_row, auth=auth)
    if pool >= 0:
        _set_pool(tables, pool, config.pool_limits(database, user), database)
    return database_row, pool


def open_handoff_pool(
    tables: Tables, config: Config, database_name: str, user: str, instance: str, kind: int
) -> None:
    """Make the rows, with their limits, of a pool in which the instance that was replaced has servers."""
    database = config.find_database(database_name)
    if database is not None:
        open_pool(tables, config, database, user, auth=tables.is_auth_kind(kind))
    row = tables.instance(instance)
    if row >= 0:
        tables.set_instance(row, config.settings.max_server_connections)


def open_user(tables: Tables, config: Config, user: str) -> int:
    """Row of a client's user; -1 when the table is full."""
    row = int(tables.user(user))
    if row >= 0:
        _set_user(tables, row, config, user)
    return row


def _set_database(tables: Tables, row: int, config: Config, database: Database) -> None:
    limits = config.pool_limits(database, "")
    tables.set_database(
        row,
        limits.max_db_connections,
        limits.max_db_client_connections,
        kept=database.name in config.databases,
    )


def _set_user(tables: Tables, row: int, config: Config, user: str) -> None:
    options, settings = config.users.get(user), config.settings
    servers = options.max_user_connections if options else None
    clients = options.max_user_client_connections if options else None
    tables.set_user(
        row,
        settings.max_user_connections if servers is None else servers,
        settings.max_user_client_connections if clients is None else clients,
        kept=user in config.users or user in config.userlist or user in config.forced_users,
    )


def _set_pool(tables: Tables, pool: int, limits: PoolLimits, database: Database) -> None:
    auth = tables.is_auth_pool(pool)
    if auth:  # single statements of our own, after which nothing is left that anybody could see
        limits = replace(limits, pool_mode="transaction", min_pool_size=0, session_state="off", pin_limit=0)
    tables.set_pool(
        pool,
        mode=limits.pool_mode,
        size=limits.pool_size,
        min_size=limits.min_pool_size,
        reserve_size=limits.reserve_pool_size,
        reserve_timeout=limits.reserve_pool_timeout,
        query_timeout=limits.query_timeout,
        query_wait_timeout=limits.query_wait_timeout,
        idle_transaction_timeout=limits.idle_transaction_timeout,
        transaction_timeout=limits.transaction_timeout,
        client_idle_timeout=limits.client_idle_timeout,
        server_lifetime=limits.server_lifetime,
        session_state=limits.session_state,
        pin_limit=limits.pin_limit,
        forced_user=database.user is not None and not auth,
    )
