"""What a conversation may ask of whoever drives it.

A login or a query of our own is a generator that reads top to bottom like the protocol's documentation. It
yields one of the requests below and is sent the answer. The driver owns the socket, the clock and the
threads; a test is a driver too, with a list of bytes. A conversation ends by returning its result or by
raising `ClientFault` or `ServerFault`. If the peer goes away, the driver closes the generator.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pooler.auth.method import Method


@dataclass(frozen=True)
class NeedStartup:
    """Answer: `bytes` of one packet without a type byte, from its length word on.

    The driver reads the length word, asks `startup.check_length` and then reads exactly the rest.
    """


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
class NeedTurn:
    """Answer: None, when this login may go on: what comes next makes its client compute for milliseconds."""


@dataclass(frozen=True)
class StartTLS:
    """Answer: the `tls.TlsInfo`, when the handshake is done; everything after it goes through TLS."""


@dataclass(frozen=True)
class Offload:
    """Answer: `function(*arguments)`, computed where milliseconds of work delay no other client."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class CheckPassword:
    """Answer: `bool`, whether who keeps the passwords of this method (a directory, PAM) finds this one right.

    May take seconds. Whoever answers logs why not.
    """

    method: Method
    user: str
    password: bytes = field(repr=False)


@dataclass(frozen=True)
class AskSecret:
    """Answer: the `auth.passwords.Secret` stored for this user, or None if there is no such user."""

    user: str
    database: str


Request = (
    NeedStartup
    | NeedMessage
    | NeedByte
    | NeedTurn
    | Pending
    | Send
    | StartTLS
    | Offload
    | CheckPassword
    | AskSecret
)

Result = TypeVar("Result")

#: A generator that yields requests, is sent their answers, and returns a result.
Conversation = Generator[Request, Any, Result]
