"""Sizes fixed for the life of the process: descriptors per process, rows of the shared tables."""

from __future__ import annotations

import resource
from collections.abc import Mapping

from pooler import log
from pooler.config import Config
from pooler.errors import BootError

#: Descriptors of a process that are neither clients nor servers: log, epolls, doorbells, inboxes,
#: listeners, threads'.
RESERVE_FDS = 128

#: Rows beyond what the configuration names, since reloads add to it. Rows never used cost address space, no
#: memory.
SPARE_DATABASES = 1024
SPARE_USERS = 1024
SPARE_CLIENTS = 4096
LOOKUPS = 64  # of one worker at once: clients of our own that run auth_query
MAX_CLIENTS = 2**20 - 1  # a cancel key has 20 bits for the row
INSTANCES = 512

#: Pools are the product of databases and users, of which most never meet. A row is about 4 kB.
MIN_POOLS, MAX_POOLS = 2048, 16384

#: Server connections over all pools. PostgreSQL itself is rarely configured for more than a thousand.
MIN_SLOTS, MAX_SLOTS = 1024, 8192


def raise_fd_limit() -> int:
    """Raise the soft limit of open files to the hard one; returns what is in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (ValueError, OSError) as e:
            log.warning("cannot raise the limit of open files from %d to %d: %s", soft, hard, e)
    return soft if soft != resource.RLIM_INFINITY else 2**31


def expected_servers(config: Config) -> int:
    """Server connections if every user named in the configuration used one pool of every database."""
    settings = config.settings
    per_pool = settings.default_pool_size + settings.reserve_pool_size
    if settings.max_db_connections:
        per_pool = min(per_pool, settings.max_db_connections)
    return max(1, len(config.databases)) * max(1, per_pool)


def check_fds(config: Config, limit: int, at_start: bool = False) -> None:
    """Refuse a configuration that cannot work with `limit` open files, warn of one that may run out."""
    settings = config.settings
    workers = settings.worker_count
    servers = expected_servers(config)
    share = -(-settings.max_client_conn // workers)
    least = share + RESERVE_FDS
    most = settings.max_client_conn + servers + RESERVE_FDS
    if at_start:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        log.info(
            "kernel file descriptor limit: %d (hard: %d); max_client_conn: %d, max expected fd use: %d",
            limit, hard, settings.max_client_conn, most,
        )  # fmt: skip
    if least > limit:
        raise BootError(
            f"the limit of open files ({limit}) is too low for max_client_conn = {settings.max_client_conn}"
            f" with {workers} workers: at least {least} are needed (ulimit -n, LimitNOFILE=)"
        )
    if most > limit:
        log.warning(
            "the limit of open files (%d) may be too low: a process may need %d for max_client_conn = %d and"
            " %d servers (ulimit -n, LimitNOFILE=)", limit, most, settings.max_client_conn, servers,
        )  # fmt: skip


def check_rows(config: Config, sizes: Mapping[str, int]) -> None:
    """Refuse, at a reload, what needs more rows than the tables were made with."""
    wanted = config.settings.max_client_conn
    if wanted > sizes["clients"]:
        raise BootError(
            f"max_client_conn = {wanted} needs a restart: there is room for {sizes['clients']} clients"
        )


def table_sizes(config: Config, fd_limit: int) -> dict[str, int]:
    """The number of rows of each shared table, as `pooler.core.Tables` takes them.

    Reload may raise every limit but cannot add rows, so there are several times as many as configured.
    """
    settings = config.settings
    workers = settings.worker_count
    databases = 2 * len(config.databases) + SPARE_DATABASES
    users = 2 * (len(config.users) + len(config.userlist)) + SPARE_USERS
    slots = min(MAX_SLOTS, max(MIN_SLOTS, 2 * expected_servers(config)))
    # Every process holds a descriptor of every server: they must fit beside its share of the clients.
    share = -(-settings.max_client_conn // workers)
    slots = max(64, min(slots, fd_limit - share - RESERVE_FDS))
    clients = (
        2 * settings.max_client_conn + workers * (settings.max_unauthenticated + LOOKUPS) + SPARE_CLIENTS
    )
    return {
        "workers": workers,
        "slots": slots,
        "clients": min(MAX_CLIENTS, clients),
        "databases": databases,
        "users": users,
        "pools": min(MAX_POOLS, max(MIN_POOLS, 2 * databases)),
        "instances": INSTANCES,
    }
