/* When each client is looked at next for a limit that it may have outstayed.
 *
 * Theory.  `due` has one number per client row, beside the rows and not in them: a worker that looks three
 * times a second reads 4 bytes of an idle client and nothing else.  The number is a bound, not the deadline
 * itself: no limit is over before it.  What a client does moves its deadlines all the time, and the bound
 * stays; when it is reached the row is looked at, and has another.
 *
 * A client with nothing under way has the bound of client_idle_timeout, or none, and DUE_IDLE says so: when
 * it begins to wait or gets a server (client_watch) it is looked at soon.  From then on the bound is at most
 * the shortest limit of its pool ahead: whatever begins behind the last look can be over only later.  All of
 * this is done with the lock held, as are these changes of a row's state. */
#ifndef POOLER_TABLES_DEADLINES_H
#define POOLER_TABLES_DEADLINES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "tables/layout.h"

#define DUE_IDLE 0x80000000u  /* of a client with nothing under way */
#define DUE_NEVER 0x7fffffffu /* until something changes */
#define DUE_UNIT_SHIFT 16     /* in units of 65.5 ms from the creation of the tables on: enough for 4 years */

/* X(ID, TEXT): what Python knows them by. */
#define LIMITS_OF_CLIENTS(X)                             \
    X(OVER_QUERY_WAIT, "query_wait_timeout")             \
    X(OVER_QUERY_WAITING, "query_timeout waiting")       \
    X(OVER_NOTIFY, "query_wait_notify")                  \
    X(OVER_WRITE, "client_write_timeout")                \
    X(OVER_QUERY, "query_timeout")                       \
    X(OVER_TRANSACTION, "transaction_timeout")           \
    X(OVER_IDLE_TRANSACTION, "idle_transaction_timeout") \
    X(OVER_IDLE, "client_idle_timeout")

enum client_limit {
#define X(ID, TEXT) ID,
    LIMITS_OF_CLIENTS(X)
#undef X
};

/* A client that has outstayed a limit; `since` tells whether it still does the same. */
struct overdue {
    int32_t row;
    enum client_limit limit;
    uint64_t id, since;
};

/* The client waits or has a server from now on.  The lock is held. */
static inline void client_watch(struct tables *t, int32_t row) {
    if (atomic_load_explicit(&t->due[row], memory_order_relaxed) & DUE_IDLE)
        atomic_store_explicit(&t->due[row], 0, memory_order_relaxed);
}

void deadlines_look(struct tables *t, int32_t row);
void deadlines_none(struct tables *t, int32_t row);
void deadlines_look_at_all(struct tables *t);
const char *deadlines_name(enum client_limit limit);
uint64_t deadlines_quiet(const struct tables *t, int worker, uint64_t now);
int deadlines_over(struct tables *t, int worker, uint64_t now, const struct common_limits *common,
                   int32_t *from, struct overdue *out, int max);

#endif
