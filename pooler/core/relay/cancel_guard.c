/* Requests of ours and cancel requests for the client do not meet.
 *
 * Theory.  A cancel request ends what its server runs when it arrives: a SET of ours in front of the client's
 * statement, which then runs without it; the question what a client has left; the request that brings a reset
 * parameter back to the startup value.  The client wants its own statement ended.  So a server is guarded
 * from the moment its client gets it until our requests in front of the statement are answered, and while
 * those behind are: a cancel request that comes meanwhile waits (CANCEL_BUSY).  One that is on its way when
 * something is due that cannot be asked again is waited for; its end is told by ORDER_UNCANCELED.  (A
 * question is asked again, and a server that is not reset is closed.)  Both sides write first and look then,
 * so one of them sees the other.  What goes out behind a statement that may run for long is not guarded: that
 * could not be canceled then. */
#include "relay/cancel_guard.h"

#include "io/connection.h"
#include "io/request_queue.h"
#include "relay/client.h"
#include "relay/internal.h"
#include "relay/relay.h"
#include "relay/server.h"
#include "session/client_reset.h"
#include "tables/layout.h"

/* A request of ours is due.  False: a cancel request is on its way to this server; guard_over() comes when it
 * has been there. */
bool guard_take(struct relay *r, struct server *s) {
    struct slot_row *row = &r->t->slots[s->slot];
    s->guarded = true;
    row->guarded = 1;
    return !row->canceling;
}

void guard_drop(struct relay *r, struct server *s) {
    if (!s->guarded) return;
    s->guarded = false;
    r->t->slots[s->slot].guarded = 0;
}

/* Something was answered, or is about to be sent for the client: drops the guard if it guards nothing. */
void guard_look(struct relay *r, struct server *s) {
    if (!s->guarded || s->internal || !s->client) return;
    for (uint32_t i = 0; i < s->requests.count && requests_at(&s->requests, i) & INTERNAL; i++)
        if (requests_at(&s->requests, i) == ('Q' | INTERNAL)) return;
    guard_drop(r, s);
}

/* A cancel request for this client has been where it was going. */
void guard_over(struct relay *r, struct client *c) {
    struct server *s = c->server;
    if (!s || server_is_closing(s)) return;
    if (s->session.restore_due) session_restore(r, s);
    conn_ready(&r->loop, &s->io);
    conn_ready(&r->loop, &c->io);
}
