/* A client of a relay, and what the relay does with it: the theory stands in relay.h. */
#ifndef POOLER_RELAY_CLIENT_H
#define POOLER_RELAY_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "io/buffer.h"
#include "io/connection.h"
#include "relay/client_state.h"
#include "session/startup_values.h"

struct command;
struct login;
struct names;
struct parsed_reset;
struct relay;
struct server;
struct settings;
struct subscription;

#define FIRST_READ_BYTES 8192       /* read from a client that has no server yet */
#define WHOLE_BYTES_MAX (64u << 20) /* no message is kept whole beyond this */
#define AHEAD_MAX 16384 /* requests in flight on one server beyond which its client is not read on */

/* ReadyForQuery outside of a transaction. */
#define READY_IDLE "Z\0\0\0\5I"
#define READY_IDLE_BYTES 6

/* What a client that is CLIENT_HELD is held for. */
enum held_for {
    HELD_FOR_BACKLOG, /* it is too far ahead of its server */
    HELD_FOR_NAMES,   /* it says a name that a pipeline on its way makes or closes */
    HELD_FOR_ALL,     /* what is to be sent first depends on the state of its transaction */
    HELD_FOR_CANCEL,  /* something of ours is to be sent first, and a cancel request is on its way there */
};

/* How a client that is CLIENT_LEAVING leaves.  FAULT: it has sent what is no message. */
enum leaving { LEAVING_EOF, LEAVING_TERMINATE, LEAVING_FAULT };

struct client {
    struct conn io;
    int32_t row;
    uint8_t state;            /* enum client_relay_state: client_state.h */
    uint8_t held_for;         /* enum held_for */
    uint8_t leaving;          /* enum leaving */
    bool dedicated;           /* its server is its own from login to end: nothing of theirs is looked after */
    uint32_t made_version;    /* of the schema, behind its last DDL; 0: it has made nothing */
    bool currval_later;       /* it asks for what its earlier transactions had from sequences */
    uint8_t sequence_lessons; /* pins for nextval so far that were of no use */
    uint64_t sequence_at;     /* slot and generation of the server where it last used sequences */
    uint8_t opaque_lessons;   /* pins for settings of unknown name */
    uint8_t lost_servers;     /* in a row that failed before they were sent anything of it, */
    uint8_t refusals;         /* and that did not take its settings */
    unsigned char faulty[5];  /* the header of what it is closed for, LEAVING_FAULT */
    /* when the end of its stream was seen, while there was work for it; UINT64_MAX: long ago */
    uint64_t hangup_at;
    bool hung_up;   /* it is in relay.hung_up */
    bool drop_body; /* the message that is passing through is not for the server */
    /* enum sql_deeds: what its statements may be, where names are not looked after; the unnamed one */
    uint8_t named_deeds, unnamed_deeds;
    struct server *server;
    struct settings *settings, *startup; /* now; and those of its startup packet, to which RESET leads back */
    struct greeting *greeting;           /* until it is greeted */
    /* bits of tracked parameters that are its own; that its startup packet has */
    uint32_t own_values, startup_values;
    uint32_t defaults_seen;       /* version of the pool's defaults that it was told of */
    struct greeting *unconfirmed; /* it was let in before a server was asked: the first that it gets is */
    struct names *names;          /* its prepared statements; NULL until the first */
    struct parsed_reset *parsed_resets; /* of its statements in session pooling */
    struct subscription *subscriptions; /* channels that are heard for it */
    struct bytes notifications;         /* notifications that came while it was not idle */
    uint32_t whole_bytes; /* of the message in the stash: not looked at before they are there; 0: none */
    struct login *login;  /* until it is over */
};

/* What a client begins with: the connection may be watched already, and may have a stash. */
struct newcomer {
    struct client *client; /* with its row and its connection */
    char *values;          /* tracked parameters' values, each NUL-terminated, then other settings, by name */
    uint32_t values_bytes;
    struct greeting *greeting; /* the relay's from now on */
    bool usual;                /* the values are what servers of the pool have by themselves */
    uint32_t given;            /* bits of the tracked parameters that its startup packet has */
    uint32_t defaults;         /* version of the pool's defaults that the values are of */
    bool waited;               /* for the pool's first server, which is about to be there */
};

void client_requeue(struct relay *r, struct client *c);
bool client_acquire(struct relay *r, struct client *c);
void client_attached(struct relay *r, struct client *c, int32_t slot);
void client_canceled(struct relay *r, struct client *c);
void client_resume(struct relay *r, struct client *c);
void client_run(struct relay *r, struct client *c);

static inline bool client_waits(const struct client *c) {
    return c->state == CLIENT_WAITING || c->state == CLIENT_GREETING_WAITING;
}

/* Nothing that is not a part of its greeting is for it yet. */
static inline bool client_ungreeted(const struct client *c) {
    return c->state == CLIENT_LOGGED_IN || c->state == CLIENT_GREETING_WAITING || c->state == CLIENT_GREETING;
}

/* Whether how its next message is sent depends on answers that are on their way. */
static inline bool client_undecided(const struct client *c) {
    return c->state == CLIENT_HELD && c->held_for != HELD_FOR_BACKLOG;
}

/* What a server is to be asked about a client's startup values; NULL: nothing any more. */
static inline struct greeting *greeting_asked(const struct client *c) {
    return c->greeting ? c->greeting : c->unconfirmed;
}

#endif
