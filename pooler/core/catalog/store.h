/* What one worker has read of the catalogs, for all workers: in the shared tables.
 *
 * Theory.  One worker at a time reads the catalogs of a database (`reader`, until `reader_until`; the claim
 * of a dead worker ends with its life).  It writes a snapshot into a free extent of the store, and publishes
 * it under the lock by one change of the row; the extent of the one before is free from then on.  What it
 * writes into is the worker's, whoever reads that database by then: one that was stopped for so long that
 * another has taken over goes on writing when it wakes, and only itself, or its death, gives that extent up.
 * Extents in use are those of the rows of databases and workers, so nothing has to be rebuilt.  Other workers
 * copy a snapshot without the lock, and look afterwards whether it is still the one that is published.
 *
 * The budget is the instance's: after a look that took PostgreSQL a time t none begins there before 100 t are
 * over.  Databases of an instance take turns: the next look is at that whose last is longest ago, among those
 * that want one (`wanted_at`).
 */
#ifndef POOLER_CATALOG_STORE_H
#define POOLER_CATALOG_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "tables/layout.h"

struct catalog;

#define CATALOG_BUDGET 100 /* a look takes at most one part in so many of PostgreSQL's time */

/* The head of an extent; entries follow, then names of settings, each with a NUL behind it. */
struct snapshot { uint32_t capacity, everything, ddl, customs_bytes, bodies, unused; };

bool catalog_may_claim(struct tables *t, int32_t database, int32_t instance, int worker, uint64_t now);
bool catalog_claim(struct tables *t, int32_t database, int32_t instance, int worker, uint64_t now);
bool catalog_keep(struct tables *t, int32_t database, int32_t instance, int worker, uint64_t now);
void catalog_paid(struct tables *t, int32_t database, int32_t instance, int worker, uint64_t now,
                  uint64_t cost_us);
void catalog_mark(struct tables *t, int32_t database);
struct snapshot *catalog_reserve(struct tables *t, int32_t database, int worker, uint32_t capacity,
                                 uint32_t customs_bytes);
void catalog_drop(struct tables *t, int32_t database, int worker);
void catalog_seen_again(struct tables *t, int32_t database, int worker, uint64_t now, uint32_t version);
void catalog_publish(struct tables *t, int32_t database, int worker, uint64_t now, uint32_t version,
                     const struct catalog_totals *totals);
bool catalog_is_published(const struct tables *t, int32_t database);

/* Of the snapshot that is published; 0: none is. */
static inline uint32_t catalog_generation(const struct tables *t, int32_t database) {
    const struct database_row *d = &t->databases[database];
    return d->catalog.row_generation == d->generation ? atomic_load(&d->catalog.generation) : 0;
}

/* Nothing has passed through that may have changed the catalogs since they were read. */
static inline bool catalog_is_current(const struct tables *t, int32_t database) {
    const struct database_row *d = &t->databases[database];
    return d->catalog.row_generation == d->generation
        && atomic_load_explicit(&d->catalog.version, memory_order_relaxed)
        == atomic_load_explicit(&d->schema_version, memory_order_relaxed);
}

void catalog_forget(struct catalog *c);

/* Brings a worker's copy up to date, where catalog_generation() is another than its; empty where it cannot
 * be had.  `customs` are to be freed. */
void catalog_follow(struct tables *t, int32_t database, struct catalog *c, char **customs,
                    uint32_t *customs_bytes);

#endif
