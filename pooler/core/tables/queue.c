/* Who gets which server: the queue of every pool, opening and closing, orders to other workers.
 *
 * A waiting client is served in this order: an idle server of its pool; a server that another client of the
 * pool gives back (first in, first out over all workers, within the bound of choose_waiter); a new
 * connection, when every limit allows one more row; and when only a limit shared with other pools forbids
 * it, the row of a server that another pool does not need (limits.c).
 *
 * `worker` is who calls: work for it comes back in `out`, work for others becomes an order in a row and a
 * doorbell in out->ring.  A caller that is not a relay passes NOBODY and gets no work at all.
 */
#include "tables/queue.h"

#include "session/session.h"
#include "tables/list.h"

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

/* Where no reset undoes what clients may have left, a server is its client's until it is closed. */
bool usable_by(const struct pool_row *p, const struct slot_row *s, const struct client_row *c) {
    return !p->beyond || p->limits.session_state != SESSION_STRICT || s->left == LEFT_NOTHING
        || s->left_by == c->id;
}

/* The idle server used last, or, with server_round_robin, first, of those that this client can have. */
int32_t usable_idle(const struct tables *t, const struct pool_row *p, const struct client_row *c) {
    int32_t i = p->idle.head;
    while (i != NOBODY && !usable_by(p, &t->slots[i], c)) i = t->slots[i].idle.next;
    return i;
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
    if (c->state == CL_FREE) return;
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

/* A cancel request of this worker is over, or was not sent: the server's client may wait for that. */
void cancel_over_locked(struct tables *t, int32_t slot, int worker, uint64_t *ring) {
    struct slot_row *s = &t->slots[slot];
    bool used = s->state == SL_ACTIVE && s->client != NOBODY;
    if (used) order_client(t, s->client, ORDER_UNCANCELED, ring); /* first: whoever dies, it is told */
    s->canceling &= ~bit(worker);
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
    struct list *line = c->flags & CF_DEDICATED ? &p->dedicated : &p->waiting;
    int32_t at = line->tail, after = NOBODY;
    for (; at != NOBODY && t->clients[at].ticket > c->ticket; at = t->clients[at].queue.prev) after = at;
    client_queue_insert_before(t, line, after, client);
    if (c->flags & CF_DEDICATED) return;
    for (after = NOBODY, at = local->tail; at != NOBODY && t->clients[at].ticket > c->ticket;
         at = t->clients[at].local_queue.prev)
        after = at;
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
    if (c->flags & CF_DEDICATED) {
        client_queue_remove(t, &p->dedicated, client);
        return;
    }
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
    s->client = client; /* first: a slot whose client does not know of it is seen by a rebuild */
    COMMIT();
    s->owner = (int16_t)owner;
    if (!(s->flags & SF_USED)) s->flags |= SF_USED;
    s->guarded = 1;
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

/* ---- opening and closing ------------------------------------------------------------------- */

/* `order` is for the owner, if that is not the caller: whoever dies, the row says what is left to do. */
int32_t reserve_slot(struct tables *t, int32_t pool, int owner, enum slot_state state, uint8_t order,
                     uint64_t now) {
    int32_t i = t->h->free_slots.head;
    if (i != NOBODY) slot_idle_remove(t, &t->h->free_slots, i);
    else i = t->h->slots_high++;
    struct slot_row *s = &t->slots[i];
    *s = (struct slot_row){/* the old generation is never lost: others may have descriptors of it */
                           .generation = s->generation + 1,
                           .pool = pool,
                           .owner = (int16_t)owner,
                           .last_worker = (int16_t)owner,
                           .client = NOBODY,
                           .dedicated_row = NOBODY,
                           .host = NOBODY,
                           .evict_for = NOBODY,
                           .orders = order,
                           .id = new_id(t),
                           .connected_at = now};
    struct pool_row *p = &t->pools[pool];
    if (p->limits.size && p->servers >= p->limits.size) s->flags |= SF_RESERVE;
    COMMIT();
    s->state = (uint8_t)state;
    p->by_state[state]++;
    p->servers++;
    count_server(t, p, 1);
    return i;
}

/* The slot that `dialer` is to open. */
int32_t dial_for(struct tables *t, int32_t pool, int dialer, int worker, uint64_t now, struct outcome *out) {
    bool mine = dialer == worker && out->dial == NOBODY;
    int32_t slot = reserve_slot(t, pool, dialer, SL_LOGIN, mine ? 0 : ORDER_DIAL, now);
    if (mine) {
        out->dial = slot;
        return slot;
    }
    slot_attention_append(t, &t->workers[dialer].slot_attention, slot);
    out->ring |= bit(dialer);
    return slot;
}

/* Marks a slot CLOSING and gives the work to the caller, or to its last worker if the caller has no relay.
 * The order comes first: a slot without a client whose owner lives and has no order would be closed by
 * nobody. */
void close_locked(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out) {
    struct slot_row *s = &t->slots[slot];
    int16_t owner = worker == NOBODY ? s->last_worker : (int16_t)worker;
    s->client = NOBODY;
    s->closing_at = now;
    if (owner == worker && out->close == NOBODY) {
        s->owner = owner;
        out->close = slot;
    } else {
        slot_drop_orders(t, slot); /* of the owner before */
        s->orders = ORDER_CLOSE;
        COMMIT();
        s->owner = owner;
        slot_attention_append(t, &t->workers[owner].slot_attention, slot);
        out->ring |= bit(owner);
    }
    slot_state(t, slot, SL_CLOSING);
}

#define ANSWERED_US 20000u /* such a request takes milliseconds, less than a login */

/* A server of the pool answers a request of ours that was sent at this time or later. */
bool answers_us(const struct tables *t, int32_t pool, uint64_t since) {
    for (int32_t i = 0; i < t->h->slots_high; i++) {
        const struct slot_row *s = &t->slots[i];
        if (s->state == SL_ACTIVE && s->client == NOBODY && s->pool == pool && s->asked_at >= since)
            return true;
    }
    return false;
}

/* One client waits, for whom a server will be free before another could be opened. */
static bool soon_served(const struct tables *t, int32_t pool, int32_t first, uint64_t now) {
    if (t->pools[pool].waiting.count != 1 || t->clients[first].flags & CF_DEDICATED) return false;
    return answers_us(t, pool, now > ANSWERED_US ? now - ANSWERED_US + 1 : 1);
}

/* Opens a connection for the waiters of `pool`, if there are any and every limit allows it. */
void demand(struct tables *t, int32_t pool, int worker, uint64_t now, struct outcome *out) {
    struct pool_row *p = &t->pools[pool];
    /* after a pause, or a rebuild */
    while (p->idle.head != NOBODY && p->waiting.head != NOBODY && !held(t, p)) {
        int32_t slot = usable_idle(t, p, &t->clients[p->waiting.head]);
        if (slot == NOBODY) break;
        slot_idle_remove(t, &p->idle, slot);
        hand(t, slot, p->waiting.head, worker, now, out);
    }
    int32_t first = first_in_line(t, p);
    if (first == NOBODY) {
        unstarve(t, pool);
        return;
    }
    if (held(t, p) || opening(p) || now < p->retry_at) return;
    enum blocked_by why = blocked(t, p, allowed_size(t, p, now));
    if (why == BLOCKED_NOT) {
        if (soon_served(t, pool, first, now)) return; /* pool_tick() looks again */
        unstarve(t, pool);
        if (t->clients[first].flags & CF_DEDICATED) dedicate(t, pool, first, worker, now, out);
        else dial_for(t, pool, t->clients[first].worker, worker, now, out);
    } else if (p->idle.head != NOBODY || t->clients[first].flags & CF_DEDICATED) {
        /* idle servers that it cannot use */
        if (!dedicated_evicts(t, pool, worker, now, out) && why != BLOCKED_SIZE && why != BLOCKED_ELSEWHERE)
            make_room(t, pool, worker, now, out);
    } else if (why != BLOCKED_SIZE && why != BLOCKED_ELSEWHERE) {
        make_room(t, pool, worker, now, out);
    }
}

/* Why a server that just became free is not used again; CLOSE_ORDER: there is no reason. */
static int reason_to_close(struct tables *t, const struct pool_row *p, const struct slot_row *s,
                           uint64_t now) {
    if (s->flags & SF_CLOSE_NEEDED) return CLOSE_OBSOLETE;
    if (held(t, p)) return CLOSE_PAUSED;
    if (over_limits(t, p)) return CLOSE_LIMIT;
    if (surplus(t, p)) return CLOSE_REPLACED;
    if ((s->expires_at && now >= s->expires_at) || ((s->flags & SF_ONCE) && (s->flags & SF_USED)))
        return CLOSE_LIFETIME;
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
    int32_t starving = t->h->owing ? owed_pool(t, s->pool) : NOBODY;
    if (starving == NOBODY && t->h->starved.head != NOBODY && !t->h->retiring)
        starving = rival(t, s->pool, now);
    if (starving != NOBODY) {
        s->evict_for = starving;
        s->close_reason = CLOSE_EVICTED;
        t->pools[starving].evicting++;
        close_locked(t, slot, worker, now, out);
    } else if (p->dedicated.head != NOBODY && dedicated_takes(t, slot, worker, now, out)) {
        return;
    } else if (p->waiting.head != NOBODY && !usable_by(p, s, &t->clients[choose_waiter(t, p, worker, now)])) {
        s->close_reason = CLOSE_BEYOND;
        close_locked(t, slot, worker, now, out);
    } else if (p->waiting.head != NOBODY) {
        hand(t, slot, choose_waiter(t, p, worker, now), worker, now, out);
    } else {
        slot_state(t, slot, SL_IDLE); /* first: an owner is missing in no other state than IDLE and RECLAIM */
        COMMIT();
        s->owner = NOBODY;
        if (t->h->round_robin) slot_idle_append(t, &p->idle, slot);
        else slot_idle_prepend(t, &p->idle, slot);
    }
}

/* ---- a row becomes free -------------------------------------------------------------------- */

/* The pool that gets a free row: the one the row was vacated for, else the one whose oldest client waits
 * longest among those that were held back. */
static int32_t next_pool(struct tables *t, int32_t pool, int32_t vacated_for, uint64_t now) {
    int32_t candidates[2] = {vacated_for, pool}, best = NOBODY, i = t->h->starved.head;
    for (int n = 0; n < 2 || i != NOBODY;) {
        int32_t at = n < 2 ? candidates[n] : i;
        if (n < 2) n++;
        else i = t->pools[i].starved_link.next;
        if (at == NOBODY) continue;
        struct pool_row *p = &t->pools[at];
        int32_t first = first_in_line(t, p);
        if (first == NOBODY || held(t, p) || opening(p) || now < p->retry_at) continue;
        if (blocked(t, p, allowed_size(t, p, now)) != BLOCKED_NOT) continue;
        if (at == vacated_for) return at;
        if (best == NOBODY
            || t->clients[first].wait_start < t->clients[first_in_line(t, &t->pools[best])].wait_start)
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
    s->state = SL_FREE; /* first: an owner is missing in no other state than IDLE and RECLAIM */
    COMMIT();
    s->owner = s->client = NOBODY;
    s->canceling = 0;
    slot_idle_append(t, &t->h->free_slots, slot);
    if (t->h->owing) settle_quota(t, false, now, out);
    int32_t next = next_pool(t, pool, vacated_for, now);
    if (next != NOBODY) demand(t, next, worker, now, out);
}
