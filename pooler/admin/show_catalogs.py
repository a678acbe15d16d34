"""SHOW CATALOGS: what is known of the catalogs of each database, since when, where everything is asked."""

from __future__ import annotations

import time

from pooler.admin.model import Row, Sources, columns, name_order
from pooler.admin.show_sockets import time_text
from pooler.core import CatalogState

CATALOG_COLUMNS = columns("""
    database text, state text, functions int4, relations int4, asked text, known_since text, last_look text,
    cost_us int8, bytes int8, worker int4
""")

STATES = {
    CatalogState.NONE: "unknown",
    CatalogState.READING: "reading",
    CatalogState.KNOWN: "known",
    CatalogState.FAILED: "failed",
}

#: Why everything is asked for: before the first look and behind DDL; where what statements need not name may
#: leave something behind.
NEVER_READ, OUTDATED = "nothing known yet", "DDL since the last look"
UNNAMED = "casts, operators or event triggers leave something"


def catalogs(sources: Sources) -> list[Row]:
    """One row per database; `asked` says why everything is asked for, and is empty where it is not."""
    rows: list[Row] = []
    for row in sources.tables.catalogs():
        known = row["known_s"] is not None
        unread = OUTDATED if known else NEVER_READ
        asked = unread if not row["current"] else UNNAMED if row["everything"] else ""
        rows.append(
            (
                row["database"],
                STATES[row["state"]],
                row["functions"],
                row["relations"],
                asked,
                _since(row["known_s"]),
                _since(row["looked_s"]),
                row["cost_us"],
                row["bytes"],
                row["reader"] if row["reader"] >= 0 else None,
            )
        )
    return sorted(rows, key=lambda row: name_order(str(row[0])))


def _since(seconds: float | None) -> str | None:
    return "" if seconds is None else time_text(time.time() - seconds)
