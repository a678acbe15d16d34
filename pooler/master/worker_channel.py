"""The master's end of a worker's control channel: whole messages in and out, without waiting."""

from __future__ import annotations

import socket
from collections.abc import Callable

from pooler.ipc.channel import ChannelError, Decoder, encode
from pooler.ipc.messages import Message
from pooler.master.loop import READ, WRITE, Loop

#: A worker that leaves this much unread is stuck: two configurations of the largest size.
MAX_UNSENT_BYTES = 128 * 1024 * 1024

READ_BYTES = 64 * 1024


class WorkerChannel:
    """Sends and receives messages; `on_message` gets each, `on_end` the reason, once, at the end."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        on_message: Callable[[Message], None],
        on_end: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._on_message = on_message
        self._on_end = on_end
        self._decoder = Decoder()
        self._unsent = bytearray()
        self.open = True
        sock.setblocking(False)
        loop.watch(sock.fileno(), self._ready)

    def send(self, message: Message) -> None:
        """Send, now or as soon as the worker reads. After the end of the channel: nothing."""
        if not self.open:
            return
        self._unsent += encode(message)
        if len(self._unsent) > MAX_UNSENT_BYTES:
            self._end("it does not read its control channel")
            return
        self._flush()

    def drain(self) -> None:
        """Read what is there, up to the end: the last words of a worker that just exited."""
        while self.open and self._read():
            pass

    def close(self) -> None:
        """Close without calling `on_end`. Also right in a child: the parent's loop is not touched."""
        if self.open:
            self.open = False
            self._loop.unwatch(self._sock.fileno())
        self._sock.close()

    def close_in_child(self) -> None:
        """Close the descriptor only; epoll belongs to the parent."""
        self.open = False
        self._sock.close()

    def _ready(self) -> None:
        self._read()
        if self.open and self._unsent:
            self._flush()

    def _read(self) -> bool:
        """Read once; False if there was nothing."""
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return False
        except OSError as e:
            self._end(e.strerror or str(e))
            return False
        if not data:
            self._end("it closed its control channel")
            return False
        try:
            messages = self._decoder.feed(data)
        except ChannelError as e:
            self._end(f"its control channel is out of step: {e}")
            return False
        for message in messages:
            self._on_message(message)
        return True

    def _flush(self) -> None:
        try:
            while self._unsent:
                sent = self._sock.send(self._unsent)
                del self._unsent[:sent]
        except BlockingIOError:
            pass  # the rest goes when the socket is writable
        except OSError:
            # It has closed its end. What it said before that is still to be read; the end is noticed there.
            self._unsent.clear()
        self._loop.watch(self._sock.fileno(), self._ready, READ | WRITE if self._unsent else READ)

    def _end(self, reason: str) -> None:
        if self.open:
            self.open = False
            self._loop.unwatch(self._sock.fileno())
            self._on_end(reason)
