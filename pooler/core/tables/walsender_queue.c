/* Clients that get a server of their own, from its login to its end: those that replicate.
 *
 * Such a server is opened with what its client's startup packet says, so nobody else could use it, and its
 * client can use no other.  These clients therefore stand in a line of their own, and what they wait for is a
 * row: every limit counts them.  Their turn comes by the same tickets as everybody's.  When it has come and
 * no row is free, a server of their own pool that is idle, or comes back, is closed for it.
 */
#include "tables/walsender_queue.h"

#include "tables/layout.h"
#include "tables/limits.h"
#include "tables/list.h"
#include "tables/outcome.h"
#include "tables/pool.h"
#include "tables/queue.h"
#include "tables/slots.h"
#include "tables/states.h"
#include "tables/tables.h"

/* A row is free for this client: its worker opens the connection. */
void walsender_open(struct tables *t, int32_t pool, int32_t client, int worker, uint64_t now,
                    struct outcome *out) {
    struct client_row *c = &t->clients[client];
    int32_t slot = slot_dial_for(t, pool, c->worker, worker, now, out);
    t->slots[slot].replication = c->replication;
    t->slots[slot].dedicated_row = client;
    t->slots[slot].dedicated_to = c->id;
    queue_leave(t, client);
    c->flags &= (uint8_t)~CF_LOGIN_WAIT;
    COMMIT();
    c->state = CL_LOGIN;
}

static void close_for(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out) {
    struct slot_row *s = &t->slots[slot];
    s->evict_for = s->pool;
    s->close_reason = CLOSE_EVICTED;
    t->pools[s->pool].evicting++;
    slot_close_locked(t, slot, worker, now, out);
}

/* Closes an idle server of the pool for the first of those in line, who cannot use it.  False: there is
 * none. */
bool walsender_evicts(struct tables *t, int32_t pool, int worker, uint64_t now, struct outcome *out) {
    struct pool_row *p = &t->pools[pool];
    int32_t victim = t->h->round_robin ? p->idle.head : p->idle.tail;
    if (victim == NO_ROW) return false;
    slot_idle_remove(t, &p->idle, victim);
    close_for(t, victim, worker, now, out);
    return true;
}

/* A server comes back and it is the turn of one that cannot use it, and gets no row otherwise: it is
 * closed. */
bool walsender_takes(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out) {
    struct pool_row *p = &t->pools[t->slots[slot].pool];
    if (queue_first(t, p) != p->dedicated.head || pool_opening(p) || now < p->retry_at) return false;
    if (limits_blocked(t, p, limits_size(t, p, now)) == BLOCKED_NOT) return false;
    close_for(t, slot, worker, now, out);
    return true;
}

/* A client in its login waits for a server of its own; its worker is told to dial it (its owner is not a
 * relay).  One that comes again, because its server could not be reached, keeps its place. */
void walsender_wait(struct tables *t, int32_t client, enum replication kind, uint64_t now,
                    struct outcome *out) {
    outcome_clear(out);
    tables_lock(t);
    struct client_row *c = &t->clients[client];
    c->replication = (uint8_t)kind;
    c->flags |= CF_DEDICATED | CF_LOGIN_WAIT;
    if (!c->wait_start) {
        queue_join(t, client, now);
    } else {
        c->state = CL_WAITING;
        queue_insert(t, client);
    }
    queue_demand(t, c->pool, NO_ROW, now, out);
    tables_unlock(t);
    tables_ring(t, out->ring);
}

/* The server that was opened for this client is logged in.  False: the client has left, or lost it. */
bool walsender_attach(struct tables *t, int32_t slot, uint32_t generation, int32_t client, uint64_t id,
                      int worker, uint64_t now, struct outcome *out) {
    outcome_clear(out);
    tables_lock(t);
    struct slot_row *s = &t->slots[slot];
    struct client_row *c = &t->clients[client];
    bool fits = s->state == SL_LOGIN && s->generation == generation && s->owner == worker
        && s->dedicated_to == id && c->state == CL_LOGIN && c->id == id;
    if (fits) {
        t->pools[s->pool].failures = 0;
        t->pools[s->pool].retry_at = 0;
        slot_attach(t, slot, client, worker);
        queue_demand(t, s->pool, worker, now, out);
    }
    tables_unlock(t);
    return fits;
}
