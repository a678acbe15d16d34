/* What one more server may count against. */
#include "tables/limits.h"

#include "tables/clock.h"
#include "tables/layout.h"
#include "tables/list.h"
#include "tables/queue.h"
#include "tables/states.h"

int32_t limits_size(struct tables *t, const struct pool_row *p, uint64_t now) {
    const struct pool_limits *l = &p->limits;
    int32_t first = queue_first(t, p);
    if (!l->size || !l->reserve_size || !l->reserve_timeout_us || first == NO_ROW) return l->size;
    uint64_t oldest = t->clients[first].wait_start;
    return clock_elapsed(now, oldest) >= l->reserve_timeout_us ? l->size + l->reserve_size : l->size;
}

/* Every shared limit that keeps this pool from one more server, as bits 1 << enum blocked_by. */
unsigned limits_full(struct tables *t, const struct pool_row *p) {
    const struct database_row *d = &t->databases[p->database];
    const struct user_row *u = &t->users[p->user];
    const struct instance_row *n = &t->instances[p->instance];
    unsigned full = 0;
    if (d->max_db_connections && d->servers >= d->max_db_connections) full |= 1u << BLOCKED_DATABASE;
    if (u->max_user_connections && u->servers >= u->max_user_connections) full |= 1u << BLOCKED_USER;
    if (n->max_server_connections && n->servers >= n->max_server_connections) full |= 1u << BLOCKED_INSTANCE;
    if (!t->h->free_slots.count && t->h->slots_high >= t->h->sizes.slots) full |= 1u << BLOCKED_ROWS;
    return full;
}

enum blocked_by limits_blocked(struct tables *t, const struct pool_row *p, int32_t size) {
    if (t->h->retiring) return p->servers >= p->quota ? BLOCKED_ELSEWHERE : BLOCKED_NOT;
    if (size && p->servers >= size) return BLOCKED_SIZE;
    unsigned full = limits_full(t, p);
    return full ? (enum blocked_by)__builtin_ctz(full) : BLOCKED_NOT;
}

bool limits_exceeded(struct tables *t, const struct pool_row *p) {
    const struct database_row *d = &t->databases[p->database];
    const struct user_row *u = &t->users[p->user];
    const struct instance_row *n = &t->instances[p->instance];
    const struct pool_limits *l = &p->limits;
    return (l->size && p->servers > l->size + l->reserve_size)
        || (d->max_db_connections && d->servers > d->max_db_connections)
        || (u->max_user_connections && u->servers > u->max_user_connections)
        || (n->max_server_connections && n->servers > n->max_server_connections);
}

void limits_starve(struct tables *t, int32_t pool) {
    struct pool_row *p = &t->pools[pool];
    if (p->starved) return;
    p->starved = 1;
    starved_append(t, &t->h->starved, pool);
}

void limits_unstarve(struct tables *t, int32_t pool) {
    struct pool_row *p = &t->pools[pool];
    if (!p->starved) return;
    p->starved = 0;
    starved_remove(t, &t->h->starved, pool);
}

/* The limits that one server of `p` less would relieve for `starving`. */
unsigned limits_shared(const struct pool_row *starving, const struct pool_row *p) {
    return (unsigned)(starving->database == p->database) << BLOCKED_DATABASE
        | (unsigned)(starving->user == p->user) << BLOCKED_USER
        | (unsigned)(starving->instance == p->instance) << BLOCKED_INSTANCE | 1u << BLOCKED_ROWS;
}
