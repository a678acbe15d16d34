/* Answers that change what is known of a server: ReadyForQuery, parameters, errors that skip to Sync. */
#include "relay/server_ready.h"

#include <string.h>

#include "io/connection.h"
#include "io/request_queue.h"
#include "relay/cancel_guard.h"
#include "relay/client.h"
#include "relay/copy.h"
#include "relay/counters.h"
#include "relay/internal.h"
#include "relay/internal_requests.h"
#include "relay/relay.h"
#include "relay/server.h"
#include "session/server_defaults.h"
#include "session/settings.h"
#include "sql/digest.h"
#include "statements/client_names.h"
#include "statements/replan.h"
#include "statements/replay.h"
#include "statements/replies.h"
#include "statements/sql_execute.h"
#include "tables/layout.h"

/* What the server told of one of its parameters becomes its client's value.  n == 0: it is too long to be
 * remembered. */
void server_parameter(struct relay *r, struct server *s, const unsigned char *body, uint32_t n, bool own) {
    const char *name = (const char *)body;
    struct slot_row *row = &r->t->slots[s->slot];
    if (!s->client || !n) {
        /* a rollback of ours changed them; after a reset internal_done() knows */
        row->settings = (struct digest){0};
        return;
    }
    struct client *c = s->client;
    if (own && !internal_is(s, REQUEST_SETS)) return;
    struct settings *changed = settings_change(&r->store, c->settings, name, name + strlen(name) + 1);
    if (!changed) {
        if (settings_starved(&r->store)) client_without_memory(r, c);
        if (!own && settings_tracked(&r->store, name)) row->settings = (struct digest){0}; /* too much */
        return;
    }
    if (!own) {
        changed->verified = true;
        defaults_reported(r, c, name, name + strlen(name) + 1);
    }
    client_settings(r, c, changed);
    if (digest_none(row->settings)) return;
    if (!own || s->internal == INTERNAL_RESTORE) row->settings = changed->digest;
}

/* After an error everything up to the next Sync stays unanswered.  False: what is known of the client's names
 * does not fit to what it has sent. */
static bool skip_to_sync(struct relay *r, struct server *s) {
    uint8_t head = requests_head(&s->requests), letter = head & 0x7f;
    if (letter == 'Q' || letter == 'F') return true;
    uint32_t names_lost = 0;
    while (s->requests.count && (requests_head(&s->requests) & 0x7f) != 'S') {
        statements_skipped(r, s, requests_head(&s->requests), &names_lost);
        requests_pop(&s->requests);
    }
    bool fits = !names_lost || !s->client || names_undo(&r->statements, s->client->names, names_lost);
    s->skip = s->requests.count == 0;
    /* it failed for the Query behind it, whose ReadyForQuery is due */
    if (s->skip && s->execute_open && head & INTERNAL) {
        conn_send(&r->loop, &s->io, "S\0\0\0\4", 5);
        server_expects(s, 'S');
        s->skip = false;
    }
    return fits;
}

bool server_skip(struct relay *r, struct server *s) {
    if (!skip_to_sync(r, s)) return false;
    if (s->replay.verdict) replan_settle(r, s);
    return true;
}

bool server_ready(struct relay *r, struct server *s, uint8_t status) {
    uint8_t head = requests_head(&s->requests), letter = head & 0x7f;
    bool doubtful = doubt_answered(s);
    /* more than there were Syncs */
    if (!doubtful && s->internal == INTERNAL_STEP && head == ('Q' | INTERNAL) && !s->step_seen) return false;
    if (!doubtful && letter != 'Q' && letter != 'S' && letter != 'F')
        return s->state == SERVER_DEDICATED && !s->requests.count;
    if (s->deallocating.count) execute_ended(r, s);
    if (!doubtful) requests_pop(&s->requests);
    /* what an error was kept for has been answered without one */
    if (!(head & INTERNAL) && s->replay.verdict == VERDICT_NONE) replay_release(&s->replay);
    if (!s->requests.count) s->session.sets_meaning = s->pipeline_open = s->pipeline_ours = false;
    if (!s->requests.count && status == 'I') s->deeds = 0;
    s->transaction = status;
    s->skip = false;
    if (head & INTERNAL && status != 'I' && internal_is(s, REQUEST_ENDS)) s->internal_failed = true;
    if (doubtful && s->internal == INTERNAL_STEP) return true;
    struct client *before = s->client;
    bool first = internal_is(s, REQUEST_FIRST);
    /* its Query comes behind */
    if (head & INTERNAL && s->internal == INTERNAL_STEP && letter == 'S') return true;
    if (head & INTERNAL) internal_done(r, s);
    else if (s->client) counters_ready(r, s);
    if (head & INTERNAL) guard_look(r, s);
    doubt_ask(r, s);
    if (s->client != before) return true; /* its client is gone, and it may be somebody else's already */
    /* not when it was only to be greeted */
    bool its_turn = (head & INTERNAL) && first && s->client && !server_is_releasable(s);
    if (!s->client && !server_is_closing(s) && !s->internal && !s->requests.count && s->transaction != 'I') {
        server_close(r, s, false, "not in step"); /* nothing that is ours leaves a transaction open */
        return true;
    }
    server_state_ready(s,
                       !its_turn && s->transaction == 'I' && s->requests.count == 0
                           && s->internal == INTERNAL_NONE && !s->in_doubt);
    return true;
}
