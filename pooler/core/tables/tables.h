/* Operations on the shared tables.  All take the lock themselves but the *_locked ones and tables_rebuild;
 * the rows by name (tables_database ... tables_pool_of_kind) and pool_welcome_known are for a caller that has
 * it. */
#ifndef POOLER_TABLES_TABLES_H
#define POOLER_TABLES_TABLES_H

#include <string.h>

#include "tables/layout.h"

/* What the caller has to do after an operation on the pool.  Slots named here belong to the caller. */
struct outcome {
    int32_t slot;  /* attached to the caller's client, or NOBODY */
    int32_t dial;  /* open a connection for this slot, or NOBODY */
    int32_t close; /* close this slot's connection (now CLOSING, owned by the caller), or NOBODY */
    /* slot went to this client of the same worker (its HANDED order is already taken), or NOBODY */
    int32_t client;
    uint64_t ring; /* bit w: ring the doorbell of worker w */
};

/* tables.c: the map, the lock, rows */
struct tables *tables_create(const struct sizes *sizes);
void tables_destroy(struct tables *t);
void tables_lock(struct tables *t);
bool tables_trylock(struct tables *t, uint64_t timeout_us);
void tables_unlock(struct tables *t);
void tables_ring(struct tables *t, uint64_t mask);
uint64_t now_us(void);
uint64_t new_id(struct tables *t);
void client_flag(struct tables *t, int32_t row, uint8_t flag);
void slot_flag(struct tables *t, int32_t slot, uint8_t flag);

/* registry.c */
int32_t tables_database(struct tables *t, const char *name, bool create);
int32_t tables_user(struct tables *t, const char *name, bool create);
int32_t tables_instance(struct tables *t, const char *name, bool create);
int tables_forget(struct tables *t, uint64_t now, uint64_t idle_us, uint64_t pool_idle_us, int32_t *databases,
                  int32_t *pools, int *pool_count, int max);

int32_t tables_pool_of_kind(struct tables *t, int32_t database, int32_t user, int32_t instance,
                            enum pool_kind kind, bool create);

/* tables.c, again: clients, workers */
int32_t client_new(struct tables *t, int worker, uint64_t now);
enum login_verdict {
    LOGIN_OK,
    LOGIN_MAX_CLIENT_CONN,
    LOGIN_MAX_DB,
    LOGIN_MAX_USER,
    LOGIN_DISABLED,
    LOGIN_FORGOTTEN
};
enum login_verdict client_login(struct tables *t, int32_t row, int32_t database, int32_t user, int32_t pool,
                                uint8_t special, bool unlimited);
void client_free(struct tables *t, int32_t row, int worker, uint64_t now, struct outcome *out);

void worker_starting(struct tables *t, int worker, int32_t pid);
void worker_died_locked(struct tables *t, int worker, int32_t *clients, int32_t *reclaim,
                        struct outcome *out);
void tables_rebuild(struct tables *t);

/* channels.c: what clients listen on, and who hears it for them */
struct joined {
    int32_t row;
    uint32_t id;
};
int32_t channel_join(struct tables *t, int32_t client, const char *name, const char *encoding, int worker,
                     uint64_t now, struct joined *out);
void channel_leave(struct tables *t, const struct joined *channel, int worker);
enum hearing { HEARING_NO, HEARING_SOON, HEARING_YES };
enum hearing channels_heard(struct tables *t, int32_t client, const struct joined *channels, int count,
                            int32_t listens);
void channel_heard(struct tables *t, int32_t row, uint32_t id);
bool channel_drop(struct tables *t, int32_t row, uint32_t id);
int32_t listener_reserve(struct tables *t, int32_t pool, int worker, uint64_t now, int32_t *ever);
void listener_opened(struct tables *t, int32_t database, int32_t slot);
bool listener_rest(struct tables *t, int32_t database);
int listener_lost(struct tables *t, int32_t database, uint64_t refused_until);
int listeners_kill(struct tables *t, int32_t database, int worker);
void channels_worker_died(struct tables *t, int worker, uint64_t *ring);

/* handoff.c: two instances, one limit */
enum handoff_word { HANDOFF_TAKEN, HANDOFF_RELEASED, HANDOFF_WANTED, HANDOFF_GRANTED, HANDOFF_HURRY };
struct handoff_message {
    enum handoff_word word;
    int32_t pool, rooms;
};
void handoff_retire(struct tables *t, uint64_t now, uint64_t *ring);
int handoff_messages(struct tables *t, uint64_t now, struct handoff_message *out, int max);
int32_t handoff_quota(const struct tables *t, int32_t pool);
bool handoff_told(struct tables *t, const struct handoff_message *news, uint64_t now, uint64_t *ring);
void handoff_left(struct tables *t, uint64_t now, uint64_t *ring);

/* peers.c: cancel requests for clients of other instances */
#define PEER_HOPS 3u /* the two lowest bits of a key: how often it may still be forwarded */
enum peer_state { PEER_WAITING, PEER_CONNECTING, PEER_ACTIVE };
int32_t peer_wait(struct tables *t, int32_t id, int worker);
bool peer_connect(struct tables *t, int32_t peer, int worker, int32_t most);
void peer_sent(struct tables *t, int32_t peer, int worker);
void peer_done(struct tables *t, int32_t peer, int worker, enum peer_state state);
void peers_worker_died(struct tables *t, int worker);
int32_t client_of_key(const struct tables *t, uint32_t pid, uint32_t secret);

/* walsender.c: clients with a server of their own */
void pool_wait_dedicated(struct tables *t, int32_t client, enum replication kind, uint64_t now,
                         struct outcome *out);
bool pool_dedicated(struct tables *t, int32_t slot, uint32_t generation, int32_t client, uint64_t id,
                    int worker, uint64_t now, struct outcome *out);

/* hosts.c: names of the DNS */
int32_t tables_host(struct tables *t, const char *name, enum host_kind kind, uint64_t now);
bool host_read(struct tables *t, int32_t row, struct host_row *out);
void host_asked(struct tables *t, int32_t row, uint64_t until);
void host_answered(struct tables *t, int32_t row, const char *addresses, uint64_t expires_at);
void host_failed(struct tables *t, int32_t row, uint64_t expires_at);
bool zone_answered(struct tables *t, int32_t row, uint32_t serial, uint32_t *before);
int host_obsolete(struct tables *t, int32_t row, const char *address);

/* pool.c: one step each; maintenance.c: housekeeping, orders, cancel requests */
struct order {
    int32_t row;
    uint8_t orders;
    uint64_t id;
}; /* id: of the client, or the slot's connection */
enum cancel_verdict { CANCEL_NOTHING, CANCEL_QUEUED, CANCEL_FORWARD, CANCEL_BUSY, CANCEL_IDLE };

/* Puts bytes of some length into a row.  The lock is held; who dies in the middle leaves none rather than
 * some of these and some of those that were there before. */
static inline void keep_bytes(unsigned char *place, uint16_t *length, const void *bytes, uint16_t n) {
    *length = 0;
    COMMIT();
    memcpy(place, bytes, n);
    COMMIT();
    *length = n;
}

void outcome_clear(struct outcome *out);
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
int32_t pool_claim_left(struct tables *t, int32_t pool, uint64_t client, int worker);
bool pool_claim_idle(struct tables *t, int32_t slot, uint32_t generation, int worker);
void pool_freed(struct tables *t, int32_t slot, int worker, uint64_t now, struct outcome *out);
void pool_welcome_known(struct tables *t, int32_t pool, uint64_t *ring); /* caller holds the lock */
void pool_login_failed(struct tables *t, int32_t pool, bool fatal, const char *sqlstate, const char *text,
                       uint64_t retry_at, uint64_t *ring);
int pool_tick(struct tables *t, int worker, uint64_t now, int32_t *dials, int max, uint64_t *ring);
int pool_expired_idle(struct tables *t, int worker, uint64_t now, uint64_t idle_timeout_us, int32_t *out,
                      int max);
void pool_mark_obsolete(struct tables *t, int32_t database, uint64_t *ring); /* caller holds the lock */
int pool_take_idle(struct tables *t, int32_t database, int32_t pool, int worker, bool mark, int32_t *out,
                   int max);
void pool_login_forgiven(struct tables *t, int32_t pool);
bool pool_take_reclaim(struct tables *t, int32_t slot, int worker);
bool pool_attention(struct tables *t, int worker, struct order *clients, int *client_count,
                    struct order *slots, int *slot_count, int max);
bool cancel_key_fits(struct tables *t, uint32_t pid, const unsigned char *key, uint32_t bytes);
enum cancel_verdict cancel_begin(struct tables *t, uint32_t pid, uint32_t secret, int worker, int32_t *slot,
                                 uint32_t *generation, int32_t *client);
void cancel_end(struct tables *t, int32_t slot, uint32_t generation, int32_t client, uint64_t client_id,
                int worker, uint64_t now);
bool client_tell_locked(struct tables *t, int32_t row, uint64_t id, uint8_t order, uint8_t kill_text,
                        uint64_t *ring);

#endif
