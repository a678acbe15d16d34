"""What the relay of a worker tells Python, one type for each kind of event, and other results of the core.

Events come with a login, an error or a notification, never with a query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pooler.core._core import CancelVerdict


class Accepted(NamedTuple):
    """The master has sent a client's socket."""

    fd: int
    is_unix: bool


class DialNeeded(NamedTuple):
    """The connection of a slot is to be opened by this worker."""

    slot: int


class CancelNeeded(NamedTuple):
    """The query of a server is to be canceled, because its client has left."""

    slot: int
    generation: int


class LoginOrdered(NamedTuple):
    """A client in its login has got orders: bits of WELCOME, FAIL, KILL and CANCELED."""

    row: int
    client_id: int
    orders: int


class ClientClosed(NamedTuple):
    """A client of the relay has been closed; `told`: it was sent an error message."""

    client_id: int
    pool: int
    address: str
    port: int
    age_us: int
    reason: str
    told: bool


class ServerClosed(NamedTuple):
    """A server connection has been closed."""

    server_id: int
    pool: int
    address: str
    port: int
    age_us: int
    reason: str


class Warned(NamedTuple):
    """The log is to have this text."""

    text: str


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
    Accepted
    | DialNeeded
    | CancelNeeded
    | LoginOrdered
    | ClientClosed
    | ServerClosed
    | Warned
    | ListenNeeded
    | SharedDdlSeen
)


class Slot(NamedTuple):
    """A row of a server connection; `state` is DIALING, CLOSING, or none of the two."""

    pool: int
    generation: int
    id: int
    owner: int
    state: int


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
