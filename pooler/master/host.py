"""What the master needs of the shared tables, and nothing more.

`pooler.core.Tables` and the functions of `pooler.limits` are put together as a `Host` by `start`; tests of
the master use stand-ins of a few lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pooler.config import Config
from pooler.config.tls import TlsSetup


class SharedTables(Protocol):
    """The part of `pooler.core.Tables` that the master calls."""

    def worker_starting(self, number: int, pid: int) -> None:
        """A worker was forked."""

    def worker_died(self, number: int, timeout_s: float = 0.1) -> Mapping[str, int]:
        """Drop a dead worker's clients, mark its busy slots: {'clients': n, 'reclaim': n}.

        May raise `Host.busy`.
        """

    def heartbeat_age(self, number: int) -> float:
        """Seconds since the worker was last seen alive."""

    def load(self, number: int) -> int:
        """Clients of a worker, and those on their way to it."""

    def client_sent(self, number: int) -> None:
        """One more client is on its way to a worker."""


def _leave_tls(config: Config) -> TlsSetup:
    return config.tls


@dataclass(frozen=True)
class Host:
    """The tables with the functions that write a configuration into them.

    Any of them may raise `busy` when the lock can't be had soon (its holder is stopped): the caller tries
    again later.
    """

    tables: SharedTables
    apply_limits: Callable[[Any, Config], object]
    close_changed: Callable[[Any, Any], object]
    busy: type[Exception]
    set_up_tls: Callable[[Config], TlsSetup] = _leave_tls  # raises TlsSetupError
