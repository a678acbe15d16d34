/* A client's side of the relay: framing, what a message asks for, waiting, leaving. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/message_table.h"
#include "relay/relay.h"
#include "session/accepted_settings.h"
#include "session/server_defaults.h"
#include "statements/forward.h"

static const unsigned char READY_IDLE[6] = {'Z', 0, 0, 0, 5, 'I'};

static bool acquire(struct relay *r, struct client *c);

/* ---- coming and going ---------------------------------------------------------------------- */

/* The client's settings are these now; takes over the reference. */
void client_settings(struct relay *r, struct client *c, struct settings *s) {
    settings_drop(&r->store, c->settings);
    c->settings = s;
    r->t->clients[c->row].settings = s->digest;
    if (c->server) plans_follow(r, c);
    memory_count(r, c);
}

/* ReadyForQuery that was held back, behind the notifications that came meanwhile. */
void client_ready(struct relay *r, struct client *c, uint8_t status) {
    unsigned char ready[6] = {'Z', 0, 0, 0, 5, status};
    listen_flush(r, c);
    conn_send(r, &c->io, ready, sizeof ready);
}

/* A client that has sent nothing to the server which it has lost waits for another, in its old place. */
void client_requeue(struct relay *r, struct client *c) {
    struct outcome out;
    c->waiting = true;
    pool_requeue(r->t, c->row, r->now, &out);
    relay_apply(r, &out);
}

/* Closes a client that there is no memory for. */
void client_turn_away(struct relay *r, const struct command *command) {
    const struct client_row *row = &r->t->clients[command->a];
    struct event e = {.type = EVENT_CLIENT_CLOSED,
                      .a = command->a,
                      .b = row->pool,
                      .database = row->database,
                      .user = row->user,
                      .id = row->id,
                      .age_us = r->now - row->connected_at,
                      .port = row->where.port,
                      .text = "out of memory"};
    struct outcome out;
    memcpy(e.addr, row->where.addr, sizeof e.addr);
    relay_emit(r, &e);
    client_free(r->t, command->a, r->worker, r->now, &out);
    tls_free(command->tls);
    close(command->b);
    relay_apply(r, &out);
}

/* Takes over a client whose login is done.  It is greeted at once when a server has accepted its startup
 * values before; else one has to, as it would be at a PostgreSQL of its own. */
void client_add(struct relay *r, struct command *command) {
    struct client *c = calloc(1, sizeof *c);
    struct settings_scope scope = scope_of_pool(r->t, r->t->clients[command->a].pool);
    struct settings *given = settings_intern(&r->store, &scope, (const char *)command->data,
                                             command->data_bytes, false);
    struct settings *begun = given ? settings_of_startup(r, given) : NULL;
    struct greeting *greeting = greeting_of(command);
    if (!c || !begun || !greeting || !profile_ready(r, r->t->clients[command->a].pool)) {
        free(c);
        free(greeting);
        settings_drop(&r->store, begun);
        settings_drop(&r->store, given);
        client_turn_away(r, command);
        return;
    }
    if (command->id & 1) { /* they are what servers of the pool have by themselves */
        struct settings *key = settings_without_name(r, given);
        if (key) {
            key->verified = true;
            accepted_keep(r, r->t->clients[command->a].pool, key);
            settings_drop(&r->store, key);
        }
    }
    c->io.kind = KIND_CLIENT;
    c->io.fd = command->b;
    c->io.tls = command->tls;
    c->row = command->a;
    struct client_row *row = &r->t->clients[c->row];
    row->idle_start = r->now;
    COMMIT();
    row->state = CL_IDLE;
    r->clients[c->row] = c;
    c->own_values = c->startup_values = (uint32_t)(command->id >> 1) & 0x7fffffffu;
    c->defaults_seen = (uint32_t)(command->id >> 32);
    c->greeting = greeting;
    uint32_t greeted = c->greeting->head_bytes + c->greeting->tail_bytes;
    bool kept = conn_stash(&c->io, command->data + command->data_bytes + greeted,
                           command->extra_bytes - greeted);
    c->io.readable = true;
    struct settings *known = greeting_accepted(r, c, given);
    c->startup = known ? settings_keep(known) : settings_keep(given);
    client_settings(r, c, known ? known : begun);
    if (known) settings_drop(&r->store, begun);
    settings_drop(&r->store, given);
    conn_arm(r, &c->io);
    conn_ready(r, &c->io);
    if (!kept) {
        memory_refuse(r, c);
        return;
    }
    const struct pool_row *pool = &r->t->pools[row->pool];
    bool soon = pool_serves_soon(r->t, row->pool);
    bool stale = pool->limits.mode != MODE_SESSION && defaults_stale(r, row->pool);
    if (known && !stale) client_greet(r, c);
    else if (known ? !pool_has_free(r->t, row->pool) : !soon)
        client_let_in(r, c); /* it need not wait for a server to get in */
    else acquire(r, c);
}

/* Reads and drops what is there: closing a socket with unread bytes resets the connection, and the reset
 * overtakes the error message. */
static void swallow_input(const struct conn *c) {
    char waste[4096]; /* not the read buffer: somebody up the stack may be working on it */
    for (int i = 0; i < 64; i++)
        if (recv(c->fd, waste, sizeof waste, MSG_DONTWAIT) <= 0) return;
}

/* Ends a client.  `text` (may be NULL) is what it is told, `reason` what the log says.  Its server must have
 * been taken from it before, or is closed. */
void client_close(struct relay *r, struct client *c, const char *sqlstate, const char *text,
                  const char *reason) {
    if (c->io.dead) return;
    struct client_row *row = &r->t->clients[c->row];
    struct event e = {.type = EVENT_CLIENT_CLOSED,
                      .a = c->row,
                      .b = row->pool,
                      .database = row->database,
                      .user = row->user,
                      .id = row->id,
                      .age_us = r->now - row->connected_at,
                      .port = row->where.port};
    memcpy(e.addr, row->where.addr, sizeof e.addr);
    snprintf(e.text, sizeof e.text, "%s", reason);
    e.told = text != NULL;
    relay_emit(r, &e); /* first: the log should know by the time that the client does */
    bool half = c->server && server_in_message(c->server);
    if (c->server) server_left(r, c->server, false);
    if (text && !half) { /* nothing of ours fits into the middle of a message */
        char message[EVENT_TEXT_BYTES + 512];
        conn_send(r, &c->io, message, error_message(message, "FATAL", sqlstate, text));
    }
    r->clients[c->row] = NULL;
    struct outcome out;
    client_free(r->t, c->row, r->worker, r->now, &out);
    conn_disarm(r, &c->io);
    if (c->io.tls && !bytes_pending(&c->io.out)) tls_close(c->io.tls);
    shutdown(c->io.fd, SHUT_WR);
    if (text || c->leaving) swallow_input(&c->io);
    close(c->io.fd);
    c->io.fd = -1;
    settings_drop(&r->store, c->settings);
    settings_drop(&r->store, c->startup);
    c->settings = c->startup = NULL;
    free(c->greeting);
    free(c->unconfirmed);
    c->greeting = c->unconfirmed = NULL;
    names_free(&r->statements, c->names);
    c->names = NULL;
    listen_client_gone(r, c);
    conn_bury(r, &c->io);
    relay_apply(r, &out);
    handover_leftovers(r, e.b, e.id);
}

static void fault(struct relay *r, struct client *c, const char *text) {
    client_close(r, c, "08P01", text, text);
}

/* ---- waiting ------------------------------------------------------------------------------- */

/* Gets a server or queues.  False: the client has to wait (or is gone). */
static bool acquire(struct relay *r, struct client *c) {
    struct outcome out;
    pool_acquire(r->t, c->row, r->now, &out);
    c->waiting = out.slot == NOBODY;
    if (c->waiting && c->io.hangup) r->hangups = true;
    if (out.slot != NOBODY) client_attached(r, c, out.slot);
    relay_apply(r, &out);
    return c->server && !c->io.dead;
}

/* Mode and session_state that hold until the server is given back.  A client whose statements and channels
 * are looked after goes on so: a server of its own would know nothing of them. */
static void adopt_limits(const struct relay *r, struct server *s) {
    const struct pool_limits *limits = &r->t->pools[r->t->slots[s->slot].pool].limits;
    const struct client *c = s->client;
    bool known = (c->names && c->names->count) || c->subscriptions;
    s->session_state = (uint8_t)limits->session_state;
    s->mode = (uint8_t)(limits->mode == MODE_SESSION && known ? MODE_TRANSACTION : limits->mode);
}

/* The table says that this client has `slot` now. */
void client_attached(struct relay *r, struct client *c, int32_t slot) {
    struct slot_row *row = &r->t->slots[slot];
    struct client_row *me = &r->t->clients[c->row];
    struct server *s = server_of(r, slot);
    uint64_t waited = c->waiting && r->now > me->wait_start ? r->now - me->wait_start : 0;
    struct counters *n = counters_of(r, row->pool);
    c->waiting = false;
    n->server_assignment_count++;
    n->wait_time += waited;
    count_time(n->wait_histogram, waited);
    if (me->flags & CF_NOTIFIED) me->flags &= (uint8_t)~CF_NOTIFIED;
    /* its descriptor never reached us: nobody may use a half-known server */
    if (!s || !conn_arm(r, &s->io)) {
        struct event e = {.type = EVENT_WARNING};
        snprintf(e.text, sizeof e.text, "slot %d has no usable connection here", slot);
        relay_emit(r, &e);
        pool_abandon(r->t, slot);
        client_close(r, c, "08P01", "server conn crashed?", "server conn crashed?");
        return;
    }
    row->last_worker = (int16_t)r->worker;
    s->client = c;
    s->fresh = true;
    s->pipeline_open = s->pipeline_ours = s->execute_open = false;
    s->deeds = 0;
    s->first = !row->served;
    s->unfit = false;
    row->served = 1;
    s->releasable = s->internal_blocks = s->asks_columns = s->unnamed_noted = s->dirty = false;
    s->replay.ended = true;
    c->server = s;
    s->guarded = true;
    session_turn(r, s);
    defaults_follow(r, c);
    adopt_limits(r, s);
    enum handover how = handover_before(r, s);
    if (how != HANDOVER_AS_IT_IS) handover_begin(r, s, how);
    else handover_taken(r, s);
    if (s->internal || s->closing) return;
    if (r->options.has_check && r->now > row->used_at && r->now - row->used_at > r->options.check_delay_us)
        server_own(r, s, INTERNAL_CHECK, r->options.check_query, true);
    else server_suit(r, s);
    guard_look(r, s);
    if (bytes_pending(&c->io.stash) || c->io.readable) conn_ready(r, &c->io);
}

/* Its queued query was canceled (the table has taken it off the queue): answer as PostgreSQL would, and drop
 * the query: one Query or FunctionCall, or everything up to Sync. */
void client_canceled(struct relay *r, struct client *c) {
    char message[512];
    if (!c->waiting) return;
    c->waiting = false;
    const struct bytes *stash = &c->io.stash;
    bool simple = bytes_pending(stash) && memchr("QF", stash->data[stash->start], 2);
    conn_send(r, &c->io, message,
              error_message(message, "ERROR", "57014", "canceling statement due to user request"));
    if (simple) conn_send(r, &c->io, READY_IDLE, sizeof READY_IDLE);
    c->drop_next = simple;
    c->skip_to_sync = !simple;
    conn_ready(r, &c->io);
}

/* ---- framing ------------------------------------------------------------------------------- */

/* Notes in the server's queue what this message will be answered with.  False: too many are in flight. */
static bool record(struct server *s, enum frontend_effect effect, uint8_t letter) {
    bool answered = effect != FE_FLUSH && effect != FE_COPY_DATA && effect != FE_COPY_DONE
        && effect != FE_COPY_FAIL;
    /* the rest of a COPY that failed long ago leaves a server as it is */
    if (answered) s->releasable = false;
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
    if (c->drop_next) {
        c->drop_next = false;
        return true;
    }
    if (effect == FE_SYNC) {
        c->skip_to_sync = false;
        if (c->server) c->server->replay.ended = true;
        if (c->server) client_ready(r, c, c->server->transaction);
        else conn_send(r, &c->io, READY_IDLE, sizeof READY_IDLE);
        return true;
    }
    return c->skip_to_sync || effect == FE_FLUSH || effect == FE_COPY_DATA || effect == FE_COPY_DONE
        || effect == FE_COPY_FAIL;
}

/* A Query behind an Execute without Sync leaves PostgreSQL in a state in which the next statement, whoever's
 * it is, may fail ("StartTransactionCommand: unexpected state STARTED"). */
static void never_again(struct relay *r, const struct server *s) {
    if (s->pipeline_open && s->pipeline_runs && s->mode != MODE_SESSION)
        r->t->slots[s->slot].flags |= SF_CLOSE_NEEDED;
}

static void stamp(struct relay *r, struct client *c) {
    struct client_row *row = &r->t->clients[c->row];
    if (row->request_start) return;
    row->request_start = r->now;
    if (!row->xact_start) row->xact_start = r->now;
}

/* What is to be sent before the next message is, in one write with it. */
static void forward_later(struct relay *r, struct client *c, const unsigned char *p, uint32_t n) {
    c->server->fresh = c->server->releasable = false;
    conn_append(r, &c->server->io, p, n);
    counters_of(r, r->t->slots[c->server->slot].pool)->bytes_received += n;
}

static void forward(struct relay *r, struct client *c, const unsigned char *p, uint32_t n) {
    if (!n) return;
    struct server *s = c->server;
    s->fresh = false;
    c->lost_servers = c->refusals = 0;
    guard_look(r, s);
    conn_send(r, &s->io, p, n);
    counters_of(r, r->t->slots[s->slot].pool)->bytes_received += n;
}

/* What the text of a message says about the session. */
static enum rewritten note_text(struct relay *r, struct client *c, enum frontend_effect effect,
                                const unsigned char *p, uint32_t here, uint32_t total) {
    bool on = session_on(r, c);
    if (effect == FE_FUNCTION && on) return sequences_before_call(r, c, session_call(c, p, here));
    bool parse = effect == FE_PARSE && (!statements_on(r, c) || (here > 5 && p[5] == 0));
    if (effect != FE_QUERY && !parse) return REWRITTEN_NOT;
    if (here < total && total <= WHOLE_MESSAGE_BYTES) return REWRITTEN_MORE;
    const unsigned char *text = p + 5, *end = p + here;
    if (parse) text = memchr(text, 0, here - 5);
    if (!text) return REWRITTEN_NOT; /* malformed, PostgreSQL says so */
    text += parse;
    const unsigned char *zero = memchr(text, 0, (size_t)(end - text));
    uint32_t bytes = (uint32_t)((zero ? zero : end) - text);
    if (!on) {
        session_note_resets(r, c, (const char *)text, bytes);
        return REWRITTEN_NOT;
    }
    struct session *x = &c->server->session;
    if (parse && zero) x->effect_flags |= session_types(r, c, zero + 1, (uint32_t)(end - zero) - 1);
    bool before = x->sets_meaning;
    x->sets_meaning = false;
    uint32_t effect_flags = session_text(r, c, (const char *)text, bytes, zero != NULL);
    /* its Bind and Execute will; itself it is read under what is in force */
    if (parse) x->parsed_sets_meaning = x->sets_meaning;
    x->sets_meaning = before || (!parse && x->sets_meaning);
    /* it gets another */
    if (c->server->unfit && !r->run_bytes && server_untouched(c->server)) return REWRITTEN_NOT;
    if (effect == FE_QUERY) return sequences_before_query(r, c, effect_flags, (const char *)text, bytes);
    sequences_before(r, c, effect_flags);
    return REWRITTEN_NOT;
}

/* The server was sent what is in no queue: there are too many, or there was no memory. */
static void refuse_unrecorded(struct relay *r, struct client *c) {
    const struct server *s = c->server;
    if (s->requests.count >= REQUESTS_MAX || s->copy_syncs >= AHEAD_MAX)
        fault(r, c, "too many requests in flight");
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
    if (effect == FE_PARSE || effect == FE_BIND) note_deeds(r, c, p + at, here, total);
    if (effect == FE_QUERY || effect == FE_FUNCTION) how = end_own_run(r, c->server);
    if (how == REWRITTEN_NOT && effect <= FE_FUNCTION && (session_on(r, c) || session_resets(r, c)))
        how = note_text(r, c, effect, p + at, here, total);
    if (c->server->unfit) {
        c->server->unfit = false;
        if (*run == at && server_replace(r, c->server)) return PASS_ELSEWHERE;
    }
    if (how == REWRITTEN_NOT && effect <= FE_CLOSE && statements_on(r, c))
        how = statements_forward(r, c, p + at, here, total, &head);
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
    case REWRITTEN_MORE: /* first its head, which says what it is about: a length alone is not believed */
        c->whole_bytes = here < HEAD_BYTES_MAX && total > HEAD_BYTES_MAX ? HEAD_BYTES_MAX : total;
        if (!memory_within(r, c, c->whole_bytes)) { /* so it will be when its bytes are there */
            memory_refuse(r, c);
            return PASS_NEVER;
        }
        if (c->whole_bytes <= WHOLE_BYTES_MAX) return PASS_LATER;
        client_close(r, c, "53200", "message is too long", "message is too long");
        return PASS_NEVER;
    case REWRITTEN_WAIT_ALL: c->read_blocked = READ_BLOCKED_ALL; return PASS_LATER;
    case REWRITTEN_WAIT:
        c->read_blocked = effect == FE_QUERY ? READ_BLOCKED_ALL : READ_BLOCKED_NAMES;
        return PASS_LATER;
    case REWRITTEN_NO_MEMORY: memory_refuse(r, c); return PASS_NEVER;
    default:
        client_close(r, c, "54000", "prepared statement is too long", "prepared statement is too long");
        return PASS_NEVER;
    }
}

/* What uses prepared statements may have to be sent again. */
static void keep(const struct client *c, const unsigned char *p, uint32_t n) {
    struct replay *k = &c->server->replay;
    if (k->whole && c->names && c->names->count) replay_add(k, p, n);
    else k->whole = false;
}

/* A client that pipelines without an end is read only so far ahead: what a server was sent it runs, even for
 * a client that has gone. */
static bool far_ahead(const struct client *c) { return c->server->requests.count >= AHEAD_MAX; }

/* The answers to all that is in flight have to come without another word of the client: PostgreSQL keeps
 * those of the extended protocol back until it is asked for them. */
static void ask_for_answers(struct relay *r, struct client *c) {
    const struct requests *q = &c->server->requests;
    if (!q->count) return;
    uint8_t last = requests_at(q, q->count - 1) & 0x7f;
    if (last == 'S' || last == 'Q' || last == 'F' || c->io.body_left || c->server->flushed == q->pushed)
        return;
    c->server->flushed = q->pushed;
    conn_append(r, &c->server->io, "H\0\0\0\4", 5);
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
    if (s->dedicated || !(asks || effect == FE_SYNC)) return false;
    if (asks && (refuse || doubt)) {
        if (*run < at) forward_later(r, c, p + *run, at - *run);
        *run = at;
        if (refuse) copy_refuse(r, s, p[at]);
        else doubt_end(r, s);
    }
    if (asks ? copy_decides(s) : copy_may_begin(s)) c->read_blocked = READ_BLOCKED_ALL;
    return c->read_blocked || s->internal_blocks;
}

/* No more requests come from this client. */
static void leave(struct relay *r, struct client *c, enum leaving how) {
    c->leaving = (uint8_t)how;
    r->hangups = true;
    if (c->server) {
        ask_for_answers(r, c);
        if (statements_due(c->server)) statements_answer(r, c->server);
        if (bytes_pending(&c->server->io.out) && !c->server->io.stuck) conn_flush(r, &c->server->io);
    }
    client_leave(r, c);
}

/* Looks at every message in p[0..n) and passes them on in runs as long as possible.  Returns the bytes used;
 * the rest must come again.  The client may be gone afterwards (io.dead). */
uint32_t client_feed(struct relay *r, struct client *c, const unsigned char *p, uint32_t n) {
    uint32_t at = 0, run = 0, first = 0; /* [run, at) is to be passed on, [first, at) kept */
    if (c->io.body_left) {
        at = c->io.body_left < n ? c->io.body_left : n;
        c->io.body_left -= at;
        if (c->drop_body) run = at;
    }
    while (n - at >= 5) {
        uint32_t length = read_u32(p + at + 1);
        enum frontend_effect effect = frontend_effects[p[at]];
        bool faulty = effect == FE_FORBIDDEN || length < 4 || length > r->options.max_packet_bytes
            || (effect == FE_QUERY && r->options.disable_pqexec);
        if (faulty) memcpy(c->faulty, p + at, sizeof c->faulty);
        if (faulty || effect == FE_TERMINATE) {
            if (c->server) forward(r, c, p + run, at - run);
            leave(r, c, faulty ? LEAVING_FAULT : LEAVING_TERMINATE);
            return n;
        }
        uint32_t here = length + 1 < n - at ? length + 1 : n - at;
        c->drop_body = (!c->server || c->skip_to_sync) && without_server(r, c, effect);
        if (!c->drop_body) {
            if (!c->server && !acquire(r, c)) return at;
            if (c->server->internal_blocks) return at;
            if (c->server->in_doubt && !c->server->skip) break;
            if (far_ahead(c) || c->read_blocked) break;
            if (waits_for_copy(r, c, p, &run, at)) break;
            if (effect != FE_PARSE && effect != FE_CLOSE && statements_due(c->server))
                statements_answer(r, c->server);
            if (run == at && listen_first(r, c, p + at, here, length + 1)) return at;
            if (c->server->replay.ended) {
                /* it is judged by what has come, below */
                if (c->server->replay.verdict == VERDICT_WAIT) break;
                if (sequences_wait(c->server) || session_resetting(c->server))
                    c->read_blocked = READ_BLOCKED_ALL;
                if (c->read_blocked) break;
                replay_begin(&c->server->replay, !c->server->requests.count);
                first = at;
            }
            enum passing how = pass_on(r, c, effect, p, at, n, length + 1, &run);
            if (how == PASS_ELSEWHERE) {
                conn_ready(r, &c->io);
                return at;
            }
            if (how == PASS_LATER) break;
            if (how == PASS_NEVER) return n;
            if (c->server->unrecorded) {
                refuse_unrecorded(r, c);
                return n;
            }
            if (c->server->requests.count) stamp(r, c);
            if (effect == FE_SYNC && c->names && c->server->copy != COPY_READING) c->names->pipeline++;
            if (effect == FE_QUERY || effect == FE_FUNCTION) never_again(r, c->server);
            if (effect >= FE_PARSE && effect <= FE_CLOSE) {
                c->server->pipeline_runs = (c->server->pipeline_open && c->server->pipeline_runs)
                    || effect == FE_EXECUTE;
                c->server->pipeline_binds = (c->server->pipeline_open && c->server->pipeline_binds)
                    || effect == FE_BIND;
                c->server->pipeline_open = true;
            }
            if (effect == FE_SYNC && c->server->copy != COPY_READING) c->server->pipeline_open = false;
            c->server->replay.ended = effect == FE_SYNC || effect == FE_QUERY || effect == FE_FUNCTION;
        }
        c->io.body_left = length + 1 - here;
        at += here;
        if (c->drop_body) run = at;
    }
    if (!c->server) return at;
    if (at > first) keep(c, p + first, at - first);
    forward(r, c, p + run, at - run);
    if (!c->server->internal_blocks) doubt_ask(r, c->server);
    c->held = c->read_blocked || far_ahead(c); /* the next answer may be what it waits for */
    if (far_ahead(c) || c->read_blocked == READ_BLOCKED_ALL) ask_for_answers(r, c);
    if (statements_due(c->server)) statements_answer(r, c->server);
    if (bytes_pending(&c->server->io.out) && !c->server->io.stuck && !c->server->internal_blocks)
        conn_flush(r, &c->server->io);
    if (c->server->replay.verdict == VERDICT_WAIT) replan_held(r, c->server);
    return at;
}

static bool releasable(const struct client *c) {
    /* nothing is answered before the client has said more */
    if (c->server->copy == COPY_READING) return true;
    return c->read_blocked == READ_BLOCKED_ALL ? !c->server->requests.count : names_confirmed(c->names);
}

/* Whether reading makes sense now: nobody waits for room or for an answer to a request of ours. */
static bool may_read(struct client *c) {
    if (!c->server || releasable(c)) c->read_blocked = READ_BLOCKED_NOT;
    c->held = c->read_blocked || (c->server && far_ahead(c));
    return !c->waiting && !c->held && !c->io.stuck && !c->leaving
        && !(c->server && (c->server->io.stuck || c->server->internal_blocks));
}

/* The server of a client that is held has answered something. */
void client_resume(struct relay *r, struct client *c) {
    if (c->read_blocked ? releasable(c) : c->server->requests.count < AHEAD_MAX / 2) conn_ready(r, &c->io);
}

/* Whether nothing of this client is under way: no transaction, and no byte of the next one. */
static bool between_transactions(struct relay *r, const struct client *c, bool keeps_server) {
    char byte;
    const struct server *s = c->server;
    if (c->waiting || c->greeting || bytes_pending(&c->io.stash) || bytes_pending(&c->io.out)
        || c->io.body_left)
        return false;
    if (s && !(keeps_server && server_in_step(s) && !s->fresh && !r->t->clients[c->row].request_start))
        return false;
    return recv(c->io.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0;
}

/* We are being replaced, and this client's room is wanted or its time is over: it goes between two
 * transactions. */
static bool retired(struct relay *r, struct client *c) {
    const struct client_row *row = &r->t->clients[c->row];
    bool all = r->t->h->retiring == RETIRING_ALL;
    if (!r->t->h->retiring || (!all && !(r->t->pools[row->pool].hurried && !c->server))) return false;
    if (!between_transactions(r, c, all)) return false;
    client_close(r, c, "57P01", "server shutting down", "server shutting down");
    return true;
}

/* Reads on until the message that has to come whole is there; only what is new is touched.  False: it is not
 * yet. */
static bool read_whole(struct relay *r, struct client *c) {
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t there = bytes_pending(&c->io.stash);
        if (there >= c->whole_bytes || c->io.eof) return true;
        if (!c->io.readable) return false;
        if (conn_read_on(r, &c->io, c->whole_bytes - there)) continue;
        memory_refuse(r, c);
        return false;
    }
    conn_ready(r, &c->io);
    return false;
}

void client_run(struct relay *r, struct client *c) {
    if (bytes_pending(&c->io.out)) {
        conn_flush(r, &c->io);
        r->t->clients[c->row].stuck_start = c->io.stuck ? r->now : 0;
        memory_count(r, c);
        if (!c->io.stuck && c->server) conn_ready(r, &c->server->io);
    }
    if (c->io.gap) {
        memory_refuse(r, c);
        return;
    }
    if (c->leaving) {
        client_leave(r, c);
        return;
    }
    if (suspended_at(r, &c->io)) return;
    if (r->t->h->retiring && retired(r, c)) return;
    for (int round = 0; round < ROUNDS; round++) {
        if (!may_read(c)) {
            if (c->io.broken || (c->waiting && c->io.hangup && c->greeting)) client_leave(r, c);
            return;
        }
        bool received;
        uint32_t limit = c->server ? BUFFER_BYTES : FIRST_READ_BYTES;
        if (c->whole_bytes && !read_whole(r, c)) return;
        if (bytes_pending(&c->io.stash) > limit) limit = bytes_pending(&c->io.stash);
        limit = suspended_limit(r, &c->io, limit);
        c->whole_bytes = 0;
        if (!relay_need_buffer(r, limit)) {
            memory_refuse(r, c);
            return;
        }
        uint32_t n = conn_fill(r, &c->io, limit, &received);
        uint32_t used = n ? client_feed(r, c, r->buffer, n) : 0;
        if (c->io.dead) return;
        if (!conn_stash(&c->io, r->buffer + used, n - used)) {
            memory_refuse(r, c);
            return;
        }
        relay_trim_buffer(r);
        /* a late CopyData has come to its end */
        if (c->server && c->server->releasable) conn_ready(r, &c->server->io);
        if (c->io.eof && (!used || used == n) && !received && may_read(c)) { /* the rest is no message */
            leave(r, c, LEAVING_EOF);
            return;
        }
        /* else what its head says has to come first, and may be there */
        if (!received && !used && c->whole_bytes <= n) return;
        if (suspended_at(r, &c->io)) return;
        if (!c->io.readable && !bytes_pending(&c->io.stash)) return;
    }
    conn_ready(r, &c->io);
}
