"""Where a conversation of `pooler.protocol` meets a socket: the one driver, on gevent."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import gevent
from gevent import socket

from pooler.errors import ClientFault, ServerFault
from pooler.protocol import messages, startup
from pooler.protocol.conversation import (
    AskSecret,
    CheckPassword,
    Conversation,
    NeedByte,
    NeedMessage,
    NeedStartup,
    Offload,
    Pending,
    Send,
)

#: One recv of a login; longer packets take several.
READ_BYTES = 8192

T = TypeVar("T")


class Hangup(Exception):
    """The peer went away in the middle of a conversation."""


class Stream:
    """A socket with what was read from it and not yet used."""

    def __init__(self, sock: socket.socket, fault: type[ClientFault] | type[ServerFault]) -> None:
        self.sock = sock
        self.buffer = bytearray()
        self.waits_since: float | None = None  # for bytes of the other side
        self._fault = fault

    def _fill(self, n: int) -> None:
        while len(self.buffer) < n:
            self.waits_since = time.monotonic()
            try:
                data = self.sock.recv(READ_BYTES)
            except OSError as error:
                raise Hangup(str(error)) from error
            finally:
                self.waits_since = None
            if not data:
                raise Hangup("unexpected eof")
            self.buffer += data

    def take(self, n: int) -> bytes:
        """Exactly n bytes; waits for them. Raises Hangup."""
        self._fill(n)
        data = bytes(self.buffer[:n])
        del self.buffer[:n]
        return data

    def startup_packet(self) -> bytes:
        """One packet without a type byte, its length word included."""
        self._fill(4)
        return self.take(startup.check_length(bytes(self.buffer[:4])))

    def message(self, max_bytes: int) -> tuple[bytes, bytes]:
        """One typed message: (kind, body). Whole or not at all: who is interrupted can call it again."""
        self._fill(5)
        length = messages.body_length(bytes(self.buffer[:5]), max_bytes, self._fault)
        self._fill(5 + length)
        return self.take(5)[:1], self.take(length)

    def send(self, data: bytes) -> None:
        """Send all of it; waits for room. Raises Hangup."""
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Hangup(str(error)) from error

    def pending(self) -> bool:
        """Whether the peer has already sent more than was used so far."""
        if self.buffer:
            return True
        poll = select.poll()
        poll.register(self.sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))


def offload(function: Callable[..., T], *arguments: Any) -> T:
    """Compute in a thread what would hold up everybody; raises what the function raises."""

    def guarded() -> tuple[T | None, Exception | None]:
        try:
            return function(*arguments), None
        except Exception as error:  # handed over and raised below: gevent would print it in the thread
            return None, error

    result, error = gevent.get_hub().threadpool.apply(guarded)
    if error is not None:
        raise error
    return cast(T, result)


def converse(
    conversation: Conversation[T],
    stream: Stream,
    ask: Callable[[AskSecret | CheckPassword], Any] | None = None,
) -> T:
    """Drive a conversation to its end and return its result.

    Raises what the conversation raises, and Hangup when the peer goes away.
    """
    answer: Any = None
    try:
        while True:
            request = conversation.send(answer)
            match request:
                case NeedMessage():
                    answer = stream.message(request.max_bytes)
                case Send():
                    stream.send(request.data)
                    answer = None
                case NeedStartup():
                    answer = stream.startup_packet()
                case NeedByte():
                    answer = stream.take(1)
                case Pending():
                    answer = stream.pending()
                case Offload():
                    answer = offload(request.function, *request.arguments)
                case AskSecret() | CheckPassword() if ask is not None:
                    answer = ask(request)
                case _:
                    raise NotImplementedError(f"nobody answers {request!r}")
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        conversation.close()
