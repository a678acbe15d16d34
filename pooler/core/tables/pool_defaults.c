/* The values that servers of a pool have by themselves, in its row.  The theory stands in
 * session/server_defaults.h. */
#include "tables/pool_defaults.h"

#include <string.h>

#include "tables/layout.h"
#include "tables/maintenance.h"
#include "tables/outcome.h"
#include "tables/states.h"
#include "tables/tables.h"

/* Gives a name another value in the welcome of new clients, if it is there. */
static void change_welcome(struct pool_row *p, const char *name, const char *value) {
    unsigned char changed[WELCOME_BYTES];
    const char *at = (const char *)p->welcome, *end = at + p->welcome_bytes;
    size_t n = 0;
    bool differs = false;
    while (at < end) {
        const char *old = at + strlen(at) + 1, *next = old + strlen(old) + 1;
        bool this = strcmp(at, name) == 0;
        const char *text = this ? value : old;
        size_t head = (size_t)(old - at), bytes = strlen(text) + 1;
        if (n + head + bytes > sizeof changed) return;
        memcpy(changed + n, at, head);
        memcpy(changed + n + head, text, bytes);
        n += head + bytes;
        differs |= this && strcmp(old, value) != 0;
        at = next;
    }
    if (!differs) return;
    p->welcome_version++;
    keep_bytes(p->welcome, &p->welcome_bytes, changed, (uint16_t)n);
}

static struct default_value *find(struct pool_row *p, const char *name) {
    for (int i = 0; i < p->default_count; i++)
        if (strcmp(p->defaults[i].name, name) == 0) return &p->defaults[i];
    return NULL;
}

/* A server has said which value a RESET leads to. */
void pool_default_seen(struct tables *t, int32_t pool, const char *name, const char *value) {
    struct pool_row *p = &t->pools[pool];
    if (strlen(name) >= sizeof p->defaults->name || strlen(value) >= sizeof p->defaults->value) return;
    tables_lock(t);
    struct default_value *d = find(p, name);
    if (!d && p->default_count < DEFAULTS_MAX) { /* the first that is seen of it */
        d = &p->defaults[p->default_count];
        *d = (struct default_value){0};
        strcpy(d->name, name);
        strcpy(d->value, value);
        COMMIT();
        p->default_count++;
    } else if (d && strcmp(d->value, value) != 0) {
        memset(d->value, 0, sizeof d->value);
        strcpy(d->value, value);
        d->version = ++p->defaults_version;
    }
    change_welcome(p, name, value);
    tables_unlock(t);
}

/* A server has said what stands in pg_db_role_setting for its database and user.  When that has changed all
 * servers are obsolete, and so is the welcome, unless new clients would have to wait for others to leave. */
void pool_roles_seen(struct tables *t, int32_t pool, const char *mark, struct outcome *out) {
    struct pool_row *p = &t->pools[pool];
    outcome_clear(out);
    if (strlen(mark) >= sizeof p->roles_mark) return;
    tables_lock(t);
    if (p->roles_mark[0] && strcmp(p->roles_mark, mark) != 0) {
        bool space = p->idle.head != NO_ROW || !p->limits.size || p->servers <= p->limits.size;
        p->default_count = 0;
        for (int32_t i = 0; i < t->h->slots_high; i++)
            if (t->slots[i].state != SL_FREE && t->slots[i].pool == pool) slot_mark_obsolete(t, i, out);
        if (space) p->welcome_bytes = 0;
    }
    memset(p->roles_mark, 0, sizeof p->roles_mark);
    strcpy(p->roles_mark, mark);
    tables_unlock(t);
}
