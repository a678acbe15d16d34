/* A server connection of a relay, and what the relay does with it: the theory stands in relay.h. */
#ifndef POOLER_RELAY_SERVER_H
#define POOLER_RELAY_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "io/connection.h"
#include "io/request_queue.h"
#include "relay/events.h"
#include "relay/server_state.h"
#include "session/session.h"
#include "sql/digest.h"
#include "statements/parsing.h"
#include "statements/replay.h"
#include "statements/sql_execute.h"

struct client;
struct command;
struct relay;

#define LOST_SERVERS_MAX 3 /* then the client is told, instead of trying for ever */
#define REFUSALS_MAX 32    /* the same for servers that others had before and that do not take its settings */

/* COPY ... FROM STDIN: the server reads CopyData; its end was sent. */
enum copy_state { COPY_NONE, COPY_READING, COPY_ENDING };

struct server {
    struct conn io;
    int32_t slot;
    uint32_t generation;
    /* enum server_state: what it is doing; server_move() alone changes it.  All else are facts that no state
     * tells. */
    uint8_t state;
    struct client *client;
    uint8_t transaction; /* status byte of the last ReadyForQuery: I T E */
    uint8_t internal;    /* enum internal_request in flight */
    uint64_t internal_since;
    bool internal_failed; /* that met an error, or was answered as it must not be */
    bool internal_blocks; /* its client's next statement waits for an answer of ours */
    bool guarded;         /* as its row says: cancel_guard.c */
    bool asks_columns;    /* that request is a Describe */
    uint8_t copy;         /* enum copy_state */
    bool skip;            /* after an error, skipping to Sync */
    bool unrecorded; /* it was sent a request that is not in the queue: its answers are good for nothing */
    /* it was sent messages of the extended protocol, and no Sync since; a Query ends nothing */
    bool pipeline_open;
    bool pipeline_runs;   /* an Execute is among them */
    bool pipeline_binds;  /* a Bind is */
    bool pipeline_ours;   /* an Execute of ours is among them */
    bool execute_open;    /* a Parse of ours for a Query there: what it fails with is the Query's answer */
    bool step_seen;       /* INTERNAL_STEP: what comes now answers that alone */
    bool step_skips;      /* it is behind a Sync of ours, and no Sync of its client was answered so far */
    uint8_t deeds;        /* enum sql_deeds: what its portals may be, and Queries on their way */
    uint32_t flushed;     /* number of the request that the last Flush of ours is behind */
    uint32_t copy_syncs;  /* Syncs that were sent while it reads CopyData */
    uint8_t copy_refused; /* letter of a message that its client goes on with among CopyData */
    uint32_t in_doubt;    /* Syncs that it may answer or not: copy.c */
    bool fatal_sent;      /* the server's own FATAL went to the client: no text of ours behind it */
    bool first;           /* its client is the first that it has */
    bool unfit;           /* its client is about to say what only a server without a past takes */
    bool unnamed_noted;   /* the unnamed statement that comes next was looked at when it was parsed */
    bool raw;   /* its descriptor is the encrypted connection, whose bridge died: good for its end only */
    bool dirty; /* it is reset before another client gets it, whoever has it until then */
    uint8_t mode, session_state; /* those under which its client got it */
    uint8_t handover;            /* enum handover that is under way */
    uint8_t reset_step;          /* messages of its answer that have come */
    uint8_t found;               /* enum found: what that told so far */
    bool discards_plans;         /* the settings that are on their way to it end with that */
    bool looks;                  /* the reset under way looks at all functions */
    struct session session;
    char internal_sqlstate[6], internal_text[EVENT_TEXT_BYTES]; /* of the error that our request met */
    bool internal_body; /* the message that is passing through answers a request of ours */
    bool altered;       /* DDL was seen whose transaction has not ended */
    /* numbers of requests that may be for a statement that cannot be parsed again */
    uint32_t refused_at, refused_count;
    uint32_t renamed_request; /* number of the request in whose text a name was replaced, */
    uint32_t renamed_at;      /* place in the last Query or Parse behind a name that was replaced, */
    int32_t renamed_by;       /* and by how much the text became longer */
    struct deallocating deallocating;
    struct parsing parsing;
    struct digest parsed; /* the text of the last ParseComplete */
    uint32_t parameters;  /* hash of the last ParameterDescription that answered us */
    const char *reason;   /* of the closing, for the log */
    struct requests requests;
    struct replay replay; /* what its client sent since the last Sync */
};

void server_drop_descriptor(struct relay *r, struct server *s);
void server_learn(struct relay *r, int32_t slot, uint32_t generation, int fd, bool raw);
void server_forget(struct relay *r, int32_t slot, uint32_t generation);
void server_add(struct relay *r, struct command *command);
void server_run(struct relay *r, struct server *s);

/* The one way from a state to another. */
static inline void server_move(struct server *s, enum server_state to) {
    state_move(&server_machine, &s->state, (uint8_t)to);
}

/* Nothing of its client has been sent yet: the client can still get another server. */
static inline bool server_is_fresh(const struct server *s) {
    return s->state == SERVER_FRESH || s->state == SERVER_GREETED || s->state == SERVER_RESETTING;
}

/* Replies of ours to its client wait for their turn there: another server would not give them. */
static inline bool server_owes_reply(const struct server *s) {
    for (uint32_t i = 0; i < s->requests.count; i++)
        if (!(requests_at(&s->requests, i) & INTERNAL)) return true;
    return false;
}

/* A client has it and has used it. */
static inline bool server_is_used(const struct server *s) {
    return s->state == SERVER_SERVING || s->state == SERVER_ANSWERED || s->state == SERVER_PROBING;
}

/* It goes back to its pool as soon as it is in step, unless its client keeps it. */
static inline bool server_is_releasable(const struct server *s) {
    return s->state == SERVER_GREETED || s->state == SERVER_ANSWERED || s->state == SERVER_RETURNING;
}

static inline bool server_is_closing(const struct server *s) {
    return s->state == SERVER_CLOSING || s->state == SERVER_SHUT;
}

/* Notes what the server is about to be asked. */
static inline void server_expects(struct server *s, uint8_t request) {
    if (!requests_push(&s->requests, request)) s->unrecorded = true;
}

#endif
