"""The process that speaks HTTP (pooler/monitor), as the master sees it: forked, watched, replaced.

No client depends on it: it may die at any moment, and another begins. It is forked when this instance serves,
and ended when another has taken over; the sockets where it listens are the master's, so that connections wait
in their backlog meanwhile. It says `Ping`, the master `Pong`: so each knows that the other lives.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from pooler import log
from pooler.config import Config
from pooler.ipc.boot import MonitorBoot
from pooler.ipc.messages import Drain, DrainMode, Message, Ping, Pong, Quit, Ready, Reload
from pooler.master.child import RunMonitor, run_child
from pooler.master.interfaces import SharedTables
from pooler.master.loop import Loop
from pooler.master.sockets import Listener
from pooler.master.worker import LAST_PAUSE_S, Child, how_it_ended
from pooler.master.worker_channel import WorkerChannel
from pooler.master.workers import EXIT_GRACE_S, Workers


@dataclass
class MonitorSeed:
    """Where it is to listen, and what it runs; no sockets: there is to be none."""

    listeners: list[Listener]
    run: RunMonitor


class Monitor:
    """Without sockets to listen on nothing here does anything."""

    def __init__(
        self,
        loop: Loop,
        workers: Workers,
        tables: SharedTables,
        seed: MonitorSeed | None,
        let_go: Callable[[], None],
        replacing: Callable[[], None],
    ) -> None:
        self.listeners = seed.listeners if seed else []
        self._seed = seed
        self._loop = loop
        self._workers = workers
        self._tables = tables
        self._let_go = let_go  # in the child: drop what only the master needs
        self._replacing = replacing
        self._child = Child()
        self._heard_s = 0.0
        self._forks = 0
        self._started_at = 0.0
        self._wanted = False
        self._config: Config | None = None  # what the next fork gets
        self._ending: DrainMode | None = None

    # -- life

    def start(self, config: Config) -> None:
        """This instance serves."""
        self._config = config
        if self.listeners:
            self._wanted = True
            self._started_at = time.time()
            self._fork()

    def reload(self, config: Config, generation: int) -> None:
        """Another configuration."""
        self._config = config
        if self._child.channel is not None:
            self._child.channel.send(Reload(generation, config.to_wire()))

    def drain(self, mode: DrainMode) -> None:
        """This instance ends with its clients: it is asked until then, and says so."""
        self._ending = mode
        if self._child.channel is not None:
            self._child.channel.send(Drain(mode))

    def stop(self) -> None:
        """Another instance listens on these sockets from now on, or none does."""
        self._wanted = False
        if self._child.channel is not None:
            self._child.channel.send(Quit())
        for listener in self.listeners:
            listener.close()
        self.listeners = []

    def kill(self) -> None:
        """The end of the master: wait until it is gone."""
        self.stop()
        if self._child.pid:
            os.kill(self._child.pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._child.pid, 0)
            self._child.pid = 0
        if self._child.channel is not None:
            self._child.channel.close()

    def close_in_child(self) -> None:
        """Close the descriptors only."""
        for listener in self.listeners:
            listener.sock.close()
        if self._child.channel is not None:
            self._child.channel.close_in_child()

    # -- forking

    def _fork(self) -> None:
        if not self._wanted or self._child.pid:
            return
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as e:
            self._later(e)
            return
        with theirs:
            try:
                pid = self._workers.fork_other(lambda let_go: self._become(ours, theirs, let_go))
            except OSError as e:
                ours.close()
                self._later(e)
                return
        self._forks += 1
        self._child.pid, self._child.ready, self._heard_s = pid, False, time.monotonic()
        self._child.channel = WorkerChannel(
            self._loop, ours, self._on_message, lambda reason: self._channel_ended(pid, reason)
        )
        if self._ending is not None:
            self._child.channel.send(Drain(self._ending))
        log.debug("the monitor is process %d", pid)

    def _later(self, error: OSError) -> None:
        log.error("cannot fork the monitor: %s", error.strerror)
        self._loop.after(LAST_PAUSE_S, self._fork)

    def _become(self, ours: socket.socket, control: socket.socket, let_go: Callable[[], None]) -> NoReturn:
        assert self._seed is not None
        boot = MonitorBoot(
            tables=self._tables,
            config=self._config,
            control=control,
            listeners=[listener.sock for listener in self.listeners],
            restarts=self._forks,
            started_at=self._started_at,
        )

        def all_of_it() -> None:
            ours.close()
            self._let_go()
            let_go()

        run_child(boot, all_of_it, self._seed.run)

    # -- watching

    def _on_message(self, message: Message) -> None:
        self._heard_s = time.monotonic()
        match message:
            case Ready():
                self._child.ready, self._child.failures = True, 0
                log.info("monitor (pid %d) is ready", self._child.pid)
            case Ping():
                if self._child.channel is not None:
                    self._child.channel.send(Pong())
            case _:
                log.warning("the monitor sent %r, ignored", message)

    def check(self, timeout_s: float) -> None:
        """Kill it when it was silent for so long."""
        silent_s = time.monotonic() - self._heard_s
        if self._child.pid and silent_s > timeout_s:
            self._kill(f"silent for {silent_s:.0f} s (worker_timeout)")

    def _kill(self, reason: str) -> None:
        log.error("killing the monitor (pid %d): %s", self._child.pid, reason)
        os.kill(self._child.pid, signal.SIGKILL)

    def _channel_ended(self, pid: int, reason: str) -> None:
        def give_up() -> None:
            if self._child.pid == pid:
                self._kill(reason)

        self._loop.after(EXIT_GRACE_S, give_up)

    def died(self, pid: int, code: int) -> None:
        """A child that is no worker has ended."""
        child = self._child
        if not pid or pid != child.pid:
            return
        if child.channel is not None:
            child.channel.drain()
            child.channel.close()
            child.channel = None
        child.died()
        if not self._wanted:
            return
        log.error("monitor (pid %d) %s, starting another", pid, how_it_ended(code))
        self._replacing()
        pause_s = child.pause_s(time.monotonic())
        if pause_s:
            self._loop.after(pause_s, self._fork)
        else:
            self._fork()
