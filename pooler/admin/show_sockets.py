"""SHOW CLIENTS, SERVERS, SOCKETS, ACTIVE_SOCKETS: one row per connection, of all workers.

The columns up to `id` (up to `send_avail` for the two SOCKETS) are PgBouncer's, in its order; ours come
behind. Rows are sorted as PgBouncer keeps its lists: by pool, then by state, then by age.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

from pooler.admin.model import Row, Sources, TableRow, Value, columns, name_order

_CONNECTION = """
    type text, user text, database text, replication text, state text, addr text, port int4,
    local_addr text, local_port int4, connect_time text, request_time text, wait int4, wait_us int4,
    close_needed int4, ptr text, link text, remote_pid int4, tls text, application_name text,
    prepared_statements int4, id int4,
"""
_BUFFERS = """
    recv_pos int4, pkt_pos int4, pkt_remain int4, send_pos int4, send_remain int4, pkt_avail int4,
    send_avail int4,
"""
_OURS = "worker int4, slot int4"

#: How many of the columns below are ours, behind PgBouncer's.
CLIENT_COLUMNS_OURS, COLUMNS_OURS = 5, 2

CLIENT_COLUMNS = columns(_CONNECTION + _OURS + ", pinned text, pinned_since text, memory int8")
SERVER_COLUMNS = columns(_CONNECTION + _OURS)
SOCKET_COLUMNS = columns(_CONNECTION + _BUFFERS + _OURS)

#: What PgBouncer shows for a socket without a buffer. The relay keeps none for a connection that is not
#: stuck, and positions in its shared read buffer say nothing about one connection.
_NO_BUFFERS: Row = (0,) * 7

# State in the tables -> state shown, in the order shown. States that are missing are not shown: a client
# that has not logged in yet is in SOCKETS only, a server that is closing (its slot is freed when PostgreSQL
# has let go) is in SHOW SLOTS only, because tools take what SHOW SERVERS lists for usable connections.
_CLIENT_STATES = {
    "idle": "idle",
    "active": "active",
    "waiting": "waiting",
    "waiting_login": "waiting",
    "active_cancel_req": "active_cancel_req",
    "waiting_cancel_req": "waiting_cancel_req",
}
_SERVER_STATES = {
    name: name for name in ("active", "idle", "used", "tested", "new", "active_cancel", "being_canceled")
}
_CLIENT_SOCKETS = {
    "idle": "cl_active",
    "active": "cl_active",
    "waiting": "cl_waiting",
    "waiting_login": "cl_waiting",
    "login": "cl_login",
}
_SERVER_SOCKETS = {
    "active": "sv_active",
    "idle": "sv_idle",
    "used": "sv_used",
    "tested": "sv_tested",
    "new": "sv_login",
}

#: Sockets on which something is under way; the others only wait for their next user.
_BUSY = frozenset({"active", "waiting", "waiting_login", "login", "tested", "new"})


def clients(sources: Sources) -> list[Row]:
    """Rows of SHOW CLIENTS."""
    return [
        _connection("C", row, state)
        + _ours(row)
        + (row["pinned"] or None, time_text(row["pinned_since"]), row["memory"])
        for row, state in _listed(sources.tables.clients(), _CLIENT_STATES)
    ]


def servers(sources: Sources) -> list[Row]:
    """Rows of SHOW SERVERS."""
    return [
        _connection("S", row, state) + _ours(row)
        for row, state in _listed(sources.tables.servers(), _SERVER_STATES)
    ]


def sockets(sources: Sources) -> list[Row]:
    """Rows of SHOW SOCKETS."""
    return _sockets(sources.tables.clients(), sources.tables.servers())


def active_sockets(sources: Sources) -> list[Row]:
    """Rows of SHOW ACTIVE_SOCKETS."""
    return _sockets(_busy(sources.tables.clients()), _busy(sources.tables.servers()))


def time_text(seconds: float) -> str | None:
    """A moment as PgBouncer prints it: local time with the zone's name. NULL where there was none."""
    if not seconds:
        return None
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(seconds))


def _sockets(client_rows: Iterable[TableRow], server_rows: Iterable[TableRow]) -> list[Row]:
    listed = [("C", *entry) for entry in _listed(client_rows, _CLIENT_SOCKETS)]
    listed += [("S", *entry) for entry in _listed(server_rows, _SERVER_SOCKETS)]
    return [_connection(kind, row, state) + _NO_BUFFERS + _ours(row) for kind, row, state in listed]


def _busy(rows: Iterable[TableRow]) -> Iterator[TableRow]:
    return (row for row in rows if row["state"] in _BUSY)


def _listed(rows: Iterable[TableRow], states: dict[str, str]) -> list[tuple[TableRow, str]]:
    """The rows that have one of these states, sorted, each with the state to show; none of our own."""
    ranks = {state: rank for rank, state in enumerate(states.values())}
    seen = (row for row in rows if row["state"] in states and not row.get("own"))
    listed = [(row, states[row["state"]]) for row in seen]
    listed.sort(key=lambda entry: _order(entry[0], ranks[entry[1]]))
    return listed


def _order(row: TableRow, rank: int) -> tuple[bytes, bytes, int, int]:
    return name_order(row["database"]), name_order(row["user"]), rank, row["id"]


def _connection(kind: str, row: TableRow, state: str) -> Row:
    if state == "active" and not row["link"] and kind == "C":
        state = "idle"  # a console session has no server, so it is never more than that
    wait_s, wait_us = divmod(row.get("wait_us", 0), 1_000_000)
    unix = row["is_unix"]
    return (
        kind,
        row["user"] or "(nouser)",
        row["database"] or "(nodb)",
        row["replication"],
        state,
        "unix" if unix else row["addr"],
        row["port"],
        "unix" if unix else row["local_addr"],
        row["local_port"],
        time_text(row["connect_time"]),
        time_text(row["request_time"] or row["connect_time"]),
        wait_s,
        wait_us,
        int(row["close_needed"]),
        pointer(row["id"]),
        pointer(row["link"]),
        row["remote_pid"] if kind == "S" else peer_pid(row["addr"]) if unix else 0,
        row["tls"],
        row["application_name"],
        row["prepared_statements"],
        row["id"],
    )


def peer_pid(addr: str) -> int:
    """The process behind a client on a unix socket, whose address is `unix(4711)`."""
    digits = addr.removeprefix("unix(").removesuffix(")")
    return int(digits) if digits.isdigit() else 0


def _ours(row: TableRow) -> Row:
    return _number(row["worker"]), _number(row["slot"])


def _number(value: int) -> Value:
    """A reference into a table of ours; -1 (refers to nothing) is NULL."""
    return value if value >= 0 else None


def pointer(number: int) -> str:
    """PgBouncer prints addresses, which tools only compare; ids of clients and servers never collide
    either."""
    return f"0x{number:x}" if number else ""


SLOT_COLUMNS = columns("""
    slot int4, generation int4, state text, worker int4, database text, user text, server_id int4,
    client_id int4, backend_pid int4, connect_time text, close_needed int4
""")


def slots(sources: Sources) -> list[Row]:
    """Rows of SHOW SLOTS: every right to a connection that is in use, whatever its state."""
    return [_slot(row) for row in sorted(sources.tables.slots(), key=lambda row: int(row["slot"]))]


def _slot(row: TableRow) -> Row:
    return (
        row["slot"],
        row["generation"],
        row["state"],
        _number(row["worker"]),
        row["database"],
        row["user"],
        row["id"],
        row["link"] or None,
        row["remote_pid"] or None,
        time_text(row["connect_time"]),
        int(row["close_needed"]),
    )


WORKER_COLUMNS = columns("""
    worker int4, pid int4, clients int4, active int4, started text, restarts int4, heartbeat_age_ms int4,
    loop_lag_us int4
""")


def workers(sources: Sources) -> list[Row]:
    """Rows of SHOW WORKERS."""
    return [_worker(row) for row in _by_number(sources.tables.workers())]


def _by_number(rows: Sequence[TableRow]) -> list[TableRow]:
    return sorted(rows, key=lambda row: int(row["worker"]))


def _worker(row: TableRow) -> Row:
    return (
        row["worker"],
        row["pid"],
        row["clients"],
        row["active"],
        time_text(row["started"]),
        row["restarts"],
        int(row["heartbeat_age_s"] * 1000),
        row["loop_lag_us"],
    )
