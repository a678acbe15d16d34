/* What the tables ask of this worker: outcomes of its own operations, orders of other processes. */
#include "relay/orders.h"

#include <unistd.h>

#include "io/sqlstate.h"
#include "login/login.h"
#include "notify/deliver.h"
#include "relay/cancel_guard.h"
#include "relay/client.h"
#include "relay/events.h"
#include "relay/internal.h"
#include "relay/relay.h"
#include "relay/server.h"
#include "tables/layout.h"
#include "tables/mailbox.h"
#include "tables/outcome.h"
#include "tables/pool.h"
#include "tables/states.h"
#include "tables/tables.h"

/* Why a client is closed by order of another process; the numbers are client_row.kill_text.  The last
 * one is a stand-in for what PostgreSQL said. */
static const char *const kill_texts[] = {
    "admin forced disconnect",
    "database removed",
    "server shutting down",
    "pooler is shutting down",
    "database configuration changed",
    "client_login_timeout",
    "the connection that listens for this client was lost: notifications may be missing",
    "server login failed",
};

/* Why a server is closed, by slot_row.close_reason. */
static const char *const close_texts[] = {
    "closed by order",
    "server idle timeout",
    "server lifetime over",
    "obsolete connection",
    "too many servers in the pool",
    "evicted",
    "pause mode",
    "its room goes to the instance that replaces this one",
    "database configuration changed",
    "no reset undoes what may have run there",
};

/* As the tables say, for the reason that stands in its row. */
void relay_close_slot(struct relay *r, int32_t slot) {
    const char *reason = close_texts[r->t->slots[slot].close_reason];
    struct server *s = server_of(r, slot);
    if (s) server_close(r, s, false, reason);
    else pool_abandon(r->t, slot);
}

/* Does what an operation on the tables left to do.  Doorbells ring first: others can start meanwhile. */
void relay_apply(struct relay *r, struct outcome *out) {
    tables_ring(r->t, out->ring);
    if (out->dial != NO_ROW) relay_emit(r, &(struct event){.type = EVENT_DIAL, .a = out->dial});
    if (out->close != NO_ROW) relay_close_slot(r, out->close);
    if (out->client != NO_ROW && r->clients[out->client])
        client_attached(r, r->clients[out->client], r->t->clients[out->client].slot);
}

/* The row may have another client by now.  One that the relay does not have is in its login, or Python's. */
static void obey_client(struct relay *r, const struct order *o) {
    struct client *c = r->clients[o->row];
    struct client_row *there = &r->t->clients[o->row];
    if (there->state == CL_FREE || there->id != o->id) return;
    if (!c) {
        const char *why = kill_texts[there->kill_text % (sizeof kill_texts / sizeof *kill_texts)];
        if (login_ordered(r, o->row, o->id, o->orders, why, NULL)) return;
        relay_emit(r, &(struct event){.type = EVENT_LOGIN, .a = o->row, .b = o->orders, .id = o->id});
        return;
    }
    if (o->orders & ORDER_HANDED && there->state == CL_ACTIVE && !c->server)
        client_attached(r, c, there->slot);
    if (o->orders & ORDER_CANCELED && c->state != CLIENT_CLOSED) client_canceled(r, c);
    if (o->orders & ORDER_UNCANCELED && c->state != CLIENT_CLOSED) guard_over(r, c);
    if (o->orders & ORDER_KILL && c->state != CLIENT_CLOSED) {
        char said[ERROR_TEXT_BYTES], code[SQLSTATE_BYTES];
        const char *text = kill_texts[there->kill_text % (sizeof kill_texts / sizeof *kill_texts)];
        const char *sqlstate = there->kill_text == KILL_UNHEARD ? SHUTTING_DOWN : PROTOCOL_VIOLATION;
        if (there->kill_text == KILL_REFUSED) {
            pool_error_of(r->t, there->pool, code, said);
            text = said;
            sqlstate = code;
        }
        client_close(r, c, sqlstate, text, text);
    }
}

static void obey_slot(struct relay *r, const struct order *o) {
    if (r->t->slots[o->row].id != o->id) return;
    if (o->orders & ORDER_DIAL) relay_emit(r, &(struct event){.type = EVENT_DIAL, .a = o->row});
    if (o->orders & ORDER_CLOSE) relay_close_slot(r, o->row);
}

void relay_attention(struct relay *r) {
    uint64_t drained;
    if (read(r->doorbell.fd, &drained, sizeof drained) > 0) r->t->workers[r->worker].doorbells++;
    for (bool more = true; more;) {
        int clients, slots;
        more = mailbox_take(r->t, r->worker, r->client_orders, &clients, r->slot_orders, &slots, 64);
        for (int i = 0; i < clients; i++) obey_client(r, &r->client_orders[i]);
        for (int i = 0; i < slots; i++) obey_slot(r, &r->slot_orders[i]);
    }
    listen_look(r);
}
