/* Cancel requests. */
#include "tables/cancel.h"

#include "tables/layout.h"
#include "tables/mailbox.h"
#include "tables/outcome.h"
#include "tables/peers.h"
#include "tables/queue.h"
#include "tables/slots.h"
#include "tables/states.h"
#include "tables/tables.h"
#include "tables/workers.h"

/* The client whose secret of that length it is, or NO_ROW; how much of it is right does not show in the time
 * that takes. */
static int32_t client_of_secret(struct tables *t, uint32_t pid, const unsigned char *key, uint32_t bytes) {
    if (bytes < 4) return NO_ROW;
    uint32_t secret = (uint32_t)key[0] << 24 | (uint32_t)key[1] << 16 | (uint32_t)key[2] << 8 | key[3];
    int32_t row = peer_client_of_key(t, pid, secret);
    if (row == NO_ROW) return NO_ROW;
    const struct client_row *c = &t->clients[row];
    if (bytes != (c->long_key ? 4 + CANCEL_MORE_BYTES : 4)) return NO_ROW;
    unsigned char wrong = 0;
    for (uint32_t i = 4; i < bytes; i++) wrong |= key[i] ^ c->cancel_more[i - 4];
    return wrong ? NO_ROW : row;
}

bool cancel_key_fits(struct tables *t, uint32_t pid, const unsigned char *key, uint32_t bytes) {
    return client_of_secret(t, pid, key, bytes) != NO_ROW;
}

/* Where the servers of the client with that secret are; NO_ROW: no client has it, or it needs no server. */
int32_t cancel_instance(struct tables *t, uint32_t pid, const unsigned char *key, uint32_t bytes) {
    int32_t row = client_of_secret(t, pid, key, bytes);
    int32_t pool = row == NO_ROW ? NO_ROW : t->clients[row].pool;
    return pool == NO_ROW ? NO_ROW : t->pools[pool].instance;
}

/* Looks up a cancel key.  A queued query is canceled here (its worker answers 57014); for a running one the
 * slot is held until cancel_end. */
enum cancel_verdict cancel_begin(struct tables *t, uint32_t pid, uint32_t secret, int worker, int32_t *slot,
                                 uint32_t *generation, int32_t *client) {
    int32_t row = peer_client_of_key(t, pid, secret);
    uint64_t ring = 0;
    enum cancel_verdict verdict = CANCEL_NOTHING;
    *client = row;
    if (row == NO_ROW) return verdict;
    tables_lock(t);
    struct client_row *c = &t->clients[row];
    uint32_t hops = (c->cancel_secret ^ secret) & PEER_HOPS && t->h->peer_id ? PEER_HOPS : 0;
    bool match = ((c->cancel_pid ^ pid) | ((c->cancel_secret ^ secret) & ~hops)) == 0; /* no early exit */
    if (match && c->state != CL_FREE) verdict = CANCEL_IDLE;
    if (match && c->state != CL_FREE && c->flags & CF_CONSOLE) {
        mailbox_order_client(t, row, ORDER_CANCELED, &ring); /* a command that waits (PAUSE) is given up */
        verdict = CANCEL_QUEUED;
    } else if (match && c->state == CL_WAITING && !(c->flags & CF_LOGIN_WAIT)) {
        mailbox_order_client(t, row, ORDER_CANCELED, &ring); /* first: a rebuild does the rest */
        queue_leave(t, row);
        c->state = CL_IDLE;
        verdict = CANCEL_QUEUED;
    } else if (match && c->state == CL_ACTIVE) {
        struct slot_row *s = &t->slots[c->slot];
        *slot = c->slot;
        *generation = s->generation;
        /* one at a time for each server, over all workers, and none that meets a request of ours */
        verdict = CANCEL_BUSY;
        if (!s->canceling && !s->guarded) {
            s->canceling |= worker_bit(worker);
            if (!s->guarded) verdict = CANCEL_FORWARD;
            else cancel_over_locked(t, c->slot, worker, &ring);
        }
        if (verdict == CANCEL_FORWARD) c->cancel_requests++;
    }
    tables_unlock(t);
    tables_ring(t, ring);
    return verdict;
}

/* PostgreSQL has closed the connection of a cancel request, so its signal was sent: the server may go on. */
void cancel_end(struct tables *t, int32_t slot, uint32_t generation, int32_t client, uint64_t client_id,
                int worker, uint64_t now) {
    struct outcome out;
    outcome_clear(&out);
    tables_lock(t);
    struct slot_row *s = &t->slots[slot];
    if (client != NO_ROW && t->clients[client].id == client_id) t->clients[client].cancel_requests--;
    if (s->generation == generation && s->state != SL_FREE) {
        cancel_over_locked(t, slot, worker, &out.ring);
        if (s->state == SL_PARKED && !s->canceling) slot_place_locked(t, slot, NO_ROW, now, &out);
    }
    tables_unlock(t);
    tables_ring(t, out.ring);
}

/* A cancel request of this worker is over, or was not sent: the server's client may wait for that. */
void cancel_over_locked(struct tables *t, int32_t slot, int worker, uint64_t *ring) {
    struct slot_row *s = &t->slots[slot];
    bool used = s->state == SL_ACTIVE && s->client != NO_ROW;
    if (used)
        mailbox_order_client(t, s->client, ORDER_UNCANCELED, ring); /* first: whoever dies, it is told */
    s->canceling &= ~worker_bit(worker);
}
