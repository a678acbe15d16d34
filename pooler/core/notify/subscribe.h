/* LISTEN without a server of one's own: one connection listens for all clients of a database.
 *
 * Theory.  A client's LISTEN runs on its server as it is.  When the transaction is over the server is asked
 * what it listens on (INTERNAL_PROBE), those channels become the client's (subscriptions), the server says
 * UNLISTEN * and is free.  The ReadyForQuery of that transaction is held back until the listening connection
 * of the database (worker/notifications.py) has said LISTEN itself, so whatever is sent after the client got
 * its answer is heard.  Where that does not work the server stays with its client, as for any other state of
 * a session.
 *
 * From then on the listening connection hears for it: from the note (below) on that goes with UNLISTEN *, for
 * others may have listened on the channel before, and what was committed before its LISTEN is not for it.
 * Notifications of its own server on the same channels are dropped.  Before a statement that may look at or
 * end what a session listens on (UNLISTEN, DISCARD ALL, pg_listening_channels, functions of unknown effect)
 * the server is made to LISTEN again (INTERNAL_LISTEN), so that what it answers afterwards is the truth,
 * rollbacks included.
 *
 * The sender: PostgreSQL tells the server's pid, clients compare with the pid that they were told.  A
 * statement that notifies is preceded by a note to the listener of whose notifications come next from that
 * backend, and followed by one that they have ended; notes are notifications themselves, sealed (origin.h),
 * so they cannot come out of order.  A client that notifies and listens gets its ReadyForQuery when the
 * second note came round: its own notification stands before it, as PostgreSQL has it.
 *
 * A client is told of a notification between transactions only: at once, or before its next ReadyForQuery
 * with status I; after a transaction that may have ended its listening, when it is known what it still
 * listens on.
 */
#ifndef POOLER_NOTIFY_SUBSCRIBE_H
#define POOLER_NOTIFY_SUBSCRIBE_H

#include <stdbool.h>
#include <stdint.h>

#include "tables/channels.h"
#include "tables/layout.h"

struct client;
struct relay;
struct server;

#define CLIENT_CHANNELS_MAX 128 /* of one client; one more, and it keeps a server */
/* what a client that does not read, or whose transaction does not end, may have pending */
#define NOTIFICATIONS_BYTES_MAX (1u << 20)
#define HEAR_PATIENCE_US 3000000u /* for the listening connection; then the server stays with its client */
/* for a note to come round; then a notification may come twice, rather than not at all */
#define MARKER_PATIENCE_US 10000000u

struct subscription {
    struct client *client;
    struct joined channel;
    char name[CHANNEL_NAME_BYTES];
    bool missed; /* there was no place for what is being delivered: its client is closed */
    struct subscription *next_of_client, *next, **link;
};

enum listen_wait { WAIT_NOT, WAIT_CHANNELS, WAIT_MARKER };

/* Of a server and its client, while something about channels is under way. */
struct listening {
    uint8_t ready;       /* status of a ReadyForQuery that is held back; 0: none is */
    uint8_t wait;        /* enum listen_wait */
    bool again, outside; /* the server was made to LISTEN again; outside of a transaction */
    uint8_t failures;    /* to make it LISTEN again, outside of a transaction */
    bool notified;       /* its client is known to the listener as the one who notifies */
    bool marker_seen;
    uint32_t marker; /* number of the note that is waited for */
    bool late;       /* it is subscribed when the note has come round */
    bool doubles;    /* both tell its client, for it has its ReadyForQuery: rather twice than not at all */
    uint64_t since;
    bool overflow;
    int32_t count, joined_count;
    struct joined joined[CLIENT_CHANNELS_MAX];           /* not yet relied on */
    char names[CLIENT_CHANNELS_MAX][CHANNEL_NAME_BYTES]; /* what the server listens on */
};

struct listener *listen_connection(struct relay *r, const struct client *c);
struct listening *listen_need(struct relay *r, struct server *s);
bool listen_message(struct relay *r, struct server *s, unsigned char *p);
bool listen_hold(struct relay *r, struct server *s, uint8_t status);
void listen_client_gone(struct relay *r, struct client *c);
void listen_row(struct relay *r, struct server *s, const unsigned char *name, uint32_t bytes);
void listen_answered(struct relay *r, struct server *s);
void listen_subscribe_all(struct relay *r, struct server *s);
bool listen_waits(struct relay *r, struct server *s);
void listen_done(struct relay *r, struct server *s, int what);
bool listen_after(struct relay *r, struct server *s, bool kept);
void listen_forget(struct relay *r, struct server *s);

#endif
