/* The end of a server connection: closed by us, overdue, or closed by PostgreSQL. */
#include "relay/server_close.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "io/buffer.h"
#include "io/connection.h"
#include "relay/client.h"
#include "relay/events.h"
#include "relay/inbox.h"
#include "relay/internal.h"
#include "relay/relay.h"
#include "relay/server.h"
#include "session/session.h"
#include "sql/effects.h"
#include "tables/layout.h"
#include "tables/outcome.h"
#include "tables/pool.h"
#include "tables/states.h"

/* Ends a connection for everybody: Terminate, then our side of the stream; the row is freed at end of stream.
 * `busy`: PostgreSQL is (or may be) running something that nobody wants any more. */
void server_close(struct relay *r, struct server *s, bool busy, const char *reason) {
    static const unsigned char TERMINATE[5] = {'X', 0, 0, 0, 4};
    if (s->closing) return;
    struct client *c = s->client;
    s->altered |= (s->session.effect_flags & EFFECT_SCHEMA) != 0;
    session_left(r, s);
    s->client = NULL;
    if (r->t->slots[s->slot].state != SL_CLOSING) pool_begin_close(r->t, s->slot, r->worker, busy);
    s->closing = true;
    s->reason = reason;
    s->internal = INTERNAL_NONE;
    s->internal_blocks = s->asks_columns = false;
    if (busy) relay_emit(r, &(struct event){.type = EVENT_CANCEL, .a = s->slot, .id = s->generation});
    bool opaque = r->t->slots[s->slot].tls[0] && (s->raw || !r->t->slots[s->slot].bridge_life);
    if (!s->shut && !busy && !opaque) conn_send(&r->loop, &s->io, TERMINATE, sizeof TERMINATE);
    s->shut = false;
    conn_arm(&r->loop, &s->io);
    s->io.readable = true;
    conn_ready(&r->loop, &s->io);
    if (!c) return;
    c->server = NULL;
    /* nothing was lost: it waits for another */
    if (s->fresh && !c->io.hangup && c->lost_servers++ < LOST_SERVERS_MAX) {
        client_requeue(r, c);
    } else {
        const char *text = s->fatal_sent || server_in_message(s) ? NULL : "server conn crashed?";
        client_close(r, c, "08P01", text, "server conn crashed?");
    }
}

/* Nothing of its client, and nothing for it, is on its way there. */
bool server_untouched(const struct server *s) { return s->fresh && !s->closing && !s->requests.count; }

/* Another server for a client that this one was not sent anything of; false: something was. */
bool server_replace(struct relay *r, struct server *s) {
    struct client *c = s->client;
    if (!server_untouched(s)) return false;
    c->lost_servers = 0; /* it works, and is only not the right one */
    server_close(r, s, false, "client needs a new server");
    return true;
}

static const char *unanswered(enum internal_request what) {
    switch (what) {
    case INTERNAL_SETTINGS: return "settings unanswered";
    case INTERNAL_SEQUENCES: return "request about sequences unanswered";
    case INTERNAL_CHECK: return "test query unanswered";
    case INTERNAL_RESET: return "reset query unanswered";
    case INTERNAL_ROLLBACK: return "rollback unanswered";
    case INTERNAL_STEP: return "number of answers unknown";
    case INTERNAL_RESTORE:
    case INTERNAL_PROBE: return "question about the session unanswered";
    case INTERNAL_CATALOG: return "question about the catalogs unanswered";
    case INTERNAL_LISTEN:
    case INTERNAL_UNLISTEN:
    case INTERNAL_NOTIFY: return "request about channels unanswered";
    case INTERNAL_DEFAULTS: return "question about defaults unanswered";
    case INTERNAL_NONE: break;
    }
    return "request unanswered";
}

/* What takes the longer the more there is gets more time than what is answered at once. */
static uint64_t patience_for(const struct relay *r, enum internal_request what) {
    bool slow = what == INTERNAL_RESET || what == INTERNAL_CATALOG;
    return r->options.answer_timeout_us * (slow ? 6 : 1);
}

/* Time has passed.  Nobody waits for what a server is asked that nobody has and that is to be closed anyway.
 * A request of ours that a dead host never answers: its client, if any, gets another server.
 * (What a client sent behind ours without waiting has the client's limits.)  And a client that hung up behind
 * a server that reads nothing: as long as that one reads, it gets what was sent. */
void server_overdue(struct relay *r, struct server *s) {
    enum internal_request what = (enum internal_request)s->internal;
    if (s->io.fd < 0 || s->closing) return;
    if (what && !s->client && r->t->slots[s->slot].flags & SF_CLOSE_NEEDED) { /* KILL waits for its end */
        server_close(r, s, true, "database configuration changed");
        return;
    }
    if (!r->options.answer_timeout_us) return;
    if (what && (s->internal_blocks || !s->client) && r->loop.now > s->internal_since + patience_for(r, what))
        server_close(r, s, true, unanswered(what));
    else if (!what && !s->client && (bytes_pending(&s->io.stash) || s->io.body_left)
             && r->loop.now > s->internal_since + patience_for(r, INTERNAL_NONE))
        server_close(r, s, true, "server sent half a message");
    else if (s->client && s->client->io.hangup && s->io.stuck
             && r->loop.now > s->io.stuck_since + patience_for(r, INTERNAL_NONE))
        client_close(r, s->client, NULL, NULL, "client unexpected eof");
}

/* Has all others close their duplicates.  A note that is lost costs a descriptor until the slot is used
 * again. */
void server_tell_closed(struct relay *r, int32_t slot, uint32_t generation) {
    int32_t datagram[3] = {INBOX_CLOSED, slot, (int32_t)generation};
    for (int i = 0; i < r->outbox_count; i++)
        if (i != r->worker)
            (void)!send(r->outboxes[i], datagram, sizeof datagram, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* The bridge of this server died: that is the end for its client, but PostgreSQL may not have noticed yet.
 * The worker that has the encrypted connection from then on finishes the slot. */
static void server_lost(struct relay *r, struct server *s) {
    if (!s->closing) server_close(r, s, true, "server conn crashed?");
    server_drop_descriptor(r, s);
    s->closing = false;
    pool_abandon(r->t, s->slot);
}

/* End of stream: PostgreSQL has let go of this connection, so its row is free. */
void server_gone(struct relay *r, struct server *s) {
    struct slot_row *row = &r->t->slots[s->slot];
    if (row->bridge_life && !s->raw && atomic_load(&row->over) != s->generation) {
        server_lost(r, s);
        return;
    }
    struct event e = {.type = EVENT_SERVER_CLOSED,
                      .a = s->slot,
                      .b = row->pool,
                      .id = row->id,
                      .age_us = r->loop.now - row->connected_at,
                      .port = row->where.port,
                      .database = r->t->pools[row->pool].database,
                      .user = r->t->pools[row->pool].user};
    memcpy(e.addr, row->where.addr, sizeof e.addr);
    if (!s->closing) server_close(r, s, false, "server conn crashed?");
    snprintf(e.text, sizeof e.text, "%s", s->reason ? s->reason : "server conn crashed?");
    if (s->altered) session_made(r, s); /* whatever still ran has ended by now */
    uint32_t generation = s->generation;
    server_drop_descriptor(r, s);
    s->closing = false;
    struct outcome out;
    pool_freed(r->t, s->slot, r->worker, r->loop.now, &out);
    /* Only now: if we are killed before, somebody must still be able to read the end of this connection. */
    server_tell_closed(r, s->slot, generation);
    relay_emit(r, &e);
    relay_apply(r, &out);
}
