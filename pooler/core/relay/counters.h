/* What SHOW STATS counts. */
#ifndef POOLER_RELAY_COUNTERS_H
#define POOLER_RELAY_COUNTERS_H

#include <stdint.h>

struct relay;
struct server;

void counters_time(uint64_t *histogram, uint64_t us);
void counters_ready(struct relay *r, struct server *s);

#endif
