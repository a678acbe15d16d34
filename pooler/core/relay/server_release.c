/* When a server may be given back to its pool, and how a client parts from it. */
#include "relay/server_release.h"

#include <stddef.h>

#include "catalog/read.h"
#include "catalog/schedule.h"
#include "io/buffer.h"
#include "io/connection.h"
#include "io/sqlstate.h"
#include "notify/subscribe.h"
#include "relay/client.h"
#include "relay/events.h"
#include "relay/internal.h"
#include "relay/internal_requests.h"
#include "relay/relay.h"
#include "relay/server.h"
#include "relay/server_close.h"
#include "session/pin.h"
#include "session/server_defaults.h"
#include "session/server_reset.h"
#include "session/session.h"
#include "tables/layout.h"
#include "tables/outcome.h"
#include "tables/pool.h"
#include "tables/slots.h"
#include "tables/states.h"

/* A server whose login is done begins its work. */
void server_place(struct relay *r, struct server *s) {
    struct outcome out;
    pool_place(r->t, s->slot, r->worker, r->loop.now, &out);
    relay_apply(r, &out);
}

/* Provably in step: the last message was ReadyForQuery with status I, nothing is outstanding, no copy, no
 * pipeline that waits for its Sync (what we sent would commit it), no half message under way. */
bool server_in_step(const struct server *s) {
    return s->transaction == 'I' && s->requests.count == 0 && !s->pipeline_open && s->copy == COPY_NONE
        && !s->in_doubt && !s->unrecorded && !s->io.gap && !s->io.body_left && !s->internal
        && !s->session.restore_due && !bytes_pending(&s->io.stash) && !bytes_pending(&s->io.out)
        && (!s->client || !s->client->io.body_left || s->client->drop_body);
}

/* The client has got the beginning of a message whose end has not come yet. */
bool server_in_message(const struct server *s) { return s->io.body_left && !s->internal_body; }

/* The one way back into the pool. */
static void server_give_back(struct relay *r, struct server *s) {
    if (!server_in_step(s)) {
        server_close(r, s, true, "not in step");
        return;
    }
    /* by what was said, too: a client may leave before it is settled what follows */
    if (session_beyond_reset(r, s)) {
        if (s->client) client_parted(s->client); /* it leaves, or goes on without: nothing is closed for it */
        session_left(r, s);
        s->client = NULL;
        server_close(r, s, false, "carries state of a session that cannot be undone");
        return;
    }
    session_left(r, s);
    if (s->client) {
        struct client_row *row = &r->t->clients[s->client->row];
        row->request_start = row->xact_start = 0; /* it may have begun a message */
        client_parted(s->client);
        /* it may have to leave now, or wait with a message for what this server does not do any more */
        if (r->t->h->retiring || bytes_pending(&s->client->io.stash)) conn_ready(&r->loop, &s->client->io);
        bool used = !server_is_fresh(s);
        s->client = NULL;
        server_move(s, SERVER_RETURNING);
        enum handover how = handover_after(r, s, used);
        if (how != HANDOVER_AS_IT_IS) {
            pool_detach(r->t, s->slot, r->loop.now);
            handover_begin(r, s, how);
            return;
        }
    }
    /* before the first look, which may take long: what changes meanwhile is to be noticed */
    if (defaults_due(r, s)) {
        pool_detach(r->t, s->slot, r->loop.now);
        defaults_ask(r, s);
        return;
    }
    if (catalog_due(r, s)) {
        pool_detach(r->t, s->slot, r->loop.now);
        catalog_ask(r, s);
        return;
    }
    s->dirty = false;
    server_move(s, SERVER_POOLED);
    struct outcome out;
    pool_release(r->t, s->slot, r->worker, r->loop.now, &out);
    if (out.client == NO_ROW && r->t->slots[s->slot].owner != r->worker
        && r->t->slots[s->slot].state == SL_ACTIVE)
        conn_disarm(&r->loop, &s->io); /* went to another worker */
    relay_apply(r, &out);
}

/* The client leaves its server.  `clean`: it said Terminate, so what it has sent still runs, as it would
 * without a pooler; otherwise a running query is canceled. */
void server_left(struct relay *r, struct server *s, bool clean) {
    struct client *c = s->client;
    c->server = NULL;
    struct client_row *row = &r->t->clients[c->row];
    row->request_start = row->xact_start = 0;
    if (s->state == SERVER_DEDICATED) {
        session_left(r, s);
        s->client = NULL;
        bool runs = s->requests.count != 0;
        server_close_left(r, s, !clean, c->io.body_left != 0, "replication client was closed");
        if (!clean || !runs) return;
        slot_flag(r->t, s->slot, SF_WAS_BUSY); /* a backup would be sent to its end, for nobody */
        relay_emit(r, &(struct event){.type = EVENT_CANCEL, .a = s->slot, .id = s->generation});
        return;
    }
    if (s->internal == INTERNAL_RESET) { /* of what another has left: it goes on */
        session_left(r, s);
        s->client = NULL;
        pool_detach(r->t, s->slot, r->loop.now);
        return;
    }
    if (s->mode != MODE_SESSION) s->dirty |= session_dirty(s);
    if (r->t->pools[row->pool].limits.session_state == SESSION_STRICT) s->dirty |= !server_is_fresh(s);
    if (server_in_step(s) && (server_is_releasable(s) || server_is_fresh(s) || s->session.pinned)) {
        c->server = s;
        server_give_back(r, s);
        c->server = NULL;
        return;
    }
    if (internal_is(s, REQUEST_OUTLIVES) && !server_owes_reply(s) && !bytes_pending(&s->io.out)
        && !session_beyond_reset(r, s)) {
        session_left(r, s); /* when our question is answered the server is cleaned */
        s->client = NULL;
        server_move(s, SERVER_ASKING);
        s->dirty = true;
        pool_detach(r->t, s->slot, r->loop.now);
        return;
    }
    bool half = c->io.body_left && !c->drop_body;
    bool idle_in_transaction = s->requests.count == 0 && s->copy == COPY_NONE && !half && !s->internal
        && !s->skip && !s->in_doubt && !s->unrecorded && !s->io.gap && !s->io.body_left
        && !bytes_pending(&s->io.out) && (s->transaction == 'T' || s->transaction == 'E')
        && !session_beyond_reset(r, s);
    session_left(r, s);
    s->client = NULL;
    if (idle_in_transaction) {
        pool_detach(r->t, s->slot, r->loop.now);
        server_move(s, SERVER_RETURNING);
        internal_send(r, s, INTERNAL_ROLLBACK, "ROLLBACK");
        return;
    }
    server_close_left(r, s, !clean, half, "client disconnect while server was not ready");
}

/* server_fast_close: in session pooling an outdated server does not wait for the end of its session.  Its
 * client goes too, so that it notices that its session is over.  True: they are gone. */
bool server_fast_closed(struct relay *r, struct server *s) {
    const struct slot_row *row = &r->t->slots[s->slot];
    bool due = r->options.fast_close && s->state == SERVER_ANSWERED && row->flags & SF_CLOSE_NEEDED
        && s->mode == MODE_SESSION && server_in_step(s) && !s->client->io.body_left
        && !bytes_pending(&s->client->io.stash);
    if (due)
        client_close(r, s->client, PROTOCOL_VIOLATION, "database configuration changed",
                     "database configuration changed");
    return due;
}

void server_release_if_done(struct relay *r, struct server *s) {
    if (!server_is_releasable(s) || !server_in_step(s)) return;
    if (server_fast_closed(r, s)) return;
    bool session = s->mode == MODE_SESSION;
    if (server_is_used(s) && listen_waits(r, s)) return;
    if (server_is_used(s) && session_settle(r, s)) {
        if (s->client && !s->internal) listen_after(r, s, true);
        if (s->client && !s->internal && !server_is_closing(s)) catalog_between(r, s);
        return;
    }
    if (server_is_used(s) && listen_after(r, s, false)) return;
    if (server_is_used(s) && session) {
        session_begin(&s->session);
        return;
    }
    server_give_back(r, s);
}
