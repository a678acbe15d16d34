"""The workers: forked, watched, cleaned up after and replaced.

A worker is a number with a process behind it. Its life:

    forked -> starting -> (Ready) ready -> dead -> its rows reclaimed -> forked again with the same number

Rows come before the replacement, because both use the number. Reclaiming needs the tables' lock, which a
*stopped* process may hold; then it is tried again until that one went on or was killed for its silence.

A replacement is forked at once, unless its predecessor did not even start, or too many died lately.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from pooler import log
from pooler.config import Config
from pooler.ipc import inbox
from pooler.ipc.boot import WorkerBoot
from pooler.ipc.messages import Message, Reclaim
from pooler.master import signals
from pooler.master.accept import BATCH
from pooler.master.child import RunWorker, run_child
from pooler.master.interfaces import Interfaces
from pooler.master.loop import Loop
from pooler.master.server_fds import ServerFds
from pooler.master.worker import LAST_PAUSE_S, Worker, how_it_ended
from pooler.master.worker_channel import WorkerChannel

#: How soon to ask again for the tables when a stopped process holds their lock.
BUSY_PAUSE_S = 0.05

#: A worker whose control channel ended has this long to exit by itself.
EXIT_GRACE_S = 1.0

#: A worker whose inbox is full and that was silent for so long is stuck: others wait for it to read.
STUCK_S = 1.0


@dataclass
class Events:
    """What the master wants to be told."""

    message: Callable[[Worker, Message], None]
    died: Callable[[Worker, str], None]  # before its rows are reclaimed; the text says how
    let_go: Callable[[], None]  # in a child: drop what only the master needs
    other_died: Callable[[int, int], object] = lambda pid, code: (
        None
    )  # a child that is no worker: pid, exit code


class Workers:
    """All workers, their inboxes and the thread that puts clients there, and the master's own inbox."""

    def __init__(
        self, count: int, loop: Loop, shared: Interfaces, run_worker: RunWorker, events: Events
    ) -> None:
        self.all = [Worker(number) for number in range(count)]
        self.config: Config | None = None  # what the next fork gets
        self.generation = 0
        self.replace = True  # fork again when one dies; off from shutdown on
        self.server_fds = ServerFds()
        self.plain_ends = ServerFds()  # of encrypted server connections
        self._loop = loop
        self._shared = shared
        self._run_worker = run_worker
        self._events = events
        self._inboxes, self.outboxes = map(list, zip(*(inbox.open_pair() for _ in self.all), strict=True))
        self._own_inbox, self._own_outbox = inbox.open_pair()
        self.accept_thread = shared.tables.acceptor([box.fileno() for box in self.outboxes], BATCH)
        self._reclaim_due = False
        loop.watch(self._own_inbox.fileno(), self.read_inbox)

    # -- looking

    def alive(self) -> list[Worker]:
        """Workers with a process, whether ready or not."""
        return [w for w in self.all if w.pid]

    def eligible(self) -> list[int]:
        """Numbers that may get clients.

        One that is starting counts: its inbox keeps them for the tenth of a second until it is ready, and
        load stays even after a crash. One whose last start failed does not.
        """
        return [w.number for w in self.all if w.pid and (w.ready or not w.failures)]

    def _tell_eligible(self) -> None:
        """After every change of what `eligible` goes by."""
        self.accept_thread.set_eligible(self.eligible())

    # -- forking

    def start(self, config: Config) -> None:
        """Fork all of them."""
        self.config = config
        # What exists now is never looked at again by the collector, so its pages stay shared with the
        # children.
        gc.collect()
        gc.freeze()
        for worker in self.all:
            self._fork(worker)

    def _fork(self, worker: Worker) -> None:
        self.read_inbox()  # a server announced before now must be among the duplicates the child inherits
        with contextlib.ExitStack() as undo:
            try:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
                undo.enter_context(theirs)
                undo.enter_context(ours)
                pid = self._fork_process(worker, ours, theirs)
            except OSError as e:
                log.error("cannot fork worker %d: %s", worker.number, e.strerror)
                self._loop.after(LAST_PAUSE_S, lambda: self._revive(worker))
                return
            undo.pop_all()
        theirs.close()
        worker.pid, worker.ready, worker.started_s = pid, False, time.monotonic()
        self._tell_eligible()
        worker.channel = WorkerChannel(
            self._loop,
            ours,
            lambda message: self._events.message(worker, message),
            lambda reason: self._channel_ended(worker, pid, reason),
        )
        self._shared.tables.worker_starting(worker.number, pid)
        log.debug("worker %d is process %d", worker.number, pid)

    def _fork_process(self, worker: Worker, ours: socket.socket, theirs: socket.socket) -> int:
        """Fork; returns in the parent only. No client's descriptor of the thread that accepts is copied."""
        with signals.blocked(), self.accept_thread:
            pid = os.fork()
            if pid == 0:
                ours.close()
                self._become_child(worker, theirs)
        return pid

    def _become_child(self, worker: Worker, control: socket.socket) -> None:
        boot = WorkerBoot(
            number=worker.number,
            tables=self._shared.tables,
            config=self.config,
            inbox=self._inboxes[worker.number],
            outboxes=self.outboxes,
            master_outbox=self._own_outbox,
            control=control,
            server_fds=self.server_fds.fds,
            plain_fds=self.plain_ends.fds,
            generation=self.generation,
            login_key=self._shared.login_key,
        )

        def let_go() -> None:
            self._events.let_go()
            self._let_go_of_others(worker)

        run_child(boot, let_go, self._run_worker)

    def _let_go_of_others(self, worker: Worker | None) -> None:
        """In a child."""
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for other in self.all:
            if other.channel is not None:
                other.channel.close_in_child()
            if other is not worker:
                self._inboxes[other.number].close()
        self._own_inbox.close()

    def fork_other(self, become: Callable[[Callable[[], None]], NoReturn]) -> int:
        """Fork a process that is no worker; returns in the parent only.

        `become` gets what it has to call first: nothing that workers share stays open there, or a connection
        to PostgreSQL would not end before that process does.
        """

        def let_go() -> None:
            self._let_go_of_others(None)
            for sock in (*self.outboxes, self._own_outbox):
                sock.close()
            self.server_fds.close()
            self.plain_ends.close()

        with signals.blocked(), self.accept_thread:
            pid = os.fork()
            if pid == 0:
                become(let_go)
        return pid

    # -- talking

    def broadcast(self, message: Message) -> list[Worker]:
        """Send to every living worker; returns those."""
        living = self.alive()
        for worker in living:
            if worker.channel is not None:
                worker.channel.send(message)
        return living

    def first_ready(self) -> Worker | None:
        """The ready worker with the lowest number."""
        return next((w for w in self.all if w.pid and w.ready), None)

    def became_ready(self, worker: Worker) -> None:
        """It has said so."""
        worker.ready, worker.failures = True, 0
        self._tell_eligible()
        self._order_reclaim()

    def read_inbox(self) -> None:
        """Take in the duplicates that workers sent."""
        while True:
            try:
                datagram = inbox.receive(self._own_inbox)
            except inbox.MalformedDatagram as e:
                log.error("bug: malformed datagram in the master's inbox: %s", e)
                continue
            if datagram is None:
                return
            kind, slot, generation, fd = datagram
            if kind == inbox.Kind.SERVER and fd >= 0:
                self.server_fds.add(slot, generation, fd)
            elif kind == inbox.Kind.PLAIN and fd >= 0:
                self.plain_ends.add(slot, generation, fd)
            elif kind == inbox.Kind.CLOSED:
                self.server_fds.drop(slot, generation)
                self.plain_ends.drop(slot, generation)
            elif fd >= 0:
                os.close(fd)
            else:
                log.error("a duplicate of server slot %d was lost: out of descriptors?", slot)

    # -- dying

    def kill(self, worker: Worker, reason: str) -> None:
        """SIGKILL; the rest follows when it is reaped."""
        if worker.pid:
            log.error("killing worker %d (pid %d): %s", worker.number, worker.pid, reason)
            os.kill(worker.pid, signal.SIGKILL)

    def kill_silent(self, timeout_s: float) -> None:
        """Kill workers that gave no sign of life for `timeout_s`."""
        now = time.monotonic()
        for worker in self.alive():
            silent_s = self._silent_s(worker, now)
            if silent_s > timeout_s:
                self.kill(worker, f"silent for {silent_s:.0f} s (worker_timeout)")

    def kill_stuck(self, number: int) -> None:
        """Somebody says that this worker's inbox is full. It is killed if it is silent, too.

        Whoever opens a server gives a duplicate to every worker before anybody uses it, so one that does not
        read would stop them all. A busy one is waited for; a replacement inherits all duplicates from us.
        """
        worker = self.all[number]
        silent_s = self._silent_s(worker, time.monotonic())
        if worker.ready and silent_s > STUCK_S:
            self.kill(worker, f"silent for {silent_s:.1f} s with its inbox full")

    def are_alive(self, period_s: float, worker_timeout_s: float) -> bool:
        """Whether a service manager need not do anything: a silent worker is replaced by us, unless
        `worker_timeout` is 0; it is beyond us when none of them has lived for `period_s`.
        """
        now = time.monotonic()
        fresh = [self._silent_s(worker, now) <= period_s for worker in self.alive()]
        return any(fresh) if worker_timeout_s else all(fresh)

    def _silent_s(self, worker: Worker, now: float) -> float:
        """Since its last sign of life; a fresh worker is not blamed for the silence of its predecessor."""
        return min(self._shared.tables.heartbeat_age(worker.number), now - worker.started_s)

    def reap(self) -> None:
        """Collect every child that exited. As process 1 there may be children that are not ours."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            worker = next((w for w in self.all if w.pid == pid), None)
            if worker is not None:
                self._died(worker, code)
            else:
                self._events.other_died(pid, code)

    def _channel_ended(self, worker: Worker, pid: int, reason: str) -> None:
        def give_up() -> None:
            if worker.pid == pid:
                self.kill(worker, reason)

        self._loop.after(EXIT_GRACE_S, give_up)

    def _died(self, worker: Worker, code: int) -> None:
        if worker.channel is not None:
            worker.channel.drain()
            worker.channel.close()
            worker.channel = None
        text = f"worker {worker.number} (pid {worker.pid}) {how_it_ended(code)}"
        worker.died()
        self._tell_eligible()
        self._events.died(worker, text)
        self._release_rows(worker)

    def _release_rows(self, worker: Worker) -> None:
        """Free the dead worker's rows, then fork its replacement."""
        try:
            left = self._shared.tables.worker_died(worker.number)
        except self._shared.busy:
            self._loop.after(BUSY_PAUSE_S, lambda: self._release_rows(worker))
            return
        if left["clients"] or left["reclaim"]:
            log.info(
                "worker %d left %d clients and %d busy servers",
                worker.number,
                left["clients"],
                left["reclaim"],
            )
        if left["reclaim"]:
            self._reclaim_due = True
            self._order_reclaim()
        pause_s = worker.pause_s(time.monotonic())
        if pause_s:
            self._loop.after(pause_s, lambda: self._revive(worker))
        else:
            self._revive(worker)

    def _revive(self, worker: Worker) -> None:
        if self.replace and not worker.pid:
            self._fork(worker)

    def _order_reclaim(self) -> None:
        """Have a ready worker finish the servers of the dead; keep the order until there is one."""
        worker = self.first_ready()
        if self._reclaim_due and worker is not None and worker.channel is not None:
            worker.channel.send(Reclaim())
            self._reclaim_due = False

    def kill_all(self) -> None:
        """End every worker now, and wait until each is gone (a SIGKILL takes no time worth speaking of)."""
        self.replace = False
        for worker in self.alive():
            os.kill(worker.pid, signal.SIGKILL)
        for worker in self.alive():
            os.waitpid(worker.pid, 0)
            worker.pid, worker.ready = 0, False

    def close(self) -> None:
        """Give back every descriptor, at the end."""
        for worker in self.all:
            if worker.channel is not None:
                worker.channel.close()
        self._loop.unwatch(self._own_inbox.fileno())
        for sock in (*self._inboxes, *self.outboxes, self._own_inbox, self._own_outbox):
            sock.close()
        self.server_fds.close()
        self.plain_ends.close()
