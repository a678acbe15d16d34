"""A query of our own at a server that is ready: ask a text, collect rows."""

from __future__ import annotations

from dataclasses import dataclass, field

from pooler.errors import ServerFault
from pooler.protocol import codes, frontend, messages
from pooler.protocol.conversation import Conversation, NeedMessage, Send
from pooler.protocol.messages import Column


@dataclass
class QueryResult:
    """What a text brought; of several statements, the last one's."""

    columns: list[Column] = field(default_factory=list)
    rows: list[tuple[bytes | None, ...]] = field(default_factory=list)
    tag: str = ""  # empty after an empty text
    status: bytes = codes.STATUS_IDLE
    parameters: dict[str, str] = field(default_factory=dict)  # settings the server reported meanwhile
    notices: list[dict[str, str]] = field(default_factory=list)


def simple_query(text: str) -> Conversation[QueryResult]:
    """Run a text and read its answer to the end.

    An error of the server is raised after its ReadyForQuery with `from_server` set: the connection is in step
    and can be used again. After any other fault it must be closed.
    """
    yield Send(frontend.query(text))
    result = QueryResult()
    fault: ServerFault | None = None
    size = 0
    while True:
        kind, body = yield NeedMessage(codes.MAX_RESULT_BYTES)
        size += len(body)
        if size > codes.MAX_RESULT_BYTES or len(result.rows) > codes.MAX_RESULT_ROWS:
            raise ServerFault("answer of server is too long")
        if kind == b"E":
            fault = messages.server_fault(body)
        elif kind == b"Z":
            result.status = messages.parse_ready(body)
            if fault is not None:
                raise fault
            return result
        else:
            _take(result, kind, body)


def _take(result: QueryResult, kind: bytes, body: bytes) -> None:
    """Enter one message into the result."""
    if kind == b"T":
        result.columns, result.rows = messages.parse_row_description(body), []
    elif kind == b"D":
        result.rows.append(messages.parse_data_row(body))
    elif kind == b"C":
        result.tag = messages.parse_command_complete(body)
    elif kind == b"S":
        name, value = messages.parse_parameter_status(body)
        result.parameters[name] = value
    elif kind == b"N":
        result.notices.append(messages.parse_error(body))
    elif kind not in (b"I", b"A"):  # an empty text; a notification that nobody here listens to
        raise ServerFault(f"unexpected message {kind!r} in the answer of the server")
