/* Clients that wait for a server of a pool, what keeps it from them, and which have it: SHOW WAITING.
 *
 * The caller of each function holds the lock. */
#ifndef POOLER_TABLES_WAITING_H
#define POOLER_TABLES_WAITING_H

#include <stdint.h>

struct client_row;
struct tables;

#define WAITERS_MAX 256 /* of one pool, the first in its line; the others are counted */
#define HOLDERS_MAX 3   /* those who have had a server for longest */

/* X(ID, TEXT): what keeps a server from the first in the line. */
#define WAIT_CAUSES(X)                              \
    X(CAUSE_PAUSED, "paused")                       \
    X(CAUSE_SUSPENDED, "suspended")                 \
    X(CAUSE_REFUSED, "login refused")               \
    X(CAUSE_DOWN, "server down")                    \
    X(CAUSE_POOL_SIZE, "pool_size")                 \
    X(CAUSE_DATABASE, "max_db_connections")         \
    X(CAUSE_USER, "max_user_connections")           \
    X(CAUSE_INSTANCE, "max_server_connections")     \
    X(CAUSE_ROWS, "table of servers full")          \
    X(CAUSE_REPLACED, "servers of another process") \
    X(CAUSE_LOGIN, "server login")                  \
    X(CAUSE_NONE, "next")

enum wait_cause {
#define X(ID, TEXT) ID,
    WAIT_CAUSES(X)
#undef X
};

/* X(ID, TEXT): what a client does, finer than its state. */
#define ACTIVITIES(X)                              \
    X(ACTIVITY_LOGIN, "login")                     \
    X(ACTIVITY_IDLE, "idle")                       \
    X(ACTIVITY_WAITING, "waiting")                 \
    X(ACTIVITY_ACTIVE, "active")                   \
    X(ACTIVITY_TRANSACTION, "idle in transaction") \
    X(ACTIVITY_PINNED, "pinned")

enum activity {
#define X(ID, TEXT) ID,
    ACTIVITIES(X)
#undef X
};

/* A client that has a server: since when, and what it does there since when. */
struct hold {
    int32_t slot, client;
    enum activity activity;
    uint64_t since, activity_since;
};

struct waiting {
    enum wait_cause cause;
    int32_t count, named; /* clients in the line, and of those in `clients` */
    int32_t used, limit;  /* servers that count against the cause, if it is a limit */
    int32_t held, shown;  /* of those have a client, and of those in `holds` */
    int32_t clients[WAITERS_MAX];
    struct hold holds[HOLDERS_MAX]; /* the longest first */
};

const char *waiting_cause(enum wait_cause cause);
const char *waiting_activity_name(enum activity activity);
enum activity waiting_activity(const struct client_row *c, uint64_t *since);
void waiting_look(struct tables *t, int32_t pool, uint64_t now, struct waiting *out);

#endif
