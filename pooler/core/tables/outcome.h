/* What follows for the caller from an operation on the tables. */
#ifndef POOLER_TABLES_OUTCOME_H
#define POOLER_TABLES_OUTCOME_H

#include <stdint.h>

#include "tables/layout.h"

/* What the caller has to do after an operation on the pool.  Slots named here belong to the caller. */
struct outcome {
    int32_t slot;  /* attached to the caller's client, or NO_ROW */
    int32_t dial;  /* open a connection for this slot, or NO_ROW */
    int32_t close; /* close this slot's connection (now CLOSING, owned by the caller), or NO_ROW */
    /* slot went to this client of the same worker (its HANDED order is already taken), or NO_ROW */
    int32_t client;
    uint64_t ring; /* bit w: ring the doorbell of worker w */
};

static inline void outcome_clear(struct outcome *out) {
    out->slot = out->dial = out->close = out->client = NO_ROW;
    out->ring = 0;
}

#endif
