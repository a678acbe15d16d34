/* The clock of all stamps in the tables: monotonic microseconds. */
#ifndef POOLER_TABLES_CLOCK_H
#define POOLER_TABLES_CLOCK_H

#include <stdint.h>

uint64_t clock_us(void);
double clock_wall(void);

/* Callers pass a time they looked up a moment ago: another worker's stamp may be a little later. */
static inline uint64_t clock_elapsed(uint64_t now, uint64_t since) { return now > since ? now - since : 0; }

#endif
