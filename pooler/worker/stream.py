"""Where a conversation of `pooler.protocol` meets a socket: the one driver, on gevent."""

from __future__ import annotations

import select
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, cast
from weakref import WeakValueDictionary

import gevent
from gevent import socket
from gevent.lock import BoundedSemaphore

from pooler.core import TlsError, TlsSession
from pooler.errors import ClientFault, ServerFault
from pooler.protocol import messages
from pooler.protocol.conversation import (
    Conversation,
    NeedByte,
    NeedMessage,
    Offload,
    Pending,
    Send,
    StartTLS,
)
from pooler.protocol.tls import TlsInfo
from pooler.worker import tls

#: One recv of a login; longer packets take several.
READ_BYTES = 8192
#: Of the messages that one has brought others wait for so many: hundreds of short ones fit.
MESSAGES_PER_TURN = 32

T = TypeVar("T")


class Hangup(Exception):
    """The peer went away in the middle of a conversation."""


class HandshakeFailed(Hangup):
    """TLS could not be begun; the connection is of no use any more, not even for an error message."""


class Stream:
    """A socket, and what was read from it and not yet used. `secure` makes its session of TLS when asked;
    `turn`: held while a thread computes for it.
    """

    def __init__(
        self,
        sock: socket.socket,
        fault: type[ClientFault] | type[ServerFault],
        secure: tls.MakeSession | None = None,
        turn: AbstractContextManager[object] | None = None,
    ) -> None:
        self.sock = sock
        self.secure = secure
        self.turn = nullcontext() if turn is None else turn
        self.session: TlsSession | None = None  # in use
        self.buffer = bytearray()
        self._fault = fault
        self._messages = 0  # in this turn

    def _fill(self, n: int) -> None:
        while len(self.buffer) < n:
            data = self._receive()
            if not data:
                raise Hangup("unexpected eof")
            self.buffer += data

    def _receive(self) -> bytes:
        """What is there, waiting for it; empty: the end. Raises Hangup.

        Where there is something a read waits for nothing, and who always has something to say would have all
        turns: others have theirs before each.
        """
        gevent.sleep(0)
        try:
            while self.session is not None:
                data: bytes | None = self.session.read(READ_BYTES)
                if data is not None:
                    return data
                if self.session.paused:
                    gevent.sleep(0)
                else:
                    socket.wait_read(self.sock.fileno())
            return bytes(self.sock.recv(READ_BYTES))
        except (OSError, TlsError) as error:
            raise Hangup(str(error)) from error

    def take(self, n: int) -> bytes:
        """Exactly n bytes; waits for them. Raises Hangup."""
        self._fill(n)
        data = bytes(self.buffer[:n])
        del self.buffer[:n]
        return data

    def message(self, max_bytes: int) -> tuple[bytes, bytes]:
        """One typed message: (kind, body). Whole or not at all: who is interrupted can call it again."""
        self._messages += 1
        if self._messages > MESSAGES_PER_TURN:
            self._messages = 0
            gevent.sleep(0)
        self._fill(5)
        length = messages.body_length(bytes(self.buffer[:5]), max_bytes, self._fault)
        self._fill(5 + length)
        return self.take(5)[:1], self.take(length)

    def send(self, data: bytes) -> None:
        """Send all of it; waits until the socket takes it. Raises Hangup."""
        try:
            if self.session is None:
                self.sock.sendall(data)
                return
            done = 0
            while done < len(data):
                sent = self.session.write(data, done)
                done += sent
                if not sent:
                    socket.wait_write(self.sock.fileno())
        except (OSError, TlsError) as error:
            raise Hangup(str(error)) from error

    def start_tls(self) -> TlsInfo:
        """The handshake; everything after it goes through TLS. Raises HandshakeFailed."""
        assert self.secure is not None, "TLS without a context"
        session = self.secure()
        done, received = self._handshake(session, b""), b""
        while not done:
            try:
                received = self.sock.recv(READ_BYTES)
            except OSError as error:
                raise HandshakeFailed(str(error)) from error
            if not received:
                raise HandshakeFailed("unexpected eof")
            done = self._handshake(session, received)
        session.attach(self.sock.fileno())
        self.session = session
        return TlsInfo(session.certificate_hash())

    def _handshake(self, session: TlsSession, received: bytes) -> bool:
        """One step, computed where its milliseconds delay no other client; whether it was the last."""
        done, reply, failure = self.offload(session.handshake, received)
        try:
            if reply:
                self.sock.sendall(reply)
        except OSError as error:
            raise HandshakeFailed(str(error)) from error
        if failure is not None:
            raise HandshakeFailed(failure)
        return bool(done)

    def offload(self, function: Callable[..., T], *arguments: Any) -> T:
        """`offload`, when it is its turn."""
        with self.turn:
            return offload(function, *arguments)

    def wait_for_end(self) -> None:
        """Read and drop what comes until the other side has closed. Raises Hangup."""
        while self._receive():
            pass

    def close(self) -> None:
        """The end, without waiting for anything."""
        if self.session is not None:
            self.session.close()
            self.session = None
        self.sock.close()

    def close_sending(self) -> None:
        """We send no more: TLS's goodbye, and end of stream."""
        if self.session is not None:
            self.session.close()
        self.sock.shutdown(socket.SHUT_WR)

    def pending(self) -> bool:
        """Whether the peer has already sent more than was used so far."""
        return bool(self.buffer) or self.readable()

    def readable(self) -> bool:
        """Whether bytes have come, or the end, that were not read yet."""
        poll = select.poll()
        poll.register(self.sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))


#: By address, as long as somebody has it.
_turns: WeakValueDictionary[str, BoundedSemaphore] = WeakValueDictionary()


def turn_at(address: str) -> AbstractContextManager[object]:
    """The turns of what has to be computed for the servers at an address.

    How dear that is the server says (SCRAM's iterations), and there are few threads: one of them at a time
    for each, so that one that makes it dear has its own logins wait, and no others.
    """
    turn: AbstractContextManager[object] | None = _turns.get(address)
    if turn is None:
        turn = _turns[address] = BoundedSemaphore(1)
    return turn


def read_to_end(sock: socket.socket) -> None:
    """Read and drop what comes until the other side has closed. Raises OSError.

    Others have their turn after each read, time limits too.
    """
    while sock.recv(READ_BYTES):
        gevent.sleep(0)


def offload(function: Callable[..., T], *arguments: Any) -> T:
    """Compute in a thread what would hold up everybody; raises what the function raises."""

    def guarded() -> tuple[T | None, Exception | None]:
        tls.in_background()
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
                case NeedByte():
                    answer = stream.take(1)
                case Pending():
                    answer = stream.pending()
                case StartTLS():
                    answer = stream.start_tls()
                case Offload():
                    answer = stream.offload(request.function, *request.arguments)
                case _:
                    raise NotImplementedError(f"nobody answers {request!r}")
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        conversation.close()
