/* A server's side of the relay: replies, who gets them, when it may be given back, its end. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/message_table.h"
#include "io/server_messages.h"
#include "relay/relay.h"
#include "session/accepted_settings.h"
#include "session/server_defaults.h"
#include "sql/builder.h"

/* ---- descriptors: every worker has a duplicate of every server connection -------------------- */

/* NULL: no memory. */
static struct server *server_struct(struct relay *r, int32_t slot) {
    struct server *s = r->servers[slot];
    if (s) return s;
    s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->io.kind = KIND_SERVER;
    s->io.fd = -1;
    s->slot = slot;
    requests_init(&s->requests);
    return r->servers[slot] = s;
}

static void drop_descriptor(struct relay *r, struct server *s) {
    session_forget(r, s);
    conn_disarm(r, &s->io);
    if (s->io.fd >= 0) close(s->io.fd);
    s->io.fd = -1;
    free(s->io.out.data);
    free(s->io.stash.data);
    s->io.out = s->io.stash = (struct bytes){0};
    requests_free(&s->requests);
    replay_free(&s->replay);
    parsing_free(s);
}

/* A (duplicate of a) descriptor for this generation of a slot has arrived. */
void server_learn(struct relay *r, int32_t slot, uint32_t generation, int fd, bool raw) {
    struct server *s = server_struct(r, slot);
    if (!s || (s->io.fd >= 0 && (int32_t)(generation - s->generation) <= 0)) {
        close(fd); /* without memory it is one that has not arrived */
        return;
    }
    drop_descriptor(r, s);
    struct conn io = {.kind = KIND_SERVER, .fd = fd, .queued = s->io.queued, .next_ready = s->io.next_ready};
    *s = (struct server){.io = io, .slot = slot, .generation = generation, .transaction = 'I', .raw = raw};
    requests_init(&s->requests);
}

/* The connection is over for everybody. */
void server_forget(struct relay *r, int32_t slot, uint32_t generation) {
    struct server *s = r->servers[slot];
    if (s && s->generation == generation && !s->closing) drop_descriptor(r, s);
}

/* The connection of a slot; NULL when its descriptor never arrived here. */
struct server *server_of(struct relay *r, int32_t slot) {
    struct server *s = server_struct(r, slot);
    uint32_t generation = r->t->slots[slot].generation;
    if (!s) return NULL;
    /* sent before the slot was published */
    if (s->io.fd < 0 || s->generation != generation) relay_drain_inbox(r);
    return s->io.fd >= 0 && s->generation == generation ? s : NULL;
}

/* A server whose login is done begins its work. */
static void place(struct relay *r, struct server *s) {
    struct outcome out;
    s->placing = false;
    pool_place(r->t, s->slot, r->worker, r->now, &out);
    relay_apply(r, &out);
}

/* Takes over a server whose login is done. */
void server_add(struct relay *r, struct command *command) {
    server_learn(r, command->a, command->generation, command->b, false);
    struct slot_row *row = &r->t->slots[command->a];
    struct settings_scope scope = scope_of_pool(r->t, row->pool);
    struct settings *settings = settings_intern(&r->store, &scope, (const char *)command->data,
                                                command->data_bytes, true);
    row->settings = row->login_settings = settings ? settings->digest : (struct digest){0};
    row->flags &= (uint8_t)~SF_EXTRAS;
    row->sequence_of = 0;
    plans_forget(row);
    row->served = row->temporary = 0;
    if (settings) {
        accepted_keep(r, row->pool, settings);
        settings_drop(&r->store, settings);
    }
    prepared_reset(&r->t->prepared[command->a]);
    row->unnamed_of = 0;
    struct server *s = r->servers[command->a];
    if (!s) {
        pool_abandon(r->t, command->a);
        return;
    }
    conn_arm(r, &s->io);
    s->placing = true;
    place(r, s);
}

/* ---- requests of our own ------------------------------------------------------------------- */

/* Sends a Query of ours, whose replies nobody sees.  `block`: the client's statement waits for its end;
 * otherwise, for settings alone, it follows in the same write (session/settings_ahead.c). */
void server_own(struct relay *r, struct server *s, enum internal_request what, const char *text, bool block) {
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
    s->internal_since = r->now;
    if (!s->client) r->t->slots[s->slot].asked_at = r->now;
    s->internal_sqlstate[0] = s->internal_text[0] = '\0';
    /* more settings than one statement holds: an empty query, and the client is refused */
    s->internal_failed = n >= room;
    s->internal_blocks = block || s->internal_failed;
    s->releasable = false;
    if (s->internal_failed) n = 0;
    s->ahead = !s->internal_blocks;
    if (s->ahead) n = settings_ahead(r, s, query + 5, n);
    query[5 + n] = '\0';
    uint32_t length = n + 5;
    query[0] = 'Q';
    write_u32(query + 1, length);
    server_expects(s, 'Q' | INTERNAL);
    if (s->internal_blocks) conn_send(r, &s->io, query, length + 1);
    else conn_append(r, &s->io, query, length + 1);
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
    bool passing = error_is_passing(s->internal_sqlstate), known = s->internal_sqlstate[0];
    session_unknown(&r->t->slots[s->slot]);
    s->dirty = true;
    if (!c) {
        swept(r, s);
    } else if (s->fresh && known && passing && c->lost_servers++ < LOST_SERVERS_MAX) {
        session_left(r, s);
        s->client = NULL;
        c->server = NULL;
        pool_detach(r->t, s->slot, r->now);
        swept(r, s);
        client_requeue(r, c);
    } else if (s->fresh && known && !passing && !s->first && c->refusals++ < REFUSALS_MAX) {
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
        server_own(r, s, INTERNAL_SETTINGS, NULL, block);
        return;
    }
    plans_begin(r, s, false);
    if (!c->greeting) return;
    client_greet(r, c);
    s->releasable = true;
    conn_ready(r, &s->io);
}

/* A reset is over.  True: the server is its client's now, if it has one. */
static bool reset_done(struct relay *r, struct server *s) {
    const char *failed = handover_done(r, s);
    if (failed) {
        /* that one was another's; a new one has nothing to be reset */
        if (s->client) s->client->lost_servers = 0;
        server_close(r, s, false, failed);
    }
    if (s->closing || s->internal) return false;
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
        if (s->transaction != 'I') server_own(r, s, INTERNAL_ROLLBACK, "ROLLBACK", true);
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
        bool again = error_is_passing(s->internal_sqlstate) && s->session.tries++ < ASK_TRIES;
        if (again) session_probe(r, s, s->session.asked & ASK_ALL);
        else session_unanswered(s);
    } else if (what == INTERNAL_PROBE) {
        session_answered(r, s);
    }
    if (s->client && s->session.listen) listen_done(r, s, what);
}

/* The answer to our own request is complete. */
static void internal_done(struct relay *r, struct server *s) {
    enum internal_request what = (enum internal_request)s->internal;
    bool blocked = s->internal_blocks && !s->asks_columns;
    if (what == INTERNAL_RESET && s->requests.count) return; /* it has more parts */
    s->internal = INTERNAL_NONE;
    s->internal_blocks = s->asks_columns;
    switch (what) {
    case INTERNAL_SETTINGS:
        internal_settings_done(r, s);
        if (s->client && s->client->greeting) {
            client_greet(r, s->client);
            s->releasable = true;
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
        if (s->internal || s->closing) return;
        break;
    case INTERNAL_STEP: doubt_ended(s); break;
    case INTERNAL_SEQUENCES: sequences_discarded(r, s); break;
    case INTERNAL_NONE: break;
    }
    if (blocked && s->client) conn_ready(r, &s->client->io);
}

/* ---- giving back --------------------------------------------------------------------------- */

/* Provably in step: the last message was ReadyForQuery with status I, nothing is outstanding, no copy, no
 * pipeline that waits for its Sync (what we sent would commit it), no half message under way. */
bool server_in_step(const struct server *s) {
    return s->transaction == 'I' && s->requests.count == 0 && !s->pipeline_open && s->copy == COPY_NONE
        && !s->in_doubt && !s->unrecorded && !s->io.gap && !s->io.body_left && !s->internal
        && !bytes_pending(&s->io.stash) && !bytes_pending(&s->io.out)
        && (!s->client || !s->client->io.body_left || s->client->drop_body);
}

/* The client has got the beginning of a message whose end has not come yet. */
bool server_in_message(const struct server *s) { return s->io.body_left && !s->internal_body; }

/* The one way back into the pool. */
void server_give_back(struct relay *r, struct server *s) {
    if (!server_in_step(s)) {
        server_close(r, s, true, "not in step");
        return;
    }
    /* by what was said, too: a client may leave before it is settled what follows */
    if (session_beyond_reset(r, s)) {
        if (s->client) s->client->server = NULL; /* it leaves, or goes on without: nothing is closed for it */
        session_left(r, s);
        s->client = NULL;
        server_close(r, s, false, "carries state of a session that cannot be undone");
        return;
    }
    session_left(r, s);
    if (s->client) {
        s->client->server = NULL;
        if (r->t->h->retiring) conn_ready(r, &s->client->io); /* it may have to leave now */
        bool used = !s->fresh;
        s->client = NULL;
        enum handover how = handover_after(r, s, used);
        if (how != HANDOVER_AS_IT_IS) {
            pool_detach(r->t, s->slot, r->now);
            handover_begin(r, s, how);
            return;
        }
    }
    /* before the first look, which may take long: what changes meanwhile is to be noticed */
    if (defaults_due(r, s)) {
        pool_detach(r->t, s->slot, r->now);
        defaults_ask(r, s, true);
        return;
    }
    if (catalog_due(r, s)) {
        pool_detach(r->t, s->slot, r->now);
        catalog_ask(r, s);
        return;
    }
    s->dirty = false;
    struct outcome out;
    pool_release(r->t, s->slot, r->worker, r->now, &out);
    if (out.client == NOBODY && r->t->slots[s->slot].owner != r->worker
        && r->t->slots[s->slot].state == SL_ACTIVE)
        conn_disarm(r, &s->io); /* went to another worker */
    relay_apply(r, &out);
}

/* The client leaves its server.  `clean`: it said Terminate, so what it has sent still runs, as it would
 * without a pooler; otherwise a running query is canceled. */
void server_left(struct relay *r, struct server *s, bool clean) {
    struct client *c = s->client;
    c->server = NULL;
    struct client_row *row = &r->t->clients[c->row];
    row->request_start = row->xact_start = 0;
    if (s->dedicated) {
        session_left(r, s);
        s->client = NULL;
        s->shut = c->io.body_left != 0; /* no Terminate into the middle of a message */
        bool runs = s->requests.count != 0;
        server_close(r, s, !clean, "replication client was closed");
        if (!clean || !runs) return;
        slot_flag(r->t, s->slot, SF_WAS_BUSY); /* a backup would be sent to its end, for nobody */
        relay_emit(r, &(struct event){.type = EVENT_CANCEL, .a = s->slot, .id = s->generation});
        return;
    }
    if (s->internal == INTERNAL_RESET) { /* of what another has left: it goes on */
        session_left(r, s);
        s->client = NULL;
        pool_detach(r->t, s->slot, r->now);
        return;
    }
    if (s->mode != MODE_SESSION) s->dirty |= session_dirty(s);
    if (r->t->pools[row->pool].limits.session_state == SESSION_STRICT) s->dirty |= !s->fresh;
    if (server_in_step(s) && (s->releasable || s->fresh || s->session.pinned)) {
        c->server = s;
        server_give_back(r, s);
        c->server = NULL;
        return;
    }
    if (s->internal >= INTERNAL_RESTORE && s->requests.count == 1 && !bytes_pending(&s->io.out)
        && !session_beyond_reset(r, s)) {
        session_left(r, s); /* when our question is answered the server is cleaned */
        s->client = NULL;
        s->dirty = true;
        pool_detach(r->t, s->slot, r->now);
        return;
    }
    bool half = c->io.body_left && !c->drop_body;
    bool idle_in_transaction = s->requests.count == 0 && s->copy == COPY_NONE && !half && !s->internal
        && !s->skip && !s->in_doubt && !s->unrecorded && !s->io.gap && !s->io.body_left
        && !bytes_pending(&s->io.out) && (s->transaction == 'T' || s->transaction == 'E')
        && !session_beyond_reset(r, s);
    session_left(r, s);
    s->client = NULL;
    if (idle_in_transaction) {
        pool_detach(r->t, s->slot, r->now);
        s->fresh = false;
        server_own(r, s, INTERNAL_ROLLBACK, "ROLLBACK", true);
        return;
    }
    s->shut = half; /* no Terminate into the middle of a message */
    server_close(r, s, !clean, "client disconnect while server was not ready");
}

/* Ends a connection for everybody: Terminate, then our side of the stream; the row is freed at end of stream.
 * `busy`: PostgreSQL is (or may be) running something that nobody wants any more. */
void server_close(struct relay *r, struct server *s, bool busy, const char *reason) {
    static const unsigned char TERMINATE[5] = {'X', 0, 0, 0, 4};
    if (s->closing) return;
    struct client *c = s->client;
    s->altered |= (s->session.effect_flags & EFFECT_SCHEMA) != 0;
    session_left(r, s);
    s->client = NULL;
    if (r->t->slots[s->slot].state != SL_CLOSING) pool_begin_close(r->t, s->slot, r->worker, busy);
    s->closing = true;
    s->reason = reason;
    s->internal = INTERNAL_NONE;
    s->internal_blocks = s->asks_columns = false;
    if (busy) relay_emit(r, &(struct event){.type = EVENT_CANCEL, .a = s->slot, .id = s->generation});
    bool opaque = r->t->slots[s->slot].tls[0] && (s->raw || !r->t->slots[s->slot].bridge_life);
    if (!s->shut && !busy && !opaque) conn_send(r, &s->io, TERMINATE, sizeof TERMINATE);
    s->shut = false;
    conn_arm(r, &s->io);
    s->io.readable = true;
    conn_ready(r, &s->io);
    if (!c) return;
    c->server = NULL;
    /* nothing was lost: it waits for another */
    if (s->fresh && !c->io.hangup && c->lost_servers++ < LOST_SERVERS_MAX) {
        client_requeue(r, c);
    } else {
        const char *text = s->fatal_sent || server_in_message(s) ? NULL : "server conn crashed?";
        client_close(r, c, "08P01", text, "server conn crashed?");
    }
}

/* Nothing of its client, and nothing for it, is on its way there. */
bool server_untouched(const struct server *s) { return s->fresh && !s->closing && !s->requests.count; }

/* Another server for a client that this one was not sent anything of; false: something was. */
bool server_replace(struct relay *r, struct server *s) {
    struct client *c = s->client;
    if (!server_untouched(s)) return false;
    c->lost_servers = 0; /* it works, and is only not the right one */
    server_close(r, s, false, "client needs a new server");
    return true;
}

static const char *unanswered(enum internal_request what) {
    switch (what) {
    case INTERNAL_SETTINGS: return "settings unanswered";
    case INTERNAL_SEQUENCES: return "request about sequences unanswered";
    case INTERNAL_CHECK: return "test query unanswered";
    case INTERNAL_RESET: return "reset query unanswered";
    case INTERNAL_ROLLBACK: return "rollback unanswered";
    case INTERNAL_STEP: return "number of answers unknown";
    case INTERNAL_RESTORE:
    case INTERNAL_PROBE: return "question about the session unanswered";
    case INTERNAL_CATALOG: return "question about the catalogs unanswered";
    case INTERNAL_LISTEN:
    case INTERNAL_UNLISTEN:
    case INTERNAL_NOTIFY: return "request about channels unanswered";
    case INTERNAL_DEFAULTS: return "question about defaults unanswered";
    case INTERNAL_NONE: break;
    }
    return "request unanswered";
}

/* What takes the longer the more there is gets more time than what is answered at once. */
static uint64_t patience_for(const struct relay *r, enum internal_request what) {
    bool slow = what == INTERNAL_RESET || what == INTERNAL_CATALOG;
    return r->options.answer_timeout_us * (slow ? 6 : 1);
}

/* Time has passed.  Nobody waits for what a server is asked that nobody has and that is to be closed anyway.
 * A request of ours that a dead host never answers: its client, if any, gets another server.
 * (What a client sent behind ours without waiting has the client's limits.)  And a client that hung up behind
 * a server that reads nothing: as long as that one reads, it gets what was sent. */
void server_overdue(struct relay *r, struct server *s) {
    enum internal_request what = (enum internal_request)s->internal;
    if (s->io.fd < 0 || s->closing) return;
    if (what && !s->client && r->t->slots[s->slot].flags & SF_CLOSE_NEEDED) { /* KILL waits for its end */
        server_close(r, s, true, "database configuration changed");
        return;
    }
    if (!r->options.answer_timeout_us) return;
    if (what && (s->internal_blocks || !s->client) && r->now > s->internal_since + patience_for(r, what))
        server_close(r, s, true, unanswered(what));
    else if (!what && !s->client && (bytes_pending(&s->io.stash) || s->io.body_left)
             && r->now > s->internal_since + patience_for(r, INTERNAL_NONE))
        server_close(r, s, true, "server sent half a message");
    else if (s->client && s->client->io.hangup && s->io.stuck
             && r->now > s->io.stuck_since + patience_for(r, INTERNAL_NONE))
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
 * Who inherits the encrypted connection finishes the slot. */
static void server_lost(struct relay *r, struct server *s) {
    if (!s->closing) server_close(r, s, true, "server conn crashed?");
    drop_descriptor(r, s);
    s->closing = false;
    pool_abandon(r->t, s->slot);
}

/* End of stream: PostgreSQL has let go of this connection, so its row is free. */
static void server_gone(struct relay *r, struct server *s) {
    struct slot_row *row = &r->t->slots[s->slot];
    if (row->bridge_life && !s->raw && atomic_load(&row->over) != s->generation) {
        server_lost(r, s);
        return;
    }
    struct event e = {.type = EVENT_SERVER_CLOSED,
                      .a = s->slot,
                      .b = row->pool,
                      .id = row->id,
                      .age_us = r->now - row->connected_at,
                      .port = row->where.port,
                      .database = r->t->pools[row->pool].database,
                      .user = r->t->pools[row->pool].user};
    memcpy(e.addr, row->where.addr, sizeof e.addr);
    if (!s->closing) server_close(r, s, false, "server conn crashed?");
    snprintf(e.text, sizeof e.text, "%s", s->reason ? s->reason : "server conn crashed?");
    if (s->altered) session_made(r, s); /* whatever still ran has ended by now */
    uint32_t generation = s->generation;
    drop_descriptor(r, s);
    s->closing = false;
    struct outcome out;
    pool_freed(r->t, s->slot, r->worker, r->now, &out);
    /* Only now: if we are killed before, somebody must still be able to read the end of this connection. */
    server_tell_closed(r, s->slot, generation);
    relay_emit(r, &e);
    relay_apply(r, &out);
}

/* ---- replies ------------------------------------------------------------------------------- */

struct counters *counters_of(struct relay *r, int32_t pool) {
    return &r->t->counters[(int64_t)r->worker * r->t->h->sizes.pools + pool];
}

/* Two buckets per power of two. */
void count_time(uint64_t *histogram, uint64_t us) {
    uint32_t bucket = 0;
    if (us) {
        uint32_t top = 63u - (uint32_t)__builtin_clzll(us);
        bucket = 2 * top + (top ? (uint32_t)(us >> (top - 1)) & 1u : 0);
    }
    histogram[bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1]++;
}

static void count_ready(struct relay *r, struct server *s) {
    struct client_row *row = &r->t->clients[s->client->row];
    struct counters *n = counters_of(r, r->t->slots[s->slot].pool);
    n->query_count++;
    if (row->request_start && r->now > row->request_start) {
        n->query_time += r->now - row->request_start;
        count_time(n->query_histogram, r->now - row->request_start);
    }
    row->request_start = s->requests.count ? r->now : 0;
    row->idle_start = r->now; /* also in a transaction; requests of ours that follow are not the client's */
    if (s->transaction != 'I') return;
    n->xact_count++;
    if (row->xact_start && r->now > row->xact_start) n->xact_time += r->now - row->xact_start;
    row->xact_start = s->requests.count ? r->now : 0;
}

/* What the server told of one of its parameters becomes its client's value.  n == 0: it is too long to be
 * remembered. */
static void parameter(struct relay *r, struct server *s, const unsigned char *body, uint32_t n, bool own) {
    const char *name = (const char *)body;
    struct slot_row *row = &r->t->slots[s->slot];
    if (!s->client || !n) {
        /* a rollback of ours changed them; after a reset internal_done() knows */
        row->settings = (struct digest){0};
        return;
    }
    struct client *c = s->client;
    if (own && s->internal != INTERNAL_SETTINGS && s->internal != INTERNAL_RESTORE) return;
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
        conn_send(r, &s->io, "S\0\0\0\4", 5);
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

/* Requests of ours behind which no transaction may be open; what the operator has written may leave one. */
static bool ends_transaction(enum internal_request what) {
    return what == INTERNAL_CHECK || what == INTERNAL_RESET || what == INTERNAL_ROLLBACK;
}

static bool ready(struct relay *r, struct server *s, uint8_t status) {
    uint8_t head = requests_head(&s->requests), letter = head & 0x7f;
    bool doubtful = doubt_answered(s);
    /* more than there were Syncs */
    if (!doubtful && s->internal == INTERNAL_STEP && head == ('Q' | INTERNAL) && !s->step_seen) return false;
    if (!doubtful && letter != 'Q' && letter != 'S' && letter != 'F')
        return s->dedicated && !s->requests.count;
    if (!doubtful) requests_pop(&s->requests);
    if (!s->requests.count) s->session.sets_meaning = s->pipeline_open = s->pipeline_ours = false;
    if (!s->requests.count && status == 'I') s->deeds = 0;
    s->transaction = status;
    s->skip = false;
    if (head & INTERNAL && status != 'I' && ends_transaction((enum internal_request)s->internal))
        s->internal_failed = true;
    if (doubtful && s->internal == INTERNAL_STEP) return true;
    struct client *before = s->client;
    bool first = s->internal == INTERNAL_SETTINGS || s->internal == INTERNAL_CHECK
        || s->internal == INTERNAL_RESET || s->internal == INTERNAL_LISTEN
        || s->internal == INTERNAL_SEQUENCES || s->internal == INTERNAL_DEFAULTS; /* before its statement */
    /* its Query comes behind */
    if (head & INTERNAL && s->internal == INTERNAL_STEP && letter == 'S') return true;
    if (head & INTERNAL) internal_done(r, s);
    else if (s->client) count_ready(r, s);
    if (head & INTERNAL) guard_look(r, s);
    doubt_ask(r, s);
    if (s->client != before) return true; /* its client is gone, and it may be somebody else's already */
    /* not when it was only to be greeted */
    bool its_turn = (head & INTERNAL) && first && s->client && !s->releasable;
    if (!s->client && !s->closing && !s->internal && !s->requests.count && s->transaction != 'I') {
        server_close(r, s, false, "not in step"); /* nothing that is ours leaves a transaction open */
        return true;
    }
    s->releasable = !s->closing && !its_turn && s->transaction == 'I' && s->requests.count == 0
        && s->internal == INTERNAL_NONE && !s->in_doubt;
    return true;
}

/* By the field V, which no lc_messages translates. */
static bool is_fatal(const unsigned char *body, uint32_t n) {
    return memmem(body, n, "\0VFATAL", 8) || memmem(body, n, "\0VPANIC", 8);
}

/* Our request met an error: its code and text, for whom it concerns. */
static void internal_error(struct relay *r, struct server *s, const unsigned char *body, uint32_t n) {
    s->internal_failed = true;
    s->internal_text[0] = '\0';
    memcpy(s->internal_sqlstate, "XX000", sizeof s->internal_sqlstate); /* an error need not have a code */
    server_message_field(body, n, 'C', s->internal_sqlstate, sizeof s->internal_sqlstate);
    if (strlen(s->internal_sqlstate) != 5) memcpy(s->internal_sqlstate, "XX000", sizeof s->internal_sqlstate);
    server_message_field(body, n, 'M', s->internal_text, sizeof s->internal_text);
    if (s->internal == INTERNAL_NONE) sequences_not_discarded(r, s);
}

/* Whether a message answers a request of ours.  Parameters that change while one among the client's own is
 * answered are the client's: the end of its transaction, or a reload, has changed them. */
static bool is_own(const struct server *s, enum backend_effect effect) {
    /* Syncs of the client are answered */
    if (s->internal == INTERNAL_STEP && !s->step_seen && effect != BE_EMPTY)
        return effect == BE_READY && requests_head(&s->requests) == ('S' | INTERNAL);
    return requests_head(&s->requests) & INTERNAL
        && !(effect == BE_PARAMETER && s->internal == INTERNAL_NONE);
}

/* A server may say it whenever it likes. */
static bool owed_by_nobody(enum backend_effect effect) {
    return effect == BE_NOTICE || effect == BE_PARAMETER || effect == BE_NOTIFY;
}

/* What may come while the server reads CopyData. */
static bool during_copy(enum backend_effect effect) {
    return owed_by_nobody(effect) || effect == BE_COMMAND || effect == BE_ERROR;
}

/* One message of the server.  False: it is out of step. */
static bool effect_of(struct relay *r, struct server *s, enum backend_effect effect,
                      const unsigned char *body, uint32_t n) {
    struct requests *q = &s->requests;
    uint8_t head = requests_head(q) & 0x7f;
    if (s->copy != COPY_NONE && !s->dedicated && !during_copy(effect)) return false;
    switch (effect) {
    case BE_POP_PARSE:
    case BE_POP_BIND:
    case BE_POP_CLOSE: {
        static const char letters[] = {0, 'P', 'B', 'C'};
        uint8_t request = requests_head(q), letter = request & 0x7f;
        if (letter != letters[effect] && !(effect == BE_POP_PARSE && letter == 'U')) return false;
        requests_pop(q);
        if (effect == BE_POP_PARSE) statements_parsed(r, s, request);
        return true;
    }
    case BE_PARAMDESC:
        if (requests_head(q) == ('D' | INTERNAL)) columns_parameters(s, body, n);
        return true;
    case BE_ROWDESC:
    case BE_NODATA:
        if (requests_head(q) == ('D' | INTERNAL))
            columns_learned(r, s, effect == BE_ROWDESC ? body : NULL, n);
        if (head == 'D') requests_pop(q);
        return true;
    case BE_COMMAND:
    case BE_EMPTY:
    case BE_SUSPENDED:
        if (effect == BE_EMPTY && s->internal == INTERNAL_STEP && requests_head(q) == ('Q' | INTERNAL))
            s->step_seen = true;
        if (s->copy != COPY_NONE && !copy_completed(s)) return false;
        if (effect == BE_COMMAND && n > 1 && (strchr("ACDR", body[0]) || body[1] == 'M'))
            statements_tag(r, s, body, n);
        if (effect == BE_COMMAND && n >= 8 && memcmp(body, "ROLLBACK", 8) == 0) session_failed(s);
        if ((requests_head(q) & 0x7f) == 'E') requests_pop(q);
        return true;
    case BE_ERROR:
        if (s->copy != COPY_NONE && !copy_failed(s)) return false;
        if (settings_ahead_failed(r, s, body, n)) return true;
        /* no Sync leads to an error */
        if (s->internal == INTERNAL_STEP && requests_head(q) == ('Q' | INTERNAL)) return is_fatal(body, n);
        if (requests_head(q) == ('Q' | INTERNAL) && is_fatal(body, n)) { /* no answer follows it */
            server_close(r, s, false, "server conn crashed?");
            return true;
        }
        /* its client goes on with another, and hears nothing */
        if (s->client && server_untouched(s) && is_fatal(body, n)) {
            server_close(r, s, false, "server conn crashed?");
            return true;
        }
        if (requests_head(q) == ('Q' | INTERNAL)) internal_error(r, s, body, n);
        else s->fatal_sent = s->client && is_fatal(body, n);
        if (s->fatal_sent) s->releasable = false; /* behind its last answer: nobody gets it any more */
        session_failed(s);
        if (s->replay.verdict != VERDICT_WAIT && !server_skip(r, s)) return false;
        if (head == 'E') doubt_ask(r, s); /* a Query has its ReadyForQuery first */
        return true;
    case BE_READY: return ready(r, s, body[0]);
    case BE_COPY_BOTH:
        if (!s->dedicated) return false;
        s->copy = COPY_READING;
        return true;
    case BE_COPY_IN: return copy_begins(r, s) || s->dedicated;
    case BE_PARAMETER: parameter(r, s, body, n, is_own(s, effect)); return true;
    case BE_FORBIDDEN: return false;
    default: return true;
    }
}

static bool looked_into(const struct server *s, enum backend_effect effect) {
    return effect == BE_READY || effect == BE_PARAMETER || effect == BE_ERROR || effect == BE_COMMAND
        || (effect == BE_NOTHING
            && (s->internal >= INTERNAL_RESTORE || s->internal == INTERNAL_RESET
                || (s->internal == INTERNAL_SETTINGS && s->client && greeting_asked(s->client))))
        || ((effect == BE_ROWDESC || effect == BE_PARAMDESC)
            && requests_head(&s->requests) == ('D' | INTERNAL));
}

/* Messages that are looked into are read whole up to this size; rows of the catalogs have bodies of functions
 * in them. */
static uint32_t whole_bytes(const struct server *s) {
    return s->internal == INTERNAL_CATALOG ? BUFFER_BYTES - 1 : WHOLE_MESSAGE_BYTES;
}

static void internal_row(struct relay *r, struct server *s, const unsigned char *body, uint32_t n,
                         bool whole) {
    if (s->internal == INTERNAL_CATALOG) catalog_take_row(r, s, body, n, whole);
    else session_row(r, s, body, whole);
}

static void to_client(struct relay *r, struct server *s, const unsigned char *p, uint32_t n) {
    if (!n || !s->client) return;
    conn_send(r, &s->client->io, p, n);
    struct client_row *row = &r->t->clients[s->client->row];
    if (s->client->io.stuck && !row->stuck_start) {
        row->stuck_start = r->now;
        memory_count(r, s->client);
    }
    counters_of(r, r->t->slots[s->slot].pool)->bytes_sent += n;
}

/* Statement pooling: a transaction that outlives its statement is refused, before the client hears of it. */
static bool open_transaction_refused(struct relay *r, struct server *s, uint8_t status) {
    if (!s->client || s->dedicated || status == 'I' || s->mode != MODE_STATEMENT) return false;
    static const char text[] = "transaction blocks not allowed in statement pooling mode";
    client_close(r, s->client, "08P01", text, text);
    return true;
}

static bool report_hidden(struct relay *r, const struct server *s, const unsigned char *body) {
    const char *name = (const char *)body;
    return session_report_hidden(r, s, name, name + strlen(name) + 1);
}

/* What was not asked for, while nothing is outstanding, or behind the last answer (`next`: what follows this
 * message, if it has come).  It would be taken for an answer to what is sent next, which may be another
 * client's. */
static bool unasked(const struct server *s, enum backend_effect effect, const unsigned char *body, uint32_t n,
                    const unsigned char *next) {
    if (s->dedicated) return false;
    /* it says why it ends */
    if (!s->requests.count && s->client && effect == BE_ERROR) return !is_fatal(body, n);
    if (!s->requests.count) return !owed_by_nobody(effect) && !(effect == BE_READY && s->in_doubt);
    return effect == BE_READY && s->requests.count == 1 && !s->in_doubt && next
        && !owed_by_nobody(backend_effects[*next]) && backend_effects[*next] != BE_ERROR;
}

/* Whether a message breaks the protocol (io/server_messages.h).  Nothing in it is read before this. */
static bool malformed(const struct server *s, const unsigned char *p, enum backend_effect effect,
                      uint32_t here, uint32_t length) {
    if (effect == BE_FORBIDDEN) return true;
    return here == length + 1 && !server_message_well_formed(p[0], p + 5, here - 5, s->internal_body);
}

/* Closes a server for the message at p[at].  What stands before it is its client's: a message of which that
 * has got the beginning must have its end, or it takes what we say for data. */
static void out_of_step(struct relay *r, struct server *s, const unsigned char *p, uint32_t run, uint32_t at,
                        bool speaks) {
    if (run < at) to_client(r, s, p + run, at - run);
    if (!s->closing)
        server_close(r, s, speaks, speaks ? "server sent an unexpected message" : "server conn crashed?");
}

/* Looks at every message in p[0..n), passes on what is for the client.  Returns the bytes used. */
static uint32_t feed(struct relay *r, struct server *s, const unsigned char *p, uint32_t n) {
    uint32_t at = 0, run = 0; /* [run, at) is to be passed on */
    if (s->io.body_left) {
        at = s->io.body_left < n ? s->io.body_left : n;
        s->io.body_left -= at;
        if (s->internal_body) run = at;
        if (statements_due(s)) {
            to_client(r, s, p + run, at - run);
            run = at;
            statements_answer(r, s);
        }
    }
    const uint32_t framed = at; /* here and behind messages begin */
    char refusal[COPY_REFUSAL_BYTES];
    while (n - at >= 5 && !s->closing) {
        uint32_t length = read_u32(p + at + 1), left = n - at;
        enum backend_effect effect = backend_effects[p[at]];
        if (!server_message_length_fits(p[at], length)) effect = BE_FORBIDDEN;
        uint32_t here = length < left ? length + 1 : left;
        bool notification = p[at] == 'A';
        if ((looked_into(s, effect) || notification) && here <= length && length < whole_bytes(s)) break;
        if (unasked(s, effect, p + at + 5, here - 5, left > length + 1 ? p + at + length + 1 : NULL)) {
            out_of_step(r, s, p, run, at, effect != BE_ERROR);
            return n;
        }
        struct client *c = s->client;
        /* an error that our own Parse meets is the client's: its statement cannot be prepared any more */
        s->internal_body = !notification && is_own(s, effect)
            && (effect != BE_ERROR || requests_head(&s->requests) == ('Q' | INTERNAL)
                || s->internal == INTERNAL_SETTINGS);
        if (malformed(s, p + at, effect, here, length)) {
            out_of_step(r, s, p, run, at, true);
            return n;
        }
        if (effect == BE_ERROR && c && copy_was_refused(s, p + at + 5, here - 5, refusal)) {
            to_client(r, s, p + run, at - run);
            if (c->leaving) client_left_copy(r, c);
            else client_close(r, c, "08P01", refusal, refusal);
            return n;
        }
        if (effect == BE_READY) statements_ended(r, s, p[at + 5]);
        bool hidden = s->internal_body, held = false;
        if (session_restoring(r, s, effect, p + at + 5, here - 5) && here == length + 1
            && (!hidden || s->internal == INTERNAL_RESTORE)) {
            if (effect == BE_PARAMETER) hidden = report_hidden(r, s, p + at + 5);
            if (effect == BE_READY && !hidden) {
                to_client(r, s, p + run, at - run);
                run = at;
                hidden = held = session_hold(r, s, p[at + 5]);
            }
        }
        if (effect == BE_READY && !hidden && c && p[at + 5] == 'I') {
            hidden = listen_hold(r, s, p[at + 5]);
            if (!hidden && bytes_pending(&c->notifications)) { /* else the reply is one write */
                to_client(r, s, p + run, at - run);
                run = at;
                listen_flush(r, c);
            }
        }
        if (notification) hidden = listen_message(r, s, r->buffer + (p - r->buffer) + at);
        if (hidden) {
            to_client(r, s, p + run, at - run);
            run = at + here;
            if (s->internal_body && s->internal == INTERNAL_RESET)
                handover_heard(r, s, p[at], p + at + 5, here - 5, here == length + 1);
            bool greeting = s->internal == INTERNAL_SETTINGS && c && greeting_asked(c);
            if (s->internal_body && effect == BE_NOTHING && (s->internal >= INTERNAL_PROBE || greeting))
                internal_row(r, s, p + at + 5, here - 5, here == length + 1);
        } else if (effect == BE_READY) { /* the client may be gone or served by another afterwards */
            if (!open_transaction_refused(r, s, p[at + 5])) to_client(r, s, p + run, at + here - run);
            if (s->closing) return n;
            run = at + here;
        }
        if (effect == BE_ERROR && !s->internal_body && here == length + 1
            && replan_error(r, s, p + at, here, p + run, at - run, run >= framed))
            run = at + here;
        bool cut = effect == BE_PARAMETER && here <= length;
        if (!effect_of(r, s, effect, p + at + 5, cut ? 0 : here - 5)) {
            out_of_step(r, s, p, run, at, true);
            return n;
        }
        if (held && s->client == c && !s->closing) session_restore(r, s);
        if (s->client != c) run = at + here;
        s->io.body_left = length + 1 - here;
        at += here;
        if (statements_due(s)) {
            to_client(r, s, p + run, at - run);
            run = at;
            statements_answer(r, s);
        }
    }
    if (s->closing) return n;
    to_client(r, s, p + run, at - run);
    return at;
}

/* server_fast_close: in session pooling an outdated server does not wait for the end of its session.  Its
 * client goes too, so that it notices that its session is over.  True: they are gone. */
bool server_fast_closed(struct relay *r, struct server *s) {
    const struct slot_row *row = &r->t->slots[s->slot];
    bool due = r->options.fast_close && s->client && row->flags & SF_CLOSE_NEEDED && !s->fresh && !s->closing
        && s->mode == MODE_SESSION && s->releasable && server_in_step(s) && !s->client->io.body_left
        && !bytes_pending(&s->client->io.stash);
    if (due)
        client_close(r, s->client, "08P01", "database configuration changed",
                     "database configuration changed");
    return due;
}

static void release_if_done(struct relay *r, struct server *s) {
    if (!s->releasable || s->dedicated || !server_in_step(s)) return;
    if (server_fast_closed(r, s)) return;
    bool session = s->mode == MODE_SESSION;
    if (s->client && !s->fresh && listen_waits(r, s)) return;
    if (s->client && !s->fresh && session_settle(r, s)) {
        if (s->client && !s->internal) listen_after(r, s, true);
        if (s->client && !s->internal && !s->closing) catalog_between(r, s);
        return;
    }
    if (s->client && !s->fresh && listen_after(r, s, false)) return;
    if (s->client && session && !s->fresh) {
        session_begin(&s->session);
        return;
    }
    s->releasable = false;
    if (s->placing) place(r, s);
    else server_give_back(r, s);
}

/* Something arrived on a connection that may not be ours: only the owner of the slot reads. */
static bool owned(struct relay *r, struct server *s) {
    if (s->client || s->internal || s->closing) return true;
    struct slot_row *row = &r->t->slots[s->slot];
    if ((row->state == SL_IDLE || row->state == SL_PARKED)
        && pool_claim_idle(r->t, s->slot, s->generation, r->worker)) {
        s->releasable = true;
        s->internal_since = r->now;
        return true;
    }
    if (row->state == SL_ACTIVE && row->owner == r->worker && row->client == NOBODY
        && row->generation == s->generation)
        return true; /* claimed like this before, and a message was not complete then */
    conn_disarm(r, &s->io);
    return false;
}

static void discard(struct relay *r, struct server *s) {
    if (!bytes_pending(&s->io.out) && !s->shut) /* all of ours is out; not connected yet: when it is */
        s->shut = shutdown(s->io.fd, SHUT_WR) == 0 || errno != ENOTCONN;
    for (int round = 0; round < ROUNDS; round++) {
        ssize_t got = recv(s->io.fd, r->buffer, r->buffer_bytes, MSG_DONTWAIT);
        if (got > 0 || (got < 0 && errno == EINTR)) continue;
        s->io.readable = false;
        if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) server_gone(r, s);
        return;
    }
    conn_ready(r, &s->io);
}

/* Bytes of its stream are lost. */
static void without_memory(struct relay *r, struct server *s) {
    s->io.gap = true;
    if (s->client) memory_refuse(r, s->client);
    if (!s->closing) server_close(r, s, true, "out of memory");
}

void server_run(struct relay *r, struct server *s) {
    if (s->io.fd < 0 || !owned(r, s)) return;
    if (bytes_pending(&s->io.out) && (s->io.stuck || s->closing)) {
        conn_flush(r, &s->io);
        if (!s->io.stuck && s->client) conn_ready(r, &s->client->io);
    }
    if (s->closing) {
        discard(r, s);
        return;
    }
    if (s->io.gap) {
        without_memory(r, s);
        return;
    }
    for (int round = 0; round < ROUNDS; round++) {
        if (s->client && (s->client->io.stuck || (suspended_at(r, &s->io) && !s->internal))) return;
        bool received;
        uint32_t n = conn_fill(r, &s->io, suspended_limit(r, &s->io, BUFFER_BYTES), &received);
        uint32_t used = n ? feed(r, s, r->buffer, n) : 0;
        if (s->closing) return;
        if (!conn_stash(&s->io, r->buffer + used, n - used)) {
            without_memory(r, s);
            return;
        }
        if (s->client && s->client->held) client_resume(r, s->client);
        if (s->client && s->client->leaving) {
            client_leave(r, s->client);
            conn_ready(r, &s->io);
            if (!s->client) return;
        }
        if (s->io.eof && !received) {
            server_gone(r, s);
            return;
        }
        if (!s->io.readable || !received) {
            release_if_done(r, s);
            return;
        }
    }
    conn_ready(r, &s->io);
}
