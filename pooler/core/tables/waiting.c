/* Why clients wait, and for whom. */
#include "tables/waiting.h"

#include <stdbool.h>
#include <string.h>

#include "tables/clock.h"
#include "tables/layout.h"
#include "tables/limits.h"
#include "tables/pool.h"
#include "tables/states.h"

const char *waiting_cause(enum wait_cause cause) {
    static const char *const names[] = {
#define X(ID, TEXT) [ID] = TEXT,
        WAIT_CAUSES(X)
#undef X
    };
    return names[cause];
}

const char *waiting_activity_name(enum activity activity) {
    static const char *const names[] = {
#define X(ID, TEXT) [ID] = TEXT,
        ACTIVITIES(X)
#undef X
    };
    return names[activity];
}

/* What a client does, and since when. */
enum activity waiting_activity(const struct client_row *c, uint64_t *since) {
    *since = c->connected_at;
    if (c->state == CL_LOGIN) return ACTIVITY_LOGIN;
    if (c->state == CL_WAITING) {
        *since = c->wait_start;
        return ACTIVITY_WAITING;
    }
    bool served = c->state == CL_ACTIVE && c->slot != NO_ROW;
    if (served && c->request_start) {
        *since = c->request_start;
        return ACTIVITY_ACTIVE;
    }
    if (c->idle_start) *since = c->idle_start;
    if (served && c->xact_start) return ACTIVITY_TRANSACTION;
    if (!served || !c->pinned) return served ? ACTIVITY_ACTIVE : ACTIVITY_IDLE;
    *since = c->pinned_at;
    return ACTIVITY_PINNED;
}

/* ---- why ------------------------------------------------------------------------------------- */

static enum wait_cause cause_of_limit(enum blocked_by blocked) {
    static const enum wait_cause causes[] = {
        [BLOCKED_NOT] = CAUSE_NONE,           [BLOCKED_SIZE] = CAUSE_POOL_SIZE,
        [BLOCKED_DATABASE] = CAUSE_DATABASE,  [BLOCKED_USER] = CAUSE_USER,
        [BLOCKED_INSTANCE] = CAUSE_INSTANCE,  [BLOCKED_ROWS] = CAUSE_ROWS,
        [BLOCKED_ELSEWHERE] = CAUSE_REPLACED,
    };
    return causes[blocked];
}

/* A server of the pool could not log in, and none is tried again yet. */
static bool fails(const struct pool_row *p, uint64_t now) {
    return p->failures && !p->by_state[SL_ACTIVE] && !p->by_state[SL_IDLE]
        && (p->retry_at > now || p->by_state[SL_LOGIN]);
}

static enum wait_cause cause_of(struct tables *t, const struct pool_row *p, uint64_t now) {
    if (t->h->suspended) return CAUSE_SUSPENDED;
    if (t->h->paused || t->databases[p->database].paused) return CAUSE_PAUSED;
    if (fails(p, now)) return pool_refused(p) ? CAUSE_REFUSED : CAUSE_DOWN;
    enum wait_cause cause = cause_of_limit(limits_blocked(t, p, limits_size(t, p, now)));
    bool opens = p->by_state[SL_LOGIN] && !p->by_state[SL_ACTIVE];
    return opens && (cause == CAUSE_NONE || cause == CAUSE_POOL_SIZE) ? CAUSE_LOGIN : cause;
}

/* ---- who has them ---------------------------------------------------------------------------- */

static bool counts(const struct tables *t, enum wait_cause cause, const struct pool_row *p, int32_t pool) {
    const struct pool_row *other = &t->pools[pool];
    switch (cause) {
    case CAUSE_POOL_SIZE: return other == p;
    case CAUSE_DATABASE: return other->database == p->database;
    case CAUSE_USER: return other->user == p->user;
    case CAUSE_INSTANCE: return other->instance == p->instance;
    case CAUSE_ROWS: return true;
    default: return false;
    }
}

static void take_limit(struct tables *t, const struct pool_row *p, uint64_t now, struct waiting *out) {
    switch (out->cause) {
    case CAUSE_POOL_SIZE:
        out->used = p->servers;
        out->limit = limits_size(t, p, now);
        return;
    case CAUSE_DATABASE:
        out->used = t->databases[p->database].servers;
        out->limit = t->databases[p->database].max_db_connections;
        return;
    case CAUSE_USER:
        out->used = t->users[p->user].servers;
        out->limit = t->users[p->user].max_user_connections;
        return;
    case CAUSE_INSTANCE:
        out->used = t->instances[p->instance].servers;
        out->limit = t->instances[p->instance].max_server_connections;
        return;
    case CAUSE_ROWS: out->used = out->limit = t->h->sizes.slots; return;
    default: return;
    }
}

/* Since when a client has its server, as far as anything tells. */
static uint64_t held_since(const struct client_row *c) {
    if (c->pinned) return c->pinned_at;
    if (c->xact_start) return c->xact_start;
    return c->request_start ? c->request_start : c->idle_start;
}

/* The holders that are kept are sorted, the longest first. */
static void take_hold(struct waiting *out, const struct hold *hold) {
    int32_t at = out->shown;
    out->held++;
    while (at > 0 && out->holds[at - 1].since > hold->since) at--;
    if (at == HOLDERS_MAX) return;
    int32_t last = out->shown < HOLDERS_MAX ? out->shown++ : HOLDERS_MAX - 1;
    memmove(&out->holds[at + 1], &out->holds[at], (size_t)(last - at) * sizeof *out->holds);
    out->holds[at] = *hold;
}

static void take_holders(const struct tables *t, const struct pool_row *p, struct waiting *out) {
    for (int32_t i = 0; i < t->h->slots_high; i++) {
        const struct slot_row *s = &t->slots[i];
        if (s->state != SL_ACTIVE || s->client == NO_ROW || !counts(t, out->cause, p, s->pool)) continue;
        const struct client_row *c = &t->clients[s->client];
        struct hold hold = {.slot = i, .client = s->client, .since = held_since(c)};
        hold.activity = waiting_activity(c, &hold.activity_since);
        take_hold(out, &hold);
    }
}

/* ---- a pool ---------------------------------------------------------------------------------- */

static void take_line(const struct tables *t, const struct list *line, struct waiting *out) {
    for (int32_t i = line->head; i != NO_ROW && out->named < WAITERS_MAX; i = t->clients[i].queue.next)
        out->clients[out->named++] = i;
    out->count += line->count;
}

/* A count of 0: no client waits there. */
void waiting_look(struct tables *t, int32_t pool, uint64_t now, struct waiting *out) {
    const struct pool_row *p = &t->pools[pool];
    *out = (struct waiting){.cause = CAUSE_NONE};
    if (!p->used || (!p->waiting.count && !p->dedicated.count)) return;
    take_line(t, &p->waiting, out);
    take_line(t, &p->dedicated, out);
    out->cause = cause_of(t, p, now);
    take_limit(t, p, now, out);
    take_holders(t, p, out);
}
