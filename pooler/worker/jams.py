"""Clients that wait for long: what the log says of them, and what they hear."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pooler import log
from pooler.admin.show_waiting import detail_of, holders_of

if TYPE_CHECKING:
    from pooler.admin.model import TableRow
    from pooler.worker.context import WorkerContext

#: How often lines are looked at; a client that has waited for as long is told of in the log,
LOOK_S = 5.0
#: once a minute for each pool.
AGAIN_S = 60.0
#: Of each line the first client tells all.
FIRST = 0
#: An operator knows of these.
ORDERED = frozenset({"paused", "suspended"})


class Jams:
    """Of one worker. What it tells clients names no other client."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._due = 0.0
        self._told: dict[int, float] = {}  # when, by pool

    def reasons(self) -> dict[int, str]:
        """What keeps servers from the clients of a pool, by its row."""
        return {
            line["pool"]: f"{line['cause']}: {detail_of(line)}"
            for line in self._context.tables.waiting(FIRST)
        }

    def tick(self, now: float) -> None:
        """Lines that are long are logged, by one worker for all; `now` in monotonic seconds."""
        if self._context.number or now < self._due:
            return
        self._due = now + LOOK_S
        lines = self._context.tables.waiting(FIRST)
        self._told = {pool: told for pool, told in self._told.items() if now < told + AGAIN_S}
        for line in lines:
            oldest_s = max(client["wait_us"] for client in line["clients"]) / 1e6
            if oldest_s < LOOK_S or line["cause"] in ORDERED or line["pool"] in self._told:
                continue
            self._told[line["pool"]] = now
            log.warning("%s", describe(line, oldest_s))


def describe(line: TableRow, oldest_s: float) -> str:
    """One line for the log."""
    holders = holders_of(line)
    return (
        f"pool {line['database']}/{line['user']}: {line['count']} waiting, the oldest for {oldest_s:.0f} s;"
        f" {line['cause']}: {detail_of(line)}" + (f"; held by {holders}" if holders else "")
    )
