/* What one client makes its worker keep: counted, and bounded by client_memory_limit.
 *
 * Theory.  Most of what is kept for a client is bounded by not reading on: who does not read his answers is
 * not served on, and who is too far ahead is not read (relay.h).  What a client may have more of by asking
 * for it is counted: texts of its prepared statements, their names, and notifications that it does not take.
 * The sum is made from sizes that are there anyway, where one of them has grown, and never for a message that
 * makes nothing grow.  Beyond the limit the client is closed with 53200, and nobody else hears of it.  A text
 * that clients share counts for each of them: what one has must not depend on what others have.
 */
#include "relay/internal.h"

#include "io/buffer.h"
#include "io/connection.h"
#include "io/request_queue.h"
#include "io/sqlstate.h"
#include "notify/subscribe.h"
#include "relay/client.h"
#include "relay/relay.h"
#include "relay/server.h"
#include "session/parsed_resets.h"
#include "session/startup_values.h"
#include "statements/client_names.h"
#include "tables/layout.h"

static uint64_t space_of(const struct bytes *b) { return b->data ? b->capacity : 0; }

/* What its server has of it: in flight, kept to be sent again, not yet written. */
static uint64_t at_server(const struct server *s) {
    const struct requests *q = &s->requests;
    uint64_t bytes = space_of(&s->io.out) + s->replay.space + (s->replay.held ? s->replay.held_bytes : 0);
    return bytes + s->parsing.space * sizeof *s->parsing.ring + (q->ring == q->small ? 0 : q->capacity);
}

static uint64_t of_names(const struct names *n) {
    uint64_t bytes = sizeof *n + n->kept_bytes + n->capacity * (sizeof *n->buckets + sizeof *n->by_digest);
    return bytes + n->unnamed_space + (n->unnamed_under ? n->unnamed_under->bytes : 0);
}

static uint64_t of_greeting(const struct greeting *g) {
    return g ? sizeof *g + g->head_bytes + g->tail_bytes : 0;
}

/* The bytes that are kept for a client; SHOW has them from here. */
uint64_t memory_count(struct relay *r, struct client *c) {
    struct client_row *row = &r->t->clients[c->row];
    uint64_t bytes = sizeof *c + space_of(&c->io.out) + space_of(&c->io.stash) + space_of(&c->notifications);
    if (c->settings) bytes += c->settings->bytes;
    if (c->startup) bytes += c->startup->bytes;
    bytes += of_greeting(c->greeting) + of_greeting(c->unconfirmed);
    bytes += (uint64_t)row->listens * sizeof *c->subscriptions;
    if (c->names) bytes += of_names(c->names);
    for (const struct parsed_reset *p = c->parsed_resets; p; p = p->next) bytes += sizeof *p + p->bytes;
    if (c->server) bytes += at_server(c->server);
    return row->memory = bytes;
}

/* Whether a client may have so many bytes more. */
bool memory_within(struct relay *r, struct client *c, uint64_t more) {
    return memory_count(r, c) + more <= r->options.client_bytes;
}

/* There was no memory for what has to be known of the connection: it is closed when it has its turn, and
 * nothing is written any more. */
static void give_up(struct relay *r, struct conn *c) {
    c->gap = true;
    conn_ready(&r->loop, c);
}

void client_without_memory(struct relay *r, struct client *c) { give_up(r, &c->io); }

void server_without_memory(struct relay *r, struct server *s) { give_up(r, &s->io); }

/* Ends a client for which there is no more memory, its own or the machine's. */
void memory_refuse(struct relay *r, struct client *c) {
    if (c->state == CLIENT_CLOSED) return;
    static const char text[] = "client needs more memory than client_memory_limit allows";
    bool its_own = memory_count(r, c) + c->whole_bytes > r->options.client_bytes;
    client_close(r, c, OUT_OF_MEMORY, its_own ? text : "out of memory", its_own ? text : "out of memory");
}
