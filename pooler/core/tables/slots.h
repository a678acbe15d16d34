/* Rows of server connections.  The caller of each function holds the lock. */
#ifndef POOLER_TABLES_SLOTS_H
#define POOLER_TABLES_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "tables/layout.h"
#include "tables/states.h"

struct outcome;

bool slot_usable_by(const struct pool_row *p, const struct slot_row *s, const struct client_row *c);
int32_t slot_usable_idle(const struct tables *t, const struct pool_row *p, const struct client_row *c);
void slot_state(struct tables *t, int32_t slot, enum slot_state state);
void slot_attach(struct tables *t, int32_t slot, int32_t client, int owner);
void slot_hand(struct tables *t, int32_t slot, int32_t client, int worker, uint64_t now, struct outcome *out);
int32_t slot_reserve(struct tables *t, int32_t pool, int owner, enum slot_state state, uint8_t order,
                     uint64_t now);
int32_t slot_dial_for(struct tables *t, int32_t pool, int dialer, int worker, uint64_t now,
                      struct outcome *out);
void slot_close_locked(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out);
void slot_place_locked(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out);
void slot_freed_locked(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out);
void slot_flag(struct tables *t, int32_t slot, uint8_t flag);

/* Whether the process that had the other end of this slot's pair has died. */
static inline bool slot_bridge_is_lost(const struct tables *t, const struct slot_row *s) {
    return s->bridge_life && s->bridge_life != t->workers[s->bridge].restarts + 1;
}

#endif
