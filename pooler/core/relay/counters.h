/* What SHOW STATS counts. */
#ifndef POOLER_RELAY_COUNTERS_H
#define POOLER_RELAY_COUNTERS_H

#include <stdint.h>

struct relay;
struct server;

void counters_error(struct relay *r, const struct server *s, const unsigned char *body, uint32_t n);
void counters_ready(struct relay *r, struct server *s);

#endif
