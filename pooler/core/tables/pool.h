/* Operations on pools, one step each.  All take the lock themselves unless they say otherwise. */
#ifndef POOLER_TABLES_POOL_H
#define POOLER_TABLES_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "tables/layout.h"
#include "tables/states.h"

struct outcome;

bool pool_has_free(const struct tables *t, int32_t pool);
bool pool_serves_soon(struct tables *t, int32_t pool);
void pool_acquire(struct tables *t, int32_t client, uint64_t now, struct outcome *out);
void pool_requeue(struct tables *t, int32_t client, uint64_t now, struct outcome *out);
void pool_wait_welcome(struct tables *t, int32_t client, uint64_t now, struct outcome *out);
void pool_release(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out);
void pool_detach(struct tables *t, int32_t slot, uint64_t now);
void pool_place(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out);
void pool_begin_close(struct tables *t, int32_t slot, int worker, bool busy);
void pool_abandon(struct tables *t, int32_t slot);
bool pool_claim_idle(struct tables *t, int32_t slot, uint32_t generation, int worker);
int32_t pool_claim_left(struct tables *t, int32_t pool, uint64_t client, int worker);
void pool_freed(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out);
void pool_welcome_known(struct tables *t, int32_t pool, uint64_t *ring); /* caller holds the lock */
void pool_login_forgiven(struct tables *t, int32_t pool);
void pool_login_failed(struct tables *t, int32_t pool, bool fatal, const char *sqlstate, const char *text,
                       uint64_t retry_at, uint64_t *ring);
/* What its last failed login was told. */
void pool_error_of(struct tables *t, int32_t pool, char sqlstate[SQLSTATE_BYTES],
                   char text[ERROR_TEXT_BYTES]);
/* PostgreSQL has refused its last login for a reason that another attempt does not mend. */
bool pool_refused(const struct pool_row *p);
bool pool_held(struct tables *t, const struct pool_row *p);

/* One at a time per pool: a storm of clients must not become a storm at PostgreSQL, and one failing login
 * answers all that wait. */
static inline bool pool_opening(const struct pool_row *p) { return p->by_state[SL_LOGIN] + p->evicting > 0; }

#endif
