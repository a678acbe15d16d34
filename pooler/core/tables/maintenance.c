/* What time and the console bring: openings for those who wait, idle servers to be closed. */
#include "tables/maintenance.h"

#include "tables/clock.h"
#include "tables/eviction.h"
#include "tables/handoff.h"
#include "tables/layout.h"
#include "tables/limits.h"
#include "tables/list.h"
#include "tables/outcome.h"
#include "tables/pool.h"
#include "tables/queue.h"
#include "tables/slots.h"
#include "tables/states.h"
#include "tables/tables.h"

#define UPKEEP_PAUSE_US 50000ull

/* A login that PostgreSQL has refused for a reason of its own is tried again soon when a client wants it,
 * which is told. Where nobody waits, and only min_pool_size asks, the pause grows. */
static uint64_t upkeep_at(const struct pool_row *p) {
    return pool_refused(p) ? p->retry_at + (UPKEEP_PAUSE_US << (p->failures < 8 ? p->failures : 8))
                           : p->retry_at;
}

/* Time has passed: evictions that take too long, the reserve pool, retries after failed logins,
 * min_pool_size.  At most `max` dials. */
int pool_tick(struct tables *t, int worker, uint64_t now, int32_t *dials, int max, uint64_t *ring) {
    int count = 0;
    struct outcome out;
    tables_lock(t);
    eviction_overdue(t, now);
    if (t->h->owing) {
        outcome_clear(&out);
        handoff_settle_quota(t, true, now, &out);
        *ring |= out.ring;
    }
    for (int32_t i = 0; i < t->h->pools_high; i++) {
        struct pool_row *p = &t->pools[i];
        outcome_clear(&out);
        if (queue_first(t, p) != NO_ROW) {
            queue_demand(t, i, NO_ROW, now, &out);
        } else if (count < max && p->servers < p->limits.min_size && (p->clients || p->forced_user)
                   && !pool_opening(p) && !pool_held(t, p) && !t->h->retiring && !eviction_contested(t, p)
                   && now >= upkeep_at(p) && limits_blocked(t, p, p->limits.size) == BLOCKED_NOT) {
            slot_dial_for(t, i, worker, worker, now, &out);
            dials[count++] = out.dial;
        }
        *ring |= out.ring;
    }
    tables_unlock(t);
    return count;
}

static void take_idle(struct tables *t, int32_t slot, int worker) {
    struct slot_row *s = &t->slots[slot];
    slot_idle_remove(t, &t->pools[s->pool].idle, slot);
    s->owner = (int16_t)worker;
    slot_state(t, slot, SL_CLOSING);
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
        else if (limits_exceeded(t, p)) s->close_reason = CLOSE_LIMIT;
        else if (handoff_surplus(t, p)) s->close_reason = CLOSE_REPLACED;
        else if (idle_timeout_us && clock_elapsed(now, s->used_at) > idle_timeout_us
                 && !eviction_protected(p))
            s->close_reason = CLOSE_IDLE;
        else continue;
        take_idle(t, i, worker);
        out[count++] = i;
    }
    tables_unlock(t);
    return count;
}

/* A server is obsolete: an idle one is closed by who watches it, others when they come back. */
void slot_mark_obsolete(struct tables *t, int32_t slot, struct outcome *out) {
    struct slot_row *s = &t->slots[slot];
    s->flags |= SF_CLOSE_NEEDED;
    if (s->state != SL_IDLE) return;
    slot_idle_remove(t, &t->pools[s->pool].idle, slot);
    s->close_reason = CLOSE_CHANGED;
    slot_close_locked(t, slot, NO_ROW, clock_us(), out);
}

/* All servers of a database are obsolete. */
void pool_mark_obsolete(struct tables *t, int32_t database, uint64_t *ring) {
    struct outcome out;
    outcome_clear(&out);
    for (int32_t i = 0; i < t->h->slots_high; i++) {
        struct slot_row *s = &t->slots[i];
        if (s->state != SL_FREE && t->pools[s->pool].database == database) slot_mark_obsolete(t, i, &out);
    }
    *ring |= out.ring;
}

/* All idle servers of a database and of a pool (NO_ROW: of all), for the caller to close; with `mark`, those
 * in use are to be closed when they come back. */
int pool_take_idle(struct tables *t, int32_t database, int32_t pool, int worker, bool mark, int32_t *out,
                   int max) {
    int count = 0;
    tables_lock(t);
    for (int32_t i = 0; i < t->h->slots_high && count < max; i++) {
        struct slot_row *s = &t->slots[i];
        if (s->state == SL_FREE || (database != NO_ROW && t->pools[s->pool].database != database)) continue;
        if (pool != NO_ROW && s->pool != pool) continue;
        if (mark) s->flags |= SF_CLOSE_NEEDED;
        if (s->state != SL_IDLE) continue;
        s->close_reason = mark ? CLOSE_CHANGED : CLOSE_PAUSED;
        take_idle(t, i, worker);
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
        s->closing_at = clock_us();
        slot_state(t, slot, SL_CLOSING);
    }
    tables_unlock(t);
    return mine;
}
