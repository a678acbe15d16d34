/* Kept welcomes: see welcome.h. */
#include "login/welcome.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "io/parameter_status.h"
#include "login/login.h"
#include "relay/internal.h"
#include "tables/layout.h"
#include "tables/tables.h"

/* The next name and value; false: there is none. */
static bool next_reported(const char **at, const char *end, const char **name, const char **value) {
    const char *p = *at, *behind = p < end ? memchr(p, 0, (size_t)(end - p)) : NULL;
    const char *last = behind && behind + 1 < end ? memchr(behind + 1, 0, (size_t)(end - behind - 1)) : NULL;
    if (!last) return false;
    *name = p;
    *value = behind + 1;
    *at = last + 1;
    return true;
}

/* The first of a name counts, which is there in any case of letters. */
static void note(const char **place, const char *wanted, const char *name, const char *value) {
    if (!*place && strcasecmp(wanted, name) == 0) *place = value;
}

/* NULL: no memory. */
static struct welcome *take_apart(const struct settings_store *store, const char *texts, uint32_t bytes) {
    const char *at = texts, *name, *value;
    size_t count = 0;
    while (next_reported(&at, texts + bytes, &name, &value)) count++;
    struct welcome *w = malloc(sizeof *w + 2 * (size_t)bytes + PARAMETER_STATUS_BYTES * count);
    if (!w) return NULL;
    *w = (struct welcome){.bytes = bytes};
    memcpy(w->texts, texts, bytes);
    unsigned char *reports = (unsigned char *)w->texts + bytes, *end = reports;
    at = w->texts;
    while (next_reported(&at, w->texts + bytes, &name, &value)) {
        if (!*name) continue;
        note(&w->server_version, "server_version", name, value);
        note(&w->is_superuser, "is_superuser", name, value);
        for (int i = 0; i < store->tracked.count; i++)
            note(&w->tracked[i], store->tracked.names[i], name, value);
        if (!settings_tracked(store, name)) end += parameter_status(end, name, value);
    }
    w->reports = reports;
    w->reports_bytes = (uint32_t)(end - reports);
    return w;
}

bool welcome_of(struct relay *r, int32_t pool, const struct welcome **w, uint32_t *defaults) {
    const struct pool_row *p = &r->t->pools[pool];
    struct welcome **place = &r->logins->welcomes[pool % WELCOMES_KEPT];
    char texts[WELCOME_BYTES];
    tables_lock(r->t); /* another worker may be writing it */
    *defaults = p->defaults_version;
    uint32_t bytes = p->welcome_bytes;
    bool same = *place && (*place)->bytes == bytes && memcmp((*place)->texts, p->welcome, bytes) == 0;
    if (!same) memcpy(texts, p->welcome, bytes);
    tables_unlock(r->t);
    if (!bytes) return false;
    if (!same) {
        free(*place);
        *place = take_apart(&r->store, texts, bytes);
    }
    *w = *place;
    return true;
}
