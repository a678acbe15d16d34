"""SHOW CLIENTS, SERVERS, SOCKETS, ACTIVE_SOCKETS: one row per connection, of all workers.

The columns up to `id` (up to `send_avail` for the two SOCKETS) are PgBouncer's, in its order; ours come
behind. Rows are sorted as PgBouncer keeps its lists: by pool, then by state, then by age.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from pooler.admin import encode
from pooler.admin.model import Column, Row, Sources, TableRow, Value, columns, name_order
from pooler.admin.text_rows import TextRows

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
CLIENT_COLUMNS_OURS, COLUMNS_OURS = 9, 2

CLIENT_COLUMNS = columns(
    _CONNECTION + _OURS + ", pinned text, pinned_since text, memory int8"
    ", activity text, activity_since text, xact_start text, query_start text"
)
SERVER_COLUMNS = columns(_CONNECTION + _OURS)
SOCKET_COLUMNS = columns(_CONNECTION + _BUFFERS + _OURS)

#: What PgBouncer shows for a socket without a buffer. The relay keeps none for a connection that is not
#: stuck, and positions in its shared read buffer say nothing about one connection.
_NO_BUFFERS: Row = (0,) * 7

# State of a server in the tables -> state shown, in the order shown. States that are missing are not shown: a
# server that is closing (its slot is freed when PostgreSQL has let go) is in SHOW SLOTS only, because tools
# take what SHOW SERVERS lists for usable connections. What is shown of clients is the core's
# (core/relay/shown_clients.c).
_SERVER_STATES = {
    name: name for name in ("active", "idle", "used", "tested", "new", "active_cancel", "being_canceled")
}
_SERVER_SOCKETS = {
    "active": "sv_active",
    "idle": "sv_idle",
    "used": "sv_used",
    "tested": "sv_tested",
    "new": "sv_login",
}

#: Sockets of servers on which something is under way; the others only wait for their next user.
_BUSY = frozenset({"active", "tested", "new"})


def clients(sources: Sources, shown: tuple[Column, ...]) -> TextRows:
    """Rows of SHOW CLIENTS."""
    return TextRows(*sources.tables.shown_clients("clients", shown == CLIENT_COLUMNS), shown)


def servers(sources: Sources, shown: tuple[Column, ...]) -> list[Row]:
    """Rows of SHOW SERVERS."""
    listed = _listed(sources.tables.servers(), _SERVER_STATES)
    return [(_server(row, state) + _ours(row))[: len(shown)] for row, state in listed]


def sockets(sources: Sources, shown: tuple[Column, ...]) -> TextRows:
    """Rows of SHOW SOCKETS."""
    return _sockets(sources, "sockets", sources.tables.servers(), shown)


def active_sockets(sources: Sources, shown: tuple[Column, ...]) -> TextRows:
    """Rows of SHOW ACTIVE_SOCKETS."""
    busy = (row for row in sources.tables.servers() if row["state"] in _BUSY)
    return _sockets(sources, "active_sockets", busy, shown)


def time_text(seconds: float) -> str | None:
    """A moment as PgBouncer prints it: local time with the zone's name. NULL where there was none."""
    if not seconds:
        return None
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(seconds))


def _sockets(
    sources: Sources, what: str, server_rows: Iterable[TableRow], shown: tuple[Column, ...]
) -> TextRows:
    data, count = sources.tables.shown_clients(what, shown == SOCKET_COLUMNS)
    listed = _listed(server_rows, _SERVER_SOCKETS)
    rows = [(_server(row, state) + _NO_BUFFERS + _ours(row))[: len(shown)] for row, state in listed]
    return TextRows(data + encode.rows(rows, shown, [encode.TEXT] * len(shown)), count + len(rows), shown)


def _listed(rows: Iterable[TableRow], states: dict[str, str]) -> list[tuple[TableRow, str]]:
    """The servers that have one of these states, sorted, each with the state to show."""
    ranks = {state: rank for rank, state in enumerate(states.values())}
    listed = [(row, states[row["state"]]) for row in rows if row["state"] in states]
    listed.sort(key=lambda entry: _order(entry[0], ranks[entry[1]]))
    return listed


def _order(row: TableRow, rank: int) -> tuple[bytes, bytes, int, int]:
    return name_order(row["database"]), name_order(row["user"]), rank, row["id"]


def _server(row: TableRow, state: str) -> Row:
    unix = row["is_unix"]
    return (
        "S",
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
        0,
        0,
        int(row["close_needed"]),
        pointer(row["id"]),
        pointer(row["link"]),
        row["remote_pid"],
        row["tls"],
        row["application_name"],
        row["prepared_statements"],
        row["id"],
    )


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


TURN_COLUMNS = columns("worker int4, turns int8, longest_us int8")

#: Turns of relays are measured for so long after they were shown.
TURNS_S = 60.0


def turns(sources: Sources) -> list[Row]:
    """Rows of SHOW TURNS."""
    return [(row["worker"], row["turns"], row["longest_us"]) for row in sources.tables.turns(TURNS_S)]


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
