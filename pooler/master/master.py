"""The master's behaviour: what it does about each signal, message and death. One loop, nothing waits.

booting --all workers ready--> serving --INT, TERM, console--> draining --all workers gone--> end
   |                              |                               |
   +--a worker can't start--> end +--QUIT--> end                  +--again INT, TERM; QUIT--> end
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

from pooler import log
from pooler.config import Config
from pooler.errors import BootError
from pooler.ipc.messages import (
    BootFailed,
    CancelElsewhere,
    CancelHere,
    Drain,
    DrainMode,
    InboxFull,
    Message,
    Pause,
    Ready,
    ReloadDone,
    ReloadRequest,
    Resume,
    SetRequest,
    ShutdownMode,
    ShutdownRequest,
    Suspended,
)
from pooler.master import sockets
from pooler.master.accept import Acceptor
from pooler.master.child import RunWorker
from pooler.master.handoff import Handoff, Hooks
from pooler.master.heartbeats import Heartbeats
from pooler.master.interfaces import Duties, Interfaces
from pooler.master.loop import Loop
from pooler.master.monitor import Monitor, MonitorSeed
from pooler.master.notify import Notifier
from pooler.master.reload import Asked, Reloader, asked_by
from pooler.master.signals import SignalPipe
from pooler.master.sockets import Listener
from pooler.master.takeover import Predecessor
from pooler.master.worker import Worker
from pooler.master.workers import Events, Workers

SHUTDOWN_TEXTS: dict[DrainMode, str] = {
    "wait_for_servers": "shutting down, waiting for all servers connections to be released",
    "wait_for_clients": "shutting down, waiting for all clients disconnect",
}


class Master:
    """Runs until `exit_code` is set; see `run`."""

    def __init__(
        self,
        config: Config,
        overrides: Mapping[str, str],
        shared: Interfaces,
        listeners: list[Listener],
        run_worker: RunWorker,
        notifier: Notifier,
        duties: Duties,
        predecessor: Predecessor | None = None,
        monitor: MonitorSeed | None = None,
    ) -> None:
        self.exit_code: int | None = None
        self.serving = False
        self.draining: DrainMode | None = None
        self._tables = shared.tables
        self._notifier = notifier
        self._quotas = shared.quotas
        self._shared = shared
        self._duties = duties
        self._signals = SignalPipe()
        self._loop = Loop()
        events = Events(
            self._on_message, self._on_death, self._let_go, lambda pid, code: self._monitor.died(pid, code)
        )
        self.workers = Workers(config.settings.worker_count, self._loop, shared, run_worker, events)
        self._monitor = Monitor(
            self._loop, self.workers, shared.tables, monitor, self._let_go_of_clients, duties.replacing
        )
        self._acceptor = Acceptor(self._loop, listeners, self.workers.accept_thread)
        self._reloader = Reloader(
            config, overrides, shared, self._loop, self.workers, duties.check, self._adopted, self._settled
        )
        self._handoff: Handoff | None = None
        if shared.quotas is not None:
            self._handoff = Handoff(self._loop, shared.quotas, shared.busy, self._hooks(), predecessor)
        self._suspender: Worker | None = None
        self._boot_failure = ""  # why a worker could not start
        self._loop.watch(self._signals.fd, self._on_signals)

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._reloader.config

    def run(self) -> int:
        """Fork the workers and serve; returns the exit code when every worker is gone and no socket listens.

        Raises BootError if a worker cannot start. Signals stay harmless until `close`.
        """
        try:
            self.workers.start(self.config)
            Heartbeats(
                self._loop, self.workers, self._notifier, lambda: self.config.settings, self._monitor.check
            ).start()
            while self.exit_code is None:
                self._loop.run_once()
        finally:
            self._acceptor.wait()  # who comes now is in the backlog, not a dead worker's
            self._monitor.kill()
            self.workers.kill_all()
            if self._handoff is not None and self._handoff.has_successor:
                self._acceptor.leave_files()
            self._acceptor.close()
            if self._handoff is not None:
                self._handoff.close()
        if self._boot_failure:
            raise BootError(self._boot_failure)
        return self.exit_code

    def close(self) -> None:
        """Give back the rest: the last call."""
        self.workers.close()
        self._loop.close()
        self._signals.close()

    # -- signals

    def _on_signals(self) -> None:
        for number in self._signals.read():
            if number == signal.SIGCHLD:
                self.workers.reap()
            elif self.exit_code is None:
                self._on_signal(number)

    def _on_signal(self, number: int) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGHUP:
            log.info("got SIGHUP, re-reading config")
            self._reload(Asked())
        elif number == signal.SIGQUIT:
            log.info("got SIGQUIT, fast exit")
            self.exit_code = 0
        elif number in (signal.SIGINT, signal.SIGTERM) and self._is_ending:
            log.info("got %s while shutting down, fast exit", name)
            self.exit_code = 0
        elif number in (signal.SIGINT, signal.SIGTERM):
            mode: DrainMode = "wait_for_servers" if number == signal.SIGINT else "wait_for_clients"
            log.info("got %s, %s", name, SHUTDOWN_TEXTS[mode])
            if self._tables.pause_mode() == "SUSPEND":
                self._give_up("suspend was in progress, going down immediately")
            elif self._handoff is not None and self._handoff.taking_over:
                self._give_up("takeover was in progress, going down immediately")
            else:
                self._drain(mode)
        elif self._is_ending:
            log.info("got %s while shutting down, ignoring", name)
        elif number == signal.SIGUSR1:
            self._on_pause(self._tables.pause_mode())
        elif number == signal.SIGUSR2:
            self._on_resume(self._tables.pause_mode())

    def _on_pause(self, mode: str) -> None:
        if mode:
            log.info("got SIGUSR1, but already paused/suspended")
        else:
            log.info("got SIGUSR1, pausing all activity")
            self._tables.set_paused(-1, True)  # at once: the next signal may be on its way
            self._tell_one(Pause())

    def _on_resume(self, mode: str) -> None:
        if mode:
            log.info("got SIGUSR2, continuing from %s", mode)
            self._tell_one(Resume())
        else:
            log.info("got SIGUSR2, but not paused/suspended")

    def _tell_one(self, order: Pause | Resume | CancelHere) -> None:
        """Any worker can do it for all: the flags are in the tables."""
        worker = self.workers.first_ready()
        if worker is None or worker.channel is None:
            log.warning("no worker is ready, ignored")
        else:
            worker.channel.send(order)

    # -- shutdown

    def _drain(self, mode: DrainMode) -> None:
        """Take no new clients by TCP, let the workers finish, end when the last has."""
        self.draining = mode
        self.workers.replace = False
        self._notifier.stopping()
        if not self.serving:
            self.exit_code = 0  # nobody was let in yet
            return
        self._acceptor.stop(tcp_only=True)
        self.workers.broadcast(Drain(mode))
        self._monitor.drain(mode)
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self.draining is not None and not self.workers.alive():
            log.info("all workers have finished")
            self.exit_code = 0

    def _on_shutdown_request(self, mode: ShutdownMode) -> None:
        if mode == "immediate":
            log.info("SHUTDOWN command issued")
            self.exit_code = 0
        elif not self._is_ending:
            log.info("SHUTDOWN %s command issued", mode.upper())
            self._drain(mode)

    # -- workers

    def _on_message(self, worker: Worker, message: Message) -> None:
        match message:
            case Ready():
                self.workers.became_ready(worker)
                self._worker_ready(worker)
            case BootFailed(number, text):
                log.error("worker %d cannot start: %s", number, text)
                self._boot_failure = f"worker {number} cannot start: {text}"
            case ReloadRequest(token):
                log.info("RELOAD command issued")
                self._reload(asked_by(worker, token))
            case SetRequest(token, key, value):
                self._reloader.set(key, value, asked_by(worker, token))
            case ReloadDone(number, generation, error):
                self._reloader.done(number, generation, error)
            case InboxFull(number):
                self.workers.kill_stuck(number)
            case ShutdownRequest(mode):
                self._on_shutdown_request(mode)
            case Suspended(on):
                held = (
                    self._tables.pause_mode() == "SUSPEND"
                )  # another worker's word may have come in between
                self._suspender = worker if on and held else self._suspender if held else None
                self._accept(not held)
            case CancelElsewhere(pid, key):
                if self._handoff is not None:
                    self._handoff.forward_cancel(pid, key)
            case _:
                log.warning("worker %d sent %r, ignored", worker.number, message)

    def _worker_ready(self, worker: Worker) -> None:
        if self.serving:
            log.info("worker %d (pid %d) is ready", worker.number, worker.pid)
            self._acceptor.resume()
            return
        if not all(w.ready for w in self.workers.all):
            return
        settings = self.config.settings
        if self._handoff is None:
            self._serve()
        else:
            self._handoff.workers_ready(settings, settings.pidfile)

    # -- two instances

    @property
    def _is_ending(self) -> bool:
        return self.draining is not None or (self._handoff is not None and self._handoff.retiring)

    def _hooks(self) -> Hooks:
        return Hooks(
            refusal=self._refusal,
            listeners=lambda: [*self._acceptor.listeners, *self._monitor.listeners],
            accept=self._accept,
            pids=self._pids,
            serve=self._serve,
            failed=self._give_up,
            replaced=self._replaced,
            goes_on=self._goes_on,
            end=self._finish,
            open_handoff_pool=self._open_handoff_pool,
            cancel=self._cancel,
            login_key=self._shared.login_key,
        )

    def _serve(self) -> None:
        """Everything works, and nobody else serves."""
        self.serving = True
        self._acceptor.own_files(self.config.settings)
        self._acceptor.start()
        if self._handoff is not None:
            self._handoff.listen(self.config.settings)
        self._monitor.start(self.config)
        self._duties.ready()
        self._notifier.ready(main_pid=self._handoff is not None and self._handoff.has_replaced)

    def _refusal(self) -> str:
        if not self.serving or self._is_ending:
            return "it is not serving"
        return "it is paused or suspended" if self._tables.pause_mode() else ""

    def _accept(self, wanted: bool) -> None:
        if wanted:
            self._acceptor.start()
        else:
            self._acceptor.wait()

    def _pids(self) -> list[int]:
        return [os.getpid(), *(worker.pid for worker in self.workers.alive())]

    def _give_up(self, reason: str) -> None:
        self._boot_failure = reason
        self.workers.replace = False
        self.exit_code = 1

    def _replaced(self, pidfile: str) -> None:
        self._acceptor.hand_over()
        self._monitor.stop()
        self._duties.replaced(pidfile)

    def _goes_on(self) -> None:
        """The instance that was to replace this one has not, however far it had come."""
        self._acceptor.own_files(self.config.settings)
        self._duties.goes_on()

    def _finish(self) -> None:
        self.exit_code = 0

    def _open_handoff_pool(self, database: str, user: str, instance: str, kind: int) -> None:
        shared = self._shared
        if shared.open_handoff_pool is not None:
            shared.open_handoff_pool(shared.tables, self.config, database, user, instance, kind)

    def _cancel(self, pid: int, key: bytes) -> None:
        self._tell_one(CancelHere(pid, key))

    # -- deaths

    def _on_death(self, worker: Worker, how: str) -> None:
        self._reloader.worker_died(worker.number)
        if worker is self._suspender:  # and with it the console session that would have ended it
            self._suspender = None
            if self._quotas is not None:
                self._quotas.end_suspend()
            self._accept(True)
        if self.draining is not None:
            log.info("%s", how)
            self._end_if_done()
        elif self.serving:
            log.error("%s, starting another", how)
            self._duties.replacing()
        else:
            self._boot_failure = self._boot_failure or f"{how} before it was ready (see the log)"
            self.workers.replace = False
            self.exit_code = 1

    def _let_go(self) -> None:
        """In a child: close and reset what is only the master's."""
        self._let_go_of_clients()
        self._monitor.close_in_child()

    def _let_go_of_clients(self) -> None:
        """In any child: all of that but the monitor's."""
        self._signals.become_worker()
        self._loop.close()
        self._acceptor.close_in_child()
        if self._handoff is not None:
            self._handoff.close_in_child()

    # -- configuration

    def _reload(self, asked: Asked) -> None:
        self._notifier.reloading()
        self._reloader.reload(asked)

    def _adopted(self, config: Config) -> None:
        self._duties.log_changed(config)
        self._monitor.reload(config, self.workers.generation)
        for listener in (*self._acceptor.listeners, *self._monitor.listeners):
            sockets.tune(listener, config.settings)

    def _settled(self) -> None:
        if self.serving and not self._is_ending:
            failure = self._reloader.failure
            self._notifier.ready(f"reload failed: {failure}" if failure else "reloaded")
