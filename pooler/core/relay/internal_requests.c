/* Requests of pooler's own (enum internal_request): sending them, and what follows from their answers. */
#include "relay/internal_requests.h"

#include <string.h>

#include "catalog/read.h"
#include "io/buffer.h"
#include "io/connection.h"
#include "io/request_queue.h"
#include "io/server_messages.h"
#include "notify/subscribe.h"
#include "relay/client.h"
#include "relay/copy.h"
#include "relay/internal.h"
#include "relay/relay.h"
#include "relay/server.h"
#include "relay/server_close.h"
#include "session/client_reset.h"
#include "session/plans.h"
#include "session/probe.h"
#include "session/sequences.h"
#include "session/server_defaults.h"
#include "session/server_reset.h"
#include "session/session.h"
#include "session/settings.h"
#include "session/settings_ahead.h"
#include "session/startup_values.h"
#include "sql/builder.h"
#include "sql/digest.h"
#include "sql/effects.h"
#include "tables/layout.h"
#include "tables/pool.h"
#include "tables/server_statements.h"
#include "tables/states.h"

/* Sends a Query of ours, whose replies nobody sees.  `block`: the client's statement waits for its end;
 * otherwise, for settings alone, it follows in the same write (session/settings_ahead.c). */
void internal_send(struct relay *r, struct server *s, enum internal_request what, const char *text,
                   bool block) {
    char query[INTERNAL_QUERY_BYTES];
    uint32_t n, room = sizeof query - 6;
    if (what == INTERNAL_SETTINGS) {
        bool reset = r->t->slots[s->slot].flags & SF_EXTRAS;
        n = block ? settings_statement(&r->store, s->client->settings, reset, query + 5, room)
                  : settings_select(&r->store, s->client->settings, query + 5, room);
        s->discards_plans = plans_foreign(r, s);
        if (s->discards_plans) {
            n = sql_put(query + 5, n, room, ";DISCARD PLANS");
            prepared_plans_discarded(&r->t->prepared[s->slot]);
        }
        if (greeting_asked(s->client)) n = greeting_question(r, s->client, query + 5, n, room);
        counters_of(r, r->t->slots[s->slot].pool)->settings_applied++;
    } else {
        n = (uint32_t)strnlen(text, room);
        memcpy(query + 5, text, n);
    }
    guard_take(r, s);
    s->internal = (uint8_t)what;
    r->t->slots[s->slot].unnamed_of = 0; /* a simple query ends the unnamed statement */
    s->internal_since = r->loop.now;
    if (!s->client) r->t->slots[s->slot].asked_at = r->loop.now;
    s->internal_sqlstate[0] = s->internal_text[0] = '\0';
    /* more settings than one statement holds: an empty query, and the client is refused */
    s->internal_failed = n >= room;
    s->internal_blocks = block || s->internal_failed;
    server_state_asked(s);
    if (s->state == SERVER_RETURNING)
        server_move(s, what == INTERNAL_ROLLBACK ? SERVER_ROLLING_BACK : SERVER_ASKING);
    if (s->internal_failed) n = 0;
    s->ahead = !s->internal_blocks;
    if (s->ahead) n = settings_ahead(r, s, query + 5, n);
    query[5 + n] = '\0';
    uint32_t length = n + 5;
    query[0] = 'Q';
    store_be32(query + 1, length);
    server_expects(s, 'Q' | INTERNAL);
    if (s->internal_blocks) conn_send(&r->loop, &s->io, query, length + 1);
    else conn_append(&r->loop, &s->io, query, length + 1);
}

/* Its client has left: whatever has to be done before another gets it.  False: nothing has. */
static bool swept(struct relay *r, struct server *s) {
    enum handover how = handover_after(r, s, true);
    if (how != HANDOVER_AS_IT_IS) handover_begin(r, s, how);
    return how != HANDOVER_AS_IT_IS;
}

/* The server has not taken its client's settings.  What one server took, another may refuse for what others
 * did there (temp_buffers behind temporary tables, a library that was loaded): its client goes on with
 * another, in the end with a new one, which decides.  What is in force on this one is not known: no client
 * gets it as it is. */
static void internal_settings_refused(struct relay *r, struct server *s) {
    struct client *c = s->client;
    bool passing = server_error_is_passing(s->internal_sqlstate), known = s->internal_sqlstate[0];
    session_unknown(&r->t->slots[s->slot]);
    s->dirty = true;
    if (!c) {
        swept(r, s);
    } else if (server_is_fresh(s) && known && passing && c->lost_servers++ < LOST_SERVERS_MAX) {
        session_left(r, s);
        s->client = NULL;
        c->server = NULL;
        server_move(s, SERVER_RETURNING);
        pool_detach(r->t, s->slot, r->loop.now);
        swept(r, s);
        client_requeue(r, c);
    } else if (server_is_fresh(s) && known && !passing && !s->first && c->refusals++ < REFUSALS_MAX) {
        server_replace(r, s);
    } else if (greeting_asked(c) && s->internal_text[0]) {
        char sqlstate[sizeof s->internal_sqlstate], text[sizeof s->internal_text];
        /* the server goes on with another request of ours */
        memcpy(sqlstate, s->internal_sqlstate, sizeof sqlstate);
        memcpy(text, s->internal_text, sizeof text);
        client_close(r, c, sqlstate, text, text);
    } else {
        client_close(r, c, "08P01", "invalid server parameter", "invalid server parameter");
    }
}

static void internal_settings_done(struct relay *r, struct server *s) {
    struct client *c = s->client;
    struct slot_row *row = &r->t->slots[s->slot];
    if (s->internal_failed) {
        internal_settings_refused(r, s);
        return;
    }
    if (c) c->refusals = 0;
    if (!c) return;
    row->settings = c->settings->digest;
    plans_begin(r, s, s->discards_plans);
    if (settings_has_extras(c->settings)) row->flags |= SF_EXTRAS;
    else row->flags &= (uint8_t)~SF_EXTRAS;
    c->settings->verified = true;
}

/* Brings a server to the settings of its client.  Where more than reported parameters differ, the client's
 * statement waits for the answer: it must not run under somebody else's settings when ours were refused. */
void server_suit(struct relay *r, struct server *s) {
    struct client *c = s->client;
    const struct slot_row *row = &r->t->slots[s->slot];
    if (c->settings->particular && row->temporary && c->refusals++ < REFUSALS_MAX && server_replace(r, s))
        return;
    if (greeting_asked(c)) {
        if (!s->first && defaults_due(r, s)) { /* one that has just logged in has said so itself */
            defaults_ask(r, s, true);
            return;
        }
        greeting_renew(r, c);
    }
    /* what the server reports of them */
    bool asks = c->unconfirmed || (c->greeting && settings_has_extras(c->startup));
    bool plans = plans_foreign(r, s);
    if (asks || plans || !digest_same(row->settings, c->settings->digest)) {
        bool block = plans || !c->settings->verified || greeting_asked(c) || row->flags & SF_EXTRAS
            || settings_has_extras(c->settings);
        internal_send(r, s, INTERNAL_SETTINGS, NULL, block);
        return;
    }
    plans_begin(r, s, false);
    if (!c->greeting) return;
    client_greet(r, c);
    server_state_greeted(s);
    conn_ready(&r->loop, &s->io);
}

/* A reset is over.  True: the server is its client's now, if it has one. */
static bool reset_done(struct relay *r, struct server *s) {
    const char *failed = handover_done(r, s);
    if (failed) {
        /* that one was another's; a new one has nothing to be reset */
        if (s->client) s->client->lost_servers = 0;
        server_close(r, s, false, failed);
    }
    if (server_is_closing(s) || s->internal) return false;
    if (!s->client) return true;
    handover_taken(r, s);
    server_suit(r, s);
    return !s->internal_blocks;
}

/* A question about the session, or about the catalogs, has been answered, or could not be. */
static void asked(struct relay *r, struct server *s, enum internal_request what) {
    if (what == INTERNAL_CATALOG) {
        catalog_answered(r, s);
        if (!s->client && s->dirty) swept(r, s); /* the client that kept it has left meanwhile */
    } else if (!s->client) {                     /* it has left meanwhile: whatever it left is swept away */
        if (s->transaction != 'I') internal_send(r, s, INTERNAL_ROLLBACK, "ROLLBACK", true);
        else swept(r, s);
    } else if (what == INTERNAL_DEFAULTS && s->transaction != 'I') {
        server_close(r, s, false, "not in step");
    } else if (what == INTERNAL_DEFAULTS) {
        /* a client is to be greeted: not by a server of before ALTER ROLE */
        if (r->t->slots[s->slot].flags & SF_CLOSE_NEEDED && server_replace(r, s)) return;
        server_suit(r, s);
    } else if (what == INTERNAL_RESTORE) {
        session_restored(r, s);
    } else if (what == INTERNAL_PROBE && s->internal_failed) {
        bool again = server_error_is_passing(s->internal_sqlstate) && s->session.tries++ < ASK_TRIES;
        if (again) session_probe(r, s, s->session.asked & ASK_ALL);
        else session_unanswered(s);
    } else if (what == INTERNAL_PROBE) {
        session_answered(r, s);
    }
    if (s->client && s->session.listen) listen_done(r, s, what);
}

/* The answer to our own request is complete. */
void internal_done(struct relay *r, struct server *s) {
    enum internal_request what = (enum internal_request)s->internal;
    bool blocked = s->internal_blocks && !s->asks_columns;
    if (what == INTERNAL_RESET && s->requests.count) return; /* it has more parts */
    s->internal = INTERNAL_NONE;
    s->internal_blocks = s->asks_columns;
    if (!s->client) server_move(s, SERVER_RETURNING);
    else if (s->state == SERVER_RESETTING) server_move(s, SERVER_FRESH);
    switch (what) {
    case INTERNAL_SETTINGS:
        internal_settings_done(r, s);
        if (s->client && s->client->greeting) {
            client_greet(r, s->client);
            server_state_greeted(s);
        } else if (s->client && s->client->unconfirmed) {
            greeting_confirmed(r, s);
        }
        break;
    case INTERNAL_CHECK:
        if (s->internal_failed) {
            server_close(r, s, false, "test query failed");
            return;
        }
        if (s->client) server_suit(r, s);
        /* settings that go out with the client's statement do not hold it up */
        if (s->internal_blocks) return;
        break;
    case INTERNAL_RESET:
        if (!reset_done(r, s)) return;
        break;
    case INTERNAL_ROLLBACK:
        if (s->internal_failed) server_close(r, s, false, "rollback failed");
        else swept(r, s);
        return;
    case INTERNAL_RESTORE:
    case INTERNAL_PROBE:
    case INTERNAL_CATALOG:
    case INTERNAL_LISTEN:
    case INTERNAL_UNLISTEN:
    case INTERNAL_NOTIFY:
    case INTERNAL_DEFAULTS:
        asked(r, s, what);
        if (s->internal || server_is_closing(s)) return;
        break;
    case INTERNAL_STEP: doubt_ended(s); break;
    case INTERNAL_SEQUENCES: sequences_discarded(r, s); break;
    case INTERNAL_NONE: break;
    }
    if (blocked && s->client) conn_ready(&r->loop, &s->client->io);
}

/* Our request met an error: its code and text, for whom it concerns. */
void internal_error(struct relay *r, struct server *s, const unsigned char *body, uint32_t n) {
    s->internal_failed = true;
    s->internal_text[0] = '\0';
    memcpy(s->internal_sqlstate, "XX000", sizeof s->internal_sqlstate); /* an error need not have a code */
    server_message_field(body, n, 'C', s->internal_sqlstate, sizeof s->internal_sqlstate);
    if (strlen(s->internal_sqlstate) != 5) memcpy(s->internal_sqlstate, "XX000", sizeof s->internal_sqlstate);
    server_message_field(body, n, 'M', s->internal_text, sizeof s->internal_text);
    if (s->internal == INTERNAL_NONE) sequences_not_discarded(r, s);
}
