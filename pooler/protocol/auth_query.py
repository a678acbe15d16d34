"""auth_query: one statement with one parameter by the extended protocol, and two columns as the answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from pooler.errors import ServerFault
from pooler.protocol import codes, frontend, messages
from pooler.protocol.conversation import Conversation, NeedMessage, Send


@dataclass(frozen=True)
class StoredUser:
    """A user as auth_query found it. No secret (NULL): it exists, and no password is right."""

    name: str
    secret: str | None = field(repr=False)


def until_ready() -> Conversation[None]:
    """Read what a connection is greeted with."""
    while True:
        kind, body = yield NeedMessage(codes.MAX_LOGIN_BYTES)
        if kind == b"E":
            raise messages.server_fault(body)
        if kind == b"Z":
            return


def ask(query: str, user: str) -> Conversation[None]:
    """Send the query; the name goes as its parameter and never into its text."""
    yield Send(
        frontend.parse("", query)
        + frontend.bind("", "", [user])
        + frontend.describe(b"P", "")
        + frontend.execute("")
        + frontend.sync()
    )


def answer() -> Conversation[StoredUser | None]:
    """Read the answer to its end; None: no row, so there is no such user. Of several rows the last counts.

    Errors of the server are raised after its ReadyForQuery, so that it can go on.
    """
    found: StoredUser | None = None
    fault: ServerFault | None = None
    size = 0
    while True:
        kind, body = yield NeedMessage(codes.MAX_RESULT_BYTES)
        size += len(body)
        if size > codes.MAX_RESULT_BYTES:
            raise ServerFault("the answer to auth_query is too long")
        if kind == b"E":
            fault = messages.server_fault(body)
            if messages.parse_error(body).get("S") == "FATAL":
                raise fault
        elif kind == b"Z":
            if fault is not None:
                raise fault
            return found
        elif kind == b"D":
            try:
                found = _user(messages.parse_data_row(body))
            except ServerFault as error:
                fault = error
        elif kind not in (b"1", b"2", b"T", b"n", b"C", b"N", b"S", b"A", b"I"):
            raise ServerFault("unexpected response from auth_query")


def _user(values: tuple[bytes | None, ...]) -> StoredUser:
    if len(values) != 2:
        raise ServerFault(f"expected 2 columns from auth_query, not {len(values)}")
    name, secret = values
    if name is None:
        raise ServerFault("auth_query response contained null user name")
    if len(name) > codes.MAX_USER_BYTES:
        raise ServerFault("auth_query response contained a user name that is too long")
    return StoredUser(messages.decode(name), None if secret is None else messages.decode(secret))
