/* How clients leave: what they have sent before still runs, and they get its answers.
 *
 * Theory.  Terminate and the end of a client's stream say that no more requests come, and so does what is no
 * message (LEAVING_FAULT), whose client is told so in the end.  They take effect in their turn, as at
 * PostgreSQL.  A client is CLIENT_LEAVING from the moment when all that it sent before has been
 * passed on; it is gone when that has been answered, and the answers have been sent.  A client that is broken
 * (a reset connection, a socket that takes nothing more) is gone at once: nothing more is sent for it, and
 * what runs for it is canceled, unless it had said Terminate.
 *
 * An end of stream may come from a client that still reads, or from one that has closed, or died.  The second
 * kind would keep its place in the queue, and a long query, for nothing.  So after a while such a client is
 * sent a ParameterStatus with a value that it knows, which may come at any time: whoever has closed answers
 * with a reset.
 */
#include "relay/client_leave.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "io/buffer.h"
#include "io/connection.h"
#include "io/message_table.h"
#include "io/sqlstate.h"
#include "notify/subscribe.h"
#include "relay/client.h"
#include "relay/client_framing.h"
#include "relay/copy.h"
#include "relay/internal.h"
#include "relay/internal_requests.h"
#include "relay/relay.h"
#include "relay/server.h"
#include "relay/server_release.h"
#include "session/client_reset.h"
#include "session/settings.h"
#include "statements/replan.h"
#include "statements/replay.h"
#include "statements/replies.h"
#include "tables/layout.h"
#include "tables/states.h"

#define PROBE_AFTER_US 1000000u /* most statements are over by then */

/* Whether all has come that will come for what the client sent. */
static bool answered(const struct client *c) {
    const struct server *s = c->server;
    uint32_t unanswered = s->requests.count;
    /* nothing more is said in half a message of a COPY, and a stream of the log ends with its client */
    if (s->copy == COPY_READING) return true;
    if (internal_is(s, REQUEST_OUTLIVES) && unanswered) unanswered--; /* it goes on without its client */
    if (c->io.body_left && !c->drop_body && unanswered) unanswered--; /* a message without its end */
    return !unanswered && !s->session.held && !(s->session.listen && s->session.listen->ready)
        && s->replay.verdict != VERDICT_WAIT && !server_in_message(s)
        && (s->internal == INTERNAL_NONE || internal_is(s, REQUEST_OUTLIVES));
}

/* It is told what was wrong with its last message, of which the header was kept; but not in the `half` of a
 * message that it has got. */
static void close_faulty(struct relay *r, struct client *c, bool half) {
    const unsigned char *p = c->faulty;
    uint32_t length = load_be32(p + 1);
    bool fits = length >= 4 && length <= r->options.max_packet_bytes;
    char header[64];
    const char *text = header;
    snprintf(header, sizeof header, "bad packet header: '%02x%02x%02x%02x%02x'", p[0], p[1], p[2], p[3],
             p[4]);
    if (frontend_effects[p[0]] == FE_FORBIDDEN) text = "unknown pkt";
    else if (frontend_effects[p[0]] == FE_QUERY && fits) text = "PQexec disallowed";
    client_close(r, c, half ? NULL : PROTOCOL_VIOLATION, half ? NULL : text, text);
}

static void gone(struct relay *r, struct client *c, bool done) {
    bool terminated = c->leaving == LEAVING_TERMINATE;
    bool half = c->server && server_in_message(c->server);
    if (c->server) server_left(r, c->server, terminated || c->leaving == LEAVING_FAULT || done);
    if (done && bytes_pending(&c->io.out)) return; /* it still reads */
    if (c->leaving == LEAVING_FAULT) {
        close_faulty(r, c, half);
        return;
    }
    client_close(r, c, NULL, NULL, terminated ? "client close request" : "client unexpected eof");
}

/* It leaves in a COPY, which may have failed already, or behind one whose Syncs are in doubt: what was
 * answered is known when the server is made to say so. */
static void end_copy(struct relay *r, struct client *c) {
    struct server *s = c->server;
    if (!s || s->state == SERVER_DEDICATED || c->io.body_left) return;
    if (s->copy == COPY_READING) copy_refuse(r, s, 'X');
    else if (s->in_doubt && s->skip && s->internal == INTERNAL_NONE) doubt_end(r, s);
}

/* Its last answer would have been that a COPY was not ended. */
void client_left_copy(struct relay *r, struct client *c) { gone(r, c, false); }

/* The client has something to leave for, or one of its answers has come. */
void client_leave(struct relay *r, struct client *c) {
    if (c->io.broken || c->state == CLIENT_GREETING_WAITING) {
        gone(r, c, false);
        return;
    }
    if (c->server && c->server->replay.verdict == VERDICT_WAIT) replan_held(r, c->server);
    end_copy(r, c);
    if (!c->server || answered(c)) gone(r, c, !c->server || !c->server->requests.count);
}

/* Whether its stream ends with Terminate, as far as that can be seen. */
static bool says_terminate(const struct client *c) {
    unsigned char waiting[16384], tail[5] = {0};
    const struct bytes *stash = &c->io.stash;
    uint32_t kept = bytes_pending(stash) < sizeof tail ? bytes_pending(stash) : sizeof tail;
    if (kept) memcpy(tail + sizeof tail - kept, stash->data + stash->end - kept, kept);
    ssize_t n = c->io.tls ? -1 : recv(c->io.fd, waiting, sizeof waiting, MSG_PEEK | MSG_DONTWAIT);
    if (n == (ssize_t)sizeof waiting) return true; /* more than can be looked at: rather no probe */
    for (ssize_t i = 0; i < n; i++) {
        memmove(tail, tail + 1, sizeof tail - 1);
        tail[sizeof tail - 1] = waiting[i];
    }
    return memcmp(tail, "X\0\0\0\4", sizeof tail) == 0;
}

static void probe(struct relay *r, struct client *c) {
    if (c->leaving == LEAVING_TERMINATE || bytes_pending(&c->io.out)
        || (c->server && server_in_message(c->server)))
        return;
    if (c->state == CLIENT_WAITING && says_terminate(c)) return;
    const char *name = settings_value(&r->store, c->settings, "application_name");
    session_send_parameter(r, c, "application_name", name ? name : "");
    conn_ready(&r->loop, &c->io);
}

/* It is looked at when time has passed. */
void client_hung_up(struct relay *r, struct client *c) {
    if (c->hung_up) return;
    c->hung_up = bytes_add(&r->hung_up, &c->row, sizeof c->row);
    if (!c->hung_up) r->hung_up_lost = true;
}

static void look_at(struct relay *r, struct client *c) {
    c->hung_up = false;
    bool work = c->state == CLIENT_WAITING || c->state == CLIENT_LEAVING;
    if (!c->io.hangup || !work || c->hangup_at == UINT64_MAX) return;
    client_hung_up(r, c);
    if (!c->hangup_at) c->hangup_at = r->loop.now;
    if (r->loop.now < c->hangup_at + PROBE_AFTER_US) return;
    c->hangup_at = UINT64_MAX;
    probe(r, c);
}

/* Time has passed: a look at those that hung up, of however many there are.  A row may be another client's by
 * now. */
void client_leave_look(struct relay *r) {
    struct bytes rows = r->hung_up;
    bool all = r->hung_up_lost;
    r->hung_up = (struct bytes){0};
    r->hung_up_lost = false;
    for (int32_t i = 0; all && i < r->t->h->clients_high; i++)
        if (r->clients[i]) look_at(r, r->clients[i]);
    for (uint32_t at = rows.start, row; !all && at < rows.end; at += sizeof row) {
        memcpy(&row, rows.data + at, sizeof row);
        if (r->clients[row]) look_at(r, r->clients[row]);
    }
    bytes_free(&rows);
}

/* No more requests come from this client. */
void client_end(struct relay *r, struct client *c, enum leaving how) {
    c->leaving = (uint8_t)how;
    client_move(c, CLIENT_LEAVING);
    client_hung_up(r, c);
    if (c->server) {
        client_ask_for_answers(r, c);
        if (statements_due(c->server)) statements_answer(r, c->server);
        if (bytes_pending(&c->server->io.out) && !c->server->io.stuck) conn_flush(&r->loop, &c->server->io);
    }
    client_leave(r, c);
}

/* Whether nothing of this client is under way: no transaction, and no byte of the next one. */
static bool between_transactions(struct relay *r, const struct client *c, bool keeps_server) {
    char byte;
    const struct server *s = c->server;
    if (client_waits(c) || client_ungreeted(c) || bytes_pending(&c->io.stash) || bytes_pending(&c->io.out)
        || c->io.body_left)
        return false;
    if (s
        && !(keeps_server && server_in_step(s) && !server_is_fresh(s)
             && !r->t->clients[c->row].request_start))
        return false;
    return recv(c->io.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0;
}

/* We are being replaced, and this client's quota is wanted or its time is over: it goes between two
 * transactions. */
bool client_retired(struct relay *r, struct client *c) {
    const struct client_row *row = &r->t->clients[c->row];
    bool all = r->t->h->retiring == RETIRING_ALL;
    if (!r->t->h->retiring || (!all && !(r->t->pools[row->pool].hurried && !c->server))) return false;
    if (!between_transactions(r, c, all)) return false;
    client_close(r, c, SHUTTING_DOWN, "server shutting down", "server shutting down");
    return true;
}
