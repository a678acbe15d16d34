/* What time and the console bring. */
#ifndef POOLER_TABLES_MAINTENANCE_H
#define POOLER_TABLES_MAINTENANCE_H

#include <stdbool.h>
#include <stdint.h>

struct outcome;
struct tables;

int pool_tick(struct tables *t, int worker, uint64_t now, int32_t *dials, int max, uint64_t *ring);
int pool_expired_idle(struct tables *t, int worker, uint64_t now, uint64_t idle_timeout_us, int32_t *out,
                      int max);
void slot_mark_obsolete(struct tables *t, int32_t slot, struct outcome *out);
void pool_mark_obsolete(struct tables *t, int32_t database, uint64_t *ring); /* caller holds the lock */
int pool_take_idle(struct tables *t, int32_t database, int32_t pool, int worker, bool mark, int32_t *out,
                   int max);
bool pool_take_reclaim(struct tables *t, int32_t slot, int worker);

#endif
