"""Changing the configuration: read, compare, write the limits into the tables, tell every worker, answer.

Whole or nothing. A file with a mistake changes nothing, and every mistake is logged. The answer to who
asked comes when every worker has the new configuration; a worker that dies meanwhile is replaced by one
born with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from pooler import log
from pooler.config import Config, ConfigDiff, diff, reload
from pooler.config.tls import TlsSetupError
from pooler.errors import BootError, ConfigError
from pooler.ipc.messages import Reload, ReloadAnswer
from pooler.master.interfaces import Interfaces
from pooler.master.loop import Loop
from pooler.master.worker import Worker
from pooler.master.workers import BUSY_PAUSE_S, Workers

#: What an operator is told whose change of TLS could not be carried out, as by PgBouncer.
TLS_NOT_RELOADED = "TLS configuration could not be reloaded, keeping old configuration"
TLS_NOT_APPLIED = "TLS settings could not be applied, still using old configuration"

MakeConfig = Callable[[], tuple[Config, ConfigDiff]]


@dataclass
class Asked:
    """The worker that is told how a change ended, its pid then, and its token; after a signal: none."""

    worker: Worker | None = None
    token: int = 0
    pid: int = 0

    def answer(self, error: str | None, notice: str | None = None) -> None:
        """Answer, if the worker that asked is still the same process."""
        worker = self.worker
        if worker is not None and worker.channel is not None and worker.pid == self.pid:
            worker.channel.send(ReloadAnswer(self.token, error, notice))


def asked_by(worker: Worker, token: int) -> Asked:
    """A console's request."""
    return Asked(worker, token, worker.pid)


@dataclass
class _Change:
    """A generation on its way."""

    asked: Asked
    changes: ConfigDiff
    missing: set[int] = field(default_factory=set)  # numbers of workers that have not got it yet
    error: str | None = None  # of a worker that could not take it
    notice: str | None = None


class Reloader:
    """Keeps the configuration in force.

    `check(config)` raises BootError for what does not fit into this process. `adopted(config)` is called for
    each new one, when the tables have its limits and before the workers hear of it; `settled()` when no
    change is on its way any more.
    """

    def __init__(
        self,
        config: Config,
        overrides: Mapping[str, str],
        shared: Interfaces,
        loop: Loop,
        workers: Workers,
        check: Callable[[Config], None],
        adopted: Callable[[Config], object],
        settled: Callable[[], object],
    ) -> None:
        self.config = config
        self._overrides = dict(overrides)
        self._shared = shared
        self._loop = loop
        self._workers = workers
        self._check = check
        self._adopted = adopted
        self._settled = settled
        self._changes: dict[int, _Change] = {}  # by generation
        self._queue: list[tuple[MakeConfig, Asked]] = []
        self._notice: str | None = None  # of the change that is being applied
        self.failure = ""  # why the last change was refused

    def reload(self, asked: Asked) -> None:
        """Read the files again."""

        def change() -> tuple[Config, ConfigDiff]:
            new, changes = reload(self.config, self._overrides)
            new = self._with_tls(new, TLS_NOT_RELOADED)
            return new, replace(changes, new=new)

        self._enqueue(change, asked)

    def set(self, key: str, value: str, asked: Asked) -> None:
        """Change one setting until the next reload."""

        def change() -> tuple[Config, ConfigDiff]:
            new = self.config.with_overrides({key: value})
            if "_tls_" in key or "_tls13_" in key:
                new = self._with_tls(new, TLS_NOT_APPLIED)
            return new, diff(self.config, new)

        self._enqueue(change, asked)

    def done(self, number: int, generation: int, error: str | None = None) -> None:
        """A worker has a generation, and so every earlier one. `error`: why it could not take this one."""
        if error is not None and generation in self._changes:
            self._changes[generation].error = f"worker {number}: {error}"
        for other in list(self._changes):
            if other <= generation:
                self._forget(number, other)

    def worker_died(self, number: int) -> None:
        """It will not answer; its replacement starts with the newest configuration."""
        for generation in list(self._changes):
            self._forget(number, generation)

    def _with_tls(self, new: Config, otherwise: str) -> Config:
        """`new` with its TLS set up. What can't be set up leaves the TLS that is in force."""
        try:
            return replace(new, tls=self._shared.set_up_tls(new))
        except TlsSetupError as error:
            log.error("TLS setup failed: %s", error)
            log.error("%s", TLS_NOT_RELOADED)
            self._notice = otherwise
            return replace(new, tls=self.config.tls)

    # Changes are worked off one after the other: one that waits for the tables' lock must not be overtaken.

    def _enqueue(self, make: MakeConfig, asked: Asked) -> None:
        self._queue.append((make, asked))
        if len(self._queue) == 1:
            self._next()

    def _next(self) -> None:
        make, asked = self._queue[0]
        self._notice = None
        self.failure = ""
        try:
            new, changes = make()
            self._check(new)
        except BootError as e:
            log.error("%s", e)
            self._fail(asked, str(e))
            return
        except ConfigError as e:
            for problem in e.problems:
                log.write_problem(problem.severity, str(problem))
            self._fail(asked, str(e))
            return
        except Exception as e:
            log.exception("bug while reading the configuration", e)
            self._fail(asked, "internal error, see the log")
            return
        for problem in new.problems:
            log.write_problem(problem.severity, str(problem))
        for name in changes.restart_only:
            log.warning("%s has changed in %s: takes effect after a restart", name, new.path)
        self._apply(new, changes, asked)

    def _apply(self, new: Config, changes: ConfigDiff, asked: Asked) -> None:
        """Write the limits; as often as it takes if a stopped process holds the tables' lock."""
        try:
            self._shared.apply_limits(self._shared.tables, new)
            self._shared.close_changed(self._shared.tables, changes)
        except self._shared.busy:
            self._loop.after(BUSY_PAUSE_S, lambda: self._apply(new, changes, asked))
            return
        except Exception as e:
            log.exception("bug while applying the configuration", e)
            self._fail(asked, "internal error, see the log")
            return
        self.config = self._workers.config = new
        self._workers.generation += 1
        generation = self._workers.generation
        self._adopted(new)
        told = self._workers.broadcast(Reload(generation, new.to_wire()))
        self._changes[generation] = _Change(
            asked, changes, {worker.number for worker in told}, notice=self._notice
        )
        self._leave_queue()
        if not told:
            self._forget(-1, generation)

    def _fail(self, asked: Asked, text: str) -> None:
        self.failure = text
        log.warning("config file loading failed")
        log.error("the configuration was not changed")
        asked.answer(text)
        self._leave_queue()
        self._check_settled()

    def _leave_queue(self) -> None:
        """The first is through; go on with the next, from the loop."""
        del self._queue[0]
        if self._queue:
            self._loop.after(0, self._next)

    def _forget(self, number: int, generation: int) -> None:
        change = self._changes[generation]
        change.missing.discard(number)
        if not change.missing:
            self._finish(generation)

    def _finish(self, generation: int) -> None:
        """Everybody has it. A worker that had not may have let in a client by the old limits, or opened a
        server at an old place, so what `_apply` did is done once more before the answer."""
        change = self._changes.get(generation)
        if change is None:  # done meanwhile
            return
        try:
            self._shared.apply_limits(self._shared.tables, self.config)
            self._shared.close_changed(self._shared.tables, change.changes)
        except self._shared.busy:
            self._loop.after(BUSY_PAUSE_S, lambda: self._finish(generation))
            return
        del self._changes[generation]
        change.asked.answer(change.error, change.notice)
        self._check_settled()

    def _check_settled(self) -> None:
        if not self._changes and not self._queue:
            self._settled()
