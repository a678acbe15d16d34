/* Requests of pooler's own (enum internal_request): sending them, and what follows from their answers. */
#include "relay/internal_requests.h"

#include <string.h>

#include "catalog/read.h"
#include "io/buffer.h"
#include "io/connection.h"
#include "io/request_queue.h"
#include "io/server_messages.h"
#include "io/sqlstate.h"
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

/* ---- sending ------------------------------------------------------------------------------------- */

/* A request of ours is about to be sent. */
void internal_begin(struct relay *r, struct server *s, enum internal_request what) {
    s->internal = (uint8_t)what;
    s->internal_since = r->loop.now;
    s->internal_sqlstate[0] = s->internal_text[0] = '\0';
    s->internal_failed = false;
    s->internal_blocks = internal_is(s, REQUEST_BLOCKS);
    server_state_asked(s);
    if (s->state == SERVER_RETURNING)
        server_move(s, what == INTERNAL_ROLLBACK ? SERVER_ROLLING_BACK : SERVER_ASKING);
    r->t->slots[s->slot].unnamed_of = 0; /* a simple query ends the unnamed statement */
}

/* A Query of ours, whose answer no client sees. */
void internal_send(struct relay *r, struct server *s, enum internal_request what, const char *text) {
    unsigned char head[5] = {'Q'};
    uint32_t bytes = (uint32_t)strlen(text) + 1;
    guard_take(r, s);
    internal_begin(r, s, what);
    if (!s->client) r->t->slots[s->slot].asked_at = r->loop.now;
    store_be32(head + 1, bytes + 4);
    conn_append(&r->loop, &s->io, head, sizeof head);
    server_expects(s, 'Q' | INTERNAL);
    conn_send(&r->loop, &s->io, text, bytes);
}

/* The settings of a client.  `block`: its statement waits for the end of the answer; otherwise it follows in
 * the same write. */
static void send_settings(struct relay *r, struct server *s, bool block) {
    char text[INTERNAL_QUERY_BYTES];
    uint32_t space = sizeof text - 1;
    bool reset = r->t->slots[s->slot].flags & SF_EXTRAS;
    uint32_t n = block ? settings_statement(&r->store, s->client->settings, reset, text, space)
                       : settings_select(&r->store, s->client->settings, text, space);
    s->discards_plans = plans_foreign(r, s);
    if (s->discards_plans) {
        n = sql_put(text, n, space, ";DISCARD PLANS");
        prepared_plans_discarded(&r->t->prepared[s->slot]);
    }
    if (greeting_asked(s->client)) n = greeting_question(r, s->client, text, n, space);
    counters_of(r, r->t->slots[s->slot].pool)->settings_applied++;
    /* more settings than one statement holds: an empty query, and the client is refused */
    bool fits = n < space;
    text[fits ? n : 0] = '\0';
    if (block || !fits) internal_send(r, s, INTERNAL_SETTINGS, text);
    else settings_ahead(r, s, text, n);
    s->internal_failed = !fits;
}

/* ---- what follows -------------------------------------------------------------------------------- */

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
static void settings_refused(struct relay *r, struct server *s) {
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
        client_close(r, c, PROTOCOL_VIOLATION, "invalid server parameter", "invalid server parameter");
    }
}

/* The server has its client's settings. */
static void settings_taken(struct relay *r, struct server *s) {
    struct client *c = s->client;
    struct slot_row *row = &r->t->slots[s->slot];
    c->refusals = 0;
    row->settings = c->settings->digest;
    plans_begin(r, s, s->discards_plans);
    if (settings_has_extras(c->settings)) row->flags |= SF_EXTRAS;
    else row->flags &= (uint8_t)~SF_EXTRAS;
    c->settings->verified = true;
}

static void settings_done(struct relay *r, struct server *s) {
    if (s->internal_failed) settings_refused(r, s);
    else if (s->client) settings_taken(r, s);
    if (s->client && s->client->state == CLIENT_GREETING) {
        client_greet(r, s->client);
        server_state_greeted(s);
    } else if (s->client && s->client->unconfirmed) {
        greeting_confirmed(r, s);
    }
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
            defaults_ask(r, s);
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
        send_settings(r, s, block);
        return;
    }
    plans_begin(r, s, false);
    if (c->state != CLIENT_GREETING) return;
    client_greet(r, c);
    server_state_greeted(s);
    conn_ready(&r->loop, &s->io);
}

static void check_done(struct relay *r, struct server *s) {
    if (s->internal_failed) server_close(r, s, false, "test query failed");
    else if (s->client) server_suit(r, s);
}

static void reset_done(struct relay *r, struct server *s) {
    const char *failed = handover_done(r, s);
    if (failed) {
        /* that one was another's; a new one has nothing to be reset */
        if (s->client) s->client->lost_servers = 0;
        server_close(r, s, false, failed);
    }
    if (server_is_closing(s) || s->internal || !s->client) return;
    handover_taken(r, s);
    server_suit(r, s);
}

static void rollback_done(struct relay *r, struct server *s) {
    if (s->internal_failed) server_close(r, s, false, "rollback failed");
    else swept(r, s);
}

/* True: the client that this was asked for, or beside, has left meanwhile; whatever it left is swept away. */
static bool left_meanwhile(struct relay *r, struct server *s) {
    if (s->client) return false;
    if (s->transaction != 'I') internal_send(r, s, INTERNAL_ROLLBACK, "ROLLBACK");
    else swept(r, s);
    return true;
}

static void restore_done(struct relay *r, struct server *s) {
    if (!left_meanwhile(r, s)) session_restored(r, s);
}

static void probe_done(struct relay *r, struct server *s) {
    if (left_meanwhile(r, s)) return;
    bool passing = s->internal_failed && server_error_is_passing(s->internal_sqlstate);
    if (!s->internal_failed) session_answered(r, s);
    else if (passing && s->session.tries++ < ASK_TRIES) session_probe(r, s, s->session.asked & ASK_ALL);
    else session_unanswered(s);
}

static void catalog_done(struct relay *r, struct server *s) {
    catalog_answered(r, s);
    if (!s->client && s->dirty) swept(r, s); /* the client that kept it has left meanwhile */
}

/* What becomes of channels says listen_done(). */
static void channels_done(struct relay *r, struct server *s) { left_meanwhile(r, s); }

static void defaults_done(struct relay *r, struct server *s) {
    if (left_meanwhile(r, s)) return;
    if (s->transaction != 'I') {
        server_close(r, s, false, "not in step");
        return;
    }
    /* a client is to be greeted: not by a server of before ALTER ROLE */
    if (r->t->slots[s->slot].flags & SF_CLOSE_NEEDED && server_replace(r, s)) return;
    server_suit(r, s);
}

const struct internal_kind internal_kinds[] = {
#define X(NAME, TRAITS, UNANSWERED, HEAR, DONE) [INTERNAL_##NAME] = {TRAITS, UNANSWERED, HEAR, DONE},
    INTERNAL_REQUESTS(X)
#undef X
};

/* The answer to our own request is complete. */
void internal_done(struct relay *r, struct server *s) {
    enum internal_request what = (enum internal_request)s->internal;
    const struct internal_kind *kind = &internal_kinds[what];
    bool blocked = s->internal_blocks && !s->asks_columns;
    if (kind->traits & REQUEST_PARTS && s->requests.count) return;
    s->internal = INTERNAL_NONE;
    s->internal_blocks = s->asks_columns;
    if (!s->client) server_move(s, SERVER_RETURNING);
    else if (s->state == SERVER_RESETTING) server_move(s, SERVER_FRESH);
    if (kind->done) kind->done(r, s);
    if (kind->traits & REQUEST_OUTLIVES && s->client && s->session.listen) listen_done(r, s, what);
    if (blocked && s->client && !s->internal_blocks) conn_ready(&r->loop, &s->client->io);
}

/* Our request met an error: its code and text, for whom it concerns. */
void internal_error(struct relay *r, struct server *s, const unsigned char *body, uint32_t n) {
    s->internal_failed = true;
    s->internal_text[0] = '\0';
    /* an error need not have a code */
    memcpy(s->internal_sqlstate, INTERNAL_ERROR, sizeof s->internal_sqlstate);
    server_message_field(body, n, 'C', s->internal_sqlstate, sizeof s->internal_sqlstate);
    if (strlen(s->internal_sqlstate) != 5)
        memcpy(s->internal_sqlstate, INTERNAL_ERROR, sizeof s->internal_sqlstate);
    server_message_field(body, n, 'M', s->internal_text, sizeof s->internal_text);
    if (s->internal == INTERNAL_NONE) sequences_not_discarded(r, s);
}
