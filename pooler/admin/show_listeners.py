"""SHOW LISTENERS: what clients listen on, and which worker has the connection that hears it for them."""

from __future__ import annotations

from pooler.admin.model import Row, Sources, columns, name_order

LISTENER_COLUMNS = columns("database text, channel text, clients int4, worker int4, state text")


def listeners(sources: Sources) -> list[Row]:
    """One row per channel; `state` is that of the connection, or `waiting` until it hears the channel."""
    rows: list[Row] = []
    for row in sources.tables.channels():
        state, worker, _ = row["listener"]
        shown = "waiting" if state == "open" and not row["heard"] else state
        name = row["name"].decode("utf-8", "replace")
        rows.append((row["database"], name, sum(row["clients"]), worker, shown))
    return sorted(rows, key=lambda row: (name_order(str(row[0])), name_order(str(row[1]))))
