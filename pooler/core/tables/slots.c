/* Rows of server connections: taken, attached to clients, placed, closed, free again. */
#include "tables/slots.h"

#include "tables/clock.h"
#include "tables/deadlines.h"
#include "tables/eviction.h"
#include "tables/handoff.h"
#include "tables/layout.h"
#include "tables/limits.h"
#include "tables/list.h"
#include "tables/mailbox.h"
#include "tables/outcome.h"
#include "tables/pool.h"
#include "tables/queue.h"
#include "tables/states.h"
#include "tables/tables.h"
#include "tables/walsender_queue.h"
#include "tables/workers.h"

/* Where no reset undoes what clients may have left, a server is its client's until it is closed. */
bool slot_usable_by(const struct pool_row *p, const struct slot_row *s, const struct client_row *c) {
    return !p->beyond || p->limits.session_state != SESSION_STRICT || s->left == LEFT_NOTHING
        || s->left_by == c->id;
}

/* The idle server used last, or, with server_round_robin, first, of those that this client can have. */
int32_t slot_usable_idle(const struct tables *t, const struct pool_row *p, const struct client_row *c) {
    int32_t i = p->idle.head;
    while (i != NO_ROW && !slot_usable_by(p, &t->slots[i], c)) i = t->slots[i].idle.next;
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

/* ---- whose they are -------------------------------------------------------------------------- */

void slot_attach(struct tables *t, int32_t slot, int32_t client, int owner) {
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
    client_watch(t, client);
}

void slot_hand(struct tables *t, int32_t slot, int32_t client, int worker, uint64_t now,
               struct outcome *out) {
    struct client_row *c = &t->clients[client];
    struct pool_row *p = &t->pools[c->pool];
    queue_leave(t, client);
    p->mean_wait_us = (15 * p->mean_wait_us + clock_elapsed(now, c->wait_start)) / 16;
    /* the order comes first: a rebuild takes it back from a client that is still waiting */
    if (c->worker == worker && out->client == NO_ROW) out->client = client;
    else mailbox_order_client(t, client, ORDER_HANDED, &out->ring);
    slot_attach(t, slot, client, c->worker);
}

/* ---- opening and closing ------------------------------------------------------------------- */

/* `order` is for the owner, if that is not the caller: whoever dies, the row says what is left to do. */
int32_t slot_reserve(struct tables *t, int32_t pool, int owner, enum slot_state state, uint8_t order,
                     uint64_t now) {
    int32_t i = t->h->free_slots.head;
    if (i != NO_ROW) slot_idle_remove(t, &t->h->free_slots, i);
    else i = t->h->slots_high++;
    struct slot_row *s = &t->slots[i];
    *s = (struct slot_row){/* the old generation is never lost: others may have descriptors of it */
                           .generation = s->generation + 1,
                           .pool = pool,
                           .owner = (int16_t)owner,
                           .last_worker = (int16_t)owner,
                           .client = NO_ROW,
                           .dedicated_row = NO_ROW,
                           .host = NO_ROW,
                           .evict_for = NO_ROW,
                           .orders = order,
                           .id = tables_new_id(t),
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
int32_t slot_dial_for(struct tables *t, int32_t pool, int dialer, int worker, uint64_t now,
                      struct outcome *out) {
    bool mine = dialer == worker && out->dial == NO_ROW;
    int32_t slot = slot_reserve(t, pool, dialer, SL_LOGIN, mine ? 0 : ORDER_DIAL, now);
    if (mine) {
        out->dial = slot;
        return slot;
    }
    slot_attention_append(t, &t->workers[dialer].slot_attention, slot);
    out->ring |= worker_bit(dialer);
    return slot;
}

/* Marks a slot CLOSING and gives the work to the caller, or to its last worker if the caller has no relay.
 * The order comes first: no process would close a slot without a client whose owner lives and has no
 * order. */
void slot_close_locked(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out) {
    struct slot_row *s = &t->slots[slot];
    int16_t owner = worker == NO_ROW ? s->last_worker : (int16_t)worker;
    s->client = NO_ROW;
    s->closing_at = now;
    if (owner == worker && out->close == NO_ROW) {
        s->owner = owner;
        out->close = slot;
    } else {
        mailbox_drop_slot_orders(t, slot); /* of the owner before */
        s->orders = ORDER_CLOSE;
        COMMIT();
        s->owner = owner;
        slot_attention_append(t, &t->workers[owner].slot_attention, slot);
        out->ring |= worker_bit(owner);
    }
    slot_state(t, slot, SL_CLOSING);
}

/* Why a server that just became free is not used again; CLOSE_ORDER: there is no reason. */
static int reason_to_close(struct tables *t, const struct pool_row *p, const struct slot_row *s,
                           uint64_t now) {
    if (s->flags & SF_CLOSE_NEEDED) return CLOSE_OBSOLETE;
    if (pool_held(t, p)) return CLOSE_PAUSED;
    if (limits_exceeded(t, p)) return CLOSE_LIMIT;
    if (handoff_surplus(t, p)) return CLOSE_REPLACED;
    if ((s->expires_at && now >= s->expires_at) || ((s->flags & SF_ONCE) && (s->flags & SF_USED)))
        return CLOSE_LIFETIME;
    return CLOSE_ORDER;
}

/* A server that is provably in step and that no client has: next waiter, rival, or the idle list. */
void slot_place_locked(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out) {
    struct slot_row *s = &t->slots[slot];
    struct pool_row *p = &t->pools[s->pool];
    s->client = NO_ROW;
    s->used_at = now;
    if (s->canceling) {
        slot_state(t, slot, SL_PARKED);
        return;
    }
    int reason = reason_to_close(t, p, s, now);
    if (reason != CLOSE_ORDER) {
        s->close_reason = (uint8_t)reason;
        slot_close_locked(t, slot, worker, now, out);
        return;
    }
    int32_t starving = t->h->owing ? handoff_owed_pool(t, s->pool) : NO_ROW;
    if (starving == NO_ROW && t->h->starved.head != NO_ROW && !t->h->retiring)
        starving = eviction_rival(t, s->pool, now);
    if (starving != NO_ROW) {
        s->evict_for = starving;
        s->close_reason = CLOSE_EVICTED;
        t->pools[starving].evicting++;
        slot_close_locked(t, slot, worker, now, out);
    } else if (p->dedicated.head != NO_ROW && walsender_takes(t, slot, worker, now, out)) {
        return;
    } else if (p->waiting.head != NO_ROW
               && !slot_usable_by(p, s, &t->clients[queue_choose(t, p, worker, now)])) {
        s->close_reason = CLOSE_BEYOND;
        slot_close_locked(t, slot, worker, now, out);
    } else if (p->waiting.head != NO_ROW) {
        slot_hand(t, slot, queue_choose(t, p, worker, now), worker, now, out);
    } else {
        slot_state(t, slot, SL_IDLE); /* first: an owner is missing in no other state than IDLE and RECLAIM */
        COMMIT();
        s->owner = NO_ROW;
        if (t->h->round_robin) slot_idle_append(t, &p->idle, slot);
        else slot_idle_prepend(t, &p->idle, slot);
    }
}

/* ---- a row becomes free -------------------------------------------------------------------- */

void slot_freed_locked(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out) {
    struct slot_row *s = &t->slots[slot];
    struct pool_row *p = &t->pools[s->pool];
    int32_t pool = s->pool, vacated_for = s->evict_for;
    if (vacated_for != NO_ROW) t->pools[vacated_for].evicting--;
    s->evict_for = NO_ROW;
    p->by_state[s->state]--;
    p->servers--;
    count_server(t, p, -1);
    s->state = SL_FREE; /* first: an owner is missing in no other state than IDLE and RECLAIM */
    COMMIT();
    s->owner = s->client = NO_ROW;
    s->canceling = 0;
    slot_idle_append(t, &t->h->free_slots, slot);
    if (t->h->owing) handoff_settle_quota(t, false, now, out);
    int32_t next = queue_next_pool(t, pool, vacated_for, now);
    if (next != NO_ROW) queue_demand(t, next, worker, now, out);
}

void slot_flag(struct tables *t, int32_t slot, uint8_t flag) { atomic_fetch_or(&t->slots[slot].flags, flag); }
