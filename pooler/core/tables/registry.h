/* What tables.c needs of registry.c to rebuild; the caller holds the lock. */
#ifndef POOLER_TABLES_REGISTRY_H
#define POOLER_TABLES_REGISTRY_H

#include "tables/tables.h"

void pool_link(struct tables *t, int32_t pool);
void pool_clear_derived(struct pool_row *p, int workers);

#endif
