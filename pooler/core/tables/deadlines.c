/* Limits that clients outstay, found without looking at every row: the theory stands in deadlines.h. */
#include "tables/deadlines.h"

#include <string.h>

#include "tables/layout.h"
#include "tables/states.h"
#include "tables/tables.h"

#define CHUNK 64               /* numbers that are compared at a time; of so many rows the lock is held */
#define LOGIN_LOOK_US 1000000u /* a row whose login is not over has no limits yet */

static uint32_t units(const struct tables *t, uint64_t us) {
    uint64_t n = us > t->h->begun_at ? (us - t->h->begun_at) >> DUE_UNIT_SHIFT : 0;
    return n < DUE_NEVER ? (uint32_t)n : DUE_NEVER - 1;
}

static void set_due(struct tables *t, int32_t row, uint32_t value) {
    atomic_store_explicit(&t->due[row], value, memory_order_relaxed);
}

/* The row is looked at in the next round. */
void deadlines_look(struct tables *t, int32_t row) { set_due(t, row, 0); }

/* A row that begins, or is free: it is not looked at until it is somebody's. */
void deadlines_none(struct tables *t, int32_t row) { set_due(t, row, DUE_IDLE | DUE_NEVER); }

/* A limit has changed, or nothing is known of the rows any more. */
void deadlines_look_at_all(struct tables *t) {
    for (int32_t i = 0; i < t->h->clients_high; i++) set_due(t, i, 0);
}

const char *deadlines_name(enum client_limit limit) {
    static const char *const names[] = {
#define X(ID, TEXT) [ID] = TEXT,
        LIMITS_OF_CLIENTS(X)
#undef X
    };
    return names[limit];
}

/* ---- one client ---------------------------------------------------------------------------- */

/* What is found of one client: the limit that is over, or when the next one may be. */
struct look {
    uint64_t now, next;
    bool over;
    enum client_limit limit;
    uint64_t since;
};

/* False: this limit is over, and no other is asked for. */
static bool within(struct look *k, enum client_limit limit, uint64_t since, uint64_t limit_us) {
    if (!since || !limit_us) return true;
    if (k->now > since + limit_us) {
        k->over = true;
        k->limit = limit;
        k->since = since;
        return false;
    }
    if (since + limit_us < k->next) k->next = since + limit_us;
    return true;
}

static void no_later(struct look *k, uint64_t limit_us) {
    if (limit_us && k->now + limit_us < k->next) k->next = k->now + limit_us;
}

/* What begins from now on can be over only behind the shortest of all limits. */
static void bound(struct look *k, const struct pool_limits *l, const struct common_limits *common) {
    no_later(k, common->notify_us);
    no_later(k, common->write_us);
    no_later(k, l->query_timeout_us);
    no_later(k, l->query_wait_timeout_us);
    no_later(k, l->idle_transaction_timeout_us);
    no_later(k, l->transaction_timeout_us);
    no_later(k, l->client_idle_timeout_us);
}

static void look_at_waiting(struct look *k, const struct client_row *c, const struct pool_limits *l,
                            const struct common_limits *common) {
    bool told = c->flags & (CF_NOTIFIED | CF_LOGIN_WAIT);
    if (within(k, OVER_QUERY_WAIT, c->wait_start, l->query_wait_timeout_us)
        && within(k, OVER_QUERY_WAITING, c->wait_start, l->query_timeout_us) && !told)
        within(k, OVER_NOTIFY, c->wait_start, common->notify_us);
}

static void look_at_served(struct look *k, const struct client_row *c, const struct pool_limits *l,
                           const struct common_limits *common) {
    uint64_t request = c->request_start, transaction = c->xact_start;
    if (!within(k, OVER_WRITE, c->stuck_start, common->write_us)) return;
    if (c->replication) return; /* what it runs has no end, nor is it a transaction */
    if (!within(k, OVER_QUERY, request, l->query_timeout_us)) return;
    if (!within(k, OVER_TRANSACTION, transaction, l->transaction_timeout_us)) return;
    if (request) return;
    if (transaction) within(k, OVER_IDLE_TRANSACTION, c->idle_start, l->idle_transaction_timeout_us);
    else if (c->pinned) /* a session in its hands, and idle */
        within(k, OVER_IDLE, c->idle_start, l->client_idle_timeout_us);
}

/* The lock is held.  True: something is over, as `k` says; the row is looked at again in the next round. */
static bool look_at(struct tables *t, int32_t row, const struct common_limits *common, struct look *k) {
    struct client_row *c = &t->clients[row];
    bool rests = c->state == CL_IDLE || c->state == CL_FREE;
    k->next = UINT64_MAX;
    k->over = false;
    if (c->state == CL_LOGIN) {
        no_later(k, LOGIN_LOOK_US);
    } else if (c->state != CL_FREE && c->pool >= 0) {
        const struct pool_limits *l = &t->pools[c->pool].limits;
        if (c->state == CL_WAITING) look_at_waiting(k, c, l, common);
        else if (c->state == CL_ACTIVE) look_at_served(k, c, l, common);
        else within(k, OVER_IDLE, c->idle_start, l->client_idle_timeout_us);
        if (!rests) bound(k, l, common);
    }
    uint32_t due = k->over ? 0 : k->next == UINT64_MAX ? DUE_NEVER : units(t, k->next) + 1;
    set_due(t, row, due | (rests && !k->over ? DUE_IDLE : 0));
    return k->over;
}

/* ---- all of a worker's ---------------------------------------------------------------------- */

/* Whether any of these is due.  They are copied without a lock: what comes in between is seen next time. */
static bool any_due(const _Atomic uint32_t *due, int count, uint32_t now) {
    uint32_t copy[CHUNK];
    uint32_t found = 0;
    memset(copy, 0xff, sizeof copy);
    memcpy(copy, (const void *)due, (size_t)count * sizeof *copy);
    for (int i = 0; i < CHUNK; i++) found |= (copy[i] & DUE_NEVER) <= now;
    return found;
}

/* Clients of this worker that have outstayed a limit, from the row `*from` on, which goes on to where the
 * next call begins; clients_high is the end.  A client that waits is told so once. */
int deadlines_over(struct tables *t, int worker, uint64_t now, const struct common_limits *common,
                   int32_t *from, struct overdue *out, int max) {
    uint32_t at = units(t, now);
    int32_t high = t->h->clients_high, i = *from;
    int count = 0;
    if (i == 0 && memcmp(&t->workers[worker].watched, common, sizeof *common)) {
        t->workers[worker].watched = *common;
        deadlines_look_at_all(t);
    }
    while (i < high && count + CHUNK <= max) {
        int n = high - i < CHUNK ? high - i : CHUNK;
        bool locked = false;
        for (int32_t row = i, end = any_due(t->due + i, n, at) ? i + n : i; row < end; row++) {
            struct look k = {.now = now};
            uint32_t due = atomic_load_explicit(&t->due[row], memory_order_relaxed);
            if ((due & DUE_NEVER) > at || t->clients[row].worker != worker) continue;
            if (!locked) tables_lock(t);
            locked = true;
            if (!look_at(t, row, common, &k)) continue;
            if (k.limit == OVER_NOTIFY) atomic_fetch_or(&t->clients[row].flags, CF_NOTIFIED);
            out[count++] = (struct overdue){row, k.limit, t->clients[row].id, k.since};
        }
        if (locked) tables_unlock(t);
        i += n;
    }
    *from = i;
    return count;
}

/* ---- rest ------------------------------------------------------------------------------------ */

/* A client waits, or a server is this worker's: in use, in its login, about to close; or two instances share
 * the servers (handoff.h). */
static bool is_busy(const struct tables *t, int worker) {
    if (t->h->owing || t->h->retiring) return true;
    for (int32_t i = 0; i < t->h->pools_high; i++)
        if (t->pools[i].waiting_of[worker].count || t->pools[i].dedicated.count) return true;
    for (int32_t i = 0; i < t->h->slots_high; i++)
        if (t->slots[i].state != SL_FREE && t->slots[i].owner == worker) return true;
    return false;
}

/* For so many microseconds no client of this worker outstays a limit, if none begins anything; 0: something
 * is under way. */
uint64_t deadlines_quiet(const struct tables *t, int worker, uint64_t now) {
    uint32_t first = DUE_NEVER, at = units(t, now);
    if (is_busy(t, worker)) return 0;
    for (int32_t i = 0; i < t->h->clients_high; i++) {
        uint32_t due = atomic_load_explicit(&t->due[i], memory_order_relaxed) & DUE_NEVER;
        if (due < first) first = due;
    }
    return first == DUE_NEVER ? UINT64_MAX : first > at ? (uint64_t)(first - at) << DUE_UNIT_SHIFT : 0;
}
