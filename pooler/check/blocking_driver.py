"""A conversation of `pooler.protocol` on a plain socket that may wait: for a program that does one thing."""

from __future__ import annotations

import select
import socket
import ssl
from types import TracebackType
from typing import Any, TypeVar

from pooler.errors import ServerFault
from pooler.protocol import messages
from pooler.protocol.conversation import Conversation, NeedByte, NeedMessage, Offload, Pending, Send, StartTLS

T = TypeVar("T")
READ_BYTES = 8192


class BlockingDriver:
    """A connection to PostgreSQL. Everything that goes wrong is a ServerFault or an OSError."""

    def __init__(
        self, sock: socket.socket, tls: ssl.SSLContext | None = None, name: str | None = None
    ) -> None:
        self._sock = sock
        self._tls = tls
        self._name = name
        self._buffer = bytearray()

    def __enter__(self) -> BlockingDriver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sock.close()

    def hold(self, conversation: Conversation[T]) -> T:
        """Drive a conversation to its end; its result."""
        answer: Any = None
        try:
            while True:
                answer = self._answer(conversation.send(answer))
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            conversation.close()

    def _answer(self, request: object) -> Any:
        match request:
            case NeedMessage():
                length = messages.body_length(self._peek(5), request.max_bytes, ServerFault)
                return self._take(5)[:1], self._take(length)
            case NeedByte():
                return self._take(1)
            case Send():
                self._sock.sendall(request.data)
            case Pending():
                poll = select.poll()
                poll.register(self._sock, select.POLLIN)
                return bool(self._buffer) or bool(poll.poll(0))
            case Offload():
                return request.function(*request.arguments)
            case StartTLS() if self._tls is not None:
                self._sock = self._tls.wrap_socket(self._sock, server_hostname=self._name)
            case _:
                raise NotImplementedError(f"nobody answers {request!r}")
        return None

    def _peek(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = self._sock.recv(READ_BYTES)
            if not data:
                raise ServerFault("server conn crashed?")
            self._buffer += data
        return bytes(self._buffer[:size])

    def _take(self, size: int) -> bytes:
        data = self._peek(size)
        del self._buffer[:size]
        return data
