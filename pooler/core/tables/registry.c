/* Rows of databases, users, instances and pools: found by name, made when they are needed, and forgotten when
 * the configuration does not name them (a database of `*`, a user of auth_type=any) and nobody has used them
 * for long.
 *
 * Everything that lives in such a row's name counts itself there: clients, servers, servers evicted for a
 * pool, pools of a database.  A number that was looked up and is not counted yet is the one danger.  So a
 * look-up is a use; who counts himself looks whether the row is still there (client_login); and a row that
 * was forgotten rests before it is made something else: a process that was stopped in between has gone on by
 * then, or was killed for its silence.
 */
#include "tables/registry.h"

#include <string.h>

#include "tables/clock.h"
#include "tables/layout.h"
#include "tables/limits.h"
#include "tables/list.h"
#include "tables/states.h"
#include "tables/tables.h"

#define REST_US 120000000u

static bool rested(uint64_t forgotten_at, uint64_t now) {
    return !forgotten_at || clock_elapsed(now, forgotten_at) >= REST_US;
}

#define DEFINE_NAMED(FUNCTION, ROWS, HIGH, SIZE)                                              \
    int32_t FUNCTION(struct tables *t, const char *name, bool create) {                       \
        uint64_t now = clock_us();                                                            \
        int32_t at = NO_ROW;                                                                  \
        for (int32_t i = 0; i < t->h->HIGH; i++) {                                            \
            if (!t->ROWS[i].used) {                                                           \
                if (at == NO_ROW && rested(t->ROWS[i].forgotten_at, now)) at = i;             \
            } else if (strcmp(t->ROWS[i].name, name) == 0) {                                  \
                t->ROWS[i].idle_since = 0;                                                    \
                return i;                                                                     \
            }                                                                                 \
        }                                                                                     \
        if (at == NO_ROW && t->h->HIGH < t->h->sizes.SIZE) at = t->h->HIGH;                   \
        if (!create || at == NO_ROW || strlen(name) >= sizeof t->ROWS[0].name) return NO_ROW; \
        uint32_t generation = t->ROWS[at].generation;                                         \
        memset(&t->ROWS[at], 0, sizeof t->ROWS[at]);                                          \
        strcpy(t->ROWS[at].name, name);                                                       \
        t->ROWS[at].first_pool = NO_ROW;                                                      \
        t->ROWS[at].generation = generation + 1;                                              \
        COMMIT();                                                                             \
        t->ROWS[at].used = 1;                                                                 \
        if (at == t->h->HIGH) t->h->HIGH = at + 1;                                            \
        return at;                                                                            \
    }
DEFINE_NAMED(tables_database, databases, databases_high, databases)
DEFINE_NAMED(tables_user, users, users_high, users)
DEFINE_NAMED(tables_instance, instances, instances_high, instances)

void tables_automatic(struct tables *t, int32_t *databases, int32_t *pools) {
    uint64_t now = clock_us();
    *databases = *pools = 0;
    for (int32_t i = 0; i < t->h->databases_high; i++)
        *databases += t->databases[i].used ? !t->databases[i].kept
                                           : !rested(t->databases[i].forgotten_at, now);
    for (int32_t i = 0; i < t->h->pools_high; i++)
        *pools += t->pools[i].used ? !t->databases[t->pools[i].database].kept
                                   : !rested(t->pools[i].forgotten_at, now);
}

void registry_link_pool(struct tables *t, int32_t pool) {
    struct pool_row *p = &t->pools[pool];
    p->next_in_database = t->databases[p->database].first_pool;
    t->databases[p->database].first_pool = pool;
    p->next_in_user = t->users[p->user].first_pool;
    t->users[p->user].first_pool = pool;
    p->next_in_instance = t->instances[p->instance].first_pool;
    t->instances[p->instance].first_pool = pool;
}

void registry_clear_pool(struct pool_row *p, int workers) {
    p->starved = 0;
    p->servers = p->evicting = p->clients = 0;
    memset(p->by_state, 0, sizeof p->by_state);
    list_clear(&p->idle);
    list_clear(&p->waiting);
    list_clear(&p->dedicated);
    for (int w = 0; w < workers; w++) list_clear(&p->waiting_of[w]);
}

static int32_t free_pool(struct tables *t) {
    uint64_t now = clock_us();
    for (int32_t i = 0; i < t->h->pools_high; i++)
        if (!t->pools[i].used && rested(t->pools[i].forgotten_at, now)) return i;
    return t->h->pools_high < t->h->sizes.pools ? t->h->pools_high : NO_ROW;
}

/* The pool of (database, user) on that instance; a pool whose database moved to another instance is
 * another pool row (its servers are, too).  Caller holds the lock. */
int32_t tables_pool_of_kind(struct tables *t, int32_t database, int32_t user, int32_t instance,
                            enum pool_kind kind, bool create) {
    for (int32_t i = t->databases[database].first_pool; i != NO_ROW; i = t->pools[i].next_in_database)
        if (t->pools[i].user == user && t->pools[i].instance == instance && t->pools[i].kind == kind) {
            t->pools[i].idle_since = 0;
            return i;
        }
    int32_t i = create ? free_pool(t) : NO_ROW;
    if (i == NO_ROW) return NO_ROW;
    struct pool_row *p = &t->pools[i];
    memset(p, 0, sizeof *p);
    p->database = database;
    p->user = user;
    p->instance = instance;
    p->kind = (uint8_t)kind;
    registry_clear_pool(p, t->h->sizes.workers);
    for (int w = 0; w < t->h->sizes.workers; w++)
        memset(&t->counters[(int64_t)w * t->h->sizes.pools + i], 0, sizeof *t->counters);
    COMMIT();
    p->used = 1;
    if (i == t->h->pools_high) t->h->pools_high = i + 1;
    registry_link_pool(t, i);
    return i;
}

/* Whether nobody has used this for so long; notes since when. */
static bool idle_for(uint64_t *idle_since, bool in_use, uint64_t now, uint64_t long_us) {
    if (in_use) *idle_since = 0;
    else if (!*idle_since) *idle_since = now;
    return !in_use && long_us && clock_elapsed(now, *idle_since) >= long_us;
}

/* `idle`: it is due for pool_idle_timeout, and not only with its database or user. */
static bool pool_due(struct tables *t, struct pool_row *p, uint64_t now, uint64_t idle_us,
                     uint64_t pool_idle_us, bool *idle) {
    bool in_use = p->clients || p->servers || p->evicting || p->waiting.head != NO_ROW
        || p->dedicated.head != NO_ROW;
    bool kept = t->databases[p->database].kept && t->users[p->user].kept;
    bool minimum = p->forced_user && p->limits.min_size && t->databases[p->database].kept;
    bool automatic = idle_for(&p->idle_since, in_use, now, idle_us) && !kept;
    *idle = idle_for(&p->idle_since, in_use, now, pool_idle_us) && !minimum;
    return automatic || *idle;
}

#define UNLINK(FIRST, NEXT, POOL)                                         \
    for (int32_t *at = &(FIRST); *at != NO_ROW; at = &t->pools[*at].NEXT) \
        if (*at == (POOL)) {                                              \
            *at = t->pools[POOL].NEXT;                                    \
            break;                                                        \
        }

static void forget_pool(struct tables *t, int32_t pool, uint64_t now) {
    struct pool_row *p = &t->pools[pool];
    p->forgotten_at = now;
    COMMIT();
    p->used = 0; /* first: a rebuild links used ones only */
    limits_unstarve(t, pool);
    UNLINK(t->databases[p->database].first_pool, next_in_database, pool)
    UNLINK(t->users[p->user].first_pool, next_in_user, pool)
    UNLINK(t->instances[p->instance].first_pool, next_in_instance, pool)
    registry_clear_pool(p, t->h->sizes.workers);
}

#define FORGET_NAMED(ROWS, HIGH, IN_USE, THEN)                                                     \
    for (int32_t i = 0; i < t->h->HIGH; i++) {                                                     \
        if (!t->ROWS[i].used || !idle_for(&t->ROWS[i].idle_since, IN_USE, now, idle_us)) continue; \
        if (t->ROWS[i].kept || t->ROWS[i].first_pool != NO_ROW) continue;                          \
        t->ROWS[i].forgotten_at = now;                                                             \
        COMMIT();                                                                                  \
        t->ROWS[i].used = 0;                                                                       \
        THEN;                                                                                      \
    }

/* Forgets what the configuration does not name and nobody has used for `idle_us`, and pools that nobody has
 * used for `pool_idle_us` (0: never).  Returns how many databases, the first `max` of them in `databases`;
 * and in `pools` those that were forgotten for being idle themselves, at most `max`. */
int tables_forget(struct tables *t, uint64_t now, uint64_t idle_us, uint64_t pool_idle_us, int32_t *databases,
                  int32_t *pools, int *pool_count, int max) {
    int count = 0;
    bool idle;
    *pool_count = 0;
    tables_lock(t);
    for (int32_t i = 0; i < t->h->pools_high; i++)
        if (t->pools[i].used && pool_due(t, &t->pools[i], now, idle_us, pool_idle_us, &idle)) {
            forget_pool(t, i, now);
            if (idle && *pool_count < max) pools[(*pool_count)++] = i;
        }
    FORGET_NAMED(databases, databases_high,
                 t->databases[i].clients || t->databases[i].servers || t->databases[i].paused
                     || t->databases[i].disabled,
                 if (count++ < max) databases[count - 1] = i)
    FORGET_NAMED(users, users_high, t->users[i].clients || t->users[i].servers, )
    FORGET_NAMED(instances, instances_high, t->instances[i].servers, )
    tables_unlock(t);
    return count;
}
