/* Steps that the operations on the tables are made of.  The caller of each holds the lock. */
#ifndef POOLER_QUEUE_H
#define POOLER_QUEUE_H

#include "tables.h"

void slot_state(struct tables *t, int32_t slot, enum slot_state state);
void slot_drop_orders(struct tables *t, int32_t slot);
void queue_insert(struct tables *t, int32_t client);
void queue_leave(struct tables *t, int32_t client);
void starve(struct tables *t, int32_t pool, enum blocked_by why);
void order_client(struct tables *t, int32_t client, uint8_t order, uint64_t *ring);
void order_slot(struct tables *t, int32_t slot, uint8_t order, uint64_t *ring);
void demand(struct tables *t, int32_t pool, int worker, uint64_t now, struct outcome *out);
void place_locked(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out);
void close_locked(struct tables *t, int32_t slot, int worker, struct outcome *out);
void freed_locked(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out);
void client_free_locked(struct tables *t, int32_t row, int worker, uint64_t now, struct outcome *out);

#endif
