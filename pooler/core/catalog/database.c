/* What a worker knows of one database: names of settings that no catalog lists, and its copy of what the
 * catalogs say (sql/catalog_names.h), which is never waited for. */
#include "catalog/database.h"

#include <stdlib.h>
#include <string.h>

#include "catalog/customs.h"
#include "catalog/store.h"
#include "relay/internal.h"
#include "sql/catalog_names.h"
#include "sql/effects.h"

#define FDW "postgres_fdw_handler" /* harmless where session_trusted_extensions has its extension */

_Static_assert(BODY_CUSTOMS_MAX < CUSTOM_NAMES_MAX, "what the catalogs say never loses its place");

/* Space for one more, within the limit.  False: no memory. */
static bool space_for_custom(struct profile *p) {
    if (p->custom_count < p->custom_space || p->custom_count == CUSTOM_NAMES_MAX) return true;
    int space = p->custom_space ? 2 * p->custom_space : 8;
    struct custom *more = realloc(p->customs, (size_t)space * sizeof *more);
    if (!more) return false;
    p->customs = more;
    p->custom_space = space;
    return true;
}

/* A name of a setting with a dot: pg_settings does not show it, so it has to be asked for by name.  When
 * there are too many, the oldest goes that only statements have said.  False: there was no memory for it, and
 * nobody will ask for it. */
bool profile_custom(struct profile *p, const char *name, bool lasting) {
    for (int i = 0; i < p->custom_count; i++)
        if (strcmp(p->customs[i].name, name) == 0) {
            p->customs[i].lasting |= lasting;
            return true;
        }
    char *kept = space_for_custom(p) ? strdup(name) : NULL;
    if (!kept) return false;
    uint32_t at = (uint32_t)p->custom_count;
    if (p->custom_count < CUSTOM_NAMES_MAX) {
        p->custom_count++;
    } else {
        for (int tries = 0; tries < CUSTOM_NAMES_MAX; tries++) {
            at = p->victim++ % CUSTOM_NAMES_MAX;
            if (!p->customs[at].lasting) break;
        }
        free(p->customs[at].name);
    }
    p->customs[at].lasting = lasting;
    p->customs[at].name = kept;
    return true;
}

static void forget(struct relay *r, struct profile *p) {
    words_free(&p->words);
    free(p->catalog.entries);
    for (int i = 0; i < p->custom_count; i++) free(p->customs[i].name);
    free(p->customs);
    *p = (struct profile){.serial = ++r->profile_serial};
}

/* Whether it is called by what does not name it: IN, BETWEEN, LIKE, CASE, NULLIF, USING and others. */
static bool called_unnamed(const struct relay *r, const struct catalog_entry *e) {
    static const char *const names[] = {
        "=", "<>", "<", ">", "<=", ">=", "~~", "!~~", "~~*", "!~~*", "~", "!~"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (e->hash == words_hash(&r->builtin, names[i], (uint32_t)strlen(names[i]))) return true;
    return false;
}

/* A name that the table of words has, too, is judged by that; what is more than that, of a user's object of
 * the same name, is asked for everywhere, as is that of an operator that texts need not name.  It pins nobody
 * till the end of its session: who may make a function could keep all others from their servers. */
static void add_entry(struct relay *r, struct profile *p, const struct catalog_entry *e) {
    if (!e->effect_flags) return; /* as nearly all */
    uint32_t effect_flags = catalog_effects(&p->catalog, (enum catalog_kind)e->kind, e->hash)
        & ~CATALOG_UNKNOWN;
    const struct word *built_in = words_find(&r->builtin, e->hash);
    if (built_in && !built_in->where) built_in = NULL;                /* a keyword only */
    if (e->kind == CATALOG_OPERATOR && !called_unnamed(r, e)) return; /* texts that call it name it */
    if (built_in || e->kind == CATALOG_OPERATOR) {
        uint32_t own = built_in ? built_in->effect_flags | built_in->ends : 0, usual = own;
        if (built_in) usual |= ASK_SETTINGS | PIN_OPAQUE | EFFECT_UNSURE;
        if (!(e->effect_flags & CATALOG_UNKNOWN) && !(effect_flags & ~usual)) return;
        p->everything |= effect_flags & ~(own | PIN_LOADED | PIN_INTERPRETER);
    }
    p->nameless |= (effect_flags & PIN_OPAQUE) != 0;
    p->folds |= (effect_flags & EFFECT_FOLDS) != 0;
    p->interpreters |= (e->effect_flags & PIN_INTERPRETER) != 0;
}

/* What follows from the snapshot for every statement; what was learnt of names that it lacks is forgotten. */
static void judge_names(struct relay *r, struct profile *p) {
    words_free(&p->words);
    p->words.key = r->builtin.key;
    p->everything = catalog_everything(&p->catalog) | catalog_ddl(&p->catalog);
    p->nameless = p->everything & PIN_OPAQUE;
    p->folds = p->everything & EFFECT_FOLDS;
    p->interpreters = p->everything & PIN_INTERPRETER;
    p->serial = ++r->profile_serial;
    p->absent_count = p->learnt = 0;
    for (uint32_t i = 0; i < p->catalog.capacity; i++)
        if (p->catalog.entries[i].hash) add_entry(r, p, &p->catalog.entries[i]);
}

/* Another snapshot is there.  False: there is no memory for what it says. */
static bool renew(struct relay *r, struct profile *p, const char *customs, uint32_t customs_bytes) {
    judge_names(r, p);
    for (int i = 0; i < p->custom_count; i++) p->customs[i].lasting = false;
    for (uint32_t at = 0; at < customs_bytes; at += (uint32_t)strlen(customs + at) + 1)
        if (!profile_custom(p, customs + at, true)) return false;
    p->connects = catalog_has(&p->catalog, CATALOG_FUNCTION, words_hash(&r->builtin, "dblink_connect", 14))
        || catalog_effects(&p->catalog, CATALOG_FUNCTION, words_hash(&r->builtin, FDW, sizeof FDW - 1))
            & PIN_LOADED;
    return true;
}

/* Called before the first client of a pool is there.  False: no memory. */
bool profile_ready(struct relay *r, int32_t pool) {
    struct profile **place = &r->profiles[r->t->pools[pool].database];
    return *place || (*place = calloc(1, sizeof **place));
}

/* Another snapshot was published, or the one that it has does not count any more. */
static void follow(struct relay *r, int32_t row, struct profile *p) {
    char *customs = NULL;
    uint32_t bytes = 0;
    catalog_follow(r->t, row, &p->catalog, &customs, &bytes);
    if (!renew(r, p, customs, bytes)) { /* nothing of it counts, and the next text tries again */
        catalog_forget(&p->catalog);
        p->everything = 0;
        p->nameless = false;
    }
    atomic_store(&r->t->databases[row].catalog.everything, p->everything);
    free(customs);
}

/* Of a pool that has, or had, clients here. */
struct profile *profile_of(struct relay *r, int32_t pool) {
    int32_t row = r->t->pools[pool].database;
    struct profile *p = r->profiles[row];
    if (p->row_generation != r->t->databases[row].generation) forget(r, p);
    p->row_generation = r->t->databases[row].generation;
    if (catalog_generation(r->t, row) != p->catalog.generation) follow(r, row, p);
    bool known = p->catalog.generation && catalog_is_current(r->t, row);
    if (known != p->catalog.known) p->serial = ++r->profile_serial; /* verdicts about texts were others */
    p->catalog.known = known;
    return p;
}

/* Whether an object of the catalogs has that name, of whatever kind, and what it leaves. */
static bool find_name(const struct profile *p, uint64_t hash, uint32_t *effect_flags) {
    bool found = false;
    *effect_flags = 0;
    for (int kind = CATALOG_FUNCTION; kind <= CATALOG_TYPE; kind++) {
        if (!catalog_has(&p->catalog, (enum catalog_kind)kind, hash)) continue;
        *effect_flags |= catalog_effects(&p->catalog, (enum catalog_kind)kind, hash)
            & ~(uint32_t)CATALOG_UNKNOWN;
        found = true;
    }
    return found;
}

/* The place of a name among those that were called and are in no catalog; NULL: it is new. */
static struct absent *find_absent(struct profile *p, uint64_t hash) {
    for (uint32_t i = 0; i < p->absent_count; i++)
        if (p->absent[i].hash == hash) return &p->absent[i];
    return NULL;
}

/* Names that stand before a parenthesis and were unknown: of those that a look has missed since no function
 * is called so.  Until then they are asked for. */
void profile_unknown(struct relay *r, int32_t pool, const uint64_t *unknown, uint32_t count,
                     uint32_t *effect_flags, uint32_t *ends) {
    struct profile *p = profile_of(r, pool);
    uint64_t read_at = r->t->databases[r->t->pools[pool].database].catalog.read_at;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t found;
        if (find_name(p, unknown[i], &found)) {
            *effect_flags |= found;
            *ends |= found & ASK_ALL;
            continue;
        }
        if (words_find(&p->words, unknown[i])) continue;
        struct absent *a = find_absent(p, unknown[i]);
        *effect_flags |= ASK_ALL | EFFECT_UNSURE;
        if (!a) {
            uint32_t at = p->absent_count < ABSENT_MAX ? p->absent_count++ : p->absent_next++ % ABSENT_MAX;
            p->absent[at] = (struct absent){.hash = unknown[i], .at = r->loop.now};
        } else if (p->catalog.known && a->at < read_at
                   && words_add(&p->words, &(struct word){.hash = unknown[i]})) {
            *a = p->absent[--p->absent_count];
            p->learnt++;
        }
    }
    if (p->learnt > LEARNT_MAX) p->catalog.generation = 0; /* the next text begins with the snapshot alone */
    /* it may have set a setting without a name */
    if (count && !p->catalog.known) *effect_flags |= PIN_UNJUDGED;
    /* there may be more */
    if (count == SCAN_UNKNOWN_MAX) *effect_flags |= ASK_ALL | EFFECT_UNSURE;
    *effect_flags &= ~(uint32_t)EFFECT_UNKNOWN;
}
