/* The inbox: datagrams of other processes. */
#ifndef POOLER_RELAY_INBOX_H
#define POOLER_RELAY_INBOX_H

struct relay;

/* a notification of PostgreSQL has at most 8000 bytes of text and a channel name */
#define NOTIFICATION_MESSAGE_MAX 8192

/* Inbox datagrams: int32 kind, a, b and at most one descriptor (pooler/ipc/inbox.py). */
enum {
    INBOX_CLIENT = 1,
    INBOX_SERVER = 2,
    INBOX_CLOSED = 3,
    INBOX_NOTIFICATION = 4,
    INBOX_MARKER = 5,
    INBOX_LISTEN = 6
};

void relay_drain_inbox(struct relay *r);

#endif
