/* Rows of clients. */
#include "tables/clients.h"

#include <string.h>
#include <sys/random.h>

#include "tables/clock.h"
#include "tables/deadlines.h"
#include "tables/layout.h"
#include "tables/list.h"
#include "tables/outcome.h"
#include "tables/peers.h"
#include "tables/queue.h"
#include "tables/slots.h"
#include "tables/states.h"
#include "tables/tables.h"

/* Sets one flag and keeps what others set at the same moment. */
void client_flag(struct tables *t, int32_t row, uint8_t flag) {
    atomic_fetch_or(&t->clients[row].flags, flag);
}

/* A key by which peers know whose client this is (peers.c): there is no space in it for the row. */
static void peer_key(struct client_row *c, uint16_t peer_id, const uint32_t random[2]) {
    c->cancel_pid = (random[1] & 0x7f0000ffu) | (uint32_t)(peer_id & 0xff) << 16
        | (uint32_t)(peer_id >> 8) << 8;
    c->cancel_secret = random[0] | PEER_HOPS;
}

/* A row for a client that begins to log in; NO_ROW when the table is full. */
int32_t client_new(struct tables *t, int worker, uint64_t now) {
    struct {
        uint32_t words[2];
        unsigned char more[CANCEL_MORE_BYTES];
    } random;
    if (getrandom(&random, sizeof random, 0) != sizeof random) return NO_ROW;
    tables_lock(t);
    int32_t i = t->h->free_clients.head;
    if (i != NO_ROW) client_queue_remove(t, &t->h->free_clients, i);
    else if (t->h->clients_high < t->h->sizes.clients) i = t->h->clients_high++;
    if (i != NO_ROW) {
        struct client_row *c = &t->clients[i];
        memset(c, 0, sizeof *c);
        deadlines_none(t, i);
        c->worker = (int16_t)worker;
        c->pool = c->database = c->user = c->slot = NO_ROW;
        c->id = tables_new_id(t);
        c->connected_at = c->idle_start = now;
        c->connect_time = clock_wall();
        c->cancel_secret = random.words[0];
        memcpy(c->cancel_more, random.more, sizeof c->cancel_more);
        /* the row, so that a cancel request is a look-up; above it random bits; the sign bit stays clear */
        c->cancel_pid = ((random.words[1] << 20) & 0x7ff00000u) | (uint32_t)((i + 1) & 0xfffff);
        if (t->h->peer_id) peer_key(c, t->h->peer_id, random.words);
        COMMIT();
        c->state = CL_LOGIN;
        atomic_fetch_add(&t->workers[worker].clients, 1);
    }
    tables_unlock(t);
    return i;
}

/* Counts a client in or out: the console's not against max_client_conn, our own in its pool alone. */
void client_count(struct tables *t, const struct client_row *c, int by) {
    if (c->pool != NO_ROW) t->pools[c->pool].clients += by;
    if (c->flags & CF_INTERNAL) return;
    if (!(c->flags & CF_CONSOLE)) t->h->clients += by;
    t->databases[c->database].clients += by;
    t->users[c->user].clients += by;
}

/* Counts a client that has authenticated against every limit, or says which one forbids it.
 * `special`: CF_CONSOLE or CF_INTERNAL, for whom max_client_conn is no limit.  `unlimited`: nor is any
 * other. */
enum login_verdict client_login(struct tables *t, int32_t row, int32_t database, int32_t user, int32_t pool,
                                uint8_t special, bool unlimited) {
    enum login_verdict verdict = LOGIN_OK;
    tables_lock(t);
    struct client_row *c = &t->clients[row];
    struct database_row *d = &t->databases[database];
    struct user_row *u = &t->users[user];
    bool there = d->used && u->used
        && (pool == NO_ROW || (t->pools[pool].used && t->pools[pool].database == database));
    if (!there) verdict = LOGIN_FORGOTTEN;
    else if (!special && t->h->max_clients && t->h->clients >= t->h->max_clients)
        verdict = LOGIN_MAX_CLIENT_CONN;
    else if (d->disabled) verdict = LOGIN_DISABLED;
    else if (!unlimited && d->max_clients && d->clients >= d->max_clients) verdict = LOGIN_MAX_DB;
    else if (!unlimited && u->max_clients && u->clients >= u->max_clients) verdict = LOGIN_MAX_USER;
    if (verdict == LOGIN_OK) {
        c->database = database;
        c->user = user;
        c->pool = pool;
        COMMIT();
        c->flags |= (uint8_t)(CF_COUNTED | special);
        client_count(t, c, 1);
    }
    tables_unlock(t);
    return verdict;
}

/* Frees the row of a client that left, whatever it was doing; a slot that was handed to it and not yet
 * taken goes to the next.  A slot that it used must have been released or closed before. */
void client_free_locked(struct tables *t, int32_t row, int worker, uint64_t now, struct outcome *out) {
    struct client_row *c = &t->clients[row];
    if (c->state == CL_FREE) return;
    queue_leave(t, row);
    if (c->orders) {
        client_attention_remove(t, &t->workers[c->worker].client_attention, row);
        c->orders = 0;
    }
    int32_t slot = c->state == CL_ACTIVE ? c->slot : NO_ROW;
    if (c->flags & CF_COUNTED) client_count(t, c, -1);
    atomic_fetch_sub(&t->workers[c->worker].clients, 1);
    c->slot = NO_ROW;
    c->state = CL_FREE;
    COMMIT();
    c->flags = 0; /* its key and its rights end with it */
    c->cancel_pid = c->cancel_secret = 0;
    memset(c->cancel_more, 0, sizeof c->cancel_more);
    deadlines_none(t, row);
    client_queue_append(t, &t->h->free_clients, row);
    if (slot != NO_ROW && t->slots[slot].client == row) slot_place_locked(t, slot, worker, now, out);
}

/* `worker` is NO_ROW when the caller is not a relay. */
void client_free(struct tables *t, int32_t row, int worker, uint64_t now, struct outcome *out) {
    outcome_clear(out);
    tables_lock(t);
    client_free_locked(t, row, worker, now, out);
    tables_unlock(t);
}
