"""SHOW PINS, PIN_TOTALS: servers that stay with their clients between transactions, and why.

A client in transaction pooling whose session has something that cannot follow it (an advisory lock, a
temporary table, ...) keeps its server until that is gone. PINS has a row per such client now, PIN_TOTALS
counts per pool since the start.
"""

from __future__ import annotations

from pooler.admin.model import Row, Sources, TableRow, columns, name_order
from pooler.admin.show_sockets import pointer, time_text

PIN_COLUMNS = columns("""
    database text, user text, client_id int4, ptr text, addr text, port int4, server_pid int4, reason text,
    since text, seconds int8, worker int4, slot int4
""")

#: Column of PIN_TOTALS -> the reason as the core words it.
REASONS = {
    "advisory_lock": "advisory lock",
    "temporary_object": "temporary object",
    "prepare": "prepare",
    "holdable_cursor": "holdable cursor",
    "listen": "listen",
    "setting": "setting",
    "load": "load",
    "sequence": "sequence",
    "catalogs_unread": "catalogs unread",
    "interpreter": "interpreter",
}
PIN_TOTAL_COLUMNS = columns(
    "database text, user text, session_asks numeric, settings_applied numeric, session_resets numeric, "
    "pins numeric, " + ", ".join(f"{name} numeric" for name in REASONS)
)


def pins(sources: Sources) -> list[Row]:
    """Rows of SHOW PINS: one per pinned client, the longest pinned of each pool first."""
    return [_pin(row) for row in sorted(sources.tables.clients(pinned=True), key=_order)]


def pin_totals(sources: Sources) -> list[Row]:
    """Rows of SHOW PIN_TOTALS: per pool, how often servers were asked about a session, settings were put in
    force, servers were reset, and clients got pinned, by reason. A client that is pinned for two reasons
    counts with both.
    """
    return [_total(row) for row in sorted(sources.tables.pins().values(), key=_pool_order)]


def _pool_order(row: TableRow) -> tuple[bytes, bytes]:
    return name_order(row["database"]), name_order(row["user"])


def _order(row: TableRow) -> tuple[bytes, bytes, float]:
    return *_pool_order(row), -row["pinned_s"]


def _pin(row: TableRow) -> Row:
    return (
        row["database"],
        row["user"],
        row["id"],
        pointer(row["id"]),
        "unix" if row["is_unix"] else row["addr"],
        row["port"],
        row["remote_pid"],
        row["pinned"],
        time_text(row["pinned_since"]),
        int(row["pinned_s"]),
        row["worker"],
        row["slot"],
    )


def _total(row: TableRow) -> Row:
    counts = [int(row[reason]) for reason in REASONS.values()]
    return (
        row["database"],
        row["user"],
        row["session_asks"],
        row["settings_applied"],
        row["session_resets"],
        sum(counts),
        *counts,
    )
