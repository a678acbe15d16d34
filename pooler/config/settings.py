"""Every setting of [pgbouncer]: one entry each, from which everything else about settings follows.

The fields of `Settings` *are* the table. An entry says type, default, bounds, when a change takes effect
and what the setting is for; parsing, `SHOW CONFIG`, `SET`, reload, the sample file and `pooler check` read
it from there. To add a setting, add a field.

`apply` says when a changed value counts: LIVE at once everywhere; NEW for connections made from then on;
RESTART not before the next start (reload keeps the old value and says so; `SHOW CONFIG` calls these not
changeable).

`inert` marks what is accepted, so that an existing file loads, but has no effect, with the reason.

A default of None is PgBouncer's NULL, and special: such a setting survives a reload whose file doesn't name
it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from pooler.config import values

Value = int | float | bool | str | tuple[str, ...] | None
Kind = Literal["integer", "switch", "seconds", "text", "list", "word", "workers"]

LIVE, NEW, RESTART = "live", "new", "restart"

#: The virtual databases of the console. They can't be configured, and `*` doesn't stand for them.
CONSOLE_DATABASES = ("pgbouncer", "pooler")
POOL_MODES = ("session", "transaction", "statement")
AUTH_TYPES = ("any", "trust", "plain", "md5", "cert", "hba", "ldap", "pam", "scram-sha-256")
#: What a PostgreSQL may ask of us at a login, by the words of libpq's require_auth.
SERVER_METHODS = ("none", "password", "md5", "scram-sha-256")
TLS_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SESSION_STATES = ("auto", "off", "error", "strict")
#: Of HTTP: a port speaks it with TLS or without, never both.
HTTP_TLS_MODES = ("disable", "require", "verify-ca")

AUTH_QUERY = (
    "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END"
    " FROM pg_authid WHERE rolname=$1 AND rolcanlogin"
)

#: What is shown instead of a secret; of fixed length, since lengths tell something too.
MASK = "********"

#: More processes than any machine has use for; the shared tables have one row per worker.
WORKERS_MAX = 64


@dataclass(frozen=True)
class Setting:
    """What the table knows about one setting."""

    kind: Kind
    default: Value
    text: str
    apply: str = LIVE
    group: str = ""
    name: str = ""
    low: float = 0
    high: float = values.INT_MAX
    words: tuple[str, ...] = ()
    unit: str = ""
    default_text: str | None = None  # where SHOW CONFIG prints the default otherwise than its value
    scopes: tuple[str, ...] = ()  # sections that may override it
    secret: bool = False
    nullable: bool = False
    inert: str = ""
    own: bool = False  # not one of PgBouncer's

    def parse(self, text: str) -> Value:
        """The Python value of `text`; raises ValueError."""
        match self.kind:
            case "integer":
                return values.parse_integer(text, int(self.low), int(self.high))
            case "switch":
                return values.parse_switch(text)
            case "seconds":
                return values.parse_seconds(text, self.low, self.high)
            case "word":
                return values.parse_word(text, self.words)
            case "list":
                return values.parse_list(text)
            case "workers":
                return values.parse_count_or_auto(text, int(self.low), int(self.high))
            case "text":
                return None if self.nullable and not text else text

    def format(self, value: Value) -> str | None:
        """`value` as SHOW CONFIG prints it and as `parse` reads it; None is NULL."""
        if value is None:
            return None
        if isinstance(value, tuple):
            return values.format_list(value)
        if self.kind == "seconds":
            return values.format_seconds(float(value))
        if self.kind == "workers" and value == 0:
            return "auto"
        return str(int(value)) if isinstance(value, bool) else str(value)

    @property
    def changeable(self) -> bool:
        return self.apply != RESTART

    @property
    def shown_default(self) -> str | None:
        """The default as SHOW CONFIG prints it; NULL if the setting has none."""
        return None if self.nullable else self.default_text or self.format(self.default)


def _declare(kind: Kind, default: Value, text: str, group: str, options: Mapping[str, Any]) -> Any:
    setting = Setting(kind, default, text, group=group, **options)
    return field(default=default, repr=not setting.secret, metadata={"setting": setting})


class _Group:
    """Declares settings that the sample file shows under one heading."""

    def __init__(self, title: str) -> None:
        self.title = title

    def integer(self, default: int, text: str, **options: Any) -> Any:
        return _declare("integer", default, text, self.title, options)

    def switch(self, default: bool, text: str, **options: Any) -> Any:
        return _declare("switch", default, text, self.title, options)

    def seconds(self, default: float, text: str, **options: Any) -> Any:
        options.setdefault("high", values.SECONDS_MAX)
        return _declare("seconds", float(default), text, self.title, {"unit": "s", **options})

    def text(self, default: str, text: str, **options: Any) -> Any:
        return _declare("text", default, text, self.title, options)

    def null(self, text: str, **options: Any) -> Any:
        return _declare("text", None, text, self.title, {"nullable": True, **options})

    def list(self, default: tuple[str, ...], text: str, **options: Any) -> Any:
        return _declare("list", default, text, self.title, options)

    def word(self, default: str, words: tuple[str, ...], text: str, **options: Any) -> Any:
        return _declare("word", default, text, self.title, {"words": words, **options})

    def workers(self, text: str, **options: Any) -> Any:
        return _declare("workers", 0, text, self.title, {"low": 1, "high": WORKERS_MAX, **options})


_process = _Group("Process and log")
_pools = _Group("Pools and limits")
_startup = _Group("Startup parameters")
_auth = _Group("Authentication")
_timeouts = _Group("Server checks and timeouts")
_tls = _Group("TLS")
_network = _Group("Low level network")
_http = _Group("HTTP")
_own = _Group("Only in pooler")

_DB, _USER = "databases", "users"
_EXECUTION = "every client's query is handled by the relay with one shared buffer"


@dataclass(frozen=True)
class Settings:
    """The values of [pgbouncer]; times are float seconds, lists are tuples of names."""

    # -- Process and log
    listen_addr: tuple[str, ...] = _process.list(
        (), "Addresses to listen on, comma separated; * is all; empty: unix socket only.", apply=RESTART
    )
    listen_port: int = _process.integer(
        6432, "Port, also of the unix socket's name.", high=65535, apply=RESTART
    )
    unix_socket_dir: str = _process.text(
        "/tmp",
        "Folder of the unix socket, also where servers without host are; @name: abstract.",
        apply=RESTART,
    )
    unix_socket_mode: int = _process.integer(
        0o777,
        "Permissions of the socket file (octal needs the leading 0).",
        high=0o7777,
        default_text="0777",
        apply=RESTART,
    )
    unix_socket_group: str = _process.text("", "Group of the socket file.", apply=RESTART)
    logfile: str = _process.text("", "Log file; reopened on SIGHUP and RELOAD.")
    pidfile: str = _process.text("", "File for the process id; needed with -d.", apply=RESTART)
    user: str | None = _process.null("User to run as, when started by root.", apply=RESTART)
    conffile: str | None = _process.null(
        "The file that the next reload reads; normally that of the command line."
    )
    log_connections: bool = _process.switch(True, "Log logins.")
    log_disconnections: bool = _process.switch(True, "Log ends of connections, with the reason.")
    log_pooler_errors: bool = _process.switch(True, "Log errors sent to clients.")
    log_stats: bool = _process.switch(True, "Log a line of averages every stats_period.")
    stats_period: int = _process.integer(60, "Seconds over which averages are taken.", low=1, unit="s")
    verbose: int = _process.integer(0, "More log: 0 to 3.", high=3, nullable=True)
    syslog: bool = _process.switch(False, "Log to syslog too.")
    syslog_ident: str = _process.text("pgbouncer", "Name of the program in syslog.")
    syslog_facility: str = _process.text("daemon", "Facility: daemon, user, auth, authpriv, local0-local7.")
    job_name: str = _process.text(
        "pgbouncer", "Service name on Windows.", apply=RESTART, inert="it names a service of Windows"
    )
    peer_id: int = _process.integer(0, "Number of this process among [peers]; 0: no peering.", high=16383)
    so_reuseport: bool = _process.switch(False, "Let several instances listen on one port.", apply=RESTART)
    resolv_conf: str = _process.text("", "Resolver file other than the system's.", apply=RESTART)

    # -- Pools and limits
    pool_mode: str = _pools.word(
        "session",
        POOL_MODES,
        "When a server goes back to its pool: at the end of a session, transaction or statement.",
        scopes=(_DB, _USER),
    )
    max_client_conn: int = _pools.integer(100, "Clients in all.")
    default_pool_size: int = _pools.integer(
        20,
        "Servers per database and user, over all workers; 0: no limit. Elsewhere called pool_size.",
        scopes=(_DB, _USER),
    )
    min_pool_size: int = _pools.integer(0, "Servers kept open per pool.", scopes=(_DB,))
    reserve_pool_size: int = _pools.integer(
        0, "More servers for a pool whose clients wait longer than reserve_pool_timeout.", scopes=(_DB, _USER)
    )
    reserve_pool_timeout: float = _pools.seconds(5, "Wait after which the reserve is used; 0: no reserve.")
    max_db_connections: int = _pools.integer(
        0, "Servers per database, over its users; 0: no limit.", scopes=(_DB,)
    )
    max_db_client_connections: int = _pools.integer(0, "Clients per database; 0: no limit.", scopes=(_DB,))
    max_user_connections: int = _pools.integer(
        0, "Servers per user, over databases; 0: no limit.", scopes=(_USER,)
    )
    max_user_client_connections: int = _pools.integer(0, "Clients per user; 0: no limit.", scopes=(_USER,))
    server_round_robin: bool = _pools.switch(False, "Use servers in turn instead of the last used first.")
    max_prepared_statements: int = _pools.integer(
        200, "Prepared statements kept per server in transaction and statement mode; 0: none."
    )
    disable_pqexec: bool = _pools.switch(False, "Refuse the simple query protocol.", apply=RESTART)

    # -- Startup parameters
    track_extra_parameters: tuple[str, ...] = _startup.list(
        ("IntervalStyle",), "Reported settings kept per client, besides the usual five.", apply=RESTART
    )
    ignore_startup_parameters: tuple[str, ...] = _startup.list(
        (), "Startup parameters to accept and drop, such as extra_float_digits.", apply=NEW
    )
    application_name_add_host: bool = _startup.switch(
        False, "Add the client's address to application_name.", apply=NEW
    )
    login_notify_message: str = _startup.text("", "NOTICE that every client gets at login.", apply=NEW)

    # -- Authentication
    auth_type: str = _auth.word(
        "md5", AUTH_TYPES, "How clients prove who they are; hba: as auth_hba_file says for each.", apply=NEW
    )
    auth_file: str | None = _auth.null("File of users and passwords.", apply=NEW)
    admin_users: tuple[str, ...] = _auth.list((), "Users who may do everything on the console.", apply=NEW)
    stats_users: tuple[str, ...] = _auth.list((), "Users who may look at the console.", apply=NEW)
    scram_iterations: int = _auth.integer(
        4096, "Rounds for SCRAM secrets made from passwords in auth_file.", low=1, high=1_000_000, apply=NEW
    )
    auth_user: str | None = _auth.null("User that runs auth_query.", scopes=(_DB,), apply=NEW)
    auth_query: str = _auth.text(
        AUTH_QUERY, "Query for passwords of users not in auth_file.", scopes=(_DB,), apply=NEW
    )
    auth_dbname: str | None = _auth.null("Database where auth_query runs.", scopes=(_DB,), apply=NEW)
    auth_hba_file: str = _auth.text("", "Rules for auth_type=hba.", apply=NEW)
    auth_ident_file: str | None = _auth.null("Name maps for auth_type=hba.", apply=NEW)
    auth_ldap_options: str | None = _auth.null("Options of auth_type=ldap.", apply=NEW, secret=True)

    # -- Server checks and timeouts
    server_reset_query: str = _timeouts.text(
        "DISCARD ALL", "Run when a client leaves its server (session mode)."
    )
    server_reset_query_always: bool = _timeouts.switch(False, "Run server_reset_query in every mode.")
    server_check_query: str = _timeouts.text(
        "<empty>", "Tests an idle server before use; <empty>: an empty query; nothing: no test."
    )
    server_check_delay: float = _timeouts.seconds(30, "A server used within this time isn't tested.")
    server_fast_close: bool = _timeouts.switch(
        False, "Session mode: close an outdated server between transactions, with its client."
    )
    server_lifetime: float = _timeouts.seconds(
        3600, "Age at which an unused server is closed; 0: use once.", scopes=(_DB,)
    )
    server_idle_timeout: float = _timeouts.seconds(600, "Close servers idle for this long; 0: never.")
    server_connect_timeout: float = _timeouts.seconds(15, "Time for connecting and login to PostgreSQL.")
    server_login_retry: float = _timeouts.seconds(
        15, "Longest pause after a login that PostgreSQL refused, and of the log about the same again."
    )
    client_login_timeout: float = _timeouts.seconds(60, "Time for a client's login; 0: no limit.")
    client_idle_timeout: float = _timeouts.seconds(
        0, "Close clients idle for this long; 0: never.", scopes=(_USER,)
    )
    query_timeout: float = _timeouts.seconds(0, "Longest query; 0: no limit.", scopes=(_USER,))
    query_wait_timeout: float = _timeouts.seconds(
        120, "Longest wait for a server; 0: no limit.", scopes=(_DB, _USER)
    )
    query_wait_notify: int = _timeouts.integer(
        5, "Tell a client that it waits, after this long; 0: don't.", unit="s"
    )
    cancel_wait_timeout: float = _timeouts.seconds(10, "Longest wait of a cancel request.")
    idle_transaction_timeout: float = _timeouts.seconds(
        0, "Longest pause inside a transaction; 0: no limit.", scopes=(_USER,)
    )
    transaction_timeout: float = _timeouts.seconds(0, "Longest transaction; 0: no limit.", scopes=(_USER,))
    suspend_timeout: float = _timeouts.seconds(10, "SUSPEND closes what isn't flushed by then; 0: it waits.")
    autodb_idle_timeout: float = _timeouts.seconds(
        3600, "Forget a database made from *, or a user of auth_type any, unused for this long; 0: never."
    )
    pool_idle_timeout: float = _timeouts.seconds(0, "Forget empty pools after this long; 0: never.")
    dns_max_ttl: float = _timeouts.seconds(15, "Longest use of a host's address.")
    dns_nxdomain_ttl: float = _timeouts.seconds(15, "Pause after a failed look-up.")
    dns_zone_check_period: float = _timeouts.seconds(0, "Period of zone serial checks; 0: none.")

    # -- TLS
    client_tls_sslmode: str = _tls.word(
        "disable",
        TLS_MODES,
        "TLS with clients: allow and prefer, if they ask for it; require, always; verify-ca and verify-full,"
        " with a certificate of theirs.",
        apply=NEW,
    )
    client_tls_key_file: str = _tls.text("", "Key shown to clients.", apply=NEW)
    client_tls_cert_file: str = _tls.text("", "Certificate shown to clients.", apply=NEW)
    client_tls_ca_file: str = _tls.text("", "Authorities that sign clients' certificates.", apply=NEW)
    client_tls_protocols: str = _tls.text(
        "secure", "TLS versions for clients: secure is 1.2 and 1.3; all; tlsv1.2, tlsv1.3.", apply=NEW
    )
    client_tls_ciphers: str = _tls.text("default", "Ciphers for clients, up to TLS 1.2.", apply=NEW)
    client_tls13_ciphers: str | None = _tls.null("Ciphers for clients, TLS 1.3.", apply=NEW)
    client_tls_ecdhcurve: str = _tls.text("auto", "Curve for key exchange: auto, none or a name.", apply=NEW)
    client_tls_dheparams: str = _tls.text("auto", "DHE key exchange: auto, none, legacy.", apply=NEW)
    server_tls_sslmode: str = _tls.word(
        "prefer",
        TLS_MODES,
        "TLS with PostgreSQL: allow and prefer, if it has it; require, always; verify-ca, signed by"
        " server_tls_ca_file; verify-full, for the host's name too.",
        apply=NEW,
    )
    server_tls_ca_file: str = _tls.text(
        "",
        "Authorities that sign PostgreSQL's certificate; empty: verify-full takes the system's.",
        apply=NEW,
    )
    server_tls_key_file: str = _tls.text("", "Key shown to PostgreSQL.", apply=NEW)
    server_tls_cert_file: str = _tls.text("", "Certificate shown to PostgreSQL.", apply=NEW)
    server_tls_protocols: str = _tls.text("secure", "TLS versions for PostgreSQL.", apply=NEW)
    server_tls_ciphers: str = _tls.text("default", "Ciphers for PostgreSQL, up to TLS 1.2.", apply=NEW)
    server_tls13_ciphers: str | None = _tls.null("Ciphers for PostgreSQL, TLS 1.3.", apply=NEW)

    # -- Low level network
    pkt_buf: int = _network.integer(
        4096, "Buffer per connection.", low=1, unit="bytes", apply=RESTART, inert=_EXECUTION
    )
    max_packet_size: int = _network.integer(
        2147483647, "Largest message of the protocol.", high=values.UNSIGNED_MAX, unit="bytes", apply=NEW
    )
    listen_backlog: int = _network.integer(128, "Connections the kernel keeps until accepted.", apply=RESTART)
    sbuf_loopcnt: int = _network.integer(5, "Reads per connection and turn.", inert=_EXECUTION)
    tcp_defer_accept: int = _network.integer(1, "Accept a connection when data is there; seconds, 0: off.")
    tcp_socket_buffer: int = _network.integer(
        0, "Kernel's buffers; 0: as the system.", unit="bytes", apply=NEW
    )
    tcp_keepalive: bool = _network.switch(True, "Find out about dead peers.", apply=NEW)
    tcp_keepcnt: int = _network.integer(0, "Unanswered probes until dead; 0: as the system.", apply=NEW)
    tcp_keepidle: int = _network.integer(
        0, "Silence before the first probe; 0: as the system.", unit="s", apply=NEW
    )
    tcp_keepintvl: int = _network.integer(0, "Pause between probes; 0: as the system.", unit="s", apply=NEW)
    tcp_user_timeout: int = _network.integer(
        0, "Longest time sent data may stay unacknowledged; 0: as the system.", unit="ms", apply=NEW
    )

    # -- HTTP
    http_listen_addr: tuple[str, ...] = _http.list(
        ("127.0.0.1",), "Addresses where HTTP is spoken, comma separated; * is all.", apply=RESTART, own=True
    )
    http_listen_port: int = _http.integer(
        0,
        "Port of HTTP: metrics for Prometheus, health checks; 0: there is none.",
        high=65535,
        apply=RESTART,
        own=True,
    )
    http_allow: tuple[str, ...] = _http.list(
        ("127.0.0.0/8", "::1"),
        "Addresses and networks that may ask by HTTP, comma separated; * is all. Beside it a user of the"
        " console has to log in, but for /healthz and /readyz.",
        own=True,
    )
    http_metrics_limit: int = _http.integer(
        1000,
        "Databases, pools, users, and groups of clients with the same names, that have series of their own in"
        " /metrics, of each as many; others are added up under the name other.",
        low=1,
        own=True,
    )
    http_tls_sslmode: str = _http.word(
        "disable",
        HTTP_TLS_MODES,
        "TLS of HTTP: require, always; verify-ca, with a certificate that http_tls_ca_file has signed.",
        apply=NEW,
        own=True,
    )
    http_tls_key_file: str = _http.text("", "Key of HTTP.", apply=NEW, own=True)
    http_tls_cert_file: str = _http.text("", "Certificate of HTTP.", apply=NEW, own=True)
    http_tls_ca_file: str = _http.text(
        "", "Authorities that sign the certificates of who asks by HTTP.", apply=NEW, own=True
    )

    # -- Only in pooler
    workers: int = _own.workers("Worker processes; auto: one per core.", apply=RESTART, own=True)
    core_dumps: bool = _own.switch(
        False,
        "Leave core dumps when a process crashes, as the system's limits say: they hold passwords and keys.",
        apply=RESTART,
        own=True,
    )
    worker_timeout: float = _own.seconds(30, "A worker silent for this long is killed; 0: never.", own=True)
    max_server_connections: int = _own.integer(
        0, "Servers per PostgreSQL instance (host and port), over all databases; 0: no limit.", own=True
    )
    server_answer_timeout: float = _own.seconds(
        5,
        "Time for PostgreSQL to answer a request of pooler's own (check, SET, ROLLBACK; reset: six times as"
        " long), or to read on when a client has hung up; 0: no limit.",
        own=True,
    )
    max_unauthenticated: int = _own.integer(
        100,
        "Clients in their login at once, per worker, but for those that pooler waits for; more wait their"
        " turn, and one that has been silent for two seconds is closed then; 0: no limit.",
        own=True,
    )
    max_silent_per_address: int = _own.integer(
        50,
        "Connections of one address (IPv6: of a /64; unix socket: of an account) in their login that say"
        " nothing, per worker; the newest beyond that are closed; 0: no limit.",
        own=True,
    )
    shutdown_timeout: float = _own.seconds(
        60,
        "After a restart with -R the old process serves its clients until they leave, at most this long; then"
        " it closes those that are between two transactions; 0: no limit.",
        own=True,
    )
    client_write_timeout: float = _own.seconds(
        300, "A client that doesn't read its result for this long loses its server; 0: no limit.", own=True
    )
    server_channel_binding: str = _own.word(
        "prefer",
        ("disable", "prefer", "require"),
        "SCRAM bound to the TLS with PostgreSQL: if it offers that; require, or no login.",
        apply=NEW,
        own=True,
    )
    server_require_auth: tuple[str, ...] = _own.list(
        (),
        "Ways of login that PostgreSQL may ask of pooler, as libpq's require_auth: none password md5"
        " scram-sha-256, or with ! in front what it may not; empty: all.",
        apply=NEW,
        own=True,
    )
    session_state: str = _own.word(
        "auto",
        SESSION_STATES,
        "What happens to a session's state between transactions (transaction and statement pooling): auto, it"
        " stays its client's; off, as in PgBouncer; error, as auto, but what would pin a server is refused;"
        " strict, as auto, and a server is reset between any two clients.",
        own=True,
    )
    pin_limit: int = _own.integer(
        0,
        "Servers of a pool that may be pinned to their clients at once (but for sequences); 0: no limit.",
        own=True,
    )
    session_trusted_extensions: tuple[str, ...] = _own.list(
        (),
        "Extensions whose functions in C leave nothing in a session, besides those that pooler knows: what"
        " calls functions of others is asked for. With postgres_fdw its foreign tables pin no server; with a"
        " language (plperl, plpython3u) clients share what its functions keep in their interpreter.",
        own=True,
    )
    catalog_memory: int = _own.integer(
        64 << 20,
        "Bytes for what the catalogs of one database say, in the worker that reads them; where they do not"
        " suffice everything is asked for.",
        low=1 << 20,
        own=True,
    )
    client_memory_limit: int = _own.integer(
        64 << 20,
        "Bytes that a worker keeps for one client: texts and names of its prepared statements, answers and"
        " notifications that it has not read. Beyond, it is closed with 53200.",
        low=1 << 18,
        own=True,
    )

    @property
    def worker_count(self) -> int:
        """`workers`, with auto resolved to the cores this process may use."""
        return self.workers or min(len(os.sched_getaffinity(0)), WORKERS_MAX)

    @property
    def syslog_names(self) -> tuple[str, str] | None:
        """(ident, facility), or None without syslog."""
        return (self.syslog_ident, self.syslog_facility) if self.syslog else None

    @property
    def check_query(self) -> str | None:
        """The text that tests an idle server (possibly empty), or None if servers are not to be tested."""
        if self.server_check_query == "<empty>":
            return ""
        return self.server_check_query or None


def _table() -> dict[str, Setting]:
    return {f.name: replace(f.metadata["setting"], name=f.name) for f in fields(Settings)}


#: All settings by name, in the order in which the sample file shows them.
SETTINGS: Mapping[str, Setting] = _table()


def parse_setting(name: str, text: str) -> Value:
    """The value of one line `name = text`; raises ValueError with a text for the operator."""
    setting = SETTINGS.get(name)
    if setting is None:
        raise ValueError(f"unknown parameter {name[:80]!r}{values.suggestion(name, SETTINGS)}")
    try:
        return setting.parse(text)
    except ValueError as error:
        shown = "" if setting.secret else f" {text[:80]!r}"
        raise ValueError(f"invalid value{shown} for {name}: {error}") from None


def setting_rows(settings: Settings) -> list[tuple[str, str | None, str | None, str]]:
    """SHOW CONFIG: key, value, default, changeable; alphabetical, as PgBouncer."""
    rows: list[tuple[str, str | None, str | None, str]] = []
    for name in sorted(SETTINGS):
        setting = SETTINGS[name]
        value = setting.format(getattr(settings, name))
        if setting.secret and value:
            value = MASK
        rows.append((name, value, setting.shown_default, "yes" if setting.changeable else "no"))
    return rows
