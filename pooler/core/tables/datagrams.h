/* What is dropped into the inbox of a process: int32 kind, a, b and at most one descriptor
 * (pooler/ipc/inbox.py). */
#ifndef POOLER_TABLES_DATAGRAMS_H
#define POOLER_TABLES_DATAGRAMS_H

enum {
    INBOX_CLIENT = 1,
    INBOX_SERVER = 2,
    INBOX_CLOSED = 3,
    INBOX_NOTIFICATION = 4,
    INBOX_MARKER = 5,
    INBOX_LISTEN = 6
};

#endif
