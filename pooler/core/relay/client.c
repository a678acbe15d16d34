/* A client's side of the relay: coming, waiting for a server, reading, going. */
#include "relay/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "catalog/database.h"
#include "io/buffer.h"
#include "io/connection.h"
#include "io/error_message.h"
#include "io/sqlstate.h"
#include "notify/deliver.h"
#include "notify/subscribe.h"
#include "relay/cancel_guard.h"
#include "relay/client_framing.h"
#include "relay/client_leave.h"
#include "relay/commands.h"
#include "relay/internal.h"
#include "relay/internal_requests.h"
#include "relay/log.h"
#include "relay/relay.h"
#include "relay/server.h"
#include "relay/server_release.h"
#include "relay/suspend.h"
#include "relay/turns.h"
#include "relay/whole_message.h"
#include "session/accepted_settings.h"
#include "session/parsed_resets.h"
#include "session/pin.h"
#include "session/plans.h"
#include "session/server_defaults.h"
#include "session/server_reset.h"
#include "session/settings.h"
#include "session/startup_values.h"
#include "statements/client_names.h"
#include "tables/clients.h"
#include "tables/histogram.h"
#include "tables/layout.h"
#include "tables/outcome.h"
#include "tables/pool.h"
#include "tables/states.h"
#include "tls/tls_session.h"

/* ---- coming and going ---------------------------------------------------------------------- */

/* The client's settings are these now; takes over the reference. */
void client_settings(struct relay *r, struct client *c, struct settings *s) {
    settings_drop(&r->store, c->settings);
    c->settings = s;
    r->t->clients[c->row].settings = s->digest;
    if (c->server) plans_follow(r, c);
    memory_count(r, c);
}

/* ReadyForQuery that was held back, behind the notifications that came meanwhile. */
void client_ready(struct relay *r, struct client *c, uint8_t status) {
    unsigned char ready[6] = {'Z', 0, 0, 0, 5, status};
    listen_flush(r, c);
    conn_send(&r->loop, &c->io, ready, sizeof ready);
}

/* A client that has sent nothing to the server which it has lost waits for another, in its old place; one
 * that leaves needs none any more. */
void client_requeue(struct relay *r, struct client *c) {
    struct outcome out;
    if (c->state == CLIENT_LEAVING) {
        conn_ready(&r->loop, &c->io);
        return;
    }
    client_move(c, client_ungreeted(c) ? CLIENT_GREETING_WAITING : CLIENT_WAITING);
    if (c->io.hangup) client_hung_up(r, c);
    r->t->clients[c->row].request_start = r->t->clients[c->row].xact_start = 0; /* nothing of it was sent */
    pool_requeue(r->t, c->row, r->loop.now, &out);
    relay_apply(r, &out);
}

/* Reads and drops what is there: closing a socket with unread bytes resets the connection, and the reset
 * overtakes the error message. */
static void swallow_input(const struct conn *c) {
    char waste[4096]; /* not the read buffer: somebody up the stack may be working on it */
    for (int i = 0; i < 64; i++)
        if (recv(c->fd, waste, sizeof waste, MSG_DONTWAIT) <= 0) return;
}

/* Ends a client.  `text` and `detail` (either may be NULL; a detail has at most DETAIL_BYTES) are what it is
 * told, `reason` what the log says.  Its server must have been taken from it before, or is closed. */
void client_close_telling(struct relay *r, struct client *c, const char *sqlstate, const char *text,
                          const char *detail, const char *reason) {
    if (c->state == CLIENT_CLOSED) return;
    bool may_send = text || c->state == CLIENT_LEAVING;
    /* it has said goodbye, and all that it has sent was read: closing resets nothing */
    bool finished = !text && c->state == CLIENT_LEAVING && c->leaving == LEAVING_TERMINATE && !c->io.readable
        && !c->io.paused;
    client_move(c, CLIENT_CLOSED);
    struct client_row *row = &r->t->clients[c->row];
    int32_t pool = row->pool;
    uint64_t id = row->id;
    log_client_closing(r, row, reason, text); /* first: the log should know before the client does */
    bool half = c->server && server_in_message(c->server);
    if (c->server) server_left(r, c->server, false);
    if (text && !half) { /* nothing of ours fits into the middle of a message */
        char message[EVENT_TEXT_BYTES + DETAIL_BYTES + 512];
        conn_send(&r->loop, &c->io, message, error_message(message, "FATAL", sqlstate, text, detail));
    }
    r->clients[c->row] = NULL;
    struct outcome out;
    client_free(r->t, c->row, r->worker, r->loop.now, &out);
    conn_uncork(&r->loop, &c->io);
    conn_disarm(&r->loop, &c->io);
    if (c->io.tls && !bytes_pending(&c->io.out)) tls_close(c->io.tls);
    if (!finished) shutdown(c->io.fd, SHUT_WR);
    if (may_send && !finished) swallow_input(&c->io);
    close(c->io.fd);
    c->io.fd = -1;
    settings_drop(&r->store, c->settings);
    settings_drop(&r->store, c->startup);
    c->settings = c->startup = NULL;
    free(c->greeting);
    free(c->unconfirmed);
    c->greeting = c->unconfirmed = NULL;
    names_free(&r->statements, c->names);
    c->names = NULL;
    parsed_resets_free(c);
    listen_client_gone(r, c);
    conn_bury(&r->loop, &c->io);
    relay_apply(r, &out);
    handover_leftovers(r, pool, id);
}

void client_close(struct relay *r, struct client *c, const char *sqlstate, const char *text,
                  const char *reason) {
    client_close_telling(r, c, sqlstate, text, NULL, reason);
}

/* ---- waiting ------------------------------------------------------------------------------- */

/* Gets a server or queues.  False: the client has to wait (or is gone). */
bool client_acquire(struct relay *r, struct client *c) {
    struct outcome out;
    pool_acquire(r->t, c->row, r->loop.now, &out);
    if (out.slot != NO_ROW) client_attached(r, c, out.slot);
    else client_move(c, client_ungreeted(c) ? CLIENT_GREETING_WAITING : CLIENT_WAITING);
    if (client_waits(c) && c->io.hangup) client_hung_up(r, c);
    relay_apply(r, &out);
    return c->server && c->state != CLIENT_CLOSED;
}

/* Mode and session_state that hold until the server is given back.  A client whose statements and channels
 * are looked after goes on so: a server of its own would know nothing of them. */
static void adopt_limits(const struct relay *r, struct server *s) {
    const struct pool_limits *limits = &r->t->pools[r->t->slots[s->slot].pool].limits;
    const struct client *c = s->client;
    bool known = (c->names && c->names->count) || c->subscriptions;
    s->session_state = (uint8_t)limits->session_state;
    s->mode = (uint8_t)(limits->mode == MODE_SESSION && known ? MODE_TRANSACTION : limits->mode);
}

/* The table says that this client has `slot` now. */
void client_attached(struct relay *r, struct client *c, int32_t slot) {
    struct slot_row *row = &r->t->slots[slot];
    struct client_row *me = &r->t->clients[c->row];
    struct server *s = server_of(r, slot);
    uint64_t waited = client_waits(c) && r->loop.now > me->wait_start ? r->loop.now - me->wait_start : 0;
    struct counters *n = counters_of(r, row->pool);
    n->server_assignment_count++;
    n->wait_time += waited;
    histogram_add(n->wait_histogram, waited);
    if (me->flags & CF_NOTIFIED) me->flags &= (uint8_t)~CF_NOTIFIED;
    /* its descriptor never reached us: nobody may use a half-known server */
    if (!s || !conn_arm(&r->loop, &s->io)) {
        relay_log(r, LEVEL_WARNING, "slot %d has no usable connection here", slot);
        pool_abandon(r->t, slot);
        client_close(r, c, PROTOCOL_VIOLATION, "server conn crashed?", "server conn crashed?");
        return;
    }
    row->last_worker = (int16_t)r->worker;
    s->client = c;
    server_move(s, SERVER_FRESH);
    s->pipeline_open = s->pipeline_ours = s->execute_open = false;
    s->deeds = 0;
    s->deallocating.count = 0;
    s->first = !row->served;
    s->unfit = false;
    row->served = 1;
    s->internal_blocks = s->asks_columns = s->unnamed_noted = s->dirty = false;
    replay_release(&s->replay); /* the error that another client waited with is nothing of this one's */
    s->replay.ended = true;
    c->server = s;
    client_move(c, client_ungreeted(c) ? CLIENT_GREETING : CLIENT_SERVED);
    s->guarded = true;
    session_turn(r, s);
    defaults_follow(r, c);
    adopt_limits(r, s);
    enum handover how = handover_before(r, s);
    if (how != HANDOVER_AS_IT_IS) handover_begin(r, s, how);
    else handover_taken(r, s);
    if (s->internal || server_is_closing(s)) return;
    if (r->options.has_check && r->loop.now > row->used_at
        && r->loop.now - row->used_at > r->options.check_delay_us)
        internal_send(r, s, INTERNAL_CHECK, r->options.check_query);
    else server_suit(r, s);
    guard_look(r, s);
    if (bytes_pending(&c->io.stash) || c->io.readable) conn_ready(&r->loop, &c->io);
}

/* Its queued query was canceled (the table has taken it off the queue): answer as PostgreSQL would, and drop
 * the query: one Query or FunctionCall, or everything up to Sync. */
void client_canceled(struct relay *r, struct client *c) {
    char message[512];
    if (!client_waits(c)) return;
    if (client_ungreeted(c)) client_let_in(r, c); /* nothing may stand before AuthenticationOk */
    const struct bytes *stash = &c->io.stash;
    if (!bytes_pending(stash)) { /* it was let in while it waited: nothing of it is there to be canceled */
        client_move(c, CLIENT_IDLE);
        conn_ready(&r->loop, &c->io);
        return;
    }
    bool simple = memchr("QF", stash->data[stash->start], 2);
    conn_send(
        &r->loop, &c->io, message,
        error_message(message, "ERROR", QUERY_CANCELED, "canceling statement due to user request", NULL));
    if (simple) conn_send(&r->loop, &c->io, READY_IDLE, READY_IDLE_BYTES);
    client_move(c, simple ? CLIENT_DROPPING : CLIENT_SKIPPING);
    conn_ready(&r->loop, &c->io);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Whether what the client is held for has come. */
static bool released(const struct relay *r, const struct client *c, uint32_t ahead) {
    if (c->held_for == HELD_FOR_BACKLOG) return c->server->requests.count < ahead;
    if (c->held_for == HELD_FOR_CANCEL) return !r->t->slots[c->server->slot].canceling;
    /* nothing is answered before the client has said more */
    if (c->server->copy == COPY_READING) return true;
    return c->held_for == HELD_FOR_ALL ? !c->server->requests.count : names_confirmed(c->names);
}

/* Whether reading makes sense now: nobody waits for space or for an answer to a request of ours. */
static bool may_read(const struct relay *r, struct client *c) {
    if (c->state == CLIENT_HELD && released(r, c, AHEAD_MAX)) client_move(c, CLIENT_SERVED);
    if (c->state == CLIENT_SERVED && client_far_ahead(c)) client_hold(c, HELD_FOR_BACKLOG);
    bool reads = c->state == CLIENT_IDLE || c->state == CLIENT_SERVED || c->state == CLIENT_DROPPING
        || c->state == CLIENT_SKIPPING;
    return reads && !c->io.stuck && !(c->server && (c->server->io.stuck || c->server->internal_blocks));
}

/* The server of a client has answered something. */
void client_resume(struct relay *r, struct client *c) {
    if (c->state == CLIENT_HELD && released(r, c, AHEAD_MAX / 2)) conn_ready(&r->loop, &c->io);
}

void client_run(struct relay *r, struct client *c) {
    if (bytes_pending(&c->io.out)) {
        conn_flush(&r->loop, &c->io);
        r->t->clients[c->row].stuck_start = c->io.stuck ? r->loop.now : 0;
        memory_count(r, c);
        if (!c->io.stuck && c->server) conn_ready(&r->loop, &c->server->io);
    }
    if (c->io.gap) {
        memory_refuse(r, c);
        return;
    }
    if (c->state == CLIENT_LEAVING) {
        client_leave(r, c);
        return;
    }
    if (suspended_at(r, &c->io)) return;
    if (r->t->h->retiring && client_retired(r, c)) return;
    turns_begin(r);
    for (int round = 0; round < ROUNDS; round++) {
        if (!may_read(r, c)) {
            if (c->io.broken || (c->io.hangup && c->state == CLIENT_GREETING_WAITING)) client_leave(r, c);
            return;
        }
        bool received;
        uint32_t limit = c->server ? BUFFER_BYTES : FIRST_READ_BYTES;
        if (c->whole_bytes && !whole_read(r, c)) return;
        if (bytes_pending(&c->io.stash) > limit) limit = bytes_pending(&c->io.stash);
        limit = suspended_limit(r, &c->io, limit);
        c->whole_bytes = 0;
        if (!conn_need_buffer(&r->loop, limit)) {
            memory_refuse(r, c);
            return;
        }
        uint32_t n = conn_fill(&r->loop, &c->io, limit, &received);
        uint32_t used = n ? client_feed(r, c, r->loop.buffer, n) : 0;
        if (c->state == CLIENT_CLOSED) return;
        if (!conn_stash(&c->io, r->loop.buffer + used, n - used)) {
            memory_refuse(r, c);
            return;
        }
        conn_trim_buffer(&r->loop);
        /* a late CopyData has come to its end */
        if (c->server && server_is_releasable(c->server)) conn_ready(&r->loop, &c->server->io);
        if (turns_over(r)) break;
        /* the rest is no message, if it is not held back */
        if (c->io.eof && (!used || used == n) && !received && c->state != CLIENT_HELD && may_read(r, c)) {
            client_end(r, c, LEAVING_EOF);
            return;
        }
        /* else what its head says has to come first, and may be there */
        if (!received && !used && c->whole_bytes <= n) return;
        if (suspended_at(r, &c->io)) return;
        if (!c->io.readable && !bytes_pending(&c->io.stash)) return;
    }
    conn_ready(&r->loop, &c->io);
}
