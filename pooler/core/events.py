"""What the relay of a worker tells Python, one type for each kind of event, and other results of the core.

Events come with a login, an error or a notification, never with a query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pooler.core._core import AcceptEnd, CancelVerdict, TlsSession


class LoginAsks(NamedTuple):
    """The core needs an answer to go on with a login: a LoginQuestion, with its fields."""

    row: int
    client_id: int
    question: int
    fields: list[bytes]

    def __repr__(self) -> str:
        """Without the fields: the log shows events, and one of these is a password."""
        return f"LoginAsks(row={self.row}, client_id={self.client_id}, question={self.question})"


class LoginLeft(NamedTuple):
    """A client in its login that has asked needs no answer any more."""

    client_id: int


class LoginPassed(NamedTuple):
    """A client that is Python's from here on: its row, its descriptor, its TLS. `how`: a LoginPass; fields:
    what was read behind its login, how the log writes its address, when it came (monotonic microseconds), and
    what stands in core/login/questions.h."""

    row: int
    client_id: int
    fd: int
    is_unix: bool
    how: int
    fields: list[bytes]
    session: TlsSession | None

    def __repr__(self) -> str:
        """Without the fields: the key of a cancel request is among them, and what the client has said."""
        return f"LoginPassed(row={self.row}, client_id={self.client_id}, how={self.how})"


class DialNeeded(NamedTuple):
    """The connection of a slot is to be opened by this worker."""

    slot: int


class CancelNeeded(NamedTuple):
    """The query of a server is to be canceled, because its client has left."""

    slot: int
    generation: int


class LoginOrdered(NamedTuple):
    """A client that Python has got orders for: bits of WELCOME, FAIL, KILL and CANCELED."""

    row: int
    client_id: int
    orders: int


class ListenNeeded(NamedTuple):
    """The listening connection of a database has work; `pool`: whose user opens it, or -1."""

    database: int
    pool: int


class SharedDdlSeen(NamedTuple):
    """A client does something to a database or a role of that name (all roles if empty): a SharedDdl."""

    pool: int
    name: str
    change: int


RelayEvent = (
    LoginAsks
    | LoginLeft
    | LoginPassed
    | DialNeeded
    | CancelNeeded
    | LoginOrdered
    | ListenNeeded
    | SharedDdlSeen
)


class LogLines(NamedTuple):
    """What the relay has for the log."""

    lines: bytes
    records: bytes  # of each line, log.RECORD
    lost: int  # lines behind these


class Slot(NamedTuple):
    """A row of a server connection; `state` is DIALING, CLOSING, or none of the two."""

    pool: int
    generation: int
    id: int
    owner: int
    state: int


class Accepting(NamedTuple):
    """Why accepting has stopped, or how giving a client away ended."""

    end: AcceptEnd
    fd: int  # KEPT: the client that nobody could take
    error: int  # SHORT: the errno; KEPT: that of a worker who failed otherwise than by being full, or 0
    is_unix: bool
    listener: int = -1  # where it has stopped: its descriptor


class CancelAnswer(NamedTuple):
    """What the client of a cancel key is doing; with CancelVerdict.FORWARD, what its server is."""

    verdict: CancelVerdict
    slot: int = -1
    generation: int = 0
    row: int = -1
    client_id: int = 0


class Overdue(NamedTuple):
    """A client that outstayed a limit; `since` stamps the state that it was in."""

    limit: str
    row: int
    client_id: int
    since: int
