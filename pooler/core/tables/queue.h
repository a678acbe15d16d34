/* Steps that the operations on the tables are made of.  The caller of each holds the lock. */
#ifndef POOLER_TABLES_QUEUE_H
#define POOLER_TABLES_QUEUE_H

#include "tables/tables.h"

/* queue.c */
uint64_t elapsed(uint64_t now, uint64_t since);
uint64_t bit(int worker);
bool usable_by(const struct pool_row *p, const struct slot_row *s, const struct client_row *c);
bool answers_us(const struct tables *t, int32_t pool, uint64_t since);
int32_t usable_idle(const struct tables *t, const struct pool_row *p, const struct client_row *c);
bool held(struct tables *t, const struct pool_row *p);
int32_t dial_for(struct tables *t, int32_t pool, int dialer, int worker, uint64_t now, struct outcome *out);
void hand(struct tables *t, int32_t slot, int32_t client, int worker, uint64_t now, struct outcome *out);
void queue_join(struct tables *t, int32_t client, uint64_t now);
void attach(struct tables *t, int32_t slot, int32_t client, int owner);
void slot_state(struct tables *t, int32_t slot, enum slot_state state);
void slot_drop_orders(struct tables *t, int32_t slot);
void queue_insert(struct tables *t, int32_t client);
void queue_leave(struct tables *t, int32_t client);
void order_client(struct tables *t, int32_t client, uint8_t order, uint64_t *ring);
void order_slot(struct tables *t, int32_t slot, uint8_t order, uint64_t *ring);
void cancel_over_locked(struct tables *t, int32_t slot, int worker, uint64_t *ring);
void demand(struct tables *t, int32_t pool, int worker, uint64_t now, struct outcome *out);
void place_locked(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out);
void close_locked(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out);
void freed_locked(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out);

int32_t reserve_slot(struct tables *t, int32_t pool, int owner, enum slot_state state, uint8_t order,
                     uint64_t now);

/* handoff.c */
int32_t usable(const struct pool_row *p);
bool surplus(struct tables *t, const struct pool_row *p);
int32_t owed_pool(struct tables *t, int32_t pool);
void settle_quota(struct tables *t, bool make_way, uint64_t now, struct outcome *out);

/* walsender.c */
int32_t first_in_line(struct tables *t, const struct pool_row *p);
void dedicate(struct tables *t, int32_t pool, int32_t client, int worker, uint64_t now, struct outcome *out);
bool dedicated_evicts(struct tables *t, int32_t pool, int worker, uint64_t now, struct outcome *out);
bool dedicated_takes(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out);

/* limits.c */
int32_t allowed_size(struct tables *t, const struct pool_row *p, uint64_t now);
enum blocked_by blocked(struct tables *t, const struct pool_row *p, int32_t size);
bool over_limits(struct tables *t, const struct pool_row *p);
void starve(struct tables *t, int32_t pool);
void unstarve(struct tables *t, int32_t pool);
bool opening(const struct pool_row *p);
bool evict(struct tables *t, int32_t pool, enum blocked_by why, int worker, bool merciless, uint64_t now,
           struct outcome *out);
bool protected(const struct pool_row *p);
unsigned full_limits(struct tables *t, const struct pool_row *p);
unsigned shared_limits(const struct pool_row *starving, const struct pool_row *p);
void make_room(struct tables *t, int32_t pool, int worker, uint64_t now, struct outcome *out);
void evictions_overdue(struct tables *t, uint64_t now);
bool contested(struct tables *t, const struct pool_row *p);
int32_t rival(struct tables *t, int32_t pool, uint64_t now);

/* maintenance.c */
void mark_obsolete(struct tables *t, int32_t slot, struct outcome *out);

/* tables.c */
void client_free_locked(struct tables *t, int32_t row, int worker, uint64_t now, struct outcome *out);

#endif
