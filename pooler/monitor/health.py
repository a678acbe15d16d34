"""Whether this instance lives, and whether it serves: for balancers, Kubernetes and SHOW STATE."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

#: A worker says that it lives once a second, and so does the master: one that is silent for longer is stuck.
SILENT_S = 10.0


class Health:
    """What is wrong, in words; nothing is a good sign."""

    def __init__(self, tables: Any) -> None:
        self.ending = False  # the master was told to end
        self._tables = tables
        self._heard_s = time.monotonic()

    def heard(self) -> None:
        """The master has said something."""
        self._heard_s = time.monotonic()

    def dead(self) -> list[str]:
        """Why this instance does not live as it should."""
        return list(self._dead())

    def _dead(self) -> Iterator[str]:
        silent_s = time.monotonic() - self._heard_s
        if silent_s > SILENT_S:
            yield f"master: silent for {silent_s:.0f} s"
        for row in self._tables.workers():
            if not row["pid"]:
                yield f"worker {row['worker']}: no process"
            elif row["heartbeat_age_s"] > SILENT_S:
                yield f"worker {row['worker']}: silent for {row['heartbeat_age_s']:.0f} s"

    def not_ready(self) -> list[str]:
        """Why this instance is not to get clients."""
        return list(self._not_ready())

    def _not_ready(self) -> Iterator[str]:
        if self.shutting_down:
            yield "shutting down"
        mode = self._tables.pause_mode()
        if mode:
            yield {"PAUSE": "paused", "SUSPEND": "suspended"}[mode]
        rows = self._tables.workers()
        if not any(row["pid"] and row["heartbeat_age_s"] <= SILENT_S for row in rows):
            yield "no worker lives"

    @property
    def shutting_down(self) -> bool:
        """Clients are let in no more."""
        return self.ending or bool(self._tables.is_shutting_down())

    def state(self) -> Mapping[str, bool]:
        """As the console's orders tell it."""
        mode = self._tables.pause_mode()
        return {
            "active": not mode,
            "paused": mode == "PAUSE",
            "suspended": mode == "SUSPEND",
            "shutting_down": self.shutting_down,
        }
