"""Accepting clients and giving each to the worker that has the fewest.

A socket that was accepted is never lost: if the best worker's inbox is full the next best gets it, and if
all are full it is kept, and accepting stops, until one has space. Meanwhile clients wait in the kernel's
backlog. Accepting is a thread's of the core (core/tables/acceptor.h), which Python never sees as long as all
goes well; what follows when it has stopped by itself is decided here.
"""

from __future__ import annotations

import os

from pooler import log
from pooler.config import Settings
from pooler.core import AcceptEnd, AcceptThread
from pooler.core.events import Accepting
from pooler.master import sockets
from pooler.master.loop import Loop
from pooler.master.sockets import Listener

#: Connections accepted at a time: what the master waits for at most when it forks or stops accepting.
BATCH = 64

#: How long to leave the backlog alone when descriptors or memory ran out.
NO_RESOURCES_PAUSE_S = 0.1

#: How soon to try again when no worker can take a client.
FULL_PAUSE_S = 0.01


class Acceptor:
    """Owns the listeners, whose clients the thread moves to the workers' inboxes, and ends the thread."""

    def __init__(self, loop: Loop, listeners: list[Listener], thread: AcceptThread) -> None:
        self.listeners = listeners
        self._loop = loop
        self._thread = thread
        self._started = False
        self._paused = False
        self._kept: tuple[int, bool] | None = None  # a client that nobody could take: (descriptor, is_unix)
        self._spare_fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        for listener in listeners:
            thread.watch(listener.sock.fileno(), listener.is_unix)
        loop.watch(thread.fileno(), self._stopped)

    def start(self) -> None:
        """Accept from now on."""
        self._started = True
        self._go()

    def wait(self) -> None:
        """Leave new clients in the backlog until `start`."""
        self._started = False
        self._thread.halt()

    def own_files(self, settings: Settings) -> None:
        """This instance serves: the files of its unix sockets are its own, and there if they were gone."""
        for listener in list(self.listeners):
            listener.owned = True
            found = sockets.restored(listener, settings)
            if found is not None:
                self.listeners.append(found)
                self._thread.watch(found.sock.fileno(), found.is_unix)

    def leave_files(self) -> None:
        """Somebody else is about to serve with these sockets."""
        for listener in self.listeners:
            listener.owned = False

    def hand_over(self) -> None:
        """Close the listeners; their files belong to somebody else now."""
        for listener in self.listeners:
            listener.path = ""
        self.stop()

    def stop(self, tcp_only: bool = False) -> None:
        """Close the listeners; `tcp_only`: the unix socket still leads to the console."""
        for listener in [x for x in self.listeners if not (tcp_only and x.is_unix)]:
            self._thread.forget(listener.sock.fileno())
            listener.close()
            self.listeners.remove(listener)

    def close(self) -> None:
        """Give back every descriptor, at the end."""
        self.stop()
        self._loop.unwatch(self._thread.fileno())
        self._thread.close()
        if self._kept is not None:
            os.close(self._kept[0])
            self._kept = None
        self._close_spare()

    def close_in_child(self) -> None:
        """Let go of what only the master needs, without touching the files or the parent's loop."""
        for listener in self.listeners:
            listener.sock.close()
        self._thread.close_in_child()
        if self._kept is not None:
            os.close(self._kept[0])
        self._close_spare()

    def resume(self) -> None:
        """Try again what could not be done: a worker has started, or a pause is over."""
        if not self._paused:
            return
        self._paused = False
        if self._kept is not None:
            kept, self._kept = self._kept, None
            if not self._deliver(*kept):
                return
        if self._spare_fd < 0:
            self._open_spare()
        self._go()

    def _go(self) -> None:
        if self._started and not self._paused:
            self._thread.go()

    def _pause(self, delay_s: float) -> None:
        self._paused = True
        self._loop.after(delay_s, self.resume)

    def _stopped(self) -> None:
        """The thread has, by itself."""
        ended = self._thread.take()
        if ended is None:
            return
        if ended.end is AcceptEnd.KEPT:
            self._keep(ended)
            return
        for listener in self.listeners:
            if listener.sock.fileno() == ended.listener:
                self._refuse_one(listener, ended.error)
        self._pause(NO_RESOURCES_PAUSE_S)

    def _refuse_one(self, listener: Listener, error: int) -> None:
        """Out of descriptors: end one connection, so that its client knows, and let the others wait."""
        log.warning("cannot accept on %s: %s; pausing for a moment", listener.name, os.strerror(error))
        if self._started and self._spare_fd >= 0:
            self._close_spare()
            try:
                listener.sock.accept()[0].close()
            except OSError:
                log.debug("no connection could be refused on %s", listener.name)
            self._open_spare()

    def _open_spare(self) -> None:
        try:
            self._spare_fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._spare_fd = -1  # somebody else took it; `resume` tries again

    def _close_spare(self) -> None:
        if self._spare_fd >= 0:
            os.close(self._spare_fd)
            self._spare_fd = -1

    def _deliver(self, fd: int, is_unix: bool) -> bool:
        """Send one client on its way, or keep it and pause."""
        ended = self._thread.give(fd, is_unix)
        if ended.end is AcceptEnd.KEPT:
            self._keep(ended)
            return False
        return True

    def _keep(self, ended: Accepting) -> None:
        """Nobody could take a client: it is the first when the pause is over."""
        self._kept = (ended.fd, ended.is_unix)
        self._pause(FULL_PAUSE_S)
        if ended.error:
            raise OSError(ended.error, os.strerror(ended.error))
