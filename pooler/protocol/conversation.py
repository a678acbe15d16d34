"""What a conversation may ask of whoever drives it.

A login or a query of our own is a generator that reads top to bottom like the protocol's documentation. It
yields one of the requests below and is sent the answer. The driver owns the socket, the clock and the
threads; a test is a driver too, with a list of bytes. A conversation ends by returning its result or by
raising `ServerFault`. If the peer goes away, the driver closes the generator.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar


@dataclass(frozen=True)
class NeedMessage:
    """Answer: `(kind, body)` of one typed message.

    The driver reads the header, asks `messages.body_length` and then reads exactly the body.
    """

    max_bytes: int  # of the body


@dataclass(frozen=True)
class NeedByte:
    """Answer: exactly one byte, the server's reply to an SSLRequest."""


@dataclass(frozen=True)
class Pending:
    """Answer: `bool`, whether the peer has already sent more than was read so far.

    Look into the read buffer and, without waiting, at the socket (MSG_PEEK). Asked where the peer must be
    silent because the channel is about to change.
    """


@dataclass(frozen=True)
class Send:
    """Answer: None, when the bytes are on their way."""

    data: bytes


@dataclass(frozen=True)
class StartTLS:
    """Answer: the `tls.TlsInfo`, when the handshake is done; everything after it goes through TLS."""


@dataclass(frozen=True)
class Offload:
    """Answer: `function(*arguments)`, computed where milliseconds of work delay no other client."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


Request = NeedMessage | NeedByte | Pending | Send | StartTLS | Offload

Result = TypeVar("Result")

#: A generator that yields requests, is sent their answers, and returns a result.
Conversation = Generator[Request, Any, Result]
