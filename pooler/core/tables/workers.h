/* Rows of workers. */
#ifndef POOLER_TABLES_WORKERS_H
#define POOLER_TABLES_WORKERS_H

#include <stdint.h>

#include "tables/layout.h"

struct outcome;

void worker_starting(struct tables *t, int worker, int32_t pid);
void worker_died_locked(struct tables *t, int worker, int32_t *clients, int32_t *reclaim,
                        struct outcome *out);
void workers_busy(const struct tables *t, int32_t busy[MAX_WORKERS]);

static inline uint64_t worker_bit(int worker) { return 1ull << worker; }

#endif
