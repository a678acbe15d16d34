/* What tables.c needs of rows.c to rebuild; the caller holds the lock. */
#ifndef POOLER_ROWS_H
#define POOLER_ROWS_H

#include "tables.h"

void pool_link(struct tables *t, int32_t pool);
void pool_clear_derived(struct pool_row *p, int workers);

#endif
