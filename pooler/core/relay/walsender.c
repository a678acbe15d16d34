/* A client and the server that is its own: a walsender, mostly.  Both are logged in and the client is greeted
 * when they come here.  Everything passes as it is, in both directions at once where the server says
 * CopyBothResponse; a reader that does not read stops its writer, as for all others.  When one of them leaves
 * the other goes, too. */
#include "relay/walsender.h"

#include <stdlib.h>

#include "io/connection.h"
#include "io/sqlstate.h"
#include "relay/cancel_guard.h"
#include "relay/client.h"
#include "relay/client_enter.h"
#include "relay/commands.h"
#include "relay/internal.h"
#include "relay/relay.h"
#include "relay/server.h"
#include "session/accepted_settings.h"
#include "session/settings.h"
#include "tables/layout.h"
#include "tables/outcome.h"
#include "tables/pool.h"
#include "tables/server_statements.h"
#include "tables/states.h"
#include "tables/walsender_queue.h"

/* NULL: no memory. */
static struct client *client_struct(struct relay *r, const struct command *k, struct settings *settings) {
    struct client *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->io.kind = KIND_CLIENT;
    c->io.fd = k->b;
    c->io.tls = k->tls;
    c->io.readable = true;
    c->row = k->a;
    c->dedicated = true;
    c->settings = settings;
    c->startup = settings_keep(settings);
    r->clients[c->row] = c;
    c->io.gap = !conn_stash(&c->io, k->data + k->data_bytes, k->extra_bytes); /* then it is closed at once */
    conn_arm(&r->loop, &c->io);
    return c;
}

/* Takes over both.  A pair that the tables know nothing of any more has been given up: the slot is closed as
 * usual. */
void walsender_add(struct relay *r, struct command *k) {
    int32_t slot = (int32_t)(k->token & 0xffffffffu);
    struct slot_row *row = &r->t->slots[slot];
    struct settings_scope scope = accepted_scope(r->t, row->pool);
    struct settings *settings = settings_intern(&r->store, &scope, (const char *)k->data, k->data_bytes,
                                                false);
    server_learn(r, slot, k->generation, (int)(k->token >> 32), false);
    struct server *s = r->servers[slot];
    struct client *c = s && settings ? client_struct(r, k, settings) : NULL;
    if (!c) {
        settings_drop(&r->store, settings);
        if (s) server_close(r, s, true, "out of memory");
        else pool_abandon(r->t, slot);
        client_turn_away(r, k->a, k->b, k->tls);
        return;
    }
    row->settings = row->login_settings = settings->digest;
    row->flags &= (uint8_t)~SF_EXTRAS;
    row->sequence_of = row->unnamed_of = 0;
    prepared_reset(&r->t->prepared[slot]);
    conn_arm(&r->loop, &s->io);
    struct outcome out;
    bool fits = walsender_attach(r->t, slot, k->generation, k->a, k->id, r->worker, r->loop.now, &out);
    if (fits) {
        s->client = c;
        server_move(s, SERVER_DEDICATED);
        s->guarded = true;
        guard_drop(r, s);
        c->server = s;
        client_move(c, CLIENT_SERVED);
        conn_ready(&r->loop, &s->io);
        conn_ready(&r->loop, &c->io);
    } else {
        server_close(r, s, true, "replication client was closed");
        client_close(r, c, PROTOCOL_VIOLATION, "server conn crashed?", "server conn crashed?");
    }
    relay_apply(r, &out);
}
