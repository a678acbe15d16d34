"""SHOW STATS, STATS_TOTALS, STATS_AVERAGES, TOTALS: the counters of all workers, summed, and their averages.

The names of one and the same counter differ between these four in PgBouncer, and exporters know them all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from pooler.admin.averages import COUNTERS, Counters, average, total
from pooler.admin.model import Row, Sources, columns, name_order

#: What SHOW STATS calls a counter where it does not use its name: with `total_` and with `avg_` in front.
_STATS_TOTAL = {"bytes_received": "received", "bytes_sent": "sent"}
_STATS_AVERAGE = {"bytes_received": "recv", "bytes_sent": "sent"}
#: What SHOW TOTALS calls it.
_TOTALS = {
    "bytes_received": "client_bytes",
    "bytes_sent": "server_bytes",
    "client_parse_count": "ps_client_parse_count",
    "server_parse_count": "ps_server_parse_count",
    "bind_count": "ps_bind_count",
}
#: In STATS_AVERAGES only the counters that came last to PgBouncer say that they are averages.
_SAID_TO_BE_AVERAGES = frozenset(COUNTERS[-4:])


def _numeric(*names: str) -> str:
    return "database text, " + ", ".join(f"{name} numeric" for name in names)


STATS_COLUMNS = columns(
    _numeric(
        *(f"total_{_STATS_TOTAL.get(name, name)}" for name in COUNTERS),
        *(f"avg_{_STATS_AVERAGE.get(name, name)}" for name in COUNTERS),
    )
)
STATS_TOTALS_COLUMNS = columns(_numeric(*COUNTERS))
STATS_AVERAGES_COLUMNS = columns(
    _numeric(*(f"avg_{name}" if name in _SAID_TO_BE_AVERAGES else name for name in COUNTERS))
)
TOTALS_COLUMNS = columns("name text, value numeric")


def stats(sources: Sources) -> list[Row]:
    """Rows of SHOW STATS."""
    return [(name, *now.values(), *avg.values()) for name, now, avg in _by_database(sources)]


def stats_totals(sources: Sources) -> list[Row]:
    """Rows of SHOW STATS_TOTALS."""
    return [(name, *now.values()) for name, now, _ in _by_database(sources)]


def stats_averages(sources: Sources) -> list[Row]:
    """Rows of SHOW STATS_AVERAGES."""
    return [(name, *avg.values()) for name, _, avg in _by_database(sources)]


def totals(sources: Sources) -> list[Row]:
    """Rows of SHOW TOTALS: the sums over all databases."""
    now, averages = _sums(sources, sources.tables.stats())
    rows: list[Row] = [(f"total_{_TOTALS.get(name, name)}", now[name]) for name in COUNTERS]
    rows += [(f"avg_{_TOTALS.get(name, name)}", averages[name]) for name in COUNTERS]
    return rows


def _by_database(sources: Sources) -> list[tuple[str, Counters, Counters]]:
    """Database, counters, averages: one entry per database that has a pool, and the console."""
    parts: defaultdict[str, dict[int, Mapping[str, Any]]] = defaultdict(dict)
    for pool, row in sources.tables.stats().items():
        parts[row["database"]][pool] = row
    return [(name, *_sums(sources, parts[name])) for name in sorted(parts, key=name_order)]


def _sums(sources: Sources, pools: Mapping[int, Mapping[str, Any]]) -> tuple[Counters, Counters]:
    now = total(pools.values())
    before = total(sources.sampler.earlier(pool) for pool in pools)
    return now, average(now, before, sources.sampler.window_s(sources.now))
