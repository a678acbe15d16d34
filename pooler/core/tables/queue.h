/* The queue of every pool.  The caller of each function holds the lock. */
#ifndef POOLER_TABLES_QUEUE_H
#define POOLER_TABLES_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

struct outcome;
struct pool_row;
struct tables;

void queue_insert(struct tables *t, int32_t client);
void queue_join(struct tables *t, int32_t client, uint64_t now);
void queue_leave(struct tables *t, int32_t client);
int32_t queue_choose(struct tables *t, const struct pool_row *p, int worker, uint64_t now);
bool queue_answers_us(const struct tables *t, int32_t pool, uint64_t since);
void queue_demand(struct tables *t, int32_t pool, int worker, uint64_t now, struct outcome *out);
int32_t queue_next_pool(struct tables *t, int32_t pool, int32_t vacated_for, uint64_t now);
int32_t queue_first(struct tables *t, const struct pool_row *p);

#endif
