/* The operations of a pool, each one step under the lock: what relays and Python call. */
#include "tables/pool.h"

#include <stdio.h>

#include "sql/digest.h"
#include "tables/clock.h"
#include "tables/layout.h"
#include "tables/limits.h"
#include "tables/list.h"
#include "tables/mailbox.h"
#include "tables/outcome.h"
#include "tables/queue.h"
#include "tables/slots.h"
#include "tables/states.h"
#include "tables/tables.h"

/* How many idle servers are looked at for the one that fits best: where servers are reset between two
 * clients, the one that the client had last, or one that needs no reset; what the client left in its
 * sequences is there; it has the client's settings (saves a round trip); this worker used it last (saves two
 * epoll_ctl; with 4 looked at, two workers needed 0.15 to 0.29 of them per transaction, with 16 one in a
 * hundred: 16 and 18 clients of a pool of 20). */
#define AFFINITY_DEPTH 16
#define AFFINITY_DEPTH_STRICT 32

static int fit_of(const struct slot_row *s, const struct client_row *c, bool strict) {
    bool own = s->left_by == c->id;
    return (s->last_worker == c->worker) + 2 * digest_same(s->settings, c->settings)
        + 4 * (s->sequence_of == c->id) + (strict ? 16 * own + 8 * (own || s->left == LEFT_NOTHING) : 0);
}

/* NO_ROW: none that this client can have. */
static int32_t take_idle_locked(struct tables *t, struct pool_row *p, const struct client_row *c) {
    bool strict = p->limits.session_state == SESSION_STRICT;
    int32_t best = slot_usable_idle(t, p, c), i = best;
    int most = -1, deepest = strict ? AFFINITY_DEPTH_STRICT : AFFINITY_DEPTH;
    for (int depth = 0; i != NO_ROW && depth < deepest && !t->h->round_robin;
         depth++, i = t->slots[i].idle.next) {
        int fit = slot_usable_by(p, &t->slots[i], c) ? fit_of(&t->slots[i], c, strict) : -1;
        if (fit > most) {
            most = fit;
            best = i;
        }
    }
    if (best != NO_ROW) slot_idle_remove(t, &p->idle, best);
    return best;
}

/* A server of this pool is idle, or will be in a moment: it answers a request of ours. */
bool pool_has_free(const struct tables *t, int32_t pool) {
    const struct pool_row *p = &t->pools[pool];
    if (p->idle.head != NO_ROW) return true;
    return p->waiting.head == NO_ROW && queue_answers_us(t, pool, 0);
}

/* A client could have a server at once, or after the login that runs or that it would start.  (Read without
 * the lock: whoever asks only decides what to wait for.) */
bool pool_serves_soon(struct tables *t, int32_t pool) {
    const struct pool_row *p = &t->pools[pool];
    if (pool_opening(p) || pool_has_free(t, pool)) return true;
    return p->servers == 0 && !pool_held(t, p) && limits_blocked(t, p, p->limits.size) == BLOCKED_NOT;
}

/* A server for this client: out->slot, or the client waits (and out may ask for a connection to be
 * opened). */
void pool_acquire(struct tables *t, int32_t client, uint64_t now, struct outcome *out) {
    outcome_clear(out);
    tables_lock(t);
    struct client_row *c = &t->clients[client];
    struct pool_row *p = &t->pools[c->pool];
    if (p->idle.head != NO_ROW && p->waiting.head == NO_ROW && !pool_held(t, p))
        out->slot = take_idle_locked(t, p, c);
    if (out->slot != NO_ROW) {
        slot_attach(t, out->slot, client, c->worker);
    } else {
        queue_join(t, client, now);
        queue_demand(t, c->pool, c->worker, now, out);
    }
    tables_unlock(t);
}

/* A client whose server failed before it was used waits again, in its old place. */
void pool_requeue(struct tables *t, int32_t client, uint64_t now, struct outcome *out) {
    outcome_clear(out);
    tables_lock(t);
    struct client_row *c = &t->clients[client];
    c->slot = NO_ROW;
    c->wait_start = now;
    COMMIT();
    c->state = CL_WAITING;
    queue_insert(t, client);
    struct pool_row *p = &t->pools[c->pool];
    int32_t first = p->waiting.head,
            slot = p->idle.head == NO_ROW || pool_held(t, p) ? NO_ROW
                                                             : take_idle_locked(t, p, &t->clients[first]);
    if (slot != NO_ROW) slot_hand(t, slot, first, c->worker, now, out);
    else queue_demand(t, c->pool, c->worker, now, out);
    tables_unlock(t);
}

/* A client in its login waits until the pool has logged in to PostgreSQL once (its owner is not a relay). */
void pool_wait_welcome(struct tables *t, int32_t client, uint64_t now, struct outcome *out) {
    outcome_clear(out);
    tables_lock(t);
    struct client_row *c = &t->clients[client];
    if (t->pools[c->pool].welcome_bytes) {
        mailbox_order_client(t, client, ORDER_WELCOME, &out->ring);
    } else {
        c->flags |= CF_LOGIN_WAIT;
        queue_join(t, client, now);
        queue_demand(t, c->pool, NO_ROW, now, out);
    }
    tables_unlock(t);
    tables_ring(t, out->ring);
}

static void client_becomes_idle(struct tables *t, int32_t client, uint64_t now) {
    if (client == NO_ROW) return;
    struct client_row *c = &t->clients[client];
    c->slot = NO_ROW;
    c->idle_start = now;
    COMMIT();
    c->state = CL_IDLE;
}

/* Gives back a server that is in step; its client (if any) becomes idle. */
void pool_release(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out) {
    outcome_clear(out);
    tables_lock(t);
    client_becomes_idle(t, t->slots[slot].client, now);
    slot_place_locked(t, slot, worker, now, out);
    tables_unlock(t);
}

/* Takes a server from its client without giving it to anybody: it is about to be reset (session pooling). */
void pool_detach(struct tables *t, int32_t slot, uint64_t now) {
    tables_lock(t);
    client_becomes_idle(t, t->slots[slot].client, now);
    t->slots[slot].client = NO_ROW;
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
    slot_place_locked(t, slot, worker, now, out);
    queue_demand(t, pool, worker, now, out);
    tables_unlock(t);
}

/* The caller (owner) closes the connection of this slot; a client still attached is set free. */
void pool_begin_close(struct tables *t, int32_t slot, int worker, bool busy) {
    tables_lock(t);
    struct slot_row *s = &t->slots[slot];
    if (s->client != NO_ROW) {
        struct client_row *c = &t->clients[s->client];
        if (c->state == CL_ACTIVE && c->slot == slot) {
            c->slot = NO_ROW;
            COMMIT();
            c->state = CL_IDLE;
        }
    }
    mailbox_drop_slot_orders(t, slot);
    s->client = NO_ROW;
    s->owner = (int16_t)worker;
    s->closing_at = clock_us();
    if (busy) s->flags |= SF_WAS_BUSY;
    slot_state(t, slot, SL_CLOSING);
    tables_unlock(t);
}

/* Leaves a slot to a reclaimer: its owner cannot reach the connection. */
void pool_abandon(struct tables *t, int32_t slot) {
    tables_lock(t);
    struct slot_row *s = &t->slots[slot];
    if (s->client != NO_ROW) {
        t->clients[s->client].slot = NO_ROW;
        t->clients[s->client].state = CL_IDLE;
    }
    mailbox_drop_slot_orders(t, slot);
    s->owner = s->client = NO_ROW;
    s->flags |= SF_WAS_BUSY;
    slot_state(t, slot, SL_RECLAIM);
    tables_unlock(t);
}

/* Takes one particular server that no client has, idle or parked (something arrived on it); false when it is
 * not any more. */
bool pool_claim_idle(struct tables *t, int32_t slot, uint32_t generation, int worker) {
    tables_lock(t);
    struct slot_row *s = &t->slots[slot];
    bool mine = (s->state == SL_IDLE || s->state == SL_PARKED) && s->generation == generation;
    if (mine) {
        if (s->state == SL_IDLE) slot_idle_remove(t, &t->pools[s->pool].idle, slot);
        s->owner = s->last_worker = (int16_t)worker;
        s->client = NO_ROW;
        slot_state(t, slot, SL_ACTIVE);
    }
    tables_unlock(t);
    return mine;
}

/* Takes an idle server of the pool that nobody but this client has had since it was reset; NO_ROW: there is
 * none. */
int32_t pool_claim_left(struct tables *t, int32_t pool, uint64_t client, int worker) {
    tables_lock(t);
    int32_t i = t->pools[pool].idle.head;
    while (i != NO_ROW && !(t->slots[i].left != LEFT_NOTHING && t->slots[i].left_by == client))
        i = t->slots[i].idle.next;
    if (i != NO_ROW) {
        slot_idle_remove(t, &t->pools[pool].idle, i);
        t->slots[i].owner = t->slots[i].last_worker = (int16_t)worker;
        t->slots[i].client = NO_ROW;
        slot_state(t, i, SL_ACTIVE);
    }
    tables_unlock(t);
    return i;
}

/* PostgreSQL has let go of this slot's connection (end of stream was read, or it was never dialed). */
void pool_freed(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out) {
    outcome_clear(out);
    tables_lock(t);
    mailbox_drop_slot_orders(t, slot);
    slot_freed_locked(t, slot, worker, now, out);
    tables_unlock(t);
}

/* Every client of the pool that waits in its login is told how that goes on. */
static void order_logins(struct tables *t, const struct pool_row *p, enum client_order order,
                         uint64_t *ring) {
    int32_t next;
    for (int32_t i = p->waiting.head; i != NO_ROW; i = next) {
        next = t->clients[i].queue.next;
        if (!(t->clients[i].flags & CF_LOGIN_WAIT)) continue;
        mailbox_order_client(t, i, (uint8_t)order, ring); /* first: a rebuild does the rest */
        queue_leave(t, i);
        t->clients[i].flags &= (uint8_t)~CF_LOGIN_WAIT;
        t->clients[i].state = CL_LOGIN;
    }
}

/* The welcome parameters of a pool are known. */
void pool_welcome_known(struct tables *t, int32_t pool, uint64_t *ring) {
    order_logins(t, &t->pools[pool], ORDER_WELCOME, ring);
}

/* Whether a server of the pool is there that need not go when its client is done with it. */
static bool has_server(const struct tables *t, int32_t pool) {
    for (int32_t i = 0; i < t->h->slots_high; i++) {
        const struct slot_row *s = &t->slots[i];
        bool open = s->state == SL_IDLE || s->state == SL_ACTIVE || s->state == SL_PARKED
            || s->state == SL_RECLAIM;
        if (open && s->pool == pool && !(s->flags & SF_CLOSE_NEEDED)) return true;
    }
    return false;
}

/* Clients that wait for a server to run something are closed, with PostgreSQL's words. */
static void refuse_waiting(struct tables *t, const struct pool_row *p, uint64_t *ring) {
    for (int32_t i = p->waiting.head; i != NO_ROW; i = t->clients[i].queue.next) {
        const struct client_row *c = &t->clients[i];
        if (!(c->flags & (CF_LOGIN_WAIT | CF_INTERNAL)))
            mailbox_tell_locked(t, i, c->id, ORDER_KILL, KILL_REFUSED, ring);
    }
}

/* What refused the last login may have changed: the next client asks at once. */
void pool_login_forgiven(struct tables *t, int32_t pool) {
    tables_lock(t);
    if (t->pools[pool].used) t->pools[pool].retry_at = 0;
    tables_unlock(t);
}

/* A server login failed.  `fatal`: PostgreSQL refused in words that clients in their login are to hear, and
 * those that wait with a query, too, when there is no other server that could serve them. */
void pool_login_failed(struct tables *t, int32_t pool, bool fatal, const char *sqlstate, const char *text,
                       uint64_t retry_at, uint64_t *ring) {
    tables_lock(t);
    struct pool_row *p = &t->pools[pool];
    p->failures++;
    p->retry_at = retry_at;
    snprintf(p->error_sqlstate, sizeof p->error_sqlstate, "%s", sqlstate);
    snprintf(p->error_text, sizeof p->error_text, "%s", text);
    if (fatal) order_logins(t, p, ORDER_FAIL, ring);
    if (fatal && !has_server(t, pool)) refuse_waiting(t, p, ring);
    tables_unlock(t);
}

void pool_error_of(struct tables *t, int32_t pool, char sqlstate[SQLSTATE_BYTES],
                   char text[ERROR_TEXT_BYTES]) {
    tables_lock(t); /* another worker may be writing them */
    memcpy(sqlstate, t->pools[pool].error_sqlstate, SQLSTATE_BYTES);
    memcpy(text, t->pools[pool].error_text, ERROR_TEXT_BYTES);
    tables_unlock(t);
}

/* SQLSTATE classes: 28, invalid authorization; 3D, no such database. */
bool pool_refused(const struct pool_row *p) {
    return p->failures
        && (strncmp(p->error_sqlstate, "28", 2) == 0 || strncmp(p->error_sqlstate, "3D", 2) == 0);
}

bool pool_held(struct tables *t, const struct pool_row *p) {
    return t->h->paused || t->h->draining || t->databases[p->database].paused;
}
