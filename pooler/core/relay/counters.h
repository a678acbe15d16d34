/* What SHOW STATS counts. */
#ifndef POOLER_RELAY_COUNTERS_H
#define POOLER_RELAY_COUNTERS_H

struct relay;
struct server;

void counters_ready(struct relay *r, struct server *s);

#endif
