/* Two instances, one limit: while one pooler replaces another (-R), both have servers, and together never
 * more than the limits allow.
 *
 * A *quota* is how many servers an instance may have in a pool.  The old instance keeps what it has and opens
 * nothing beyond that; everything else is the new one's, which counts the old one's quota as servers of its
 * own: rows in state ELSEWHERE, so that every limit holds without another line of code.  Quota then passes
 * between the two, one server at a time, by messages between the masters (pooler/master/takeover.py):
 *
 *      released   old -> new   a pool of mine has quota it does not need: the new one frees a row
 *      wanted     old -> new   a client of mine has a transaction and no server: the new one owes quota,
 *      granted    new -> old   and gives it as soon as it has one: a row becomes ELSEWHERE
 *      hurry      new -> old   my clients wait for quota of yours: let yours go when their transactions end
 *
 * The instance that gives quota away counts it as the other's before it says so, so a message on its way is
 * quota that neither uses. A third instance makes a chain: what the second one counts as ELSEWHERE is part of
 * the quota that it hands on.
 */
#include "tables/handoff.h"

#include "tables/clock.h"
#include "tables/eviction.h"
#include "tables/layout.h"
#include "tables/limits.h"
#include "tables/list.h"
#include "tables/outcome.h"
#include "tables/pool.h"
#include "tables/queue.h"
#include "tables/slots.h"
#include "tables/states.h"

/* who waits for so long because of the old instance's servers has it let clients go */
#define HURRY_US 100000u
#define WANT_MORE_US 100000u

/* Servers that serve somebody, or may. */
int32_t handoff_usable(const struct pool_row *p) {
    return p->servers - p->by_state[SL_CLOSING] - p->by_state[SL_RECLAIM] - p->by_state[SL_ELSEWHERE];
}

/* What a pool of an instance that is being replaced keeps without work: one server while it has clients,
 * unless the new instance waits for it. */
static int32_t floor_of(struct tables *t, const struct pool_row *p) {
    return p->clients && !p->hurried && t->h->retiring == RETIRING;
}

/* Whether an instance that is being replaced can do without one server of this pool that nobody uses. */
bool handoff_surplus(struct tables *t, const struct pool_row *p) {
    return t->h->retiring && p->kind != POOL_LISTENER && queue_first(t, p) == NO_ROW
        && handoff_usable(p) > floor_of(t, p);
}

static void close_surplus(struct tables *t, int32_t pool, uint64_t now, struct outcome *out) {
    struct pool_row *p = &t->pools[pool];
    while (p->idle.tail != NO_ROW && handoff_surplus(t, p)) {
        int32_t slot = p->idle.tail;
        slot_idle_remove(t, &p->idle, slot);
        t->slots[slot].close_reason = CLOSE_REPLACED;
        slot_close_locked(t, slot, NO_ROW, now, out);
    }
}

/* ---- the old instance ------------------------------------------------------------------------ */

/* From now on the quota of every pool is what it has, and no more. */
void handoff_retire(struct tables *t, uint64_t now, uint64_t *ring) {
    struct outcome out;
    outcome_clear(&out);
    for (int32_t i = 0; i < t->h->pools_high; i++) {
        struct pool_row *p = &t->pools[i];
        p->quota = p->servers;
        p->asked = p->hurried = 0;
    }
    COMMIT();
    t->h->retiring = RETIRING;
    for (int32_t i = 0; i < t->h->pools_high; i++)
        if (t->pools[i].used) close_surplus(t, i, now, &out);
    *ring |= out.ring;
}

static int32_t released(struct tables *t, struct pool_row *p) {
    int32_t keep = p->kind == POOL_LISTENER      ? 0
        : queue_first(t, p) != NO_ROW || p->owed ? p->quota
                                                 : floor_of(t, p);
    if (keep < p->servers) keep = p->servers;
    int32_t surrendered = p->quota - keep;
    if (surrendered <= 0) return 0;
    p->quota = keep;
    p->asked = 0;
    return surrendered;
}

static bool wants_quota(struct tables *t, struct pool_row *p, uint64_t now) {
    if (p->asked || p->servers < p->quota || pool_opening(p)) return false;
    if (p->owed) return true;
    int32_t first = queue_first(t, p);
    if (first == NO_ROW || pool_held(t, p)) return false;
    return handoff_usable(p) <= 0 || clock_elapsed(now, t->clients[first].wait_start) > WANT_MORE_US;
}

/* ---- the new instance ------------------------------------------------------------------------ */

static enum blocked_by in_the_way(struct tables *t, const struct pool_row *p) {
    return limits_blocked(t, p, p->limits.size ? p->limits.size + p->limits.reserve_size : 0);
}

/* Gives quota that is owed, as far as the limits allow; with `make_way` idle servers are closed for them. */
void handoff_settle_quota(struct tables *t, bool make_way, uint64_t now, struct outcome *out) {
    for (int32_t i = 0; i < t->h->pools_high && t->h->owing > 0; i++) {
        struct pool_row *p = &t->pools[i];
        if (!p->used || !p->owed) continue;
        enum blocked_by why;
        while ((why = in_the_way(t, p)) == BLOCKED_NOT && p->owed) {
            slot_reserve(t, i, NO_ROW, SL_ELSEWHERE, 0, now);
            p->owed--;
            t->h->owing--;
            p->granted++;
        }
        if (!make_way || !p->owed || p->evicting >= p->owed) continue;
        if (why != BLOCKED_SIZE && why != BLOCKED_ELSEWHERE) {
            eviction_evict(t, i, why, NO_ROW, true, now, out);
        } else if (p->idle.tail != NO_ROW) {
            struct slot_row *s = &t->slots[p->idle.tail];
            int32_t slot = p->idle.tail;
            slot_idle_remove(t, &p->idle, slot);
            s->evict_for = i;
            s->close_reason = CLOSE_EVICTED;
            p->evicting++;
            slot_close_locked(t, slot, NO_ROW, now, out);
        }
    }
}

/* The pool that is owed quota which a server of `pool` that comes back could become. */
int32_t handoff_owed_pool(struct tables *t, int32_t pool) {
    for (int32_t i = 0; i < t->h->pools_high; i++) {
        const struct pool_row *p = &t->pools[i];
        if (!p->used || p->owed <= p->evicting) continue;
        if (i == pool || (!t->h->retiring && limits_full(t, p) & limits_shared(p, &t->pools[pool]))) return i;
    }
    return NO_ROW;
}

/* Whether clients of the old instance in pool `q` are to go, for the sake of clients that wait here. */
static bool in_a_hurry(struct tables *t, int32_t q, uint64_t now) {
    const struct pool_row *there = &t->pools[q];
    if (there->hurrying || !there->by_state[SL_ELSEWHERE]) return false;
    if (t->h->retiring && (there->hurried || t->h->retiring == RETIRING_ALL)) return true;
    for (int32_t i = 0; i < t->h->pools_high; i++) {
        const struct pool_row *p = &t->pools[i];
        int32_t first = p->used ? queue_first(t, p) : NO_ROW;
        if (first == NO_ROW || clock_elapsed(now, t->clients[first].wait_start) < HURRY_US) continue;
        enum blocked_by why = limits_blocked(t, p, limits_size(t, p, now));
        if (why == BLOCKED_NOT) continue;
        if (i == q || (why != BLOCKED_ELSEWHERE && limits_full(t, p) & limits_shared(p, there))) return true;
    }
    return false;
}

/* ---- what is to be told, and what was told ---------------------------------------------------- */

static int add(struct handoff_message *out, int count, enum handoff_word word, int32_t pool,
               int32_t servers) {
    out[count] = (struct handoff_message){word, pool, servers};
    return count + 1;
}

/* At most `max` pieces of news (at least four) for the other instance.  The caller holds the lock. */
int handoff_messages(struct tables *t, uint64_t now, struct handoff_message *out, int max) {
    int count = 0;
    for (int32_t i = 0; i < t->h->pools_high && count + 4 <= max; i++) {
        struct pool_row *p = &t->pools[i];
        if (!p->used) continue;
        int32_t servers = t->h->retiring ? released(t, p) : 0;
        if (servers) count = add(out, count, HANDOFF_RELEASED, i, servers);
        if (t->h->retiring && wants_quota(t, p, now)) {
            p->asked = 1;
            count = add(out, count, HANDOFF_WANTED, i, 1);
        }
        if (p->granted) count = add(out, count, HANDOFF_GRANTED, i, p->granted);
        p->granted = 0;
        if (in_a_hurry(t, i, now)) {
            p->hurrying = 1;
            count = add(out, count, HANDOFF_HURRY, i, 1);
        }
    }
    return count;
}

/* All quota that is held, for the new instance.  The caller holds the lock. */
int32_t handoff_quota(const struct tables *t, int32_t pool) {
    return t->pools[pool].used ? t->pools[pool].quota : 0;
}

static int32_t elsewhere(struct tables *t, int32_t pool) {
    for (int32_t i = 0; i < t->h->slots_high; i++)
        if (t->slots[i].state == SL_ELSEWHERE && t->slots[i].pool == pool) return i;
    return NO_ROW;
}

/* Does what the other instance has said.  False: there are no rows left.  The caller holds the lock and
 * rings. */
bool handoff_told(struct tables *t, const struct handoff_message *news, uint64_t now, uint64_t *ring) {
    struct outcome out;
    int32_t slot;
    struct pool_row *p = &t->pools[news->pool];
    outcome_clear(&out);
    for (int32_t n = 0; n < news->servers; n++) {
        switch (news->word) {
        case HANDOFF_TAKEN:
            if (!t->h->free_slots.count && t->h->slots_high >= t->h->sizes.slots) return false;
            slot_reserve(t, news->pool, NO_ROW, SL_ELSEWHERE, 0, now);
            break;
        case HANDOFF_RELEASED:
            slot = elsewhere(t, news->pool);
            if (slot != NO_ROW) slot_freed_locked(t, slot, NO_ROW, now, &out);
            break;
        case HANDOFF_WANTED:
            p->owed++;
            t->h->owing++;
            handoff_settle_quota(t, true, now, &out);
            break;
        case HANDOFF_GRANTED:
            p->quota++;
            p->asked = 0;
            handoff_settle_quota(t, false, now, &out);
            queue_demand(t, news->pool, NO_ROW, now, &out);
            break;
        case HANDOFF_HURRY:
            p->hurried = 1;
            close_surplus(t, news->pool, now, &out);
            break;
        }
    }
    *ring |= out.ring;
    return true;
}

/* The old instance is gone: all its quota is free.  The caller holds the lock and rings. */
void handoff_left(struct tables *t, uint64_t now, uint64_t *ring) {
    struct outcome out;
    outcome_clear(&out);
    for (int32_t i = 0; i < t->h->pools_high; i++)
        t->pools[i].owed = t->pools[i].granted = t->pools[i].hurrying = 0;
    t->h->owing = 0;
    for (int32_t i = 0; i < t->h->slots_high; i++)
        if (t->slots[i].state == SL_ELSEWHERE) slot_freed_locked(t, i, NO_ROW, now, &out);
    *ring |= out.ring;
}
