/* What servers of a pool have accepted: the theory stands in accepted_settings.h. */
#include "session/accepted_settings.h"

#include <stdlib.h>
#include <string.h>

#include "relay/internal.h"
#include "session/settings.h"
#include "tables/layout.h"

struct accepted {
    struct settings_scope scope;
    int count, space;
    struct settings **sets;
};

/* The pool as it is now: a row that is used again is another one. */
struct settings_scope accepted_scope(const struct tables *t, int32_t pool) {
    const struct pool_row *p = &t->pools[pool];
    return (struct settings_scope){
        .database = p->database,
        .user = p->user,
        .instance = p->instance,
        .database_generation = t->databases[p->database].generation,
        .user_generation = t->users[p->user].generation,
        .instance_generation = t->instances[p->instance].generation,
    };
}

static void forget(struct relay *r, struct accepted *a) {
    while (a->count) settings_drop(&r->store, a->sets[--a->count]);
}

/* NULL: no memory. */
static struct accepted *accepted_of(struct relay *r, int32_t pool) {
    struct settings_scope now = accepted_scope(r->t, pool);
    struct accepted **place = &r->accepted[pool];
    if (!*place && !(*place = calloc(1, sizeof **place))) return NULL;
    if (memcmp(&(*place)->scope, &now, sizeof now) != 0) forget(r, *place);
    (*place)->scope = now;
    return *place;
}

/* Keeps a set that a server of this pool has accepted, with a reference of its own.  False: there are enough,
 * or there is no memory. */
bool accepted_keep(struct relay *r, int32_t pool, struct settings *s) {
    struct accepted *a = accepted_of(r, pool);
    if (!a) return false;
    for (int i = 0; i < a->count; i++)
        if (a->sets[i] == s) return true;
    if (a->count == ACCEPTED_MAX) return false;
    if (a->count == a->space) {
        int space = a->space ? a->space * 2 : 4;
        struct settings **larger = realloc(a->sets, (size_t)space * sizeof *larger);
        if (!larger) return false;
        a->sets = larger;
        a->space = space;
    }
    a->sets[a->count++] = settings_keep(s);
    return true;
}
