"""What the shared tables say at one moment, as rows of names and values: where every figure comes from.

The rows are those of the console's commands where one has them, so that both say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pooler
from pooler.admin import show, show_pins, show_pools, show_stats
from pooler.admin.histograms import MEASURES, histogram
from pooler.admin.model import Column, Row, Sources

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Facts:
    """What the tables do not say."""

    started_at: float
    restarts: int  # of the monitor


class Snapshot:
    """Each of the lists is made when it is first asked for."""

    def __init__(self, sources: Sources, facts: Facts) -> None:
        self._sources = sources
        self._facts = facts
        self._tables: Any = sources.tables

    @cached_property
    def instance(self) -> list[Line]:
        """One row: this pooler as a whole."""
        settings = self._sources.config.settings
        state = self._sources.operations.state()
        return [
            {
                "up": 1,
                "version": pooler.__version__,
                "pgbouncer_version": show.VERSION_TEXT,
                "started_at": self._facts.started_at,
                "monitor_restarts": self._facts.restarts,
                "paused": int(state["paused"]),
                "suspended": int(state["suspended"]),
                "shutting_down": int(state["shutting_down"]),
                "max_client_conn": settings.max_client_conn,
                "max_user_connections": settings.max_user_connections,
                **{str(name): items for name, items in show.lists(self._sources)},
            }
        ]

    @cached_property
    def databases(self) -> list[Line]:
        """SHOW DATABASES."""
        return _named(show_pools.DATABASE_COLUMNS, show_pools.databases(self._sources))

    @cached_property
    def users(self) -> list[Line]:
        """SHOW USERS."""
        return _named(show_pools.USER_COLUMNS, show_pools.users(self._sources))

    @cached_property
    def instances(self) -> list[Line]:
        """The PostgreSQLs."""
        return list(self._tables.instances())

    @cached_property
    def pools(self) -> list[Line]:
        """SHOW POOLS."""
        rows = show_pools.pools(self._sources, show_pools.POOL_COLUMNS)
        named = _named(show_pools.POOL_COLUMNS, rows)
        return [{**row, "maxwait_all_us": row["maxwait"] * 1_000_000 + row["maxwait_us"]} for row in named]

    @cached_property
    def pool_rows(self) -> list[Line]:
        """The pools as the tables have them, without the console's."""
        return list(self._tables.pools())

    @cached_property
    def stats(self) -> list[Line]:
        """SHOW STATS_TOTALS."""
        return _named(show_stats.STATS_TOTALS_COLUMNS, show_stats.stats_totals(self._sources))

    @cached_property
    def pool_times(self) -> list[Line]:
        """Histograms of SHOW HISTOGRAMS, by pool."""
        rows = self._tables.histograms().values()
        return [{**row, **{measure: histogram(row[measure]) for measure in MEASURES}} for row in rows]

    @cached_property
    def login_times(self) -> list[Line]:
        """Those of logins, by method."""
        found = self._tables.login_histograms().items()
        return [{"method": method, "login": histogram(raw)} for method, raw in found]

    @cached_property
    def errors(self) -> list[Line]:
        """Errors of PostgreSQL that clients were told, by pool and class."""
        return [
            {"database": row["database"], "user": row["user"], "class": name, "count": count}
            for row in self._tables.errors().values()
            for name, count in row["classes"].items()
        ]

    @cached_property
    def refusals(self) -> list[Line]:
        """Clients that were refused at their login, by reason."""
        return [{"reason": reason, "count": count} for reason, count in self._tables.refusals().items()]

    @cached_property
    def clients(self) -> list[Line]:
        """How many clients have the same names and state."""
        names = ("database", "user", "application_name", "state")
        groups = self._tables.client_groups().items()
        return [{**dict(zip(names, key, strict=True)), "clients": count} for key, count in groups]

    @cached_property
    def workers(self) -> list[Line]:
        """SHOW WORKERS."""
        return [{**row, "up": int(row["pid"] != 0)} for row in self._tables.workers()]

    @cached_property
    def pins(self) -> list[Line]:
        """SHOW PIN_TOTALS, a row per reason."""
        return list(self._by_reason())

    def _by_reason(self) -> Iterator[Line]:
        for row in self.sessions:
            for reason in show_pins.REASONS:
                if row[reason]:
                    yield {**row, "reason": reason, "count": row[reason]}

    @cached_property
    def sessions(self) -> list[Line]:
        """SHOW PIN_TOTALS."""
        return _named(show_pins.PIN_TOTAL_COLUMNS, show_pins.pin_totals(self._sources))

    @cached_property
    def pinned(self) -> list[Line]:
        """SHOW PINS: a row per pinned client and reason, by the names that SHOW PIN_TOTALS has for them."""
        rows = _named(show_pins.PIN_COLUMNS, show_pins.pins(self._sources))
        names = {words: name for name, words in show_pins.REASONS.items()}
        return [
            {**row, "reason": names.get(words, words), "one": 1}
            for row in rows
            for words in row["reason"].split(", ")
        ]

    @cached_property
    def memory(self) -> list[Line]:
        """SHOW MEM: how full the tables are."""
        rows = _named(show.MEM_COLUMNS, show.memory(self._sources))
        return [{**row, "rows": row["used"] + row["free"]} for row in rows]


def _named(columns: Sequence[Column], rows: Sequence[Row]) -> list[Line]:
    names = [column.name for column in columns]
    return [dict(zip(names, row, strict=True)) for row in rows]


#: One of the lists above.
Rows = Callable[[Snapshot], list[Line]]
