/* SUSPEND: the theory stands in suspend.c. */
#ifndef POOLER_RELAY_SUSPEND_H
#define POOLER_RELAY_SUSPEND_H

#include <stdbool.h>
#include <stdint.h>

struct conn;
struct relay;

bool suspended_at(const struct relay *r, const struct conn *c);
uint32_t suspended_limit(const struct relay *r, const struct conn *c, uint32_t limit);
void suspend_look(struct relay *r);

#endif
