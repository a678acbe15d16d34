/* What each message of the protocol means for the relay: which replies are owed, and when a server is
 * free again.
 *
 * The theory.  A client sends requests, a server owes replies.  The relay must know at every moment
 * which replies are outstanding, because a server may change hands only when it owes nothing.  It keeps
 * a queue with one entry for each request in flight (io/request_queue.h), and takes entries off as
 * messages of the server arrive:
 *
 * - Query, Parse, Bind, Describe, Execute, Close and FunctionCall add one entry each; Sync adds one as
 *   well.
 * - ParseComplete, BindComplete and CloseComplete take off the entry of their own kind.
 * - A Describe is over with RowDescription or NoData.  ParameterDescription comes before these and ends
 *   nothing. The RowDescription inside a simple query ends nothing either: the query is over with
 *   ReadyForQuery.
 * - An Execute is over with CommandComplete, EmptyQueryResponse or PortalSuspended.  Inside a simple
 *   query these come once for each statement and end nothing.
 * - ErrorResponse voids every entry up to the next Sync, which the server still answers with
 *   ReadyForQuery.
 * - ReadyForQuery ends a simple query, a function call or a Sync, and carries the transaction status.
 *   It is the only message after which a server can be released: status I, no entry left, no copy
 *   running.
 * - CopyInResponse makes the server read CopyData until CopyDone or CopyFail; CopyOutResponse makes it
 *   write CopyData until its own CopyDone; CopyBothResponse (replication) does both.
 * - ParameterStatus, NoticeResponse and NotificationResponse may come at any time, owed or not.
 * - Messages of the login (authentication, BackendKeyData, NegotiateProtocolVersion) never come after
 *   it.  Such a byte, or any other that is not listed, means that the stream is out of step: the server
 *   is closed. */
#ifndef POOLER_IO_MESSAGE_TABLE_H
#define POOLER_IO_MESSAGE_TABLE_H

#include <stdint.h>

/* What a message from a server means. */
enum backend_effect {
    BE_NOTHING,   /* plain data of a result */
    BE_POP_PARSE, /* ends a Parse */
    BE_POP_BIND,  /* ends a Bind */
    BE_POP_CLOSE, /* ends a Close */
    BE_ROWDESC,   /* ends a Describe; in a simple query nothing */
    BE_NODATA,    /* ends a Describe */
    BE_COMMAND,   /* ends an Execute; its tag may matter (DISCARD ALL, DEALLOCATE ALL) */
    BE_EMPTY,     /* ends an Execute of an empty text */
    BE_SUSPENDED, /* ends an Execute whose row limit was reached */
    BE_ERROR,     /* voids everything up to the next Sync */
    BE_READY,     /* ends a Query, a FunctionCall or a Sync, and carries the transaction status */
    BE_COPY_IN,   /* the server now reads CopyData */
    BE_COPY_OUT,  /* the server now writes CopyData */
    BE_COPY_BOTH, /* both, until both have sent CopyDone (replication) */
    BE_PARAMETER, /* a reported setting has changed; answers no request */
    BE_NOTICE,    /* answers no request */
    BE_NOTIFY,    /* answers no request */
    BE_FUNCTION,  /* result of a FunctionCall; ReadyForQuery follows */
    BE_PARAMDESC, /* first part of the answer to Describe of a statement; ends nothing */
    BE_COPY_DATA, /* one row of a copy */
    BE_COPY_DONE, /* the server's side of a copy is over */
    BE_FORBIDDEN, /* never sent after the login: the stream is out of step, close the server */
};

/* What a message from a client means. */
enum frontend_effect {
    FE_QUERY, /* owes a ReadyForQuery */
    FE_PARSE,
    FE_BIND,
    FE_DESCRIBE,
    FE_EXECUTE,
    FE_CLOSE,
    FE_SYNC,     /* owes a ReadyForQuery; ends the skipping after an error */
    FE_FLUSH,    /* owes nothing, but the server must send what it has */
    FE_FUNCTION, /* owes a ReadyForQuery */
    FE_COPY_DATA,
    FE_COPY_DONE, /* the client's side of a copy is over */
    FE_COPY_FAIL, /* as COPY_DONE; the server answers with an error */
    FE_TERMINATE, /* the client goes; nothing behind it may be looked at */
    FE_FORBIDDEN, /* `unknown pkt`: the client is closed */
};

/* By the type byte of a message. */
extern const uint8_t backend_effects[256];
extern const uint8_t frontend_effects[256];

#endif
