/* A client comes in: from its login to its greeting, or to the queue for a server that accepts its startup
 * values. */
#include "relay/client_enter.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "catalog/database.h"
#include "io/connection.h"
#include "io/sqlstate.h"
#include "relay/client.h"
#include "relay/commands.h"
#include "relay/events.h"
#include "relay/internal.h"
#include "relay/log.h"
#include "relay/relay.h"
#include "session/accepted_settings.h"
#include "session/server_defaults.h"
#include "session/settings.h"
#include "session/startup_values.h"
#include "tables/clients.h"
#include "tables/deadlines.h"
#include "tables/layout.h"
#include "tables/outcome.h"
#include "tables/pool.h"
#include "tables/states.h"
#include "tls/tls_session.h"

/* Closes a client that there is no memory for. */
void client_turn_away(struct relay *r, int32_t at, int fd, struct tls *tls) {
    struct outcome out;
    log_client_closing(r, &r->t->clients[at], "out of memory", false);
    client_free(r->t, at, r->worker, r->loop.now, &out);
    tls_free(tls);
    close(fd);
    relay_apply(r, &out);
}

/* It is greeted at once when a server has accepted its startup values before; else one has to, as it would be
 * at a PostgreSQL of its own. */
static void welcome(struct relay *r, struct client *c, bool known, bool waited) {
    const struct pool_row *pool = &r->t->pools[r->t->clients[c->row].pool];
    int32_t at = r->t->clients[c->row].pool;
    bool soon = pool_serves_soon(r->t, at);
    bool stale = pool->limits.mode != MODE_SESSION && defaults_stale(r, at);
    if (known && !stale) client_greet(r, c);
    else if (known ? !waited && !pool_has_free(r->t, at) : !soon)
        client_let_in(r, c); /* it need not wait for a server to get in */
    else client_acquire(r, c);
}

/* Takes over a client whose login is done. */
void client_enter(struct relay *r, const struct newcomer *n) {
    struct client *c = n->client;
    struct client_row *row = &r->t->clients[c->row];
    struct settings_scope scope = accepted_scope(r->t, row->pool);
    struct settings *given = settings_intern(&r->store, &scope, n->values, n->values_bytes, false);
    struct settings *begun = given ? startup_settings(r, given) : NULL;
    struct settings *key = given ? greeting_without_name(r, given) : NULL;
    if (!begun || !key || !profile_ready(r, row->pool)) {
        free(n->greeting);
        settings_drop(&r->store, begun);
        settings_drop(&r->store, key);
        settings_drop(&r->store, given);
        conn_disarm(&r->loop, &c->io);
        client_turn_away(r, c->row, c->io.fd, c->io.tls);
        c->io.tls = NULL;
        conn_bury(&r->loop, &c->io);
        return;
    }
    if (n->usual) { /* what the servers of its pool have by themselves, they accept from a startup packet */
        key->verified = true;
        accepted_keep(r, row->pool, key);
    }
    row->idle_start = r->loop.now;
    COMMIT();
    row->state = CL_IDLE;
    deadlines_look(r->t, c->row);
    r->clients[c->row] = c;
    c->own_values = c->startup_values = n->given & 0x7fffffffu;
    c->defaults_seen = n->defaults;
    c->greeting = n->greeting;
    struct settings *known = greeting_accepted(r, c, given, key);
    c->startup = known ? settings_keep(known) : settings_keep(given);
    client_settings(r, c, known ? known : begun);
    if (known) settings_drop(&r->store, begun);
    settings_drop(&r->store, key);
    settings_drop(&r->store, given);
    if (!conn_arm(&r->loop, &c->io)) {
        client_close(r, c, OUT_OF_MEMORY, "out of memory", "it cannot be watched");
        return;
    }
    conn_ready(&r->loop, &c->io);
    welcome(r, c, known != NULL, n->waited);
}

/* One of pooler's own, or of Python's making. */
void client_add(struct relay *r, struct command *command) {
    struct client *c = calloc(1, sizeof *c);
    struct greeting *greeting = greeting_of(command->data + command->data_bytes, command->generation,
                                            (uint32_t)command->token);
    uint32_t greeted = command->generation + (uint32_t)command->token;
    if (!c || !greeting
        || !conn_stash(&c->io, command->data + command->data_bytes + greeted,
                       command->extra_bytes - greeted)) {
        free(c);
        free(greeting);
        client_turn_away(r, command->a, command->b, command->tls);
        return;
    }
    c->io.kind = KIND_CLIENT;
    c->io.fd = command->b;
    c->io.tls = command->tls;
    c->io.readable = true;
    c->row = command->a;
    struct newcomer n = {.client = c,
                         .values = (char *)command->data,
                         .values_bytes = command->data_bytes,
                         .greeting = greeting,
                         .usual = command->id & 1,
                         .given = (uint32_t)(command->id >> 1) & 0x7fffffffu,
                         .defaults = (uint32_t)(command->id >> 32)};
    client_enter(r, &n);
}
