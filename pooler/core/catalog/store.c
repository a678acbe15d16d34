/* Claims, extents and copies of what was read of catalogs.  The theory stands in store.h. */
#include "catalog/store.h"

#include <stdlib.h>
#include <string.h>

#include "sql/catalog_names.h"
#include "tables/layout.h"
#include "tables/states.h"
#include "tables/tables.h"

#define CLAIM_US 3000000u /* a reader that does nothing for so long has lost its claim */
/* between its looks it keeps it for as long as its budget says, and so much more */
#define CLAIM_SPARE_US 10000000u
#define WANTED_US 1000000u /* a database that has not asked again for so long has no server for a look */

/* ---- claims -------------------------------------------------------------------------------------- */

/* The row may have become another database's. */
static struct catalog_row *row_of(struct tables *t, int32_t database) {
    struct database_row *d = &t->databases[database];
    if (d->catalog.row_generation != d->generation) {
        atomic_store(&d->catalog.generation, 0); /* who copies the snapshot of before looks at it last */
        memset(&d->catalog, 0, sizeof d->catalog);
        d->catalog.row_generation = d->generation;
    }
    return &d->catalog;
}

static uint32_t life_of(const struct tables *t, int worker) {
    return atomic_load(&t->workers[worker].restarts);
}

static bool is_reader(const struct tables *t, const struct catalog_row *c, int worker) {
    return c->reader == worker + 1 && c->reader_life == life_of(t, worker);
}

static bool is_free(const struct tables *t, const struct catalog_row *c, uint64_t now) {
    return !c->reader || now > c->reader_until || c->reader_life != life_of(t, c->reader - 1);
}

/* Notes that a look is due and a server at hand for it. */
static void want(struct tables *t, int32_t database, int32_t instance, uint64_t now) {
    struct catalog_row *c = &t->databases[database].catalog;
    if (c->row_generation == t->databases[database].generation && c->wanted_instance == instance
        && now < atomic_load(&c->wanted_at) + WANTED_US / 8)
        return;
    tables_lock(t);
    c = row_of(t, database);
    c->wanted_instance = instance;
    atomic_store(&c->wanted_at, now);
    tables_unlock(t);
}

/* Whether another database of the instance wants a look, whose last one is longer ago. */
static bool is_anothers_turn(const struct tables *t, int32_t database, int32_t instance, uint64_t now) {
    const struct database_row *mine = &t->databases[database];
    uint64_t looked_at = mine->catalog.row_generation == mine->generation ? mine->catalog.looked_at : 0;
    for (int32_t i = 0; i < t->h->databases_high; i++) {
        const struct catalog_row *c = &t->databases[i].catalog;
        if (i != database && t->databases[i].used && c->row_generation == t->databases[i].generation
            && c->wanted_instance == instance && now < atomic_load(&c->wanted_at) + WANTED_US
            && c->looked_at < looked_at)
            return true;
    }
    return false;
}

/* Whether a claim is worth the lock: the budget allows a look, and no other database has waited longer. */
bool catalog_may_claim(struct tables *t, int32_t database, int32_t instance, int worker, uint64_t now) {
    const struct catalog_row *c = &t->databases[database].catalog;
    bool may = c->row_generation != t->databases[database].generation || is_reader(t, c, worker)
        || is_free(t, c, now);
    if (!may) return false;
    if (now >= t->instances[instance].catalog_at && !is_anothers_turn(t, database, instance, now))
        return true;
    want(t, database, instance, now);
    return false;
}

/* A look begins: nobody else reads this database, and the budget of the instance allows one. */
bool catalog_claim(struct tables *t, int32_t database, int32_t instance, int worker, uint64_t now) {
    tables_lock(t);
    struct catalog_row *c = row_of(t, database);
    struct instance_row *n = &t->instances[instance];
    bool mine = (is_reader(t, c, worker) || is_free(t, c, now)) && now >= n->catalog_at;
    if (mine) {
        c->reader = (int16_t)(worker + 1);
        c->reader_life = life_of(t, worker);
        c->reader_until = n->catalog_at = now + CLAIM_US;
        if (!atomic_load(&c->generation)) c->state = CATALOG_READING;
        atomic_store(&c->used, 0);
        atomic_store(&c->wanted_at, 0);
        c->looked_at = now;
    }
    tables_unlock(t);
    return mine;
}

/* Its next piece.  False: another worker has taken over. */
bool catalog_keep(struct tables *t, int32_t database, int32_t instance, int worker, uint64_t now) {
    tables_lock(t);
    struct catalog_row *c = row_of(t, database);
    bool mine = is_reader(t, c, worker);
    if (mine) c->reader_until = t->instances[instance].catalog_at = now + CLAIM_US;
    tables_unlock(t);
    return mine;
}

/* A look is over, whatever came of it. */
void catalog_paid(struct tables *t, int32_t database, int32_t instance, int worker, uint64_t now,
                  uint64_t cost_us) {
    tables_lock(t);
    struct catalog_row *c = row_of(t, database);
    t->instances[instance].catalog_at = now + CATALOG_BUDGET * cost_us;
    if (is_reader(t, c, worker)) {
        c->reader_until = now + CATALOG_BUDGET * cost_us + CLAIM_SPARE_US;
        c->cost_us = cost_us;
    }
    tables_unlock(t);
}

/* Something has run in that database: it is worth another look. */
void catalog_mark(struct tables *t, int32_t database) {
    struct catalog_row *c = &t->databases[database].catalog;
    if (!atomic_load_explicit(&c->used, memory_order_relaxed)) atomic_store(&c->used, 1);
}

/* ---- extents ------------------------------------------------------------------------------------- */

/* From where on it is free behind that extent, if that is in the way. */
static bool moved_behind(uint64_t *at, uint64_t bytes, uint64_t other, uint64_t other_bytes) {
    if (!other_bytes || *at >= other + other_bytes || other >= *at + bytes) return false;
    *at = other + other_bytes;
    return true;
}

/* The first place that is free: behind an extent, or at the beginning. */
static bool first_fit(struct tables *t, uint64_t bytes, uint64_t *out) {
    uint64_t at = 0;
    for (bool moved = true; moved;) {
        moved = false;
        if (at + bytes > CATALOG_STORE_BYTES) return false;
        for (int32_t i = 0; i < t->h->databases_high; i++)
            moved |= moved_behind(&at, bytes, t->databases[i].catalog.offset, t->databases[i].catalog.bytes);
        for (int i = 0; i < t->h->sizes.workers; i++)
            moved |= moved_behind(&at, bytes, t->workers[i].extent_offset, t->workers[i].extent_bytes);
    }
    *out = at;
    return true;
}

/* What this worker has written is given up: its extent is free. */
void catalog_drop(struct tables *t, int32_t database, int worker) {
    struct worker_row *w = &t->workers[worker];
    tables_lock(t);
    if (w->extent_database == database) w->extent_bytes = 0;
    tables_unlock(t);
}

/* NULL: the store is full, or another worker has taken over. */
struct snapshot *catalog_reserve(struct tables *t, int32_t database, int worker, uint32_t capacity,
                                 uint32_t customs_bytes) {
    struct worker_row *w = &t->workers[worker];
    uint64_t bytes = sizeof(struct snapshot) + (uint64_t)capacity * sizeof(struct catalog_entry)
        + customs_bytes,
             at = 0;
    bytes = (bytes + 63) & ~63ull;
    tables_lock(t);
    w->extent_bytes = 0;
    bool fits = is_reader(t, row_of(t, database), worker) && first_fit(t, bytes, &at);
    if (fits) {
        w->extent_offset = at;
        w->extent_database = database;
        COMMIT();
        w->extent_bytes = bytes;
    }
    tables_unlock(t);
    if (!fits) return NULL;
    struct snapshot *s = (struct snapshot *)(t->catalogs + at);
    *s = (struct snapshot){.capacity = capacity, .customs_bytes = customs_bytes};
    memset(s + 1, 0, (size_t)bytes - sizeof *s); /* what lies behind the last is compared, too */
    return s;
}

/* The snapshot that was written says the same as the one before: verdicts that went by that stay good.
 * Whose claim another has taken over meanwhile compares with anything, and it does not count. */
static bool same(struct tables *t, int32_t database, int worker) {
    const struct worker_row *w = &t->workers[worker];
    tables_lock(t);
    const struct catalog_row *c = row_of(t, database);
    bool published = is_reader(t, c, worker) && atomic_load(&c->generation);
    uint64_t offset = c->offset, bytes = c->bytes;
    tables_unlock(t);
    return published && bytes == w->extent_bytes
        && memcmp(t->catalogs + offset, t->catalogs + w->extent_offset, bytes) == 0;
}

/* No two snapshots of a database have the same one, however soon they follow each other. */
static uint32_t new_generation(struct tables *t) {
    uint32_t generation;
    do generation = (uint32_t)tables_new_id(t);
    while (!generation);
    return generation;
}

/* The caller holds the lock, and is the reader. */
static void seen(struct catalog_row *c, uint64_t now, uint32_t version) {
    c->read_at = c->looked_at;
    c->known_since = c->state == CATALOG_KNOWN ? c->known_since : now;
    c->state = CATALOG_KNOWN;
    atomic_store(&c->version, version);
}

/* What is published is what the catalogs say still. */
void catalog_seen_again(struct tables *t, int32_t database, int worker, uint64_t now, uint32_t version) {
    tables_lock(t);
    struct catalog_row *c = row_of(t, database);
    if (is_reader(t, c, worker)) seen(c, now, version);
    tables_unlock(t);
}

/* What is in force from now on: the extent that was written.  Readers copy without the lock: while the row
 * changes it has no generation. */
void catalog_publish(struct tables *t, int32_t database, int worker, uint64_t now, uint32_t version,
                     const struct catalog_totals *totals) {
    struct worker_row *w = &t->workers[worker];
    bool nothing_new = same(t, database, worker);
    tables_lock(t);
    struct catalog_row *c = row_of(t, database);
    if (is_reader(t, c, worker) && w->extent_bytes && w->extent_database == database) {
        if (!nothing_new) {
            atomic_store(&c->generation, 0);
            COMMIT();
            c->offset = w->extent_offset;
            c->bytes = w->extent_bytes;
            COMMIT();
            atomic_store(&c->generation, new_generation(t));
        }
        c->totals = *totals;
        seen(c, now, version);
    }
    w->extent_bytes = 0;
    tables_unlock(t);
}

/* ---- copies -------------------------------------------------------------------------------------- */

bool catalog_is_published(const struct tables *t, int32_t database) {
    const struct database_row *d = &t->databases[database];
    return d->catalog.row_generation == d->generation
        && atomic_load_explicit(&d->catalog.generation, memory_order_relaxed);
}

void catalog_forget(struct catalog *c) {
    free(c->entries);
    *c = (struct catalog){0};
}

static bool copy(struct tables *t, const struct catalog_row *row, struct catalog *c, char **customs,
                 uint32_t *bytes) {
    uint64_t offset = row->offset, size = row->bytes;
    if (offset + size > CATALOG_STORE_BYTES || size < sizeof(struct snapshot)) return false;
    const unsigned char *all = t->catalogs + offset;
    struct snapshot s;
    memcpy(&s, all, sizeof s);
    uint64_t entries = (uint64_t)s.capacity * sizeof(struct catalog_entry);
    bool whole = s.capacity && !(s.capacity & (s.capacity - 1))
        && sizeof s + entries + s.customs_bytes <= size;
    if (whole) {
        c->entries = malloc(entries);
        *customs = malloc(s.customs_bytes + 1u);
        whole = c->entries && *customs;
    }
    if (whole) {
        memcpy(c->entries, all + sizeof s, entries);
        memcpy(*customs, all + sizeof s + entries, s.customs_bytes);
        *bytes = s.customs_bytes;
        c->capacity = s.capacity;
        c->everything = s.everything;
        c->ddl = s.ddl;
        c->bodies = s.bodies;
    }
    return whole;
}

void catalog_follow(struct tables *t, int32_t database, struct catalog *c, char **customs,
                    uint32_t *customs_bytes) {
    const struct catalog_row *row = &t->databases[database].catalog;
    uint32_t generation = catalog_generation(t, database);
    catalog_forget(c);
    *customs = NULL;
    *customs_bytes = 0;
    if (!generation) return;
    bool whole = copy(t, row, c, customs, customs_bytes);
    atomic_thread_fence(memory_order_seq_cst);
    if (whole && atomic_load(&row->generation) == generation) {
        c->generation = generation;
        return;
    }
    free(*customs); /* another one came meanwhile, or there is no memory: the next text finds it */
    *customs = NULL;
    catalog_forget(c);
}
