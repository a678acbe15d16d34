/* Whose server goes for another pool.  The caller of each function holds the lock. */
#ifndef POOLER_TABLES_EVICTION_H
#define POOLER_TABLES_EVICTION_H

#include <stdbool.h>
#include <stdint.h>

#include "tables/states.h"

struct outcome;
struct pool_row;
struct tables;

bool eviction_protected(const struct pool_row *p);
bool eviction_evict(struct tables *t, int32_t pool, enum blocked_by why, int worker, bool merciless,
                    uint64_t now, struct outcome *out);
void eviction_make_space(struct tables *t, int32_t pool, int worker, uint64_t now, struct outcome *out);
void eviction_overdue(struct tables *t, uint64_t now);
bool eviction_contested(struct tables *t, const struct pool_row *p);
int32_t eviction_rival(struct tables *t, int32_t pool, uint64_t now);

#endif
