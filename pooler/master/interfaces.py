"""What the master needs of the shared tables, and nothing more.

`pooler.core.Tables` and the functions of `pooler.provisioning` are put together as a `Interfaces` by `start`;
tests of the master use stand-ins of a few lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pooler.config import Config
from pooler.config.tls import TlsSetup
from pooler.core import AcceptThread


class SharedTables(Protocol):
    """The part of `pooler.core.Tables` that the master calls."""

    def worker_starting(self, number: int, pid: int) -> None:
        """A worker was forked."""

    def worker_died(self, number: int, timeout_s: float = 0.1) -> Mapping[str, int]:
        """Drop a dead worker's clients, mark its busy slots: {'clients': n, 'reclaim': n}.

        May raise `Interfaces.busy`.
        """

    def heartbeat_age(self, number: int) -> float:
        """Seconds since the worker was last seen alive."""

    def pause_mode(self) -> str:
        """What holds all clients back: `PAUSE`, `SUSPEND`, or nothing."""

    def set_paused(self, database: int, paused: bool) -> None:
        """Hold back the waiters of a database (-1: of all)."""

    def acceptor(self, outboxes: Sequence[int], most: int) -> AcceptThread:
        """The thread that accepts, and gives each client to the eligible worker that has the fewest."""


def _leave_tls(config: Config) -> TlsSetup:
    return config.tls


class HandoffTables(Protocol):
    """The part that two instances, one of which replaces the other, count by (core/tables/handoff.c)."""

    def handoff_retire(self) -> list[list[Any]]:
        """Another instance replaces this one: open no more servers. What each pool has; may raise `busy`."""

    def handoff_retire_all(self) -> None:
        """Clients are closed between their transactions."""

    def handoff_resume(self) -> None:
        """It does not, after all."""

    def handoff_messages(self) -> list[tuple[str, list[Any]]]:
        """What the other instance is to be told of quota. May raise `busy`."""

    def handoff_told(self, word: str, pool: list[Any]) -> bool:
        """What the other instance said; False when no row is left. May raise `busy`."""

    def handoff_left(self) -> None:
        """The instance that this one replaced is gone. May raise `busy`."""

    def in_use(self) -> tuple[int, int, int]:
        """Clients, clients on their way to a worker, rows of servers."""

    def end_suspend(self) -> None:
        """What RESUME does about SUSPEND."""


@dataclass(frozen=True)
class Interfaces:
    """The tables with the functions that write a configuration into them.

    Any of them may raise `busy` when the lock can't be had soon (its holder is stopped): the caller tries
    again later.
    """

    tables: SharedTables
    apply_limits: Callable[[Any, Config], object]
    close_changed: Callable[[Any, Any], object]
    busy: type[Exception]
    set_up_tls: Callable[[Config], TlsSetup] = _leave_tls  # raises TlsSetupError
    quotas: HandoffTables | None = None  # the tables again; None: no takeover
    open_handoff_pool: Callable[[Any, Config, str, str, str, int], object] | None = None
    login_key: bytes = b""  # see `pooler.master.login_key`


@dataclass
class Duties:
    """What `start` wants done at the turns of the master's life."""

    ready: Callable[[], None]  # everything works
    check: Callable[[Config], None]  # raises BootError if a new configuration does not fit
    log_changed: Callable[[Config], None]  # reopen the log, with these settings
    replacing: Callable[[], None]  # a worker died, another is about to be forked
    replaced: Callable[[str], None]  # another instance serves now, and has this pid file
    goes_on: Callable[[], None]  # another instance was about to, and does not
