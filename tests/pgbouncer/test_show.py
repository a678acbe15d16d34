"""SHOW: names and types of the columns, the rows that are always there, the settings with their defaults."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.pgbouncer.subjects import NEVER, described, installed_release, on_all, on_each, release, release_of
from tests.support.exchange import pooled
from tests.support.pooler import Bouncer
from tests.support.wire import Message

BOUNCER = {
    "databases": {"p0": "pool_size=3 reserve_pool=2", "p1": "user=bouncer", "*": ""},
    "users": {"bouncer": "pool_mode=session max_user_connections=7"},
}

TEXT, INT4, INT8, NUMERIC = 25, 23, 20, 1700


@dataclass(frozen=True)
class Shown:
    """The columns of a SHOW: `name type`, with `@release` where PgBouncer has a column since then."""

    name: str
    columns: str
    since: str = "1.18"

    def at(self, version: tuple[int, ...]) -> list[tuple[str, int]]:
        found = []
        for entry in self.columns.split(","):
            column, kind, *rest = entry.split()
            if not rest or release(rest[0].removeprefix("@")) <= version:
                found.append((column, {"text": TEXT, "int": INT4, "big": INT8, "num": NUMERIC}[kind]))
        return found


SOCKET = """type text, user text, database text, replication text @1.23, state text, addr text, port int,
    local_addr text, local_port int, connect_time text, request_time text, wait int, wait_us int,
    close_needed int, ptr text, link text, remote_pid int, tls text, application_name text,
    prepared_statements int @1.21, id int @1.24"""
BUFFERS = """, recv_pos int, pkt_pos int, pkt_remain int, send_pos int, send_remain int, pkt_avail int,
    send_avail int"""
TOTALS = """server_assignment_count num @1.23, xact_count num, query_count num, bytes_received num,
    bytes_sent num, xact_time num, query_time num, wait_time num"""
#: Counters that came later, and when.
NEWER = {
    "client_parse_count": "1.24",
    "server_parse_count": "1.24",
    "bind_count": "1.24",
    "client_login_count": "1.26",
}


def stats(prefix: str, received: str) -> str:
    names = (
        *["xact_count", "query_count", received, "sent", "xact_time", "query_time", "wait_time"],
        *NEWER,
    )
    old = "".join(f", {prefix}_{name} num{f' @{NEWER[name]}' if name in NEWER else ''}" for name in names)
    return f", {prefix}_server_assignment_count num @1.23{old}"


def newer(prefix: str) -> str:
    return "".join(f", {prefix}{name} num @{since}" for name, since in NEWER.items())


SHOWS = [
    Shown("CLIENTS", SOCKET),
    Shown("SERVERS", SOCKET),
    Shown("SOCKETS", SOCKET + BUFFERS),
    Shown("ACTIVE_SOCKETS", SOCKET + BUFFERS),
    Shown(
        "POOLS",
        """database text, user text, cl_active int, cl_waiting int, cl_active_cancel_req int,
        cl_waiting_cancel_req int, sv_active int, sv_active_cancel int, sv_being_canceled int, sv_idle int,
        sv_used int, sv_tested int, sv_login int, maxwait int, maxwait_us int, pool_mode text,
        load_balance_hosts text @1.24""",
    ),
    Shown(
        "PEER_POOLS",
        """peer_id int, cl_active_cancel_req int, cl_waiting_cancel_req int, sv_active_cancel int,
        sv_login int""",
        since="1.19",
    ),
    Shown(
        "DATABASES",
        """name text, host text, port int, database text, force_user text, pool_size int, min_pool_size int,
        reserve_pool_size int, server_lifetime int, pool_mode text, load_balance_hosts text,
        max_connections int, current_connections int, max_client_connections int,
        current_client_connections int, paused int, disabled int""",
        since="1.24",
    ),
    Shown(
        "USERS",
        """name text, pool_size text, reserve_pool_size text, pool_mode text, max_user_connections int,
        current_connections int, max_user_client_connections int, current_client_connections int""",
        since="1.24",
    ),
    Shown("PEERS", "peer_id int, host text, port int, pool_size int", since="1.19"),
    Shown("LISTS", "list text, items int"),
    Shown("STATS", "database text" + stats("total", "received") + stats("avg", "recv")),
    Shown("STATS_TOTALS", f"database text, {TOTALS}" + newer("")),
    Shown("STATS_AVERAGES", f"database text, {TOTALS}" + newer("avg_")),
    Shown("TOTALS", "name text, value num"),
    Shown("CONFIG", "key text, value text, default text, changeable text"),
    Shown("MEM", "name text, size int, used int, free int, memtotal int"),
    Shown("STATE", "key text, value text", since="1.19"),
    Shown("VERSION", "version text"),
    Shown("DNS_HOSTS", "hostname text, ttl big, addrs text"),
    Shown("DNS_ZONES", "zonename text, serial big, count int"),
]


def answer(bouncer: Bouncer, what: str) -> list[Message]:
    with bouncer.wire().login(user="bouncer", database="pgbouncer") as wire:
        got = wire.query(f"SHOW {what}")
        wire.close()
    assert [m.type for m in got[-2:]] == ["C", "Z"]
    assert got[-2].text == "SHOW"
    return got[:-2]


def rows(bouncer: Bouncer, what: str) -> list[list[str | None]]:
    return [
        [None if value is None else value.decode() for value in message.values]
        for message in answer(bouncer, what)[1:]
    ]


@on_all(SHOWS)
def test_columns(subject: Bouncer, case: Shown) -> None:
    """PgBouncer's, in its order; ours stand behind them."""
    newest = case.at((99,))
    got = described(answer(subject, case.name)[0])
    expected = newest if subject.name == "pooler" else case.at(installed_release())
    assert got[: len(expected)] == expected
    assert subject.name == "pooler" or len(got) == len(expected)


@on_each()
def test_lists(subject: Bouncer) -> None:
    names = [row[0] for row in rows(subject, "LISTS")]
    expected = [
        *["databases", "users", "peers", "pools", "peer_pools", "free_clients", "used_clients"],
        *["login_clients", "free_servers", "used_servers", "dns_names", "dns_zones", "dns_queries"],
        "dns_pending",
    ]
    newer = (
        {"peers", "peer_pools"} if installed_release() < (1, 19) and subject.name == "pgbouncer" else set()
    )
    assert names == [name for name in expected if name not in newer]


@on_each()
def test_console_is_listed(subject: Bouncer) -> None:
    """As database, pool and user, and its sessions as clients: monitoring counts rows."""
    (database,) = subject.show("databases", name="pgbouncer")
    assert (database["host"], database["port"]) == (None, subject.port)
    assert (database["database"], database["force_user"]) == ("pgbouncer", "pgbouncer")
    assert (database["pool_size"], database["pool_mode"]) == (2, "statement")
    (pool,) = subject.show("pools", database="pgbouncer")
    assert (pool["user"], pool["cl_active"], pool["pool_mode"]) == ("pgbouncer", 1, "statement")
    assert subject.show("users", name="pgbouncer")
    assert [row["user"] for row in subject.show("clients", database="pgbouncer")] == ["postgres"]
    assert subject.show("stats", database="pgbouncer")


@on_each()
def test_databases(subject: Bouncer) -> None:
    by_name = {row["name"]: row for row in subject.show("databases")}
    assert "*" not in by_name
    assert by_name["p0"]["pool_size"] == 3
    assert by_name["p1"]["pool_size"] == 20
    assert (by_name["p0"]["force_user"], by_name["p1"]["force_user"]) == (None, "bouncer")
    assert (by_name["p0"]["pool_mode"], by_name["p0"]["paused"], by_name["p0"]["disabled"]) == (None, 0, 0)
    name = "reserve_pool_size" if "reserve_pool_size" in by_name["p0"] else "reserve_pool"
    assert (by_name["p0"][name], by_name["p1"][name]) == (2, 0)


@on_each()
def test_users(subject: Bouncer) -> None:
    by_name = {row["name"]: row for row in subject.show("users")}
    assert by_name["bouncer"]["pool_mode"] == "session"
    assert by_name["postgres"]["pool_mode"] is None


@on_each(since="1.24")
def test_users_have_limits(subject: Bouncer) -> None:
    by_name = {row["name"]: row for row in subject.show("users")}
    assert by_name["bouncer"]["max_user_connections"] == 7


@on_each(since="1.26")
def test_users_without_a_size(subject: Bouncer) -> None:
    by_name = {row["name"]: row for row in subject.show("users")}
    assert (by_name["bouncer"]["pool_size"], by_name["bouncer"]["reserve_pool_size"]) == ("", "")


TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+")


@on_each()
def test_clients_and_servers(subject: Bouncer) -> None:
    with pooled(subject) as busy, pooled(subject, unix=True) as local:
        busy.query("BEGIN")
        local.query("SELECT 1")
        (client,) = subject.show("clients", database="p0", port=busy.socket.getsockname()[1])
        (server,) = subject.show("servers", database="p0", ptr=client["link"])
        assert (client["type"], client["user"], client["state"]) == ("C", "bouncer", "active")
        assert (client["addr"], client["local_addr"]) == ("127.0.0.1", "127.0.0.1")
        assert (client["local_port"], client["tls"], client["remote_pid"]) == (subject.port, "", 0)
        assert (server["type"], server["user"], server["state"]) == ("S", "bouncer", "active")
        assert (server["addr"], server["port"]) == (subject.pg.host, subject.pg.port)
        assert (server["link"], server["close_needed"]) == (client["ptr"], 0)
        assert [[str(server["remote_pid"]).encode()]] == busy.rows("SELECT pg_backend_pid()")
        for row in (client, server):
            assert TIME.fullmatch(row["connect_time"])
            assert TIME.fullmatch(row["request_time"])
            assert (row["wait"], row["wait_us"]) == (0, 0)
        (unix,) = subject.show("clients", database="p0", addr="unix")
        assert (unix["port"], unix["local_addr"], unix["local_port"]) == (subject.port, "unix", subject.port)
        assert unix["remote_pid"] > 0
        busy.query("COMMIT")
        busy.close()
        local.close()


@on_each()
def test_server_of_a_unix_socket(subject: Bouncer) -> None:
    subject.databases["local"] = f"dbname=p0 host={subject.pg.socket_dir}"
    subject.write_config()
    subject.reload()
    with pooled(subject, "local") as wire:
        pid = wire.rows("SELECT pg_backend_pid()")
        (server,) = subject.show("servers", database="local")
        assert (server["addr"], server["local_addr"]) == ("unix", "unix")
        assert [[str(server["remote_pid"]).encode()]] == pid
        wire.close()


@on_each()
def test_totals(subject: Bouncer) -> None:
    """Totals are the sum over all databases; their names are not those of SHOW STATS."""
    names = [row[0] for row in rows(subject, "TOTALS")]
    counters = [
        *["server_assignment_count", "xact_count", "query_count", "client_bytes", "server_bytes"],
        *["xact_time", "query_time", "wait_time", "ps_client_parse_count", "ps_server_parse_count"],
        *["ps_bind_count", "client_login_count"],
    ]
    since = {"server_assignment_count": "1.23", **{f"ps_{name}": came for name, came in NEWER.items()}}
    since["client_login_count"] = since.pop("ps_client_login_count")
    if subject.name == "pgbouncer":
        counters = [name for name in counters if release(since.get(name, "1.18")) <= installed_release()]
    assert names == [f"{kind}_{name}" for kind in ("total", "avg") for name in counters]


@on_each()
def test_counters_are_exact(subject: Bouncer) -> None:
    """What was done is counted once the client has its answer, in whichever worker it was."""

    def now() -> dict[str, int]:
        found = [row for row in subject.show("stats_totals") if row["database"] == "p1"]
        return {name: int(found[0][name]) if found else 0 for name in ("xact_count", "query_count")}

    before = now()
    for _ in range(5):
        with pooled(subject, "p1") as wire:
            wire.query("BEGIN")
            wire.query("SELECT 1")
            wire.query("COMMIT")
            wire.query("SELECT 2")
            wire.close()
    grown = {name: value - before[name] for name, value in now().items()}
    assert grown == {"xact_count": 10, "query_count": 20}


# SHOW CONFIG: every setting of PgBouncer with its default, and whether it can be changed (+); `@since` or
# `@since-until`, as of cases.

AUTH_QUERY = (
    "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END"
    " FROM pg_authid WHERE rolname=$1 AND rolcanlogin"
)
CONFIG = """
    logfile + | pidfile - | listen_addr - | listen_port - 6432 | unix_socket_dir - /tmp
    unix_socket_mode - 0777 | unix_socket_group - | user - NULL | conffile + NULL | job_name - pgbouncer
    peer_id + 0 @1.19 | so_reuseport - 0 | syslog + 0 | syslog_ident + pgbouncer | syslog_facility + daemon
    log_connections + 1 | log_disconnections + 1 | log_pooler_errors + 1 | log_stats + 1 | stats_period + 60
    verbose + NULL | resolv_conf -
    pool_mode + session | max_client_conn + 100 | default_pool_size + 20 | min_pool_size + 0
    reserve_pool_size + 0 | reserve_pool_timeout + 5 | max_db_connections + 0 | max_user_connections + 0
    max_db_client_connections + 0 @1.24 | max_user_client_connections + 0 @1.24 | server_round_robin + 0
    max_prepared_statements + 200 @1.24 | disable_pqexec - 0
    track_extra_parameters - IntervalStyle @1.20-1.26 | ignore_startup_parameters +
    application_name_add_host + 0 | login_notify_message + @1.26
    auth_type + md5 | auth_file + NULL | auth_hba_file + | auth_ident_file + NULL @1.23 | auth_user + NULL
    auth_query + AUTH_QUERY @1.24 | auth_dbname + NULL @1.19 | auth_ldap_options + NULL @1.25
    scram_iterations + 4096 @1.25 | admin_users + | stats_users +
    server_reset_query + DISCARD ALL | server_reset_query_always + 0 | server_check_query + <empty> @1.25
    server_check_delay + 30 | server_fast_close + 0 | server_lifetime + 3600 | server_idle_timeout + 600
    server_connect_timeout + 15 | server_login_retry + 15 | client_login_timeout + 60
    client_idle_timeout + 0 | query_timeout + 0 | query_wait_timeout + 120 | query_wait_notify + 5 @1.25
    cancel_wait_timeout + 10 @1.19 | idle_transaction_timeout + 0 | transaction_timeout + 0 @1.25
    suspend_timeout + 10 @1.18-1.26 | autodb_idle_timeout + 3600 | pool_idle_timeout + 0 @1.26
    dns_max_ttl + 15 | dns_nxdomain_ttl + 15 | dns_zone_check_period + 0
    client_tls_sslmode + disable | client_tls_key_file + | client_tls_cert_file + | client_tls_ca_file +
    client_tls_protocols + secure | client_tls_ciphers + default @1.21 | client_tls13_ciphers + NULL @1.25
    client_tls_ecdhcurve + auto | client_tls_dheparams + auto
    server_tls_sslmode + prefer @1.21 | server_tls_ca_file + | server_tls_cert_file + | server_tls_key_file +
    server_tls_protocols + secure | server_tls_ciphers + default @1.21 | server_tls13_ciphers + NULL @1.25
    pkt_buf - 4096 | max_packet_size + 2147483647 | listen_backlog - 128 | sbuf_loopcnt + 5
    tcp_defer_accept + 1 | tcp_socket_buffer + 0 | tcp_keepalive + 1 | tcp_keepcnt + 0 | tcp_keepidle + 0
    tcp_keepintvl + 0 | tcp_user_timeout + 0
"""


@dataclass(frozen=True)
class Declared:
    """A setting as SHOW CONFIG has it."""

    name: str
    changeable: bool
    default: str | None
    since: str
    until: str


def _declared(entry: str) -> Declared:
    entry, _, releases = entry.partition(" @")
    since, _, until = releases.partition("-")
    name, changeable, *rest = entry.split(" ", 2)
    default = rest[0] if rest else ""
    known = {"NULL": None, "AUTH_QUERY": AUTH_QUERY}
    return Declared(name, changeable == "+", known.get(default, default), since or "1.18", until or NEVER)


#: Values that SHOW CONFIG prints otherwise than the default they are.
SHOWN_OTHERWISE = {"unix_socket_mode": "511", "verbose": "0"}

SETTINGS = [_declared(" ".join(entry.split())) for entry in re.split(r"[|\n]", CONFIG.strip())]


@on_all(SETTINGS)
def test_config(subject: Bouncer, case: Declared) -> None:
    (row,) = subject.show("config", key=case.name)
    assert (row["default"], row["changeable"]) == (case.default, "yes" if case.changeable else "no")
    if case.name not in subject.settings and case.name != "conffile":
        assert row["value"] == SHOWN_OTHERWISE.get(case.name, case.default)


@on_each()
def test_config_has_all_and_in_order(subject: Bouncer) -> None:
    names = [row["key"] for row in subject.show("config")]
    known = {case.name for case in SETTINGS}
    if not (1, 19) <= release_of(subject) < (1, 25):  # which have one setting in another place
        assert names == sorted(names)
    assert set(names) <= known if subject.name == "pgbouncer" else set(names) >= known
