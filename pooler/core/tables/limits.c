/* What one more server may count against, and whose server goes when only a limit shared with other pools
 * stands in the way: an idle one of theirs at once (evict), one that comes back when its pool had its turn
 * (rival). */
#include "tables/list.h"
#include "tables/queue.h"

/* A rival pool's client must have waited this much longer before a server is closed for it while its own
 * pool still has waiters: reconnecting costs PostgreSQL 5 to 20 ms, so turns are not taken per
 * transaction. */
#define RIVAL_QUANTUM_US 100000u
/* A server that min_pool_size protects is taken all the same for a client that has waited this long. */
#define MIN_SIZE_MERCY_US 1000000u
/* A pool waits this long for the row of a server that was closed for it: a host that is alive lets go within
 * milliseconds, one that is not may take a quarter of an hour. */
#define EVICTION_PATIENCE_US 1500000u

/* ---- limits -------------------------------------------------------------------------------- */

int32_t allowed_size(struct tables *t, const struct pool_row *p, uint64_t now) {
    const struct pool_limits *l = &p->limits;
    int32_t first = first_in_line(t, p);
    if (!l->size || !l->reserve_size || !l->reserve_timeout_us || first == NOBODY) return l->size;
    uint64_t oldest = t->clients[first].wait_start;
    return elapsed(now, oldest) >= l->reserve_timeout_us ? l->size + l->reserve_size : l->size;
}

/* Every shared limit that keeps this pool from one more server, as bits 1 << enum blocked_by. */
unsigned full_limits(struct tables *t, const struct pool_row *p) {
    const struct database_row *d = &t->databases[p->database];
    const struct user_row *u = &t->users[p->user];
    const struct instance_row *n = &t->instances[p->instance];
    unsigned full = 0;
    if (d->max_db_connections && d->servers >= d->max_db_connections) full |= 1u << BLOCKED_DATABASE;
    if (u->max_user_connections && u->servers >= u->max_user_connections) full |= 1u << BLOCKED_USER;
    if (n->max_server_connections && n->servers >= n->max_server_connections) full |= 1u << BLOCKED_INSTANCE;
    if (!t->h->free_slots.count && t->h->slots_high >= t->h->sizes.slots) full |= 1u << BLOCKED_ROWS;
    return full;
}

enum blocked_by blocked(struct tables *t, const struct pool_row *p, int32_t size) {
    if (t->h->retiring) return p->servers >= p->quota ? BLOCKED_ELSEWHERE : BLOCKED_NOT;
    if (size && p->servers >= size) return BLOCKED_SIZE;
    unsigned full = full_limits(t, p);
    return full ? (enum blocked_by)__builtin_ctz(full) : BLOCKED_NOT;
}

bool over_limits(struct tables *t, const struct pool_row *p) {
    const struct database_row *d = &t->databases[p->database];
    const struct user_row *u = &t->users[p->user];
    const struct instance_row *n = &t->instances[p->instance];
    const struct pool_limits *l = &p->limits;
    return (l->size && p->servers > l->size + l->reserve_size)
        || (d->max_db_connections && d->servers > d->max_db_connections)
        || (u->max_user_connections && u->servers > u->max_user_connections)
        || (n->max_server_connections && n->servers > n->max_server_connections);
}

void starve(struct tables *t, int32_t pool) {
    struct pool_row *p = &t->pools[pool];
    if (p->starved) return;
    p->starved = 1;
    starved_append(t, &t->h->starved, pool);
}

void unstarve(struct tables *t, int32_t pool) {
    struct pool_row *p = &t->pools[pool];
    if (!p->starved) return;
    p->starved = 0;
    starved_remove(t, &t->h->starved, pool);
}

/* One at a time per pool: a storm of clients must not become a storm at PostgreSQL, and one failing login
 * answers all that wait. */
bool opening(const struct pool_row *p) { return p->by_state[SL_LOGIN] + p->evicting > 0; }

/* ---- evictions ----------------------------------------------------------------------------- */

bool protected(const struct pool_row *p) { return usable(p) <= p->limits.min_size; }

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
    default: return i - 1; /* NOBODY behind the first */
    }
}

/* Closes the longest idle server among the pools that share the limit `why`, for the benefit of `pool`. */
bool evict(struct tables *t, int32_t pool, enum blocked_by why, int worker, bool merciless, uint64_t now,
           struct outcome *out) {
    struct pool_row *p = &t->pools[pool];
    int32_t victim = NOBODY;
    if (t->h->retiring) return false; /* room of one pool is not another's */
    for (int32_t i = first_rival(t, p, why); i != NOBODY; i = next_rival(t, i, why)) {
        int32_t candidate = t->h->round_robin ? t->pools[i].idle.head : t->pools[i].idle.tail;
        if (i == pool || candidate == NOBODY || (protected(&t->pools[i]) && !merciless)) continue;
        if (victim == NOBODY || t->slots[candidate].used_at < t->slots[victim].used_at) victim = candidate;
    }
    if (victim == NOBODY) return false;
    struct slot_row *s = &t->slots[victim];
    slot_idle_remove(t, &t->pools[s->pool].idle, victim);
    s->evict_for = pool;
    s->close_reason = CLOSE_EVICTED;
    p->evicting++;
    close_locked(t, victim, worker, now, out);
    return true;
}

/* Only limits shared with others stand in the way of this pool's oldest waiter: an idle server of theirs
 * goes. */
void make_room(struct tables *t, int32_t pool, int worker, uint64_t now, struct outcome *out) {
    const struct pool_row *p = &t->pools[pool];
    bool merciless = elapsed(now, t->clients[first_in_line(t, p)].wait_start) > MIN_SIZE_MERCY_US;
    unsigned full = full_limits(t, p);
    starve(t, pool);
    while (full && !evict(t, pool, (enum blocked_by)__builtin_ctz(full), worker, merciless, now, out))
        full &= full - 1;
}

/* Pools stop waiting for rows whose hosts do not let go: they may evict another server, or dial when
 * something else becomes free. */
void evictions_overdue(struct tables *t, uint64_t now) {
    for (int32_t i = 0; i < t->h->slots_high; i++) {
        struct slot_row *s = &t->slots[i];
        if (s->state == SL_FREE || s->evict_for == NOBODY
            || elapsed(now, s->closing_at) < EVICTION_PATIENCE_US)
            continue;
        t->pools[s->evict_for].evicting--;
        s->evict_for = NOBODY;
    }
}

/* The limits that one server of `p` less would relieve for `hungry`. */
unsigned shared_limits(const struct pool_row *starving, const struct pool_row *p) {
    return (unsigned)(starving->database == p->database) << BLOCKED_DATABASE
        | (unsigned)(starving->user == p->user) << BLOCKED_USER
        | (unsigned)(starving->instance == p->instance) << BLOCKED_INSTANCE | 1u << BLOCKED_ROWS;
}

/* Whether clients of another pool wait under a limit that a server of `p` would count against. */
bool contested(struct tables *t, const struct pool_row *p) {
    for (int32_t i = t->h->starved.head; i != NOBODY; i = t->pools[i].starved_link.next) {
        const struct pool_row *q = &t->pools[i];
        if (first_in_line(t, q) == NOBODY) continue;
        if ((q->database == p->database && t->databases[p->database].max_db_connections)
            || (q->user == p->user && t->users[p->user].max_user_connections)
            || (q->instance == p->instance && t->instances[p->instance].max_server_connections))
            return true;
    }
    return false;
}

/* A starved pool whose oldest client should get the row of a server that `pool` just gave back. */
int32_t rival(struct tables *t, int32_t pool, uint64_t now) {
    const struct pool_row *p = &t->pools[pool];
    for (int32_t i = t->h->starved.head; i != NOBODY; i = t->pools[i].starved_link.next) {
        const struct pool_row *q = &t->pools[i];
        int32_t first = first_in_line(t, q);
        if (i == pool || first == NOBODY || opening(q) || held(t, q)) continue;
        if (full_limits(t, q) & ~shared_limits(q, p)) continue; /* this row alone would not help it */
        uint64_t since = t->clients[first].wait_start;
        if (protected(p) && elapsed(now, since) < MIN_SIZE_MERCY_US) continue;
        if (p->waiting.head == NOBODY || since + RIVAL_QUANTUM_US < t->clients[p->waiting.head].wait_start)
            return i;
    }
    return NOBODY;
}
