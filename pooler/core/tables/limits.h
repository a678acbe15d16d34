/* What one more server may count against.  The caller of each function holds the lock. */
#ifndef POOLER_TABLES_LIMITS_H
#define POOLER_TABLES_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "tables/states.h"

struct pool_row;
struct tables;

int32_t limits_size(struct tables *t, const struct pool_row *p, uint64_t now);
unsigned limits_full(struct tables *t, const struct pool_row *p);
enum blocked_by limits_blocked(struct tables *t, const struct pool_row *p, int32_t size);
bool limits_exceeded(struct tables *t, const struct pool_row *p);
void limits_starve(struct tables *t, int32_t pool);
void limits_unstarve(struct tables *t, int32_t pool);
unsigned limits_shared(const struct pool_row *starving, const struct pool_row *p);

#endif
