/* The map of the shared tables, and its lock. */
#ifndef POOLER_TABLES_TABLES_H
#define POOLER_TABLES_TABLES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "tables/layout.h"

uint64_t tables_new_id(struct tables *t);
struct tables *tables_create(const struct sizes *sizes);
void tables_destroy(struct tables *t);
void tables_lock(struct tables *t);
bool tables_trylock(struct tables *t, uint64_t timeout_us);
void tables_unlock(struct tables *t);
void tables_ring(struct tables *t, uint64_t mask);

/* Puts bytes of some length into a row.  The lock is held; who dies in the middle leaves none rather than
 * some of these and some of those that were there before. */
static inline void keep_bytes(unsigned char *place, uint16_t *length, const void *bytes, uint16_t n) {
    *length = 0;
    COMMIT();
    memcpy(place, bytes, n);
    COMMIT();
    *length = n;
}

#endif
