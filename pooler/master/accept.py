"""Accepting clients and giving each to the worker that has the fewest.

A socket that was accepted is never lost: if the best worker's inbox is full the next best gets it, and if
all are full it is kept, and accepting stops, until one has space. Meanwhile clients wait in the kernel's
backlog.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from functools import partial

from pooler import log
from pooler.config import Settings
from pooler.ipc import inbox
from pooler.master import sockets
from pooler.master.interfaces import SharedTables
from pooler.master.loop import Loop
from pooler.master.sockets import Listener

#: Connections accepted in one turn of the loop, so that a storm delays signals and dead workers by
#: milliseconds only.
BATCH = 64

#: How long to leave the backlog alone when descriptors or memory ran out.
NO_RESOURCES_PAUSE_S = 0.1

#: How soon to try again when no worker can take a client.
FULL_PAUSE_S = 0.01

NO_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """Owns the listeners and moves clients from them to the workers' inboxes.

    `eligible()` gives the numbers of the workers that may get clients now.
    """

    def __init__(
        self,
        loop: Loop,
        listeners: list[Listener],
        outboxes: Sequence[socket.socket],
        tables: SharedTables,
        eligible: Callable[[], Sequence[int]],
    ) -> None:
        self.listeners = listeners
        self._loop = loop
        self._outboxes = outboxes
        self._tables = tables
        self._eligible = eligible
        self._started = False
        self._paused = False
        self._kept: tuple[int, bool] | None = None  # a client that nobody could take: (descriptor, is_unix)
        self._turn = 0  # among equals, the one after the last
        self._spare_fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def start(self) -> None:
        """Accept from now on."""
        self._started = True
        self._watch()

    def wait(self) -> None:
        """Leave new clients in the backlog until `start`."""
        self._started = False
        for listener in self.listeners:
            self._loop.unwatch(listener.sock.fileno())

    def own_files(self, settings: Settings) -> None:
        """This instance serves: the files of its unix sockets are its own, and there if they were gone."""
        for listener in list(self.listeners):
            listener.owned = True
            found = sockets.restored(listener, settings)
            if found is not None:
                self.listeners.append(found)
                if self._started and not self._paused:
                    self._loop.watch(found.sock.fileno(), partial(self._accept_batch, found))

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
            self._loop.unwatch(listener.sock.fileno())
            listener.close()
            self.listeners.remove(listener)

    def close(self) -> None:
        """Give back every descriptor, at the end."""
        self.stop()
        if self._kept is not None:
            os.close(self._kept[0])
            self._kept = None
        self._close_spare()

    def close_in_child(self) -> None:
        """Let go of what only the master needs, without touching the files or the parent's loop."""
        for listener in self.listeners:
            listener.sock.close()
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
        self._watch()

    def _watch(self) -> None:
        if self._started and not self._paused:
            for listener in self.listeners:
                self._loop.watch(listener.sock.fileno(), partial(self._accept_batch, listener))

    def _pause(self, delay_s: float) -> None:
        if self._paused:
            return
        self._paused = True
        for listener in self.listeners:
            self._loop.unwatch(listener.sock.fileno())
        self._loop.after(delay_s, self.resume)

    def _accept_batch(self, listener: Listener) -> None:
        for _ in range(BATCH):
            if self._paused or not self._accept(listener):
                return

    def _accept(self, listener: Listener) -> bool:
        """Accept one client; False when there is none, or no more can be taken now."""
        try:
            sock, _ = listener.sock.accept()
        except BlockingIOError:
            return False
        except OSError as e:
            if e.errno in NO_RESOURCES:
                self._refuse_one(listener, e)
                return False
            return True  # this connection broke before it was accepted; the next may be fine
        sock.setblocking(False)
        return self._deliver(sock.detach(), listener.is_unix)

    def _refuse_one(self, listener: Listener, cause: OSError) -> None:
        """Out of descriptors: end one connection, so that its client knows, and let the others wait."""
        log.warning("cannot accept on %s: %s; pausing for a moment", listener.name, cause.strerror)
        if self._spare_fd >= 0:
            self._close_spare()
            try:
                listener.sock.accept()[0].close()
            except OSError:
                log.debug("no connection could be refused on %s", listener.name)
            self._open_spare()
        self._pause(NO_RESOURCES_PAUSE_S)

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
        for number in self._by_load():
            if inbox.send_client(self._outboxes[number], fd, is_unix):
                self._tables.client_sent(number)
                self._turn = number + 1
                os.close(fd)
                return True
        self._kept = (fd, is_unix)
        self._pause(FULL_PAUSE_S)
        return False

    def _by_load(self) -> list[int]:
        """Workers, best first."""
        count = len(self._outboxes)
        return sorted(
            self._eligible(), key=lambda number: (self._tables.load(number), (number - self._turn) % count)
        )
