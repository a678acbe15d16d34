"""Drives logins at servers, and queries there, on plain bytes, as a worker does on sockets."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pooler.errors import ClientFault, ServerFault
from pooler.protocol import messages
from pooler.protocol.conversation import (
    Conversation,
    NeedByte,
    NeedMessage,
    Offload,
    Pending,
    Request,
    Send,
    StartTLS,
)
from pooler.protocol.tls import TlsInfo

T = TypeVar("T")


#: What a driver of ours says of its TLS: nothing that one could bind to.
INFO = TlsInfo()


class Driver(Generic[T]):
    """One conversation, its peer's bytes that have arrived, and what it has sent."""

    def __init__(
        self,
        conversation: Conversation[T],
        fault: type[ClientFault] | type[ServerFault] = ServerFault,
    ) -> None:
        self.sent = bytearray()
        self.arrived = bytearray()
        self.tls = False
        self.tls_info = INFO  # what a handshake finds out
        self.offloaded: list[str] = []
        self.result: T | None = None
        self.done = False
        self._fault = fault
        self._conversation = conversation
        self._request: Request | None = None
        self._advance(None)

    def feed(self, data: bytes) -> Driver[T]:
        """Let bytes of the peer arrive, and go on as far as they allow."""
        self.arrived += data
        while not self.done and self._step():
            pass
        return self

    def feed_bytewise(self, data: bytes) -> Driver[T]:
        """The same with one byte at a time."""
        for byte in data:
            self.feed(bytes([byte]))
        return self

    def take_sent(self) -> bytes:
        """What was sent since the last call."""
        data = bytes(self.sent)
        self.sent.clear()
        return data

    def finished(self) -> T:
        """The result, which must be there."""
        assert self.done, f"still waiting for {self._request}"
        assert self.result is not None
        return self.result

    def close(self) -> None:
        """The peer went away."""
        self._conversation.close()

    def _step(self) -> bool:
        """Answer one request if that is possible."""
        request = self._request
        match request:
            case NeedMessage(max_bytes):
                if len(self.arrived) < 5:
                    return False
                size = messages.body_length(bytes(self.arrived[:5]), max_bytes, self._fault)
                if len(self.arrived) < 5 + size:
                    return False
                raw = self._take(5 + size)
                self._advance((raw[:1], raw[5:]))
            case NeedByte():
                return self._advance_with(1)
            case _:
                self._advance(self._answer(request))
        return True

    def _answer(self, request: Request | None) -> Any:
        """The answer to a request that needs no waiting."""
        match request:
            case Send(data):
                self.sent += data
            case Pending():
                return bool(self.arrived)
            case StartTLS():
                self.tls = True
                return self.tls_info
            case Offload(function, arguments):
                self.offloaded.append(function.__name__)
                return function(*arguments)
            case _:
                raise AssertionError(f"unknown request {request}")
        return None

    def _advance_with(self, size: int) -> bool:
        if len(self.arrived) < size:
            return False
        self._advance(self._take(size))
        return True

    def _take(self, size: int) -> bytes:
        data = bytes(self.arrived[:size])
        del self.arrived[:size]
        return data

    def _advance(self, answer: Any) -> None:
        try:
            self._request = self._conversation.send(answer)
        except StopIteration as stop:
            self.done = True
            self.result = stop.value


def split_messages(data: bytes) -> list[tuple[bytes, bytes]]:
    """Typed messages in a stream that must hold whole ones only."""
    found = []
    while data:
        size = messages.body_length(data[:5], 1 << 20, ServerFault)
        assert len(data) >= 5 + size
        found.append((data[:1], data[5 : 5 + size]))
        data = data[5 + size :]
    return found
