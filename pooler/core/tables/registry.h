/* Rows of databases, users, instances and pools, by name. */
#ifndef POOLER_TABLES_REGISTRY_H
#define POOLER_TABLES_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "tables/states.h"

struct pool_row;
struct tables;

int32_t tables_database(struct tables *t, const char *name, bool create);

/* how many rows databases of `*` have, and how many their pools; what rests is counted with them */
void tables_automatic(struct tables *t, int32_t *databases, int32_t *pools);
int32_t tables_user(struct tables *t, const char *name, bool create);
int32_t tables_instance(struct tables *t, const char *name, bool create);
void registry_link_pool(struct tables *t, int32_t pool);
void registry_clear_pool(struct pool_row *p, int workers);
int32_t tables_pool_of_kind(struct tables *t, int32_t database, int32_t user, int32_t instance,
                            enum pool_kind kind, bool create);
int tables_forget(struct tables *t, uint64_t now, uint64_t idle_us, uint64_t pool_idle_us, int32_t *databases,
                  int32_t *pools, int *pool_count, int max);

#endif
