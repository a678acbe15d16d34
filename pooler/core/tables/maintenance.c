/* What time, other processes and the console bring: housekeeping, orders, cancel requests. */
#include "tables/list.h"
#include "tables/queue.h"

/* ---- housekeeping -------------------------------------------------------------------------- */

#define UPKEEP_PAUSE_US 50000ull

/* A login that PostgreSQL has refused for a reason of its own is tried again soon when a client wants it,
 * which is told. Where nobody waits, and only min_pool_size asks, the pause grows. */
static uint64_t upkeep_at(const struct pool_row *p) {
    bool refused = p->failures
        && (!strncmp(p->error_sqlstate, "28", 2) || !strncmp(p->error_sqlstate, "3D", 2));
    return refused ? p->retry_at + (UPKEEP_PAUSE_US << (p->failures < 8 ? p->failures : 8)) : p->retry_at;
}

/* Time has passed: evictions that take too long, the reserve pool, retries after failed logins,
 * min_pool_size.  At most `max` dials. */
int pool_tick(struct tables *t, int worker, uint64_t now, int32_t *dials, int max, uint64_t *ring) {
    int count = 0;
    struct outcome out;
    tables_lock(t);
    evictions_overdue(t, now);
    if (t->h->owing) {
        outcome_clear(&out);
        settle_quota(t, true, now, &out);
        *ring |= out.ring;
    }
    for (int32_t i = 0; i < t->h->pools_high; i++) {
        struct pool_row *p = &t->pools[i];
        outcome_clear(&out);
        if (first_in_line(t, p) != NOBODY) {
            demand(t, i, NOBODY, now, &out);
        } else if (count < max && p->servers < p->limits.min_size && (p->clients || p->forced_user)
                   && !opening(p) && !held(t, p) && !t->h->retiring && !contested(t, p) && now >= upkeep_at(p)
                   && blocked(t, p, p->limits.size) == BLOCKED_NOT) {
            dial_for(t, i, worker, worker, now, &out);
            dials[count++] = out.dial;
        }
        *ring |= out.ring;
    }
    tables_unlock(t);
    return count;
}

/* Idle servers that `worker` watches and that are to be closed: marked, outlived, or idle for too long
 * (not below min_pool_size).  They are CLOSING and the caller's when this returns. */
int pool_expired_idle(struct tables *t, int worker, uint64_t now, uint64_t idle_timeout_us, int32_t *out,
                      int max) {
    int count = 0;
    tables_lock(t);
    for (int32_t i = 0; i < t->h->slots_high && count < max; i++) {
        struct slot_row *s = &t->slots[i];
        if (s->state != SL_IDLE || s->last_worker != worker) continue;
        struct pool_row *p = &t->pools[s->pool];
        if (s->flags & SF_CLOSE_NEEDED) s->close_reason = CLOSE_CHANGED;
        else if (s->expires_at && now >= s->expires_at) s->close_reason = CLOSE_LIFETIME;
        else if (over_limits(t, p)) s->close_reason = CLOSE_LIMIT;
        else if (surplus(t, p)) s->close_reason = CLOSE_REPLACED;
        else if (idle_timeout_us && elapsed(now, s->used_at) > idle_timeout_us && !protected(p))
            s->close_reason = CLOSE_IDLE;
        else continue;
        slot_idle_remove(t, &p->idle, i);
        s->owner = (int16_t)worker;
        slot_state(t, i, SL_CLOSING);
        out[count++] = i;
    }
    tables_unlock(t);
    return count;
}

/* A server is obsolete: an idle one is closed by who watches it, others when they come back. */
void mark_obsolete(struct tables *t, int32_t slot, struct outcome *out) {
    struct slot_row *s = &t->slots[slot];
    s->flags |= SF_CLOSE_NEEDED;
    if (s->state != SL_IDLE) return;
    slot_idle_remove(t, &t->pools[s->pool].idle, slot);
    s->close_reason = CLOSE_CHANGED;
    close_locked(t, slot, NOBODY, now_us(), out);
}

/* All servers of a database are obsolete. */
void pool_mark_obsolete(struct tables *t, int32_t database, uint64_t *ring) {
    struct outcome out;
    outcome_clear(&out);
    for (int32_t i = 0; i < t->h->slots_high; i++) {
        struct slot_row *s = &t->slots[i];
        if (s->state != SL_FREE && t->pools[s->pool].database == database) mark_obsolete(t, i, &out);
    }
    *ring |= out.ring;
}

/* All idle servers of a database and of a pool (NOBODY: of all), for the caller to close; with `mark`, those
 * in use are to be closed when they come back. */
int pool_take_idle(struct tables *t, int32_t database, int32_t pool, int worker, bool mark, int32_t *out,
                   int max) {
    int count = 0;
    tables_lock(t);
    for (int32_t i = 0; i < t->h->slots_high && count < max; i++) {
        struct slot_row *s = &t->slots[i];
        if (s->state == SL_FREE || (database != NOBODY && t->pools[s->pool].database != database)) continue;
        if (pool != NOBODY && s->pool != pool) continue;
        if (mark) s->flags |= SF_CLOSE_NEEDED;
        if (s->state != SL_IDLE) continue;
        slot_idle_remove(t, &t->pools[s->pool].idle, i);
        s->close_reason = mark ? CLOSE_CHANGED : CLOSE_PAUSED;
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
bool pool_attention(struct tables *t, int worker, struct order *clients, int *client_count,
                    struct order *slots, int *slot_count, int max) {
    struct worker_row *w = &t->workers[worker];
    *client_count = *slot_count = 0;
    tables_lock(t);
    while (w->client_attention.head != NOBODY && *client_count < max) {
        int32_t i = w->client_attention.head;
        client_attention_remove(t, &w->client_attention, i);
        clients[(*client_count)++] = (struct order){i, t->clients[i].orders, t->clients[i].id};
        t->clients[i].orders = 0;
    }
    while (w->slot_attention.head != NOBODY && *slot_count < max) {
        int32_t i = w->slot_attention.head;
        slot_attention_remove(t, &w->slot_attention, i);
        slots[(*slot_count)++] = (struct order){i, t->slots[i].orders, t->slots[i].id};
        t->slots[i].orders = 0;
    }
    bool more = w->client_attention.head != NOBODY || w->slot_attention.head != NOBODY;
    tables_unlock(t);
    return more;
}

/* ---- cancel requests and orders from the console ------------------------------------------- */

/* Whether a secret of that length is the client's; how much of it is right does not show in the time that
 * takes. */
bool cancel_key_fits(struct tables *t, uint32_t pid, const unsigned char *key, uint32_t bytes) {
    if (bytes < 4) return false;
    uint32_t secret = (uint32_t)key[0] << 24 | (uint32_t)key[1] << 16 | (uint32_t)key[2] << 8 | key[3];
    int32_t row = client_of_key(t, pid, secret);
    if (row == NOBODY) return false;
    const struct client_row *c = &t->clients[row];
    if (bytes != (c->long_key ? 4 + CANCEL_MORE_BYTES : 4)) return false;
    unsigned char wrong = 0;
    for (uint32_t i = 4; i < bytes; i++) wrong |= key[i] ^ c->cancel_more[i - 4];
    return !wrong;
}

/* Looks up a cancel key.  A queued query is canceled here (its worker answers 57014); for a running one the
 * slot is held until cancel_end. */
enum cancel_verdict cancel_begin(struct tables *t, uint32_t pid, uint32_t secret, int worker, int32_t *slot,
                                 uint32_t *generation, int32_t *client) {
    int32_t row = client_of_key(t, pid, secret);
    uint64_t ring = 0;
    enum cancel_verdict verdict = CANCEL_NOTHING;
    *client = row;
    if (row == NOBODY) return verdict;
    tables_lock(t);
    struct client_row *c = &t->clients[row];
    uint32_t hops = (c->cancel_secret ^ secret) & PEER_HOPS && t->h->peer_id ? PEER_HOPS : 0;
    bool match = ((c->cancel_pid ^ pid) | ((c->cancel_secret ^ secret) & ~hops)) == 0; /* no early exit */
    if (match && c->state != CL_FREE) verdict = CANCEL_IDLE;
    if (match && c->state != CL_FREE && c->flags & CF_CONSOLE) {
        order_client(t, row, ORDER_CANCELED, &ring); /* a command that waits (PAUSE) is given up */
        verdict = CANCEL_QUEUED;
    } else if (match && c->state == CL_WAITING && !(c->flags & CF_LOGIN_WAIT)) {
        order_client(t, row, ORDER_CANCELED, &ring); /* first: a rebuild does the rest */
        queue_leave(t, row);
        c->state = CL_IDLE;
        verdict = CANCEL_QUEUED;
    } else if (match && c->state == CL_ACTIVE) {
        struct slot_row *s = &t->slots[c->slot];
        *slot = c->slot;
        *generation = s->generation;
        /* one at a time for each server, over all workers, and none that meets a request of ours */
        verdict = CANCEL_BUSY;
        if (!s->canceling && !s->guarded) {
            s->canceling |= bit(worker);
            if (!s->guarded) verdict = CANCEL_FORWARD;
            else cancel_over_locked(t, c->slot, worker, &ring);
        }
        if (verdict == CANCEL_FORWARD) c->cancel_requests++;
    }
    tables_unlock(t);
    tables_ring(t, ring);
    return verdict;
}

/* PostgreSQL has closed the connection of a cancel request, so its signal was sent: the server may go on. */
void cancel_end(struct tables *t, int32_t slot, uint32_t generation, int32_t client, uint64_t client_id,
                int worker, uint64_t now) {
    struct outcome out;
    outcome_clear(&out);
    tables_lock(t);
    struct slot_row *s = &t->slots[slot];
    if (client != NOBODY && t->clients[client].id == client_id) t->clients[client].cancel_requests--;
    if (s->generation == generation && s->state != SL_FREE) {
        cancel_over_locked(t, slot, worker, &out.ring);
        if (s->state == SL_PARKED && !s->canceling) place_locked(t, slot, NOBODY, now, &out);
    }
    tables_unlock(t);
    tables_ring(t, out.ring);
}

/* Tells the worker of a client to do something with it; false when that client has left.  The caller holds
 * the lock and rings. */
bool client_tell_locked(struct tables *t, int32_t row, uint64_t id, uint8_t order, uint8_t kill_text,
                        uint64_t *ring) {
    struct client_row *c = &t->clients[row];
    if (c->state == CL_FREE || c->id != id) return false;
    if (order & ORDER_KILL) c->kill_text = kill_text;
    order_client(t, row, order, ring);
    return true;
}
