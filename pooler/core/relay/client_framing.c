/* What a client sends, message by message: what it asks for, and where it goes. */
#include "relay/client_framing.h"

#include <string.h>

#include "io/buffer.h"
#include "io/connection.h"
#include "io/message_table.h"
#include "io/request_queue.h"
#include "io/rewritten.h"
#include "io/sqlstate.h"
#include "notify/announce.h"
#include "relay/cancel_guard.h"
#include "relay/client.h"
#include "relay/client_leave.h"
#include "relay/copy.h"
#include "relay/internal.h"
#include "relay/relay.h"
#include "relay/server.h"
#include "relay/server_close.h"
#include "relay/turns.h"
#include "relay/whole_message.h"
#include "session/client_reset.h"
#include "session/sequences.h"
#include "session/session.h"
#include "statements/client_names.h"
#include "statements/forward.h"
#include "statements/parse_settings.h"
#include "statements/parsing.h"
#include "statements/replan.h"
#include "statements/replay.h"
#include "statements/replies.h"
#include "statements/send.h"
#include "statements/sql_execute.h"
#include "statements/statement_store.h"
#include "tables/layout.h"
#include "tables/states.h"

static void fault(struct relay *r, struct client *c, const char *sqlstate, const char *text) {
    client_close(r, c, sqlstate, text, text);
}

/* Notes in the server's queue what this message will be answered with.  False: too many are in flight. */
static bool record(struct server *s, enum frontend_effect effect, uint8_t letter) {
    bool answered = effect != FE_FLUSH && effect != FE_COPY_DATA && effect != FE_COPY_DONE
        && effect != FE_COPY_FAIL;
    /* the rest of a COPY that failed long ago leaves a server as it is */
    if (answered) server_state_requested(s);
    switch (effect) {
    case FE_SYNC:
        if (s->copy == COPY_READING) return copy_sync(s);
        s->skip = s->pipeline_ours = false;
        parsing_end_pipeline(s);
        return requests_push(&s->requests, 'S');
    case FE_QUERY:
    case FE_FUNCTION:
    case FE_PARSE:
    case FE_BIND:
    case FE_DESCRIBE:
    case FE_EXECUTE:
    case FE_CLOSE: return s->skip || requests_push(&s->requests, letter);
    case FE_COPY_DONE:
    case FE_COPY_FAIL:
        if (s->copy == COPY_READING) s->copy = COPY_ENDING;
        else if (s->requests.count && !s->skip) return requests_push(&s->requests, 'c');
        return true;
    default: return true;
    }
}

/* A message that needs no server, because nothing in it would be answered by one: it has none, or what is
 * sent is skipped. True: it is dealt with. */
static bool without_server(struct relay *r, struct client *c, enum frontend_effect effect) {
    if (c->state == CLIENT_DROPPING) {
        client_move(c, CLIENT_IDLE);
        return true;
    }
    if (effect == FE_SYNC) {
        if (c->state == CLIENT_SKIPPING) client_move(c, c->server ? CLIENT_SERVED : CLIENT_IDLE);
        if (c->server) c->server->replay.ended = true;
        if (c->server) client_ready(r, c, c->server->transaction);
        else conn_send(&r->loop, &c->io, READY_IDLE, READY_IDLE_BYTES);
        return true;
    }
    return c->state == CLIENT_SKIPPING || effect == FE_FLUSH || effect == FE_COPY_DATA
        || effect == FE_COPY_DONE || effect == FE_COPY_FAIL;
}

/* A Query behind an Execute without Sync leaves PostgreSQL in a state in which the next statement, whoever's
 * it is, may fail ("StartTransactionCommand: unexpected state STARTED"). */
static void never_again(struct relay *r, const struct server *s) {
    if (s->pipeline_open && s->pipeline_runs && s->mode != MODE_SESSION)
        r->t->slots[s->slot].flags |= SF_CLOSE_NEEDED;
}

/* A statement of the client begins. */
void client_begins(struct relay *r, struct client *c) {
    struct client_row *row = &r->t->clients[c->row];
    if (row->request_start) return;
    row->request_start = r->loop.now;
    if (!row->xact_start) row->xact_start = r->loop.now;
}

/* What is to be sent before the next message is, in one write with it. */
static void forward_later(struct relay *r, struct client *c, const unsigned char *p, uint32_t n) {
    server_state_sent(c->server);
    conn_append(&r->loop, &c->server->io, p, n);
    counters_of(r, r->t->slots[c->server->slot].pool)->bytes_received += n;
}

static void forward(struct relay *r, struct client *c, const unsigned char *p, uint32_t n) {
    if (!n) return;
    struct server *s = c->server;
    server_state_used(s);
    c->lost_servers = c->refusals = 0;
    guard_look(r, s);
    conn_send(&r->loop, &s->io, p, n);
    counters_of(r, r->t->slots[s->slot].pool)->bytes_received += n;
}

/* Session pooling: what a Bind runs resets something, perhaps. */
static enum rewritten note_bind(struct relay *r, struct client *c, const unsigned char *p, uint32_t here,
                                uint32_t total) {
    const unsigned char *portal_end = memchr(p + 5, 0, here - 5), *end = p + here;
    const unsigned char *name = portal_end ? portal_end + 1 : end;
    if (!memchr(name, 0, (size_t)(end - name)))
        return here < total && here < HEAD_BYTES_MAX ? REWRITTEN_MORE : REWRITTEN_NOT;
    session_bound_resets(r, c, (const char *)name);
    return REWRITTEN_NOT;
}

/* What the text of a message says about the session. */
static enum rewritten note_text(struct relay *r, struct client *c, enum frontend_effect effect,
                                const unsigned char *p, uint32_t here, uint32_t total) {
    bool on = session_on(r, c);
    if (effect == FE_FUNCTION && on) return sequences_before_call(r, c, session_call(c, p, here));
    if (effect == FE_BIND && !on) return note_bind(r, c, p, here, total);
    if (effect == FE_EXECUTE)
        session_note_reset(r, c, 0); /* it may have been bound to what resets something */
    bool parse = effect == FE_PARSE && (!statements_on(r, c) || (here > 5 && p[5] == 0));
    if (effect != FE_QUERY && !parse) return REWRITTEN_NOT;
    if (here < total && total <= WHOLE_MESSAGE_BYTES) return REWRITTEN_MORE;
    const unsigned char *text = p + 5, *end = p + here;
    if (parse) text = memchr(text, 0, here - 5);
    if (!text) return REWRITTEN_NOT; /* malformed, PostgreSQL says so */
    text += parse;
    const unsigned char *zero = memchr(text, 0, (size_t)(end - text));
    uint32_t bytes = (uint32_t)((zero ? zero : end) - text);
    if (!on && parse) return session_keep_resets(r, c, (const char *)p + 5, (const char *)text, bytes);
    if (!on) {
        session_note_resets(r, c, (const char *)text, bytes);
        return REWRITTEN_NOT;
    }
    struct session *x = &c->server->session;
    if (parse && zero) x->effect_flags |= session_types(r, c, zero + 1, (uint32_t)(end - zero) - 1);
    bool before = x->sets_meaning;
    if (parse && !x->noted) x->parsed_unreported = meaning_unreported(c->server);
    x->sets_meaning = false;
    uint32_t effect_flags = session_text(r, c, (const char *)text, bytes, zero != NULL);
    /* its Bind and Execute will; itself it is read under what is in force */
    if (parse) x->parsed_sets_meaning = x->sets_meaning;
    x->sets_meaning = before || (!parse && x->sets_meaning);
    /* it gets another */
    if (c->server->unfit && !r->run_bytes && server_untouched(c->server)) return REWRITTEN_NOT;
    if (effect == FE_QUERY) return sequences_before_query(r, c, effect_flags, (const char *)text, bytes);
    return sequences_before_statement(r, c, effect_flags);
}

/* The server was sent what is in no queue: there are too many, or there was no memory. */
static void refuse_unrecorded(struct relay *r, struct client *c) {
    const struct server *s = c->server;
    if (s->requests.count >= REQUESTS_MAX || s->copy_syncs >= AHEAD_MAX)
        fault(r, c, PROTOCOL_VIOLATION, "too many requests in flight");
    else memory_refuse(r, c);
}

/* Behind an Execute of ours, and none of the client's, a Query or FunctionCall would be told that it is in a
 * transaction. WAIT: whether it is in one of the client's, or skipped, is not known yet. */
static enum rewritten end_own_run(struct relay *r, struct server *s) {
    if (!s->pipeline_ours || !s->pipeline_open || s->pipeline_runs || s->skip) return REWRITTEN_NOT;
    if (s->requests.count) return REWRITTEN_WAIT_ALL;
    if (s->transaction == 'I') send_sync(r, s);
    return REWRITTEN_NOT;
}

/* Whether what a message has in it, or what it runs, may say something about the session. */
static bool runs_text(const struct client *c, enum frontend_effect effect) {
    return effect == FE_PARSE || effect == FE_QUERY || effect == FE_FUNCTION
        || (effect == FE_BIND && c->parsed_resets)
        || (effect == FE_EXECUTE && c->server->session.reset_bound);
}

enum passing { PASS_NOW, PASS_LATER, PASS_NEVER, PASS_ELSEWHERE };

/* One message for the server: notes what it asks for, and replaces names of statements.  [*run, at) was not
 * yet passed on; what is to be passed on as it is begins at *run afterwards.  LATER: it must come whole
 * first. */
static enum passing pass_on(struct relay *r, struct client *c, enum frontend_effect effect,
                            const unsigned char *p, uint32_t at, uint32_t n, uint32_t total, uint32_t *run) {
    uint32_t head = 0, here = total < n - at ? total : n - at;
    enum rewritten how = REWRITTEN_NOT;
    r->run = p + *run; /* it has to go out before anything of ours */
    r->run_bytes = at - *run;
    r->ahead = n - at;
    if (effect == FE_PARSE || effect == FE_BIND) copy_note_deeds(r, c, p + at, here, total);
    if (effect == FE_QUERY || effect == FE_FUNCTION) how = end_own_run(r, c->server);
    if (how == REWRITTEN_NOT && runs_text(c, effect) && (session_on(r, c) || session_resets(r, c)))
        how = note_text(r, c, effect, p + at, here, total);
    bool unfit = c->server->unfit;
    c->server->unfit = false;
    if (unfit && *run == at && server_replace(r, c->server)) return PASS_ELSEWHERE;
    bool forwards = how == REWRITTEN_NOT && effect <= FE_CLOSE && effect != FE_EXECUTE && statements_on(r, c);
    if (forwards) how = statements_forward(r, c, p + at, here, total, &head);
    bool waits = how == REWRITTEN_WAIT || how == REWRITTEN_WAIT_ALL;
    c->server->session.noted = waits || (forwards && how == REWRITTEN_MORE);
    if (!r->run_bytes) *run = at;
    r->run_bytes = 0;
    switch (how) {
    case REWRITTEN_NOT:
        if (record(c->server, effect, p[at])) return PASS_NOW;
        refuse_unrecorded(r, c);
        return PASS_NEVER;
    case REWRITTEN_HEAD:
        if (head) *run = at + head;
        return PASS_NOW;
    case REWRITTEN_ALL:
        if (*run < at) forward_later(r, c, p + *run, at - *run);
        *run = at + here;
        return PASS_NOW;
    case REWRITTEN_MORE: return whole_wanted(r, c, here, total) ? PASS_LATER : PASS_NEVER;
    case REWRITTEN_WAIT_ALL: client_hold(c, HELD_FOR_ALL); return PASS_LATER;
    case REWRITTEN_WAIT:
        client_hold(c, effect == FE_QUERY ? HELD_FOR_ALL : HELD_FOR_NAMES);
        return PASS_LATER;
    case REWRITTEN_NO_MEMORY: memory_refuse(r, c); return PASS_NEVER;
    default: fault(r, c, TOO_LONG, "prepared statement is too long"); return PASS_NEVER;
    }
}

/* What uses prepared statements may have to be sent again. */
static void keep(const struct client *c, const unsigned char *p, uint32_t n) {
    struct replay *k = &c->server->replay;
    if (k->whole && c->names && c->names->count) replay_add(k, p, n);
    else k->whole = false;
}

/* The answers to all that is in flight have to come without another word of the client: PostgreSQL keeps
 * those of the extended protocol back until it is asked for them. */
void client_ask_for_answers(struct relay *r, struct client *c) {
    const struct requests *q = &c->server->requests;
    if (!q->count) return;
    uint8_t last = requests_at(q, q->count - 1) & 0x7f;
    if (last == 'S' || last == 'Q' || last == 'F' || c->io.body_left || c->server->flushed == q->pushed)
        return;
    c->server->flushed = q->pushed;
    conn_append(&r->loop, &c->server->io, "H\0\0\0\4", 5);
}

/* A message that is answered, or leads to an answer, other than Sync. */
static bool is_request(enum frontend_effect effect) {
    return effect <= FE_FUNCTION && effect != FE_SYNC && effect != FE_FLUSH;
}

/* Whether the message at p[at] has to wait for what becomes of a COPY from its client (copy.c); p[*run..at)
 * goes first. */
static bool waits_for_copy(struct relay *r, struct client *c, const unsigned char *p, uint32_t *run,
                           uint32_t at) {
    struct server *s = c->server;
    enum frontend_effect effect = frontend_effects[p[at]];
    bool asks = is_request(effect), refuse = s->copy == COPY_READING, doubt = s->in_doubt && s->skip;
    if (s->state == SERVER_DEDICATED || !(asks || effect == FE_SYNC)) return false;
    if (asks && (refuse || doubt)) {
        if (*run < at) forward_later(r, c, p + *run, at - *run);
        *run = at;
        if (refuse) copy_refuse(r, s, p[at]);
        else doubt_end(r, s);
    }
    bool waits = asks ? copy_decides(s) : copy_may_begin(s);
    if (waits) client_hold(c, HELD_FOR_ALL);
    return waits || s->internal_blocks;
}

/* Whether a message cannot be one, or is not allowed: its client is closed when its turn comes. */
static bool is_faulty(const struct relay *r, enum frontend_effect effect, uint32_t length) {
    return effect == FE_FORBIDDEN || length < 4 || length > r->options.max_packet_bytes
        || (effect == FE_QUERY && r->options.disable_pqexec);
}

enum turn { TURN_NOW, TURN_LATER, TURN_BACK };

/* Whether the message at p[at] may go to a server now.  LATER: it comes again, and what is before it goes.
 * BACK: all that was not passed on comes again, or the client is gone. */
static enum turn turn_of(struct relay *r, struct client *c, const unsigned char *p, uint32_t at,
                         uint32_t here, uint32_t total, uint32_t *run, uint32_t *first) {
    enum frontend_effect effect = frontend_effects[p[at]];
    if (!c->server && (whole_before_server(r, c, here, total) || !client_acquire(r, c))) return TURN_BACK;
    if (c->server->internal_blocks) return TURN_BACK;
    if (c->server->in_doubt && !c->server->skip) return TURN_LATER;
    if (client_far_ahead(c) || client_undecided(c)) return TURN_LATER;
    if (waits_for_copy(r, c, p, run, at)) return TURN_LATER;
    if (execute_decides(c)) return TURN_LATER;
    if (effect != FE_PARSE && effect != FE_CLOSE && statements_due(c->server))
        statements_answer(r, c->server);
    if (*run == at && listen_first(r, c, p + at, here, total)) return TURN_BACK;
    if (!c->server->replay.ended) return TURN_NOW;
    /* it is judged by what has come, behind the loop */
    if (c->server->replay.verdict == VERDICT_WAIT) return TURN_LATER;
    /* but what a COPY reads is no other pipeline, and nothing is answered before its end */
    if (c->server->copy != COPY_READING && (sequences_wait(c->server) || session_resetting(c->server))) {
        client_hold(c, HELD_FOR_ALL);
        return TURN_LATER;
    }
    replay_begin(&c->server->replay, !c->server->requests.count);
    *first = at;
    return TURN_NOW;
}

/* A message has been passed on, or will be with those behind it. */
static void note_passed(struct relay *r, struct client *c, enum frontend_effect effect) {
    struct server *s = c->server;
    if (s->requests.count) client_begins(r, c);
    if (effect == FE_SYNC && c->names && s->copy != COPY_READING) c->names->pipeline++;
    if (effect == FE_QUERY || effect == FE_FUNCTION) never_again(r, s);
    if (effect >= FE_PARSE && effect <= FE_CLOSE) {
        s->pipeline_runs = (s->pipeline_open && s->pipeline_runs) || effect == FE_EXECUTE;
        s->pipeline_binds = (s->pipeline_open && s->pipeline_binds) || effect == FE_BIND;
        s->pipeline_open = true;
    }
    if (effect == FE_SYNC && s->copy != COPY_READING) s->pipeline_open = false;
    s->replay.ended = effect == FE_SYNC || effect == FE_QUERY || effect == FE_FUNCTION;
}

/* What was passed on goes out: p[run..at); p[first..at) may have to be sent again. */
static void pass_run(struct relay *r, struct client *c, const unsigned char *p, uint32_t first, uint32_t run,
                     uint32_t at) {
    if (at > first) keep(c, p + first, at - first);
    forward(r, c, p + run, at - run);
}

/* The same, and what follows from how far the client is. */
static void feed_end(struct relay *r, struct client *c, const unsigned char *p, uint32_t first, uint32_t run,
                     uint32_t at) {
    pass_run(r, c, p, first, run, at);
    if (!c->server->internal_blocks) doubt_ask(r, c->server);
    /* the next answer may be what it waits for */
    if (client_far_ahead(c) && !client_undecided(c)) client_hold(c, HELD_FOR_BACKLOG);
    if (client_far_ahead(c) || (c->state == CLIENT_HELD && c->held_for == HELD_FOR_ALL))
        client_ask_for_answers(r, c);
    if (statements_due(c->server)) statements_answer(r, c->server);
    if (bytes_pending(&c->server->io.out) && !c->server->io.stuck && !c->server->internal_blocks)
        conn_flush(&r->loop, &c->server->io);
    if (c->server->replay.verdict == VERDICT_WAIT) replan_held(r, c->server);
}

/* Looks at every message in p[0..n) and passes them on in runs as long as possible.  Returns the bytes used;
 * the rest must come again.  The client may be gone afterwards (CLIENT_CLOSED). */
uint32_t client_feed(struct relay *r, struct client *c, const unsigned char *p, uint32_t n) {
    uint32_t at = 0, run = 0, first = 0; /* [run, at) is to be passed on, [first, at) kept */
    if (c->io.body_left) {
        at = c->io.body_left < n ? c->io.body_left : n;
        c->io.body_left -= at;
        if (c->drop_body) run = at;
    }
    while (n - at >= 5 && turns_take(r, p[at] == 'd' ? WORK_DATA : WORK_MESSAGE)) {
        uint32_t length = load_be32(p + at + 1);
        enum frontend_effect effect = frontend_effects[p[at]];
        bool faulty = is_faulty(r, effect, length);
        if (faulty) memcpy(c->faulty, p + at, sizeof c->faulty);
        if (faulty || effect == FE_TERMINATE) {
            if (c->server) pass_run(r, c, p, first, run, at);
            client_end(r, c, faulty ? LEAVING_FAULT : LEAVING_TERMINATE);
            return n;
        }
        uint32_t here = length + 1 < n - at ? length + 1 : n - at;
        c->drop_body = (!c->server || c->state == CLIENT_SKIPPING) && without_server(r, c, effect);
        if (!c->drop_body) {
            enum turn turn = turn_of(r, c, p, at, here, length + 1, &run, &first);
            if (turn == TURN_BACK) return at;
            if (turn == TURN_LATER) break;
            enum passing how = pass_on(r, c, effect, p, at, n, length + 1, &run);
            if (how == PASS_ELSEWHERE) {
                conn_ready(&r->loop, &c->io);
                return at;
            }
            if (how == PASS_LATER) break;
            if (how == PASS_NEVER) return n;
            if (c->server->unrecorded) {
                refuse_unrecorded(r, c);
                return n;
            }
            note_passed(r, c, effect);
        }
        c->io.body_left = length + 1 - here;
        at += here;
        if (c->drop_body) run = at;
    }
    if (!c->server) return at;
    feed_end(r, c, p, first, run, at);
    return at;
}
