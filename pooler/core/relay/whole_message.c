/* Messages of a client that have to be there whole before they are dealt with.
 *
 * Theory.  Most messages are passed on as they come; those that are looked into are kept in the stash until
 * their end is there.  Meanwhile they hold nothing that others wait for: a client without a server gets none
 * before a message of at most WHOLE_MESSAGE_BYTES is whole.  A longer one may be passed on in pieces; whether
 * it may is known with its server only, and where it may not its time runs as that of a statement that has
 * begun (query_timeout). */
#include "relay/whole_message.h"

#include "io/buffer.h"
#include "io/connection.h"
#include "io/sqlstate.h"
#include "relay/client.h"
#include "relay/client_framing.h"
#include "relay/internal.h"
#include "relay/relay.h"
#include "relay/server.h"
#include "statements/statement_store.h"
#include "tables/layout.h"

/* Whether others cannot have the server for the message.  (Behind what is answered it goes back or is kept as
 * that of an idle client; in a transaction that is idle, idle_transaction_timeout runs.) */
static bool holds_back(const struct server *s) {
    return !server_is_releasable(s) && (s->transaction == 'I' || s->requests.count);
}

/* The message of which `here` bytes are there comes again when it is whole.  False: its client is closed,
 * for it is too long. */
bool whole_wanted(struct relay *r, struct client *c, uint32_t here, uint32_t total) {
    /* first its head, which says what it is about: a length alone is not believed */
    c->whole_bytes = here < HEAD_BYTES_MAX && total > HEAD_BYTES_MAX ? HEAD_BYTES_MAX : total;
    if (!memory_within(r, c, c->whole_bytes)) { /* so it will be when its bytes are there */
        memory_refuse(r, c);
        return false;
    }
    if (c->whole_bytes > WHOLE_BYTES_MAX) {
        client_close(r, c, OUT_OF_MEMORY, "message is too long", "message is too long");
        return false;
    }
    if (c->server && holds_back(c->server)) client_begins(r, c);
    return true;
}

/* Whether a client without a server has to say more before it gets one. */
bool whole_before_server(struct relay *r, struct client *c, uint32_t here, uint32_t total) {
    if (here == total || total > WHOLE_MESSAGE_BYTES) return false;
    whole_wanted(r, c, here, total);
    return true;
}

/* Reads on until the message is there; only what is new is touched.  False: it is not yet. */
bool whole_read(struct relay *r, struct client *c) {
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t there = bytes_pending(&c->io.stash);
        if (there >= c->whole_bytes || c->io.eof) return true;
        if (!c->io.readable) return false;
        if (conn_read_on(&r->loop, &c->io, c->whole_bytes - there)) continue;
        memory_refuse(r, c);
        return false;
    }
    conn_ready(&r->loop, &c->io);
    return false;
}
