"""The other master, while one replaces the other: its messages in and ours out, without waiting."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from pooler.ipc import handoff
from pooler.master.loop import READ, WRITE, Loop

OnMessage = Callable[[str, dict[str, Any]], None]

#: A peer that leaves so many messages unread is stuck.
MAX_UNSENT = 100_000


class HandoffLink:
    """One end of the connection; `on_message` gets each message, `on_end` the reason, once, at the end."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        on_message: OnMessage,
        on_end: Callable[[str], None],
        on_descriptor: Callable[[str, int], None] | None = None,
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._on_message = on_message
        self._on_end = on_end
        self._on_descriptor = on_descriptor  # gets it to keep, before `on_message` gets its word
        self._unsent: deque[tuple[bytes, int]] = deque()
        self.open = True
        sock.setblocking(False)
        loop.watch(sock.fileno(), self._ready)

    def say(self, word: str, fd: int = -1, **values: Any) -> None:
        """Send, now or as soon as the peer reads; a descriptor is duplicated for the way."""
        if not self.open:
            return
        self._unsent.append((handoff.pack(word, values), os.dup(fd) if fd >= 0 else -1))
        if len(self._unsent) > MAX_UNSENT:
            self._end("it does not read")
        else:
            self._flush()

    def close(self) -> None:
        """Close without calling `on_end`."""
        if self.open:
            self.open = False
            self._loop.unwatch(self._sock.fileno())
        self._sock.close()
        while self._unsent:
            self._let_go(self._unsent.popleft()[1])

    def close_in_child(self) -> None:
        """Close the descriptor only; epoll belongs to the parent."""
        self.open = False
        self._sock.close()

    @staticmethod
    def _let_go(fd: int) -> None:
        if fd >= 0:
            os.close(fd)

    def _ready(self) -> None:
        while self.open:
            try:
                got = handoff.receive(self._sock)
            except handoff.HandoffError as e:
                self._end(str(e))
                return
            except OSError as e:
                self._end(e.strerror or str(e))
                return
            if got is None:
                break
            word, values, fd = got
            if fd >= 0 and self._on_descriptor is not None:
                self._on_descriptor(word, fd)
            else:
                self._let_go(fd)
            if not word:
                self._end("it has closed the connection")
                return
            self._on_message(word, values)
        if self.open:
            self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent and handoff.send(self._sock, *self._unsent[0]):
                self._let_go(self._unsent.popleft()[1])
        except OSError:
            # What it said before it closed is still to be read; its end is noticed there.
            while self._unsent:
                self._let_go(self._unsent.popleft()[1])
        self._loop.watch(self._sock.fileno(), self._ready, READ | WRITE if self._unsent else READ)

    def _end(self, reason: str) -> None:
        if self.open:
            self.close()
            self._on_end(reason)
