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
/* How many idle servers are looked at for one that this worker used last (saves an epoll_ctl). */
#define AFFINITY_DEPTH 4

void outcome_clear(struct outcome *out) {
    out->slot = out->dial = out->close = out->client = NOBODY;
    out->ring = 0;
}

/* Callers pass a time they looked up a moment ago: another worker's stamp may be a little later. */
static uint64_t elapsed(uint64_t now, uint64_t since) { return now > since ? now - since : 0; }

static uint64_t bit(int worker) { return 1ull << worker; }

static bool held(struct tables *t, const struct pool_row *p) {
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

static void queue_join(struct tables *t, int32_t client, uint64_t now) {
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

static void attach(struct tables *t, int32_t slot, int32_t client, int owner) {
    struct slot_row *s = &t->slots[slot];
    struct client_row *c = &t->clients[client];
    s->owner = (int16_t)owner;
    s->client = client;
    slot_state(t, slot, SL_ACTIVE);
    c->slot = slot;
    COMMIT();
    c->state = CL_ACTIVE;
}

static void hand(struct tables *t, int32_t slot, int32_t client, int worker, uint64_t now, struct outcome *out) {
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

static int32_t allowed_size(struct tables *t, const struct pool_row *p, uint64_t now) {
    const struct pool_limits *l = &p->limits;
    if (!l->size || !l->reserve_size || p->waiting.head == NOBODY) return l->size;
    uint64_t oldest = t->clients[p->waiting.head].wait_start;
    return elapsed(now, oldest) >= l->reserve_timeout_us ? l->size + l->reserve_size : l->size;
}

static enum blocked_by blocked(struct tables *t, const struct pool_row *p, int32_t size) {
    const struct database_row *d = &t->databases[p->database];
    const struct user_row *u = &t->users[p->user];
    const struct instance_row *n = &t->instances[p->instance];
    if (size && p->servers >= size) return BLOCKED_SIZE;
    if (d->max_servers && d->servers >= d->max_servers) return BLOCKED_DATABASE;
    if (u->max_servers && u->servers >= u->max_servers) return BLOCKED_USER;
    if (n->max_servers && n->servers >= n->max_servers) return BLOCKED_INSTANCE;
    if (!t->h->free_slots.count && t->h->slots_high >= t->h->sizes.slots) return BLOCKED_ROWS;
    return BLOCKED_NOT;
}

static bool over_limits(struct tables *t, const struct pool_row *p) {
    const struct database_row *d = &t->databases[p->database];
    const struct user_row *u = &t->users[p->user];
    const struct instance_row *n = &t->instances[p->instance];
    const struct pool_limits *l = &p->limits;
    return (l->size && p->servers > l->size + l->reserve_size) || (d->max_servers && d->servers > d->max_servers)
        || (u->max_servers && u->servers > u->max_servers) || (n->max_servers && n->servers > n->max_servers);
}

void starve(struct tables *t, int32_t pool, enum blocked_by why) {
    struct pool_row *p = &t->pools[pool];
    p->blocked_by = (uint8_t)why;
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
static bool opening(const struct pool_row *p) { return p->by_state[SL_LOGIN] + p->evicting > 0; }

/* ---- opening and closing ------------------------------------------------------------------- */

static int32_t reserve_slot(struct tables *t, int32_t pool, int owner, uint64_t now) {
    int32_t i = t->h->free_slots.head;
    if (i != NOBODY) slot_idle_remove(t, &t->h->free_slots, i);
    else i = t->h->slots_high++;
    struct slot_row *s = &t->slots[i];
    uint32_t generation = s->generation + 1;
    memset(s, 0, sizeof *s);
    s->generation = generation;
    s->pool = pool;
    s->owner = s->last_worker = (int16_t)owner;
    s->client = s->evict_for = NOBODY;
    s->id = new_id(t);
    s->connected_at = now;
    struct pool_row *p = &t->pools[pool];
    COMMIT();
    s->state = SL_LOGIN;
    p->by_state[SL_LOGIN]++;
    p->servers++;
    count_server(t, p, 1);
    return i;
}

static void dial(struct tables *t, int32_t pool, int dialer, int worker, uint64_t now, struct outcome *out) {
    int32_t slot = reserve_slot(t, pool, dialer, now);
    if (dialer == worker && out->dial == NOBODY) out->dial = slot;
    else order_slot(t, slot, ORDER_DIAL, &out->ring);
}

/* Marks a slot CLOSING and gives the work to the caller, or to its last worker if the caller has no relay. */
void close_locked(struct tables *t, int32_t slot, int worker, struct outcome *out) {
    struct slot_row *s = &t->slots[slot];
    s->owner = worker == NOBODY ? s->last_worker : (int16_t)worker;
    s->client = NOBODY;
    slot_state(t, slot, SL_CLOSING);
    if (s->owner == worker && out->close == NOBODY) out->close = slot;
    else order_slot(t, slot, ORDER_CLOSE, &out->ring);
}

static bool protected(const struct pool_row *p) {
    return p->servers - p->by_state[SL_CLOSING] - p->by_state[SL_RECLAIM] <= p->limits.min_size;
}

static int32_t next_rival(const struct pool_row *p, enum blocked_by why) {
    return why == BLOCKED_DATABASE ? p->next_in_database : why == BLOCKED_USER ? p->next_in_user : p->next_in_instance;
}

/* Closes the longest idle server among the pools that share the limit `why`, for the benefit of `pool`. */
static void evict(struct tables *t, int32_t pool, enum blocked_by why, int worker, bool merciless,
                  struct outcome *out) {
    struct pool_row *p = &t->pools[pool];
    int32_t i = why == BLOCKED_DATABASE ? t->databases[p->database].first_pool
              : why == BLOCKED_USER ? t->users[p->user].first_pool : t->instances[p->instance].first_pool;
    int32_t victim = NOBODY;
    for (; i != NOBODY; i = next_rival(&t->pools[i], why)) {
        int32_t candidate = t->pools[i].idle.tail;
        if (i == pool || candidate == NOBODY || (protected(&t->pools[i]) && !merciless)) continue;
        if (victim == NOBODY || t->slots[candidate].used_at < t->slots[victim].used_at) victim = candidate;
    }
    if (victim == NOBODY) return;
    struct slot_row *s = &t->slots[victim];
    slot_idle_remove(t, &t->pools[s->pool].idle, victim);
    s->evict_for = pool;
    p->evicting++;
    close_locked(t, victim, worker, out);
}

/* Opens a connection for the waiters of `pool`, if there are any and every limit allows it. */
void demand(struct tables *t, int32_t pool, int worker, uint64_t now, struct outcome *out) {
    struct pool_row *p = &t->pools[pool];
    if (p->waiting.head == NOBODY) { sate(t, pool); return; }
    if (held(t, p) || opening(p) || now < p->retry_at) return;
    const struct client_row *oldest = &t->clients[p->waiting.head];
    enum blocked_by why = blocked(t, p, allowed_size(t, p, now));
    if (why == BLOCKED_NOT) {
        sate(t, pool);
        dial(t, pool, oldest->worker, worker, now, out);
    } else if (why != BLOCKED_SIZE) {
        starve(t, pool, why);
        if (why != BLOCKED_ROWS) evict(t, pool, why, worker, elapsed(now, oldest->wait_start) > MIN_SIZE_MERCY_US, out);
    }
}

static bool share_limit(const struct pool_row *hungry, const struct pool_row *p) {
    switch (hungry->blocked_by) {
    case BLOCKED_DATABASE: return hungry->database == p->database;
    case BLOCKED_USER: return hungry->user == p->user;
    case BLOCKED_INSTANCE: return hungry->instance == p->instance;
    default: return false;
    }
}

/* A starved pool whose oldest client should get the row of a server that `pool` just gave back. */
static int32_t rival(struct tables *t, int32_t pool, uint64_t now) {
    const struct pool_row *p = &t->pools[pool];
    for (int32_t i = t->h->starved.head; i != NOBODY; i = t->pools[i].starved_link.next) {
        const struct pool_row *q = &t->pools[i];
        if (i == pool || q->waiting.head == NOBODY || opening(q) || held(t, q) || !share_limit(q, p)) continue;
        uint64_t since = t->clients[q->waiting.head].wait_start;
        if (protected(p) && elapsed(now, since) < MIN_SIZE_MERCY_US) continue;
        if (p->waiting.head == NOBODY || since + RIVAL_QUANTUM_US < t->clients[p->waiting.head].wait_start) return i;
    }
    return NOBODY;
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
    if ((s->flags & SF_CLOSE_NEEDED) || held(t, p) || over_limits(t, p) || (s->expires_at && now >= s->expires_at)) {
        close_locked(t, slot, worker, out);
        return;
    }
    int32_t hungry = t->h->starved.head == NOBODY ? NOBODY : rival(t, s->pool, now);
    if (hungry != NOBODY) {
        s->evict_for = hungry;
        t->pools[hungry].evicting++;
        close_locked(t, slot, worker, out);
    } else if (p->waiting.head != NOBODY) {
        hand(t, slot, choose_waiter(t, p, worker, now), worker, now, out);
    } else {
        s->owner = NOBODY;
        slot_state(t, slot, SL_IDLE);
        if (t->h->round_robin) slot_idle_append(t, &p->idle, slot);
        else slot_idle_prepend(t, &p->idle, slot);
    }
}

/* ---- operations ---------------------------------------------------------------------------- */

static int32_t take_idle_locked(struct tables *t, struct pool_row *p, int worker) {
    int32_t best = p->idle.head, i = best;
    for (int depth = 0; i != NOBODY && depth < AFFINITY_DEPTH && !t->h->round_robin; depth++, i = t->slots[i].idle.next)
        if (t->slots[i].last_worker == worker) { best = i; break; }
    slot_idle_remove(t, &p->idle, best);
    return best;
}

/* A server for this client: out->slot, or the client waits (and out may ask for a connection to be opened). */
void pool_acquire(struct tables *t, int32_t client, uint64_t now, struct outcome *out) {
    outcome_clear(out);
    tables_lock(t);
    struct client_row *c = &t->clients[client];
    struct pool_row *p = &t->pools[c->pool];
    if (p->idle.head != NOBODY && p->waiting.head == NOBODY && !held(t, p)) {
        out->slot = take_idle_locked(t, p, c->worker);
        attach(t, out->slot, client, c->worker);
    } else {
        queue_join(t, client, now);
        demand(t, c->pool, c->worker, now, out);
    }
    tables_unlock(t);
}

/* A client whose server failed before it was used waits again, in its old place. */
void pool_requeue(struct tables *t, int32_t client, uint64_t now, struct outcome *out) {
    outcome_clear(out);
    tables_lock(t);
    struct client_row *c = &t->clients[client];
    c->slot = NOBODY;
    c->wait_start = now;
    COMMIT();
    c->state = CL_WAITING;
    queue_insert(t, client);
    demand(t, c->pool, c->worker, now, out);
    tables_unlock(t);
}

/* A client in its login waits until the pool has logged in to PostgreSQL once (its owner is not a relay). */
void pool_wait_welcome(struct tables *t, int32_t client, uint64_t now, struct outcome *out) {
    outcome_clear(out);
    tables_lock(t);
    struct client_row *c = &t->clients[client];
    if (t->pools[c->pool].welcome_bytes) {
        order_client(t, client, ORDER_WELCOME, &out->ring);
    } else {
        c->flags |= CF_LOGIN_WAIT;
        queue_join(t, client, now);
        demand(t, c->pool, NOBODY, now, out);
    }
    tables_unlock(t);
    tables_ring(t, out->ring);
}

/* Gives back a server that is in step; its client (if any) becomes idle. */
void pool_release(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out) {
    outcome_clear(out);
    tables_lock(t);
    struct slot_row *s = &t->slots[slot];
    if (s->client != NOBODY) {
        struct client_row *c = &t->clients[s->client];
        c->slot = NOBODY;
        c->idle_start = now;
        COMMIT();
        c->state = CL_IDLE;
    }
    place_locked(t, slot, worker, now, out);
    tables_unlock(t);
}

/* Takes a server from its client without giving it to anybody: it is about to be reset (session pooling). */
void pool_detach(struct tables *t, int32_t slot, uint64_t now) {
    tables_lock(t);
    struct slot_row *s = &t->slots[slot];
    if (s->client != NOBODY) {
        struct client_row *c = &t->clients[s->client];
        c->slot = NOBODY;
        c->idle_start = now;
        COMMIT();
        c->state = CL_IDLE;
        s->client = NOBODY;
    }
    tables_unlock(t);
}

/* A server has logged in: it serves the first waiter, and the next one may be opened. */
void pool_place(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out) {
    outcome_clear(out);
    tables_lock(t);
    int32_t pool = t->slots[slot].pool;
    t->pools[pool].failures = 0;
    t->pools[pool].retry_at = 0;
    slot_state(t, slot, SL_ACTIVE);
    place_locked(t, slot, worker, now, out);
    demand(t, pool, worker, now, out);
    tables_unlock(t);
}

/* The caller (owner) closes the connection of this slot; a client still attached is set free. */
void pool_begin_close(struct tables *t, int32_t slot, int worker, bool busy) {
    tables_lock(t);
    struct slot_row *s = &t->slots[slot];
    if (s->client != NOBODY) {
        struct client_row *c = &t->clients[s->client];
        if (c->state == CL_ACTIVE && c->slot == slot) {
            c->slot = NOBODY;
            COMMIT();
            c->state = CL_IDLE;
        }
    }
    slot_drop_orders(t, slot);
    s->client = NOBODY;
    s->owner = (int16_t)worker;
    s->closing_at = now_us();
    if (busy) s->flags |= SF_WAS_BUSY;
    slot_state(t, slot, SL_CLOSING);
    tables_unlock(t);
}

/* Leaves a slot to a reclaimer: its owner cannot reach the connection. */
void pool_abandon(struct tables *t, int32_t slot) {
    tables_lock(t);
    struct slot_row *s = &t->slots[slot];
    if (s->client != NOBODY) {
        t->clients[s->client].slot = NOBODY;
        t->clients[s->client].state = CL_IDLE;
    }
    slot_drop_orders(t, slot);
    s->owner = s->client = NOBODY;
    s->flags |= SF_WAS_BUSY;
    slot_state(t, slot, SL_RECLAIM);
    tables_unlock(t);
}

/* Takes one particular idle server (something arrived on it); false when it is not idle any more. */
bool pool_claim_idle(struct tables *t, int32_t slot, uint32_t generation, int worker) {
    tables_lock(t);
    struct slot_row *s = &t->slots[slot];
    bool mine = s->state == SL_IDLE && s->generation == generation;
    if (mine) {
        slot_idle_remove(t, &t->pools[s->pool].idle, slot);
        s->owner = s->last_worker = (int16_t)worker;
        s->client = NOBODY;
        slot_state(t, slot, SL_ACTIVE);
    }
    tables_unlock(t);
    return mine;
}

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
    s->owner = s->client = NOBODY;
    s->canceling = 0;
    COMMIT();
    s->state = SL_FREE;
    slot_idle_append(t, &t->h->free_slots, slot);
    int32_t next = heir(t, pool, vacated_for, now);
    if (next != NOBODY) demand(t, next, worker, now, out);
}

/* PostgreSQL has let go of this slot's connection (end of stream was read, or it was never dialed). */
void pool_freed(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out) {
    outcome_clear(out);
    tables_lock(t);
    slot_drop_orders(t, slot);
    freed_locked(t, slot, worker, now, out);
    tables_unlock(t);
}

/* The welcome parameters of a pool are known: every client in its login may go on. */
void pool_welcome_known(struct tables *t, int32_t pool, uint64_t *ring) {
    struct pool_row *p = &t->pools[pool];
    int32_t next;
    for (int32_t i = p->waiting.head; i != NOBODY; i = next) {
        next = t->clients[i].queue.next;
        if (!(t->clients[i].flags & CF_LOGIN_WAIT)) continue;
        queue_leave(t, i);
        t->clients[i].flags &= (uint8_t)~CF_LOGIN_WAIT;
        t->clients[i].state = CL_LOGIN;
        order_client(t, i, ORDER_WELCOME, ring);
    }
}

/* A server login failed.  `fatal`: PostgreSQL refused in words that clients in their login are to hear. */
void pool_login_failed(struct tables *t, int32_t pool, bool fatal, const char *sqlstate, const char *text,
                       uint64_t retry_at, uint64_t *ring) {
    tables_lock(t);
    struct pool_row *p = &t->pools[pool];
    p->failures++;
    p->retry_at = retry_at;
    snprintf(p->error_sqlstate, sizeof p->error_sqlstate, "%s", sqlstate);
    snprintf(p->error_text, sizeof p->error_text, "%s", text);
    int32_t next;
    for (int32_t i = p->waiting.head; fatal && i != NOBODY; i = next) {
        next = t->clients[i].queue.next;
        if (!(t->clients[i].flags & CF_LOGIN_WAIT)) continue;
        queue_leave(t, i);
        t->clients[i].flags &= (uint8_t)~CF_LOGIN_WAIT;
        t->clients[i].state = CL_LOGIN;
        order_client(t, i, ORDER_FAIL, ring);
    }
    tables_unlock(t);
}

/* ---- housekeeping -------------------------------------------------------------------------- */

/* Time has passed: the reserve pool, retries after failed logins, min_pool_size.  At most `max` dials. */
int pool_tick(struct tables *t, int worker, uint64_t now, int32_t *dials, int max, uint64_t *ring) {
    int count = 0;
    struct outcome out;
    tables_lock(t);
    for (int32_t i = 0; i < t->h->pools_high; i++) {
        struct pool_row *p = &t->pools[i];
        outcome_clear(&out);
        if (p->waiting.head != NOBODY) {
            demand(t, i, NOBODY, now, &out);
        } else if (count < max && p->servers < p->limits.min_size && (p->clients || p->forced_user) && !opening(p)
                   && !held(t, p) && now >= p->retry_at && blocked(t, p, p->limits.size) == BLOCKED_NOT) {
            dial(t, i, worker, worker, now, &out);
            dials[count++] = out.dial;
        }
        *ring |= out.ring;
    }
    tables_unlock(t);
    return count;
}

/* Idle servers that `worker` watches and that are to be closed: marked, outlived, or idle for too long
 * (not below min_pool_size).  They are CLOSING and the caller's when this returns. */
int pool_expired_idle(struct tables *t, int worker, uint64_t now, uint64_t idle_timeout_us, int32_t *out, int max) {
    int count = 0;
    tables_lock(t);
    for (int32_t i = 0; i < t->h->slots_high && count < max; i++) {
        struct slot_row *s = &t->slots[i];
        if (s->state != SL_IDLE || s->last_worker != worker) continue;
        struct pool_row *p = &t->pools[s->pool];
        bool idle_out = idle_timeout_us && elapsed(now, s->used_at) > idle_timeout_us && p->servers > p->limits.min_size;
        if (!idle_out && !(s->flags & SF_CLOSE_NEEDED) && !(s->expires_at && now >= s->expires_at)
            && !over_limits(t, p)) continue;
        slot_idle_remove(t, &p->idle, i);
        s->owner = (int16_t)worker;
        slot_state(t, i, SL_CLOSING);
        out[count++] = i;
    }
    tables_unlock(t);
    return count;
}

/* All idle servers of a database (NOBODY: of all), for the caller to close; with `mark`, those in use are to
 * be closed when they come back. */
int pool_take_idle(struct tables *t, int32_t database, int worker, bool mark, int32_t *out, int max) {
    int count = 0;
    tables_lock(t);
    for (int32_t i = 0; i < t->h->slots_high && count < max; i++) {
        struct slot_row *s = &t->slots[i];
        if (s->state == SL_FREE || (database != NOBODY && t->pools[s->pool].database != database)) continue;
        if (mark) s->flags |= SF_CLOSE_NEEDED;
        if (s->state != SL_IDLE) continue;
        slot_idle_remove(t, &t->pools[s->pool].idle, i);
        s->owner = (int16_t)worker;
        slot_state(t, i, SL_CLOSING);
        out[count++] = i;
    }
    tables_unlock(t);
    return count;
}

/* Takes a slot whose owner died, for the caller to finish; false when somebody else has it. */
bool pool_take_reclaim(struct tables *t, int32_t slot, int worker) {
    tables_lock(t);
    struct slot_row *s = &t->slots[slot];
    bool mine = s->state == SL_RECLAIM;
    if (mine) {
        s->owner = (int16_t)worker;
        s->closing_at = now_us();
        slot_state(t, slot, SL_CLOSING);
    }
    tables_unlock(t);
    return mine;
}

/* Takes the orders of this worker, up to the given numbers; true when more are left. */
bool pool_attention(struct tables *t, int worker, struct order *clients, int *client_count, struct order *slots,
                    int *slot_count, int max) {
    struct worker_row *w = &t->workers[worker];
    *client_count = *slot_count = 0;
    tables_lock(t);
    while (w->client_attention.head != NOBODY && *client_count < max) {
        int32_t i = w->client_attention.head;
        client_attention_remove(t, &w->client_attention, i);
        clients[(*client_count)++] = (struct order){i, t->clients[i].orders};
        t->clients[i].orders = 0;
    }
    while (w->slot_attention.head != NOBODY && *slot_count < max) {
        int32_t i = w->slot_attention.head;
        slot_attention_remove(t, &w->slot_attention, i);
        slots[(*slot_count)++] = (struct order){i, t->slots[i].orders};
        t->slots[i].orders = 0;
    }
    bool more = w->client_attention.head != NOBODY || w->slot_attention.head != NOBODY;
    tables_unlock(t);
    return more;
}

/* ---- cancel requests and orders from the console ------------------------------------------- */

/* Looks up a cancel key.  A queued query is canceled here (its worker answers 57014); for a running one the
 * slot is held until cancel_end. */
enum cancel_verdict cancel_begin(struct tables *t, uint32_t pid, uint32_t secret, int worker, int32_t *slot,
                                 uint32_t *generation) {
    int32_t row = (int32_t)(pid & 0xfffff) - 1;
    uint64_t ring = 0;
    enum cancel_verdict verdict = CANCEL_NOTHING;
    if (row < 0 || row >= t->h->sizes.clients) return verdict;
    tables_lock(t);
    struct client_row *c = &t->clients[row];
    bool match = ((c->cancel_pid ^ pid) | (c->cancel_secret ^ secret)) == 0;   /* no early exit */
    if (match && c->state == CL_WAITING && !(c->flags & CF_LOGIN_WAIT)) {
        queue_leave(t, row);
        c->state = CL_IDLE;
        order_client(t, row, ORDER_CANCELED, &ring);
        verdict = CANCEL_QUEUED;
    } else if (match && c->state == CL_ACTIVE) {
        struct slot_row *s = &t->slots[c->slot];
        *slot = c->slot;
        *generation = s->generation;
        if (s->canceling & bit(worker)) {
            verdict = CANCEL_BUSY;
        } else {
            s->canceling |= bit(worker);
            c->cancel_requests++;
            verdict = CANCEL_FORWARD;
        }
    }
    tables_unlock(t);
    tables_ring(t, ring);
    return verdict;
}

/* PostgreSQL has closed the connection of a cancel request, so its signal was sent: the server may go on. */
void cancel_end(struct tables *t, int32_t slot, uint32_t generation, int32_t client, uint64_t client_id, int worker,
                uint64_t now) {
    struct outcome out;
    outcome_clear(&out);
    tables_lock(t);
    struct slot_row *s = &t->slots[slot];
    if (client != NOBODY && t->clients[client].id == client_id) t->clients[client].cancel_requests--;
    if (s->generation == generation && s->state != SL_FREE) {
        s->canceling &= ~bit(worker);
        if (s->state == SL_PARKED && !s->canceling) place_locked(t, slot, NOBODY, now, &out);
    }
    tables_unlock(t);
    tables_ring(t, out.ring);
}

/* Tells the worker of a client to do something with it; false when that client has left. */
bool client_tell(struct tables *t, int32_t row, uint64_t id, uint8_t order, uint8_t kill_text) {
    uint64_t ring = 0;
    tables_lock(t);
    struct client_row *c = &t->clients[row];
    bool there = c->state != CL_FREE && c->id == id;
    if (there) {
        if (order & ORDER_KILL) c->kill_text = kill_text;
        order_client(t, row, order, &ring);
    }
    tables_unlock(t);
    tables_ring(t, ring);
    return there;
}
