"""Which figures /metrics has: the only place that says so.

A `Group` has rows of a `Snapshot`, the columns that are labels of each, and the metrics that are made of the
others. From it come the text, and docs/reference/metrics.md (scripts/reference). Names that begin with
`pgbouncer_` are pgbouncer_exporter's, to the letter: dashboards go by them. Times are seconds, as there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pooler.monitor.snapshot import Rows

Kind = Literal["gauge", "counter", "info", "histogram"]

#: How the values of several rows become one: of those beyond http_metrics_limit, and of equal labels.
Fold = Literal["sum", "max"]

MICROSECOND = 1e-6


@dataclass(frozen=True)
class Metric:
    """One metric: the rest of its name behind that of its group, and the column that has its values."""

    name: str
    column: str
    text: str
    kind: Kind = "gauge"
    factor: float = 1
    fold: Fold = "sum"
    limit: bool = False  # 0 is no limit: there is no such series then


@dataclass(frozen=True)
class Group:
    """Metrics with the same rows and labels. `bounded`: by http_metrics_limit."""

    name: str
    rows: Rows
    labels: tuple[str, ...]
    metrics: tuple[Metric, ...]
    bounded: bool = False


def _counter(name: str, column: str, text: str, factor: float = 1) -> Metric:
    return Metric(name, column, text, "counter", factor)


def _histogram(name: str, column: str, text: str) -> Metric:
    return Metric(name, column, text, "histogram")


def _limit(name: str, column: str, text: str) -> Metric:
    return Metric(name, column, f"{text}; none where there is no limit.", limit=True)


_STATS = (
    _counter("queries_pooled_total", "query_count", "SQL queries pooled."),
    _counter(
        "queries_total", "query_count", "SQL requests pooled: the same, under the name of old releases."
    ),
    _counter("queries_duration_seconds_total", "query_time", "Time in queries.", MICROSECOND),
    _counter("received_bytes_total", "bytes_received", "Bytes received from clients."),
    _counter("sent_bytes_total", "bytes_sent", "Bytes sent to clients."),
    _counter("client_wait_seconds_total", "wait_time", "Time that clients waited for a server.", MICROSECOND),
    _counter("sql_transactions_pooled_total", "xact_count", "SQL transactions pooled."),
    _counter(
        "server_in_transaction_seconds_total",
        "xact_time",
        "Time in transactions, idle or in a query.",
        MICROSECOND,
    ),
    _counter("client_parses_total", "client_parse_count", "Prepared statements that clients made."),
    _counter("server_parses_total", "server_parse_count", "Prepared statements that were made at servers."),
    _counter("binds_total", "bind_count", "Prepared statements that were bound."),
    _counter(
        "server_assignments_total", "server_assignment_count", "Times that a client was given a server."
    ),
)

_COMPATIBLE = (
    Group(
        "pgbouncer",
        lambda s: s.instance,
        (),
        (
            Metric("up", "up", "Whether the figures could be had."),
            Metric("databases", "databases", "Databases."),
            Metric("users", "users", "Users."),
            Metric("pools", "pools", "Pools."),
            Metric("free_clients", "free_clients", "Rows for clients that are free."),
            Metric("used_clients", "used_clients", "Clients that have logged in."),
            Metric("login_clients", "login_clients", "Clients in their login."),
            Metric("free_servers", "free_servers", "Rows for servers that are free."),
            Metric("used_servers", "used_servers", "Servers in use, in any state."),
            Metric("cached_dns_names", "dns_names", "Names of hosts that were looked up."),
            Metric("cached_dns_zones", "dns_zones", "Zones whose serial is watched."),
            Metric("in_flight_dns_queries", "dns_queries", "Look-ups that are under way."),
            Metric("config_max_client_connections", "max_client_conn", "Setting max_client_conn."),
            Metric("config_max_user_connections", "max_user_connections", "Setting max_user_connections."),
        ),
    ),
    Group(
        "pgbouncer",
        lambda s: [{"version": row["pgbouncer_version"], "one": 1} for row in s.instance],
        ("version",),
        (Metric("version_info", "one", "The release of PgBouncer that pooler stands in for.", "info"),),
    ),
    Group(
        "pgbouncer_databases",
        lambda s: s.databases,
        ("name", "host", "port", "database", "force_user", "pool_mode"),
        (
            Metric("pool_size", "pool_size", "Servers that a pool may have."),
            Metric("reserve_pool", "reserve_pool_size", "More servers for a pool whose clients wait."),
            Metric("max_connections", "max_connections", "Servers that the database may have; 0: no limit."),
            Metric("current_connections", "current_connections", "Servers that the database has."),
            Metric("paused", "paused", "Whether it is paused."),
            Metric("disabled", "disabled", "Whether it is disabled."),
        ),
        bounded=True,
    ),
    Group("pgbouncer_stats_totals", lambda s: s.stats, ("database",), _STATS, bounded=True),
    Group("pgbouncer_stats", lambda s: s.stats, ("database",), _STATS, bounded=True),
    Group(
        "pgbouncer_pools",
        lambda s: s.pools,
        ("database", "user"),
        (
            Metric(
                "client_active_connections", "cl_active", "Clients that have a server, or wait for nothing."
            ),
            Metric(
                "client_active_cancel_connections",
                "cl_active_cancel_req",
                "Cancel requests that are under way.",
            ),
            Metric("client_waiting_connections", "cl_waiting", "Clients that wait for a server."),
            Metric(
                "client_waiting_cancel_connections", "cl_waiting_cancel_req", "Cancel requests that wait."
            ),
            Metric("server_active_connections", "sv_active", "Servers that a client has."),
            Metric(
                "server_active_cancel_connections", "sv_active_cancel", "Servers that carry a cancel request."
            ),
            Metric(
                "server_being_canceled_connections", "sv_being_canceled", "Servers whose query is canceled."
            ),
            Metric("server_idle_connections", "sv_idle", "Servers that a client may have at once."),
            Metric("server_used_connections", "sv_used", "Servers idle for longer than server_check_delay."),
            Metric(
                "server_testing_connections", "sv_tested", "Servers that answer a request of pooler's own."
            ),
            Metric("server_login_connections", "sv_login", "Servers in their login."),
            Metric(
                "client_maxwait_seconds",
                "maxwait_all_us",
                "How long the oldest waiting client has waited.",
                factor=MICROSECOND,
                fold="max",
            ),
        ),
        bounded=True,
    ),
    Group(
        "pgbouncer",
        lambda s: s.clients,
        ("database", "user", "application_name", "state"),
        (Metric("client_connections", "clients", "Clients by their names and state."),),
        bounded=True,
    ),
)

_OURS = (
    Group(
        "pooler",
        lambda s: s.instance,
        (),
        (
            Metric("start_time_seconds", "started_at", "When this instance began to serve, since 1970."),
            Metric("clients", "used_clients", "Clients that have logged in."),
            Metric("clients_limit", "max_client_conn", "Clients that may be there (max_client_conn)."),
            Metric("clients_in_login", "login_clients", "Clients in their login."),
            Metric("paused", "paused", "Whether all databases are paused."),
            Metric("suspended", "suspended", "Whether pooler is suspended."),
            Metric("shutting_down", "shutting_down", "Whether pooler is about to end."),
            _counter(
                "monitor_restarts_total", "monitor_restarts", "Restarts of the process that gives this."
            ),
        ),
    ),
    Group(
        "pooler",
        lambda s: s.instance,
        ("version",),
        (Metric("version_info", "up", "The release of pooler.", "info"),),
    ),
    Group(
        "pooler_database",
        lambda s: [{**row, "database": row["name"]} for row in s.databases],
        ("database",),
        (
            Metric("clients", "current_client_connections", "Clients of the database."),
            _limit("clients_limit", "max_client_connections", "Clients that it may have"),
            Metric("servers", "current_connections", "Servers of the database."),
            _limit("servers_limit", "max_connections", "Servers that it may have"),
        ),
        bounded=True,
    ),
    Group(
        "pooler_user",
        lambda s: [{**row, "user": row["name"]} for row in s.users],
        ("user",),
        (
            Metric("clients", "current_client_connections", "Clients of the user."),
            _limit("clients_limit", "max_user_client_connections", "Clients that it may have"),
            Metric("servers", "current_connections", "Servers of the user."),
            _limit("servers_limit", "max_user_connections", "Servers that it may have"),
        ),
        bounded=True,
    ),
    Group(
        "pooler_instance",
        lambda s: [{**row, "address": row["name"]} for row in s.instances],
        ("address",),  # `instance` is Prometheus's own word for what it scrapes
        (
            Metric("servers", "server_count", "Servers of one PostgreSQL (its host and port)."),
            _limit("servers_limit", "max_connections", "Servers that it may have (max_server_connections)"),
        ),
        bounded=True,
    ),
    Group(
        "pooler_pool",
        lambda s: s.pool_rows,
        ("database", "user"),
        (
            Metric("clients", "clients", "Clients of the pool."),
            Metric("idle_clients", "cl_idle", "Those of them that wait for nothing."),
            Metric("servers", "servers", "Servers of the pool, also on their way in and out."),
            _limit("servers_limit", "pool_size", "Servers that it may have (pool_size)"),
            Metric("reserve_servers_limit", "reserve_pool_size", "More of them when clients wait."),
            Metric(
                "mean_wait_seconds",
                "mean_wait_us",
                "How long clients waited for a server of late.",
                factor=MICROSECOND,
                fold="max",
            ),
        ),
        bounded=True,
    ),
    Group(
        "pooler",
        lambda s: s.stats,
        ("database",),
        (_counter("client_logins_total", "client_login_count", "Logins of clients."),),
        bounded=True,
    ),
    Group(
        "pooler",
        lambda s: s.pool_times,
        ("database", "user"),
        (
            _histogram("client_wait_seconds", "wait", "How long clients waited for a server, each time."),
            _histogram("query_seconds", "query", "How long queries took, from the client's side."),
            _histogram("transaction_seconds", "transaction", "How long transactions took."),
            _histogram("server_dial_seconds", "dial", "How long it took to open a server."),
        ),
        bounded=True,
    ),
    Group(
        "pooler",
        lambda s: s.login_times,
        ("method",),
        (
            _histogram(
                "login_seconds",
                "login",
                "How long it took clients to prove who they are, from the connection on.",
            ),
        ),
    ),
    Group(
        "pooler",
        lambda s: s.refusals,
        ("reason",),
        (_counter("login_refusals_total", "count", "Clients that were refused at their login, and why."),),
    ),
    Group(
        "pooler",
        lambda s: s.errors,
        ("database", "user", "class"),
        (
            _counter(
                "errors_total",
                "count",
                "Errors of PostgreSQL that clients were told, by the class of their SQLSTATE (its first two"
                " letters).",
            ),
        ),
        bounded=True,
    ),
    Group(
        "pooler",
        lambda s: s.sessions,
        ("database", "user"),
        (
            _counter(
                "session_questions_total", "session_asks", "Times that a server was asked what a client left."
            ),
            _counter("session_settings_total", "settings_applied", "Times that settings were put in force."),
            _counter("session_resets_total", "session_resets", "Times that a server was reset."),
        ),
        bounded=True,
    ),
    Group(
        "pooler",
        lambda s: s.pins,
        ("database", "user", "reason"),
        (_counter("pins_total", "count", "Times that a client got to keep its server, and why."),),
        bounded=True,
    ),
    Group(
        "pooler",
        lambda s: s.pinned,
        ("database", "user", "reason"),
        (Metric("pinned_clients", "one", "Clients that keep their server between transactions, and why."),),
        bounded=True,
    ),
    Group(
        "pooler_worker",
        lambda s: s.workers,
        ("worker",),
        (
            Metric("up", "up", "Whether the worker has a process."),
            Metric("clients", "clients", "Clients of the worker."),
            Metric("active_clients", "active", "Those of them that have a server."),
            _counter("doorbells_total", "doorbells", "Times that others woke its relay."),
            _counter("restarts_total", "restarts", "Times that its process was replaced."),
            Metric("start_time_seconds", "started", "When its process began, since 1970."),
            Metric("heartbeat_age_seconds", "heartbeat_age_s", "Since its last sign of life."),
            Metric("loop_lag_seconds", "loop_lag_us", "How late its timers last ran.", factor=MICROSECOND),
        ),
    ),
    Group(
        "pooler_table",
        lambda s: s.memory,
        ("name",),
        (
            Metric("rows", "rows", "Rows of the shared table: more of the kind cannot be."),
            Metric("rows_used", "used", "Rows that have been used."),
        ),
    ),
)

#: All of them, in the order in which they are told.
GROUPS: tuple[Group, ...] = (*_COMPATIBLE, *_OURS)


def full_name(group: Group, metric: Metric) -> str:
    """As Prometheus knows it."""
    return f"{group.name}_{metric.name}"
