/* Whose server goes when only a limit shared with other pools stands in the way: an idle one of theirs at
 * once (eviction_evict), one that comes back when its pool had its turn (eviction_rival).
 */
#include "tables/eviction.h"

#include "tables/clock.h"
#include "tables/handoff.h"
#include "tables/layout.h"
#include "tables/limits.h"
#include "tables/list.h"
#include "tables/outcome.h"
#include "tables/pool.h"
#include "tables/queue.h"
#include "tables/slots.h"
#include "tables/states.h"

/* A rival pool's client must have waited this much longer before a server is closed for it while its own
 * pool still has waiters: reconnecting costs PostgreSQL 5 to 20 ms, so turns are not taken per
 * transaction. */
#define RIVAL_QUANTUM_US 100000u
/* A server that min_pool_size protects is taken all the same for a client that has waited this long. */
#define MIN_SIZE_MERCY_US 1000000u
/* A pool waits this long for the row of a server that was closed for it: a host that is alive lets go within
 * milliseconds, one that is not may take a quarter of an hour. */
#define EVICTION_PATIENCE_US 1500000u

bool eviction_protected(const struct pool_row *p) { return handoff_usable(p) <= p->limits.min_size; }

static int32_t first_rival(struct tables *t, const struct pool_row *p, enum blocked_by why) {
    switch (why) {
    case BLOCKED_DATABASE: return t->databases[p->database].first_pool;
    case BLOCKED_USER: return t->users[p->user].first_pool;
    case BLOCKED_INSTANCE: return t->instances[p->instance].first_pool;
    default: return t->h->pools_high - 1; /* all pools compete for rows */
    }
}

static int32_t next_rival(struct tables *t, int32_t i, enum blocked_by why) {
    switch (why) {
    case BLOCKED_DATABASE: return t->pools[i].next_in_database;
    case BLOCKED_USER: return t->pools[i].next_in_user;
    case BLOCKED_INSTANCE: return t->pools[i].next_in_instance;
    default: return i - 1; /* NO_ROW behind the first */
    }
}

/* Closes the longest idle server among the pools that share the limit `why`, for the benefit of `pool`. */
bool eviction_evict(struct tables *t, int32_t pool, enum blocked_by why, int worker, bool merciless,
                    uint64_t now, struct outcome *out) {
    struct pool_row *p = &t->pools[pool];
    int32_t victim = NO_ROW;
    if (t->h->retiring) return false; /* quota of one pool is not another's */
    for (int32_t i = first_rival(t, p, why); i != NO_ROW; i = next_rival(t, i, why)) {
        int32_t candidate = t->h->round_robin ? t->pools[i].idle.head : t->pools[i].idle.tail;
        if (i == pool || candidate == NO_ROW || (eviction_protected(&t->pools[i]) && !merciless)) continue;
        if (victim == NO_ROW || t->slots[candidate].used_at < t->slots[victim].used_at) victim = candidate;
    }
    if (victim == NO_ROW) return false;
    struct slot_row *s = &t->slots[victim];
    slot_idle_remove(t, &t->pools[s->pool].idle, victim);
    s->evict_for = pool;
    s->close_reason = CLOSE_EVICTED;
    p->evicting++;
    slot_close_locked(t, victim, worker, now, out);
    return true;
}

/* Only limits shared with others stand in the way of this pool's oldest waiter: an idle server of theirs
 * goes. */
void eviction_make_space(struct tables *t, int32_t pool, int worker, uint64_t now, struct outcome *out) {
    const struct pool_row *p = &t->pools[pool];
    bool merciless = clock_elapsed(now, t->clients[queue_first(t, p)].wait_start) > MIN_SIZE_MERCY_US;
    unsigned full = limits_full(t, p);
    limits_starve(t, pool);
    while (full
           && !eviction_evict(t, pool, (enum blocked_by)__builtin_ctz(full), worker, merciless, now, out))
        full &= full - 1;
}

/* Pools stop waiting for rows whose hosts do not let go: they may evict another server, or dial when
 * something else becomes free. */
void eviction_overdue(struct tables *t, uint64_t now) {
    for (int32_t i = 0; i < t->h->slots_high; i++) {
        struct slot_row *s = &t->slots[i];
        if (s->state == SL_FREE || s->evict_for == NO_ROW
            || clock_elapsed(now, s->closing_at) < EVICTION_PATIENCE_US)
            continue;
        t->pools[s->evict_for].evicting--;
        s->evict_for = NO_ROW;
    }
}

/* Whether clients of another pool wait under a limit that a server of `p` would count against. */
bool eviction_contested(struct tables *t, const struct pool_row *p) {
    for (int32_t i = t->h->starved.head; i != NO_ROW; i = t->pools[i].starved_link.next) {
        const struct pool_row *q = &t->pools[i];
        if (queue_first(t, q) == NO_ROW) continue;
        if ((q->database == p->database && t->databases[p->database].max_db_connections)
            || (q->user == p->user && t->users[p->user].max_user_connections)
            || (q->instance == p->instance && t->instances[p->instance].max_server_connections))
            return true;
    }
    return false;
}

/* A starved pool whose oldest client should get the row of a server that `pool` just gave back. */
int32_t eviction_rival(struct tables *t, int32_t pool, uint64_t now) {
    const struct pool_row *p = &t->pools[pool];
    for (int32_t i = t->h->starved.head; i != NO_ROW; i = t->pools[i].starved_link.next) {
        const struct pool_row *q = &t->pools[i];
        int32_t first = queue_first(t, q);
        if (i == pool || first == NO_ROW || pool_opening(q) || pool_held(t, q)) continue;
        if (limits_full(t, q) & ~limits_shared(q, p)) continue; /* this row alone would not help it */
        uint64_t since = t->clients[first].wait_start;
        if (eviction_protected(p) && clock_elapsed(now, since) < MIN_SIZE_MERCY_US) continue;
        if (p->waiting.head == NO_ROW || since + RIVAL_QUANTUM_US < t->clients[p->waiting.head].wait_start)
            return i;
    }
    return NO_ROW;
}
