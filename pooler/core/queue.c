/* Who gets which server: the queue of every pool, the limits, evictions, orders to other workers.
 *
 * A waiting client is served in this order: an idle server of its pool; a server that another client of the
 * pool gives back (first in, first out over all workers, within the bound of choose_waiter); a new
 * connection, when every limit allows one more row; and when only a limit shared with other pools forbids
 * it, the row of a server that another pool does not need (evict, rival).
 *
 * `worker` is who calls: work for it comes back in `out`, work for others becomes an order in a row and a
 * doorbell in out->ring.  A caller that is not a relay passes NOBODY and gets no work at all.
 */
#include "queue.h"

#include <stdio.h>
#include <string.h>

#include "lists.h"

/* A rival pool's client must have waited this much longer before a server is closed for it while its own
 * pool still has waiters: reconnecting costs PostgreSQL 5 to 20 ms, so turns are not taken per transaction. */
#define RIVAL_QUANTUM_US 100000u
/* A server that min_pool_size protects is taken all the same for a client that has waited this long. */
#define MIN_SIZE_MERCY_US 1000000u
/* A pool waits this long for the row of a server that was closed for it: a host that is alive lets go within
 * milliseconds, one that is not may take a quarter of an hour. */
#define EVICTION_PATIENCE_US 1500000u

void outcome_clear(struct outcome *out) {
    out->slot = out->dial = out->close = out->client = NOBODY;
    out->ring = 0;
}

/* Callers pass a time they looked up a moment ago: another worker's stamp may be a little later. */
uint64_t elapsed(uint64_t now, uint64_t since) { return now > since ? now - since : 0; }

uint64_t bit(int worker) { return 1ull << worker; }

bool held(struct tables *t, const struct pool_row *p) {
    return t->h->paused || t->h->draining || t->databases[p->database].paused;
}

/* ---- rows ---------------------------------------------------------------------------------- */

void slot_state(struct tables *t, int32_t slot, enum slot_state state) {
    struct slot_row *s = &t->slots[slot];
    struct pool_row *p = &t->pools[s->pool];
    p->by_state[s->state]--;
    p->by_state[state]++;
    COMMIT();
    s->state = (uint8_t)state;
}

static void count_server(struct tables *t, const struct pool_row *p, int by) {
    t->databases[p->database].servers += by;
    t->users[p->user].servers += by;
    t->instances[p->instance].servers += by;
}

void order_client(struct tables *t, int32_t client, uint8_t order, uint64_t *ring) {
    struct client_row *c = &t->clients[client];
    bool listed = c->orders != 0;
    c->orders |= order;
    if (!listed) client_attention_append(t, &t->workers[c->worker].client_attention, client);
    *ring |= bit(c->worker);
}

void order_slot(struct tables *t, int32_t slot, uint8_t order, uint64_t *ring) {
    struct slot_row *s = &t->slots[slot];
    bool listed = s->orders != 0;
    s->orders |= order;
    if (!listed) slot_attention_append(t, &t->workers[s->owner].slot_attention, slot);
    *ring |= bit(s->owner);
}

void slot_drop_orders(struct tables *t, int32_t slot) {
    struct slot_row *s = &t->slots[slot];
    if (!s->orders) return;
    slot_attention_remove(t, &t->workers[s->owner].slot_attention, slot);
    s->orders = 0;
}

/* ---- the queue ----------------------------------------------------------------------------- */

/* By ticket: a new one goes to the tail at once, one that comes back finds its old place. */
void queue_insert(struct tables *t, int32_t client) {
    struct client_row *c = &t->clients[client];
    struct pool_row *p = &t->pools[c->pool];
    struct list *local = &p->waiting_of[c->worker];
    int32_t at = p->waiting.tail, after = NOBODY;
    for (; at != NOBODY && t->clients[at].ticket > c->ticket; at = t->clients[at].queue.prev) after = at;
    client_queue_insert_before(t, &p->waiting, after, client);
    for (after = NOBODY, at = local->tail; at != NOBODY && t->clients[at].ticket > c->ticket;
         at = t->clients[at].local_queue.prev) after = at;
    client_local_insert_before(t, local, after, client);
}

void queue_join(struct tables *t, int32_t client, uint64_t now) {
    struct client_row *c = &t->clients[client];
    c->ticket = atomic_fetch_add(&t->h->next_ticket, 1);
    c->wait_start = now;
    c->slot = NOBODY;
    COMMIT();
    c->state = CL_WAITING;
    queue_insert(t, client);
}

/* Takes a waiting client off its queue, in O(1); does nothing for any other client. */
void queue_leave(struct tables *t, int32_t client) {
    struct client_row *c = &t->clients[client];
    if (c->state != CL_WAITING) return;
    struct pool_row *p = &t->pools[c->pool];
    client_queue_remove(t, &p->waiting, client);
    client_local_remove(t, &p->waiting_of[c->worker], client);
}

/* The oldest waiter, or the oldest of this worker while nobody else has waited more than about twice the
 * current mean: staying local saves a doorbell, and measured within 1 % of the best throughput. */
static int32_t choose_waiter(struct tables *t, const struct pool_row *p, int worker, uint64_t now) {
    int32_t oldest = p->waiting.head;
    if (worker == NOBODY) return oldest;
    int32_t local = p->waiting_of[worker].head;
    if (local == NOBODY || local == oldest) return oldest;
    return elapsed(now, t->clients[oldest].wait_start) > 2 * p->mean_wait_us ? oldest : local;
}

void attach(struct tables *t, int32_t slot, int32_t client, int owner) {
    struct slot_row *s = &t->slots[slot];
    struct client_row *c = &t->clients[client];
    s->client = client;   /* first: a slot whose client does not know of it is seen by a rebuild */
    COMMIT();
    s->owner = (int16_t)owner;
    if (!(s->flags & SF_USED)) s->flags |= SF_USED;
    slot_state(t, slot, SL_ACTIVE);
    c->slot = slot;
    COMMIT();
    c->state = CL_ACTIVE;
}

void hand(struct tables *t, int32_t slot, int32_t client, int worker, uint64_t now, struct outcome *out) {
    struct client_row *c = &t->clients[client];
    struct pool_row *p = &t->pools[c->pool];
    queue_leave(t, client);
    p->mean_wait_us = (15 * p->mean_wait_us + elapsed(now, c->wait_start)) / 16;
    /* the order comes first: a rebuild takes it back from a client that is still waiting */
    if (c->worker == worker && out->client == NOBODY) out->client = client;
    else order_client(t, client, ORDER_HANDED, &out->ring);
    attach(t, slot, client, c->worker);
}

/* ---- limits -------------------------------------------------------------------------------- */

int32_t allowed_size(struct tables *t, const struct pool_row *p, uint64_t now) {
    const struct pool_limits *l = &p->limits;
    if (!l->size || !l->reserve_size || !l->reserve_timeout_us || p->waiting.head == NOBODY) return l->size;
    uint64_t oldest = t->clients[p->waiting.head].wait_start;
    return elapsed(now, oldest) >= l->reserve_timeout_us ? l->size + l->reserve_size : l->size;
}

/* Every shared limit that keeps this pool from one more server, as bits 1 << enum blocked_by. */
static unsigned full_limits(struct tables *t, const struct pool_row *p) {
    const struct database_row *d = &t->databases[p->database];
    const struct user_row *u = &t->users[p->user];
    const struct instance_row *n = &t->instances[p->instance];
    unsigned full = 0;
    if (d->max_servers && d->servers >= d->max_servers) full |= 1u << BLOCKED_DATABASE;
    if (u->max_servers && u->servers >= u->max_servers) full |= 1u << BLOCKED_USER;
    if (n->max_servers && n->servers >= n->max_servers) full |= 1u << BLOCKED_INSTANCE;
    if (!t->h->free_slots.count && t->h->slots_high >= t->h->sizes.slots) full |= 1u << BLOCKED_ROWS;
    return full;
}

enum blocked_by blocked(struct tables *t, const struct pool_row *p, int32_t size) {
    if (size && p->servers >= size) return BLOCKED_SIZE;
    unsigned full = full_limits(t, p);
    return full ? (enum blocked_by)__builtin_ctz(full) : BLOCKED_NOT;
}

bool over_limits(struct tables *t, const struct pool_row *p) {
    const struct database_row *d = &t->databases[p->database];
    const struct user_row *u = &t->users[p->user];
    const struct instance_row *n = &t->instances[p->instance];
    const struct pool_limits *l = &p->limits;
    return (l->size && p->servers > l->size + l->reserve_size) || (d->max_servers && d->servers > d->max_servers)
        || (u->max_servers && u->servers > u->max_servers) || (n->max_servers && n->servers > n->max_servers);
}

void starve(struct tables *t, int32_t pool) {
    struct pool_row *p = &t->pools[pool];
    if (p->starved) return;
    p->starved = 1;
    starved_append(t, &t->h->starved, pool);
}

static void sate(struct tables *t, int32_t pool) {
    struct pool_row *p = &t->pools[pool];
    if (!p->starved) return;
    p->starved = 0;
    starved_remove(t, &t->h->starved, pool);
}

/* One at a time per pool: a storm of clients must not become a storm at PostgreSQL, and one failing login
 * answers all that wait. */
bool opening(const struct pool_row *p) { return p->by_state[SL_LOGIN] + p->evicting > 0; }

/* ---- opening and closing ------------------------------------------------------------------- */

/* `order` is for the owner, if that is not the caller: whoever dies, the row says what is left to do. */
static int32_t reserve_slot(struct tables *t, int32_t pool, int owner, uint8_t order, uint64_t now) {
    int32_t i = t->h->free_slots.head;
    if (i != NOBODY) slot_idle_remove(t, &t->h->free_slots, i);
    else i = t->h->slots_high++;
    struct slot_row *s = &t->slots[i];
    *s = (struct slot_row){   /* the old generation is never lost: others may have descriptors of it */
        .generation = s->generation + 1, .pool = pool, .owner = (int16_t)owner, .last_worker = (int16_t)owner,
        .client = NOBODY, .evict_for = NOBODY, .orders = order, .id = new_id(t), .connected_at = now};
    struct pool_row *p = &t->pools[pool];
    if (p->limits.size && p->servers >= p->limits.size) s->flags |= SF_RESERVE;
    COMMIT();
    s->state = SL_LOGIN;
    p->by_state[SL_LOGIN]++;
    p->servers++;
    count_server(t, p, 1);
    return i;
}

void dial_for(struct tables *t, int32_t pool, int dialer, int worker, uint64_t now, struct outcome *out) {
    bool mine = dialer == worker && out->dial == NOBODY;
    int32_t slot = reserve_slot(t, pool, dialer, mine ? 0 : ORDER_DIAL, now);
    if (mine) {
        out->dial = slot;
        return;
    }
    slot_attention_append(t, &t->workers[dialer].slot_attention, slot);
    out->ring |= bit(dialer);
}

/* Marks a slot CLOSING and gives the work to the caller, or to its last worker if the caller has no relay. */
void close_locked(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out) {
    struct slot_row *s = &t->slots[slot];
    s->owner = worker == NOBODY ? s->last_worker : (int16_t)worker;
    s->client = NOBODY;
    s->closing_at = now;
    if (s->owner == worker && out->close == NOBODY) out->close = slot;
    else order_slot(t, slot, ORDER_CLOSE, &out->ring);   /* before the state: nobody else would know */
    slot_state(t, slot, SL_CLOSING);
}

bool protected(const struct pool_row *p) {
    return p->servers - p->by_state[SL_CLOSING] - p->by_state[SL_RECLAIM] <= p->limits.min_size;
}

static int32_t first_rival(struct tables *t, const struct pool_row *p, enum blocked_by why) {
    switch (why) {
    case BLOCKED_DATABASE: return t->databases[p->database].first_pool;
    case BLOCKED_USER: return t->users[p->user].first_pool;
    case BLOCKED_INSTANCE: return t->instances[p->instance].first_pool;
    default: return t->h->pools_high - 1;   /* all pools compete for rows */
    }
}

static int32_t next_rival(struct tables *t, int32_t i, enum blocked_by why) {
    switch (why) {
    case BLOCKED_DATABASE: return t->pools[i].next_in_database;
    case BLOCKED_USER: return t->pools[i].next_in_user;
    case BLOCKED_INSTANCE: return t->pools[i].next_in_instance;
    default: return i - 1;   /* NOBODY behind the first */
    }
}

/* Closes the longest idle server among the pools that share the limit `why`, for the benefit of `pool`. */
static bool evict(struct tables *t, int32_t pool, enum blocked_by why, int worker, bool merciless, uint64_t now,
                  struct outcome *out) {
    struct pool_row *p = &t->pools[pool];
    int32_t victim = NOBODY;
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

/* Pools stop waiting for rows whose hosts do not let go: they may evict another server, or dial when something
 * else becomes free. */
void evictions_overdue(struct tables *t, uint64_t now) {
    for (int32_t i = 0; i < t->h->slots_high; i++) {
        struct slot_row *s = &t->slots[i];
        if (s->state == SL_FREE || s->evict_for == NOBODY || elapsed(now, s->closing_at) < EVICTION_PATIENCE_US) continue;
        t->pools[s->evict_for].evicting--;
        s->evict_for = NOBODY;
    }
}

/* Opens a connection for the waiters of `pool`, if there are any and every limit allows it. */
void demand(struct tables *t, int32_t pool, int worker, uint64_t now, struct outcome *out) {
    struct pool_row *p = &t->pools[pool];
    while (p->idle.head != NOBODY && p->waiting.head != NOBODY && !held(t, p)) {   /* after a pause, or a rebuild */
        int32_t slot = p->idle.head;
        slot_idle_remove(t, &p->idle, slot);
        hand(t, slot, p->waiting.head, worker, now, out);
    }
    if (p->waiting.head == NOBODY) { sate(t, pool); return; }
    if (held(t, p) || opening(p) || now < p->retry_at) return;
    const struct client_row *oldest = &t->clients[p->waiting.head];
    enum blocked_by why = blocked(t, p, allowed_size(t, p, now));
    if (why == BLOCKED_NOT) {
        sate(t, pool);
        dial_for(t, pool, oldest->worker, worker, now, out);
    } else if (why != BLOCKED_SIZE) {
        bool merciless = elapsed(now, oldest->wait_start) > MIN_SIZE_MERCY_US;
        unsigned full = full_limits(t, p);
        starve(t, pool);
        while (full && !evict(t, pool, (enum blocked_by)__builtin_ctz(full), worker, merciless, now, out)) full &= full - 1;
    }
}

/* The limits that one server of `p` less would relieve for `hungry`. */
static unsigned shared_limits(const struct pool_row *hungry, const struct pool_row *p) {
    return (unsigned)(hungry->database == p->database) << BLOCKED_DATABASE
         | (unsigned)(hungry->user == p->user) << BLOCKED_USER
         | (unsigned)(hungry->instance == p->instance) << BLOCKED_INSTANCE | 1u << BLOCKED_ROWS;
}

/* Whether clients of another pool wait under a limit that a server of `p` would count against. */
bool contested(struct tables *t, const struct pool_row *p) {
    for (int32_t i = t->h->starved.head; i != NOBODY; i = t->pools[i].starved_link.next) {
        const struct pool_row *q = &t->pools[i];
        if (q->waiting.head == NOBODY) continue;
        if ((q->database == p->database && t->databases[p->database].max_servers)
            || (q->user == p->user && t->users[p->user].max_servers)
            || (q->instance == p->instance && t->instances[p->instance].max_servers)) return true;
    }
    return false;
}

/* A starved pool whose oldest client should get the row of a server that `pool` just gave back. */
static int32_t rival(struct tables *t, int32_t pool, uint64_t now) {
    const struct pool_row *p = &t->pools[pool];
    for (int32_t i = t->h->starved.head; i != NOBODY; i = t->pools[i].starved_link.next) {
        const struct pool_row *q = &t->pools[i];
        if (i == pool || q->waiting.head == NOBODY || opening(q) || held(t, q)) continue;
        if (full_limits(t, q) & ~shared_limits(q, p)) continue;   /* this row alone would not help it */
        uint64_t since = t->clients[q->waiting.head].wait_start;
        if (protected(p) && elapsed(now, since) < MIN_SIZE_MERCY_US) continue;
        if (p->waiting.head == NOBODY || since + RIVAL_QUANTUM_US < t->clients[p->waiting.head].wait_start) return i;
    }
    return NOBODY;
}

/* Why a server that just became free is not used again; CLOSE_ORDER: there is no reason. */
static int reason_to_close(struct tables *t, const struct pool_row *p, const struct slot_row *s, uint64_t now) {
    if (s->flags & SF_CLOSE_NEEDED) return CLOSE_OBSOLETE;
    if (held(t, p)) return CLOSE_PAUSED;
    if (over_limits(t, p)) return CLOSE_LIMIT;
    if ((s->expires_at && now >= s->expires_at) || ((s->flags & SF_ONCE) && (s->flags & SF_USED))) return CLOSE_LIFETIME;
    return CLOSE_ORDER;
}

/* A server that is provably in step and belongs to nobody: next waiter, rival, or the idle list. */
void place_locked(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out) {
    struct slot_row *s = &t->slots[slot];
    struct pool_row *p = &t->pools[s->pool];
    s->client = NOBODY;
    s->used_at = now;
    if (s->canceling) {
        slot_state(t, slot, SL_PARKED);
        return;
    }
    int reason = reason_to_close(t, p, s, now);
    if (reason != CLOSE_ORDER) {
        s->close_reason = (uint8_t)reason;
        close_locked(t, slot, worker, now, out);
        return;
    }
    int32_t hungry = t->h->starved.head == NOBODY ? NOBODY : rival(t, s->pool, now);
    if (hungry != NOBODY) {
        s->evict_for = hungry;
        s->close_reason = CLOSE_EVICTED;
        t->pools[hungry].evicting++;
        close_locked(t, slot, worker, now, out);
    } else if (p->waiting.head != NOBODY) {
        hand(t, slot, choose_waiter(t, p, worker, now), worker, now, out);
    } else {
        s->owner = NOBODY;
        slot_state(t, slot, SL_IDLE);
        if (t->h->round_robin) slot_idle_append(t, &p->idle, slot);
        else slot_idle_prepend(t, &p->idle, slot);
    }
}

/* ---- a row becomes free -------------------------------------------------------------------- */

/* The pool that gets a free row: the one the row was vacated for, else the one whose oldest client waits
 * longest among those that were held back. */
static int32_t heir(struct tables *t, int32_t pool, int32_t vacated_for, uint64_t now) {
    int32_t candidates[2] = {vacated_for, pool}, best = NOBODY, i = t->h->starved.head;
    for (int n = 0; n < 2 || i != NOBODY;) {
        int32_t at = n < 2 ? candidates[n] : i;
        if (n < 2) n++;
        else i = t->pools[i].starved_link.next;
        if (at == NOBODY) continue;
        struct pool_row *p = &t->pools[at];
        if (p->waiting.head == NOBODY || held(t, p) || opening(p) || now < p->retry_at) continue;
        if (blocked(t, p, allowed_size(t, p, now)) != BLOCKED_NOT) continue;
        if (at == vacated_for) return at;
        if (best == NOBODY
            || t->clients[p->waiting.head].wait_start < t->clients[t->pools[best].waiting.head].wait_start)
            best = at;
    }
    return best;
}

void freed_locked(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out) {
    struct slot_row *s = &t->slots[slot];
    struct pool_row *p = &t->pools[s->pool];
    int32_t pool = s->pool, vacated_for = s->evict_for;
    if (vacated_for != NOBODY) t->pools[vacated_for].evicting--;
    s->evict_for = NOBODY;
    p->by_state[s->state]--;
    p->servers--;
    count_server(t, p, -1);
    s->state = SL_FREE;   /* first: an owner is missing in no other state than IDLE and RECLAIM */
    COMMIT();
    s->owner = s->client = NOBODY;
    s->canceling = 0;
    slot_idle_append(t, &t->h->free_slots, slot);
    int32_t next = heir(t, pool, vacated_for, now);
    if (next != NOBODY) demand(t, next, worker, now, out);
}
