/* The end of a server connection: closed by us, overdue, or closed by PostgreSQL. */
#include "relay/server_close.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "io/buffer.h"
#include "io/connection.h"
#include "io/sqlstate.h"
#include "relay/client.h"
#include "relay/events.h"
#include "relay/inbox.h"
#include "relay/internal.h"
#include "relay/internal_requests.h"
#include "relay/log.h"
#include "relay/relay.h"
#include "relay/server.h"
#include "session/session.h"
#include "sql/effects.h"
#include "tables/layout.h"
#include "tables/outcome.h"
#include "tables/pool.h"
#include "tables/states.h"

/* Ends a connection for everybody: Terminate, then our side of the stream; the row is freed at its end. */
static void begin_close(struct relay *r, struct server *s, bool busy, bool terminate, const char *reason) {
    static const unsigned char TERMINATE[5] = {'X', 0, 0, 0, 4};
    if (server_is_closing(s)) return;
    struct client *c = s->client;
    bool greeted = s->state == SERVER_GREETED, fresh = server_is_fresh(s) && !server_owes_reply(s);
    s->altered |= (s->session.effect_flags & EFFECT_SCHEMA) != 0;
    session_left(r, s);
    s->client = NULL;
    if (r->t->slots[s->slot].state != SL_CLOSING) pool_begin_close(r->t, s->slot, r->worker, busy);
    server_move(s, SERVER_CLOSING);
    s->reason = reason;
    s->internal = INTERNAL_NONE;
    s->internal_blocks = s->asks_columns = false;
    if (busy) relay_emit(r, &(struct event){.type = EVENT_CANCEL, .a = s->slot, .id = s->generation});
    bool opaque = r->t->slots[s->slot].tls[0] && (s->raw || !r->t->slots[s->slot].bridge_life);
    if (terminate && !busy && !opaque) conn_send(&r->loop, &s->io, TERMINATE, sizeof TERMINATE);
    conn_arm(&r->loop, &s->io);
    s->io.readable = true;
    conn_ready(&r->loop, &s->io);
    if (!c) return;
    if (greeted && fresh) { /* it has not said anything: there is nothing to wait for */
        client_parted(c);
        conn_ready(&r->loop, &c->io);
        return;
    }
    c->server = NULL;
    /* nothing was lost: it waits for another */
    if (fresh && !c->io.hangup && c->lost_servers++ < LOST_SERVERS_MAX) {
        client_requeue(r, c);
    } else {
        const char *text = s->fatal_sent || server_in_message(s) ? NULL : "server conn crashed?";
        client_close(r, c, PROTOCOL_VIOLATION, text, "server conn crashed?");
    }
}

/* `busy`: PostgreSQL is (or may be) running something that nobody wants any more. */
void server_close(struct relay *r, struct server *s, bool busy, const char *reason) {
    begin_close(r, s, busy, true, reason);
}

/* The same where its client has left: no Terminate goes into the `half` of a message. */
void server_close_left(struct relay *r, struct server *s, bool busy, bool half, const char *reason) {
    begin_close(r, s, busy, !half, reason);
}

/* Nothing of its client, and nothing for it, is on its way there. */
bool server_untouched(const struct server *s) { return server_is_fresh(s) && !s->requests.count; }

/* Another server for a client that this one was not sent anything of; false: something was. */
bool server_replace(struct relay *r, struct server *s) {
    struct client *c = s->client;
    if (!server_untouched(s)) return false;
    c->lost_servers = 0; /* it works, and is only not the right one */
    server_close(r, s, false, "client needs a new server");
    return true;
}

#define SLOW_TIMES 6 /* what is REQUEST_SLOW has so many times as long */

/* Whether a request of ours has no answer for too long. */
static bool internal_overdue(const struct relay *r, const struct server *s) {
    uint64_t patience = r->options.answer_timeout_us * (internal_is(s, REQUEST_SLOW) ? SLOW_TIMES : 1);
    return (s->internal_blocks || !s->client) && r->loop.now > s->internal_since + patience;
}

/* Time has passed.  Nobody waits for what a server is asked that nobody has and that is to be closed anyway.
 * A request of ours that a dead host never answers: its client, if any, gets another server.
 * (What a client sent behind ours without waiting has the client's limits.)  And a client that hung up behind
 * a server that reads nothing: as long as that one reads, it gets what was sent. */
void server_overdue(struct relay *r, struct server *s) {
    uint64_t patience = r->options.answer_timeout_us;
    if (s->state == SERVER_ABSENT || server_is_closing(s)) return;
    if (s->internal && !s->client
        && r->t->slots[s->slot].flags & SF_CLOSE_NEEDED) { /* KILL waits for its end */
        server_close(r, s, true, "database configuration changed");
        return;
    }
    if (!patience) return;
    if (s->internal && internal_overdue(r, s))
        server_close(r, s, true, internal_kinds[s->internal].unanswered);
    else if (s->state == SERVER_RETURNING && (bytes_pending(&s->io.stash) || s->io.body_left)
             && r->loop.now > s->internal_since + patience)
        server_close(r, s, true, "server sent half a message");
    else if (s->client && s->client->io.hangup && s->io.stuck && r->loop.now > s->io.stuck_since + patience)
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
    if (!server_is_closing(s)) server_close(r, s, true, "server conn crashed?");
    server_drop_descriptor(r, s);
    pool_abandon(r->t, s->slot);
}

/* End of stream: PostgreSQL has let go of this connection, so its row is free. */
void server_gone(struct relay *r, struct server *s) {
    struct slot_row *row = &r->t->slots[s->slot];
    if (row->bridge_life && !s->raw && atomic_load(&row->over) != s->generation) {
        server_lost(r, s);
        return;
    }
    if (!server_is_closing(s)) server_close(r, s, false, "server conn crashed?");
    log_server_closing(r, row, s->reason ? s->reason : "server conn crashed?");
    if (s->altered) session_made(r, s); /* whatever still ran has ended by now */
    uint32_t generation = s->generation;
    server_drop_descriptor(r, s);
    struct outcome out;
    pool_freed(r->t, s->slot, r->worker, r->loop.now, &out);
    /* Only now: if we are killed before, somebody must still be able to read the end of this connection. */
    server_tell_closed(r, s->slot, generation);
    relay_apply(r, &out);
}
