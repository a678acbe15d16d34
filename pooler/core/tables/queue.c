/* Which client gets which server: the queue of every pool, opening and closing, orders to other workers.
 *
 * A waiting client is served in this order: an idle server of its pool; a server that another client of the
 * pool gives back (first in, first out over all workers, within the bound of queue_choose); a new
 * connection, when every limit allows one more row; and when only a limit shared with other pools forbids
 * it, the row of a server that another pool does not need (eviction.c).
 *
 * `worker` is the caller: work for it comes back in `out`, work for others becomes an order in a row and a
 * doorbell in out->ring.  A caller that is not a relay passes NO_ROW and gets no work at all.
 */
#include "tables/queue.h"

#include "tables/clock.h"
#include "tables/deadlines.h"
#include "tables/eviction.h"
#include "tables/layout.h"
#include "tables/limits.h"
#include "tables/list.h"
#include "tables/outcome.h"
#include "tables/pool.h"
#include "tables/slots.h"
#include "tables/states.h"
#include "tables/walsender_queue.h"

/* ---- the queue ----------------------------------------------------------------------------- */

/* By ticket: a new one goes to the tail at once, one that comes back finds its old place. */
void queue_insert(struct tables *t, int32_t client) {
    struct client_row *c = &t->clients[client];
    struct pool_row *p = &t->pools[c->pool];
    struct list *local = &p->waiting_of[c->worker];
    struct list *line = c->flags & CF_DEDICATED ? &p->dedicated : &p->waiting;
    int32_t at = line->tail, after = NO_ROW;
    client_watch(t, client);
    for (; at != NO_ROW && t->clients[at].ticket > c->ticket; at = t->clients[at].queue.prev) after = at;
    client_queue_insert_before(t, line, after, client);
    if (c->flags & CF_DEDICATED) return;
    for (after = NO_ROW, at = local->tail; at != NO_ROW && t->clients[at].ticket > c->ticket;
         at = t->clients[at].local_queue.prev)
        after = at;
    client_local_insert_before(t, local, after, client);
}

void queue_join(struct tables *t, int32_t client, uint64_t now) {
    struct client_row *c = &t->clients[client];
    c->ticket = atomic_fetch_add(&t->h->next_ticket, 1);
    c->wait_start = now;
    c->slot = NO_ROW;
    COMMIT();
    c->state = CL_WAITING;
    queue_insert(t, client);
}

/* Takes a waiting client off its queue, in O(1); does nothing for any other client. */
void queue_leave(struct tables *t, int32_t client) {
    struct client_row *c = &t->clients[client];
    if (c->state != CL_WAITING) return;
    struct pool_row *p = &t->pools[c->pool];
    if (c->flags & CF_DEDICATED) {
        client_queue_remove(t, &p->dedicated, client);
        return;
    }
    client_queue_remove(t, &p->waiting, client);
    client_local_remove(t, &p->waiting_of[c->worker], client);
}

/* The oldest waiter, or the oldest of this worker while nobody else has waited more than about twice the
 * current mean: staying local saves a doorbell, and measured within 1 % of the best throughput. */
int32_t queue_choose(struct tables *t, const struct pool_row *p, int worker, uint64_t now) {
    int32_t oldest = p->waiting.head;
    if (worker == NO_ROW) return oldest;
    int32_t local = p->waiting_of[worker].head;
    if (local == NO_ROW || local == oldest) return oldest;
    return clock_elapsed(now, t->clients[oldest].wait_start) > 2 * p->mean_wait_us ? oldest : local;
}

/* ---- opening connections --------------------------------------------------------------------- */

#define ANSWERED_US 20000u /* such a request takes milliseconds, less than a login */

/* A server of the pool answers a request of ours that was sent at this time or later. */
bool queue_answers_us(const struct tables *t, int32_t pool, uint64_t since) {
    for (int32_t i = 0; i < t->h->slots_high; i++) {
        const struct slot_row *s = &t->slots[i];
        if (s->state == SL_ACTIVE && s->client == NO_ROW && s->pool == pool && s->asked_at >= since)
            return true;
    }
    return false;
}

/* One client waits, for whom a server will be free before another could be opened. */
static bool soon_served(const struct tables *t, int32_t pool, int32_t first, uint64_t now) {
    if (t->pools[pool].waiting.count != 1 || t->clients[first].flags & CF_DEDICATED) return false;
    return queue_answers_us(t, pool, now > ANSWERED_US ? now - ANSWERED_US + 1 : 1);
}

/* Opens a connection for the waiters of `pool`, if there are any and every limit allows it. */
void queue_demand(struct tables *t, int32_t pool, int worker, uint64_t now, struct outcome *out) {
    struct pool_row *p = &t->pools[pool];
    /* after a pause, or a rebuild */
    while (p->idle.head != NO_ROW && p->waiting.head != NO_ROW && !pool_held(t, p)) {
        int32_t slot = slot_usable_idle(t, p, &t->clients[p->waiting.head]);
        if (slot == NO_ROW) break;
        slot_idle_remove(t, &p->idle, slot);
        slot_hand(t, slot, p->waiting.head, worker, now, out);
    }
    int32_t first = queue_first(t, p);
    if (first == NO_ROW) {
        limits_unstarve(t, pool);
        return;
    }
    if (pool_held(t, p) || pool_opening(p) || now < p->retry_at) return;
    enum blocked_by why = limits_blocked(t, p, limits_size(t, p, now));
    if (why == BLOCKED_NOT) {
        if (soon_served(t, pool, first, now)) return; /* pool_tick() looks again */
        limits_unstarve(t, pool);
        if (t->clients[first].flags & CF_DEDICATED) walsender_open(t, pool, first, worker, now, out);
        else slot_dial_for(t, pool, t->clients[first].worker, worker, now, out);
    } else if (p->idle.head != NO_ROW || t->clients[first].flags & CF_DEDICATED) {
        /* idle servers that it cannot use */
        if (!walsender_evicts(t, pool, worker, now, out) && why != BLOCKED_SIZE && why != BLOCKED_ELSEWHERE)
            eviction_make_space(t, pool, worker, now, out);
    } else if (why != BLOCKED_SIZE && why != BLOCKED_ELSEWHERE) {
        eviction_make_space(t, pool, worker, now, out);
    }
}

/* ---- a row becomes free -------------------------------------------------------------------- */

/* The pool that gets a free row: the one the row was vacated for, else the one whose oldest client waits
 * longest among those that were held back. */
int32_t queue_next_pool(struct tables *t, int32_t pool, int32_t vacated_for, uint64_t now) {
    int32_t candidates[2] = {vacated_for, pool}, best = NO_ROW, i = t->h->starved.head;
    for (int n = 0; n < 2 || i != NO_ROW;) {
        int32_t at = n < 2 ? candidates[n] : i;
        if (n < 2) n++;
        else i = t->pools[i].starved_link.next;
        if (at == NO_ROW) continue;
        struct pool_row *p = &t->pools[at];
        int32_t first = queue_first(t, p);
        if (first == NO_ROW || pool_held(t, p) || pool_opening(p) || now < p->retry_at) continue;
        if (limits_blocked(t, p, limits_size(t, p, now)) != BLOCKED_NOT) continue;
        if (at == vacated_for) return at;
        if (best == NO_ROW
            || t->clients[first].wait_start < t->clients[queue_first(t, &t->pools[best])].wait_start)
            best = at;
    }
    return best;
}

/* Whose turn it is when the pool gets a row: the oldest of all that wait for it; NO_ROW. */
int32_t queue_first(struct tables *t, const struct pool_row *p) {
    int32_t any = p->waiting.head, own = p->dedicated.head;
    if (any == NO_ROW || own == NO_ROW) return any == NO_ROW ? own : any;
    return t->clients[own].ticket < t->clients[any].ticket ? own : any;
}
