/* Peers: instances behind one address, among which a balancer spreads connections, those of cancel requests
 * too.
 *
 * As in PgBouncer a key says whose client it is: bytes 1 and 2 are the peer's number, the two lowest bits of
 * the last byte how often the request may still be handed on.  45 bits of such a key are random, and none of
 * them tells the row: it is looked for, without the lock.
 */
#include "tables/peers.h"

#include "tables/layout.h"
#include "tables/states.h"
#include "tables/tables.h"

/* The row whose client has this key, or NO_ROW.  Without the lock: who uses it compares again. */
int32_t peer_client_of_key(const struct tables *t, uint32_t pid, uint32_t secret) {
    int32_t found = NO_ROW, row = (int32_t)(pid & 0xfffff) - 1;
    if (row >= 0 && row < t->h->clients_high && t->clients[row].state != CL_FREE
        && ((t->clients[row].cancel_pid ^ pid) | (t->clients[row].cancel_secret ^ secret)) == 0)
        return row;
    uint32_t peer = (pid >> 16 & 0xff) | (pid & 0xff00);
    if (!t->h->peer_id || peer != t->h->peer_id) return NO_ROW;
    for (int32_t i = 0; i < t->h->clients_high; i++) { /* all of them: where it ends tells nothing */
        const struct client_row *c = &t->clients[i];
        bool match = ((c->cancel_pid ^ pid) | ((c->cancel_secret ^ secret) & ~PEER_HOPS)) == 0;
        if (match && c->state != CL_FREE) found = i;
    }
    return found;
}

/* One more request waits for its turn to be sent; the row of its peer, NO_ROW when there are too many
 * peers. */
int32_t peer_wait(struct tables *t, int32_t id, int worker) {
    int32_t at = NO_ROW;
    tables_lock(t);
    for (int32_t i = MAX_PEERS - 1; i >= 0; i--)
        if (t->peers[i].id == id || (!t->peers[i].id && (at == NO_ROW || t->peers[at].id != id))) at = i;
    if (at != NO_ROW) {
        t->peers[at].id = id;
        t->peers[at].waiting[worker]++;
    }
    tables_unlock(t);
    return at;
}

/* It may connect, if at most so many others are on their way (0: no limit). */
bool peer_connect(struct tables *t, int32_t peer, int worker, int32_t most) {
    struct peer_row *p = &t->peers[peer];
    int32_t busy = 0;
    tables_lock(t);
    for (int w = 0; w < t->h->sizes.workers; w++) busy += p->connecting[w] + p->active[w];
    bool may = !most || busy < most;
    if (may) {
        p->waiting[worker]--;
        p->connecting[worker]++;
    }
    tables_unlock(t);
    return may;
}

void peer_sent(struct tables *t, int32_t peer, int worker) {
    tables_lock(t);
    t->peers[peer].connecting[worker]--;
    t->peers[peer].active[worker]++;
    tables_unlock(t);
}

void peer_done(struct tables *t, int32_t peer, int worker, enum peer_state state) {
    struct peer_row *p = &t->peers[peer];
    tables_lock(t);
    if (state == PEER_WAITING) p->waiting[worker]--;
    else if (state == PEER_CONNECTING) p->connecting[worker]--;
    else p->active[worker]--;
    tables_unlock(t);
}

/* The caller holds the lock. */
void peers_worker_died(struct tables *t, int worker) {
    for (int32_t i = 0; i < MAX_PEERS; i++)
        t->peers[i].waiting[worker] = t->peers[i].connecting[worker] = t->peers[i].active[worker] = 0;
}
