/* The values that servers of a pool have by themselves, in its row. */
#ifndef POOLER_TABLES_POOL_DEFAULTS_H
#define POOLER_TABLES_POOL_DEFAULTS_H

#include <stdint.h>

struct outcome;
struct tables;

void pool_default_seen(struct tables *t, int32_t pool, const char *name, const char *value);
void pool_roles_seen(struct tables *t, int32_t pool, const char *mark, struct outcome *out);

#endif
