/* Clients with a server of their own. */
#ifndef POOLER_TABLES_WALSENDER_QUEUE_H
#define POOLER_TABLES_WALSENDER_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "tables/states.h"

struct outcome;
struct tables;

void walsender_open(struct tables *t, int32_t pool, int32_t client, int worker, uint64_t now,
                    struct outcome *out);
bool walsender_evicts(struct tables *t, int32_t pool, int worker, uint64_t now, struct outcome *out);
bool walsender_takes(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out);
void walsender_wait(struct tables *t, int32_t client, enum replication kind, uint64_t now,
                    struct outcome *out);
bool walsender_attach(struct tables *t, int32_t slot, uint32_t generation, int32_t client, uint64_t id,
                      int worker, uint64_t now, struct outcome *out);

#endif
