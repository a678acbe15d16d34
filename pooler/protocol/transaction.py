"""What each wire message means for the relay: who owes what to whom, and when a server is free again.

The theory. A client sends requests, a server owes replies. The relay must know at every moment which
replies are outstanding, because a server may change hands only when it owes nothing. It keeps a queue with
one entry for each request in flight, and takes entries off as messages of the server arrive:

* Query, Parse, Bind, Describe, Execute, Close and FunctionCall add one entry each; Sync adds one as well.
* ParseComplete, BindComplete and CloseComplete take off the entry of their own kind.
* A Describe is over with RowDescription or NoData. ParameterDescription comes before these and ends nothing.
  The RowDescription inside a simple query ends nothing either: the query is over with ReadyForQuery.
* An Execute is over with CommandComplete, EmptyQueryResponse or PortalSuspended. Inside a simple query these
  come once for each statement and end nothing.
* ErrorResponse voids every entry up to the next Sync, which the server still answers with ReadyForQuery.
* ReadyForQuery ends a simple query, a function call or a Sync, and carries the transaction status. It is the
  only message after which a server can be released: status I, no entry left, no copy running.
* CopyInResponse makes the server read CopyData until CopyDone or CopyFail; CopyOutResponse makes it write
  CopyData until its own CopyDone; CopyBothResponse (replication) does both.
* ParameterStatus, NoticeResponse and NotificationResponse may come at any time, owed or not.
* Messages of the login (authentication, BackendKeyData, NegotiateProtocolVersion) never come after it. Such a
  byte, or any other that is not listed, means that the stream is out of step: the server is closed.

The two tables below are the only place where this is said. The compiled relay has the numbers in
`pooler/core/io/message_table.h`; a test compares them with `backend_effects()` and `frontend_effects()`.
"""

from __future__ import annotations

from enum import IntEnum


class Effect(IntEnum):
    """What a message from a server means. The values are shared with the compiled core."""

    NOTHING = 0  #: plain data of a result
    POP_PARSE = 1  #: ends a Parse
    POP_BIND = 2  #: ends a Bind
    POP_CLOSE = 3  #: ends a Close
    ROWDESC = 4  #: ends a Describe; in a simple query nothing
    NODATA = 5  #: ends a Describe
    COMMAND = 6  #: ends an Execute; its tag may matter (DISCARD ALL, DEALLOCATE ALL)
    EMPTY = 7  #: ends an Execute of an empty text
    SUSPENDED = 8  #: ends an Execute whose row limit was reached
    ERROR = 9  #: voids everything up to the next Sync
    READY = 10  #: ends a Query, a FunctionCall or a Sync, and carries the transaction status
    COPY_IN = 11  #: the server now reads CopyData
    COPY_OUT = 12  #: the server now writes CopyData
    COPY_BOTH = 13  #: both, until both have sent CopyDone (replication)
    PARAMETER = 14  #: a reported setting has changed; owed by nobody
    NOTICE = 15  #: owed by nobody
    NOTIFY = 16  #: owed by nobody
    FUNCTION = 17  #: result of a FunctionCall; ReadyForQuery follows
    PARAMDESC = 18  #: first part of the answer to Describe of a statement; ends nothing
    COPY_DATA = 19  #: one row of a copy
    COPY_DONE = 20  #: the server's side of a copy is over
    FORBIDDEN = 21  #: never sent after the login: the stream is out of step, close the server


class FrontEffect(IntEnum):
    """What a message from a client means. The values are shared with the compiled core."""

    QUERY = 0  #: owes a ReadyForQuery
    PARSE = 1
    BIND = 2
    DESCRIBE = 3
    EXECUTE = 4
    CLOSE = 5
    SYNC = 6  #: owes a ReadyForQuery; ends the skipping after an error
    FLUSH = 7  #: owes nothing, but the server must send what it has
    FUNCTION = 8  #: owes a ReadyForQuery
    COPY_DATA = 9
    COPY_DONE = 10  #: the client's side of a copy is over
    COPY_FAIL = 11  #: as COPY_DONE; the server answers with an error
    TERMINATE = 12  #: the client goes; nothing behind it may be looked at
    FORBIDDEN = 13  #: `unknown pkt`: the client is closed


#: Type byte of a message from a server -> what it means. Every byte that is missing is FORBIDDEN.
BACKEND_EFFECTS: dict[int, Effect] = {
    ord("1"): Effect.POP_PARSE,
    ord("2"): Effect.POP_BIND,
    ord("3"): Effect.POP_CLOSE,
    ord("A"): Effect.NOTIFY,
    ord("C"): Effect.COMMAND,
    ord("D"): Effect.NOTHING,
    ord("E"): Effect.ERROR,
    ord("G"): Effect.COPY_IN,
    ord("H"): Effect.COPY_OUT,
    ord("I"): Effect.EMPTY,
    ord("N"): Effect.NOTICE,
    ord("S"): Effect.PARAMETER,
    ord("T"): Effect.ROWDESC,
    ord("V"): Effect.FUNCTION,
    ord("W"): Effect.COPY_BOTH,
    ord("Z"): Effect.READY,
    ord("c"): Effect.COPY_DONE,
    ord("d"): Effect.COPY_DATA,
    ord("n"): Effect.NODATA,
    ord("s"): Effect.SUSPENDED,
    ord("t"): Effect.PARAMDESC,
}

#: Type byte of a message from a client -> what it means. Every byte that is missing is FORBIDDEN.
FRONTEND_EFFECTS: dict[int, FrontEffect] = {
    ord("B"): FrontEffect.BIND,
    ord("C"): FrontEffect.CLOSE,
    ord("D"): FrontEffect.DESCRIBE,
    ord("E"): FrontEffect.EXECUTE,
    ord("F"): FrontEffect.FUNCTION,
    ord("H"): FrontEffect.FLUSH,
    ord("P"): FrontEffect.PARSE,
    ord("Q"): FrontEffect.QUERY,
    ord("S"): FrontEffect.SYNC,
    ord("X"): FrontEffect.TERMINATE,
    ord("c"): FrontEffect.COPY_DONE,
    ord("d"): FrontEffect.COPY_DATA,
    ord("f"): FrontEffect.COPY_FAIL,
}


def backend_effect(code: int) -> Effect:
    """What a message of this type (0..255) from a server means."""
    return BACKEND_EFFECTS.get(code, Effect.FORBIDDEN)


def frontend_effect(code: int) -> FrontEffect:
    """What a message of this type (0..255) from a client means."""
    return FRONTEND_EFFECTS.get(code, FrontEffect.FORBIDDEN)


def backend_effects() -> list[int]:
    """The whole table for messages of servers, as the compiled core has it: 256 numbers."""
    return [int(backend_effect(code)) for code in range(256)]


def frontend_effects() -> list[int]:
    """The whole table for messages of clients, as the compiled core has it: 256 numbers."""
    return [int(frontend_effect(code)) for code in range(256)]
