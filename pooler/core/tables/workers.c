/* Rows of workers, and what a dead one leaves. */
#include "tables/workers.h"

#include <string.h>

#include "tables/cancel.h"
#include "tables/channels.h"
#include "tables/clients.h"
#include "tables/clock.h"
#include "tables/layout.h"
#include "tables/list.h"
#include "tables/mailbox.h"
#include "tables/outcome.h"
#include "tables/peers.h"
#include "tables/slots.h"
#include "tables/states.h"

void worker_starting(struct tables *t, int worker, int32_t pid) {
    struct worker_row *w = &t->workers[worker];
    uint64_t now = clock_us();
    w->relay_beat = w->hub_beat = w->started_at = now;
    w->start_time = clock_wall();
    w->pid = pid;
}

/* What a dead worker leaves: its clients are gone; a slot it had not dialed yet is free; every other slot
 * it owned may still be a connection of PostgreSQL and waits for a reclaimer.  Idle ones stay in use.
 * The caller holds the lock. */
void worker_died_locked(struct tables *t, int worker, int32_t *clients, int32_t *reclaim,
                        struct outcome *out) {
    uint64_t now = clock_us();
    *clients = *reclaim = 0;
    /* clients first: no server is to be opened for or handed to a dead one */
    for (int32_t i = 0; i < t->h->clients_high; i++) {
        struct client_row *c = &t->clients[i];
        if (c->state == CL_FREE || c->worker != worker) continue;
        c->slot = NO_ROW;
        client_free_locked(t, i, NO_ROW, now, out);
        ++*clients;
    }
    for (int32_t i = 0; i < t->h->slots_high; i++) {
        struct slot_row *s = &t->slots[i];
        if (s->canceling & (1ull << worker)) {
            cancel_over_locked(t, i, worker, &out->ring);
            /* its cancel request may still be on the way: nobody else may meet it */
            s->flags |= SF_CLOSE_NEEDED;
            if (s->state == SL_PARKED && !s->canceling && s->owner != worker)
                slot_place_locked(t, i, NO_ROW, now, out);
        }
        if (s->state == SL_RECLAIM) ++*reclaim; /* a rebuild found it */
        bool bridged = s->bridge_life && s->bridge == worker
            && s->bridge_life == t->workers[worker].restarts + 1;
        if (bridged && s->state == SL_IDLE) { /* who uses one of the others reads its end of stream */
            slot_idle_remove(t, &t->pools[s->pool].idle, i);
            s->owner = NO_ROW;
            slot_state(t, i, SL_RECLAIM);
            ++*reclaim;
        }
        if (s->owner != worker || s->state == SL_FREE || s->state == SL_IDLE || s->state == SL_RECLAIM)
            continue;
        mailbox_drop_slot_orders(t, i);
        if (s->state == SL_LOGIN && !(s->flags & SF_DIALED)) {
            slot_freed_locked(t, i, NO_ROW, now, out);
            continue;
        }
        if (s->state == SL_ACTIVE || s->state == SL_PARKED) s->flags |= SF_WAS_BUSY;
        s->client = NO_ROW;
        s->owner = NO_ROW;
        slot_state(t, i, SL_RECLAIM);
        ++*reclaim;
    }
    channels_worker_died(t, worker, &out->ring);
    peers_worker_died(t, worker);
    t->workers[worker].extent_bytes = 0; /* it writes no more */
    t->workers[worker].pid = 0;
    atomic_fetch_add(&t->workers[worker].restarts, 1);
}

/* How many clients of each worker have a server, without looking at those that have none. */
void workers_busy(const struct tables *t, int32_t busy[MAX_WORKERS]) {
    memset(busy, 0, sizeof(int32_t[MAX_WORKERS]));
    for (int32_t i = 0; i < t->h->slots_high; i++) {
        const struct slot_row *s = &t->slots[i];
        int16_t owner = s->owner;
        if (s->state == SL_ACTIVE && s->client != NO_ROW && owner >= 0) busy[owner]++;
    }
}
