/* currval and lastval tell what a session had from its sequences: never what another client had from them.
 *
 * Theory.  A server remembers in its row whose statements may have used sequences.  Before another client's
 * statement that may read what is left, or use sequences itself, it is sent DISCARD SEQUENCES in the middle
 * of what the client sends.  Where a pool's clients do not ask for what nextval left, as most do not, INSERTs
 * are not made slower by that: then the row says SEQUENCE_MIXED, and who is the first to ask behind an INSERT
 * gets 55000 rather than what may be somebody else's. */
#include "session/sequences.h"

#include <string.h>

#include "io/request_queue.h"
#include "io/rewritten.h"
#include "relay/internal.h"
#include "session/probe.h"
#include "session/session.h"
#include "sql/effects.h"
#include "sql/lexer.h"
#include "statements/send.h"
#include "tables/layout.h"

/* pins and DISCARDs that nobody needed: then the pool's clients do not use currval, */
#define SEQUENCE_LESSONS 3000
#define SEQUENCE_LESSONS_CLIENT 16   /* or pins: then this one does not */
#define SEQUENCE_LESSONS_GIVEN_UP 12 /* what a pin counts for that others had to wait for */
/* requests on their way in a failed transaction: behind more of them it may have been ended */
#define LOOKED_AT_MAX 64
#define END_BYTES 256 /* of a statement that ends a transaction, without its comments */

#define USES_SEQUENCES (PIN_SEQUENCE | EFFECT_INSERT | EFFECT_COPY)
#define MAY_USE_SEQUENCES (USES_SEQUENCES | ASK_SETTINGS)

static struct pool_row *pool_of(const struct relay *r, const struct client *c) {
    return &r->t->pools[r->t->clients[c->row].pool];
}

/* currval, lastval, or a text that is made when it runs. */
static bool may_read(uint32_t effect_flags) {
    return effect_flags & (EFFECT_CURRVAL | EFFECT_UNKNOWN)
        || (effect_flags & PIN_NAMELESS && (effect_flags & ASK_ALL) == ASK_ALL);
}

/* Whether others have left something there: also the client itself, if it went on elsewhere meanwhile. */
static bool left_by_others(const struct relay *r, const struct client *c) {
    const struct server *s = c->server;
    const struct slot_row *row = &r->t->slots[s->slot];
    uint64_t here = (uint64_t)s->slot << 32 | s->generation;
    return row->sequence_of && (row->sequence_of != r->t->clients[c->row].id || c->sequence_at != here);
}

/* Whether a Query of ours is on its way that may fail: then what comes behind it runs all the same. */
static bool discard_unsure(const struct server *s) {
    const struct requests *q = &s->requests;
    uint32_t at = s->session.discard_request - requests_number(q);
    return s->session.may_skip_discard && at < q->count && requests_at(q, at) == ('Q' | INTERNAL);
}

/* Whether a statement may find there what others have left. */
bool sequences_left(const struct relay *r, const struct client *c) {
    return left_by_others(r, c) || discard_unsure(c->server);
}

/* Whether it is to be discarded before a statement with these effect flags. */
static bool in_the_way(const struct relay *r, const struct client *c, uint32_t effect_flags) {
    if (!(effect_flags & MAY_USE_SEQUENCES) && !may_read(effect_flags)) return false;
    const struct pool_row *pool = pool_of(r, c);
    if (!left_by_others(r, c)) return false;
    if (c->server->session.touched_sequence)
        return may_read(effect_flags) && r->t->slots[c->server->slot].sequence_of == SEQUENCE_MIXED;
    return may_read(effect_flags) || effect_flags & PIN_SEQUENCE || pool->currval_seen
        || pool->sequence_lessons < SEQUENCE_LESSONS;
}

/* Writes down that a statement with these effect flags runs.  `clean`: what others left is gone. */
static void used(struct relay *r, struct client *c, uint32_t effect_flags, bool clean) {
    struct server *s = c->server;
    struct session *x = &s->session;
    struct slot_row *row = &r->t->slots[s->slot];
    struct pool_row *pool = pool_of(r, c);
    if (effect_flags & EFFECT_CURRVAL) {
        pool->currval_seen = 1;
        if (!x->touched_sequence || x->pinned & PIN_SEQUENCE) c->currval_later = true;
    } else if (clean && !pool->currval_seen && pool->sequence_lessons < SEQUENCE_LESSONS) {
        pool->sequence_lessons++;
    }
    if (effect_flags & MAY_USE_SEQUENCES) {
        bool mixed = !clean
            && (row->sequence_of == SEQUENCE_MIXED || (!x->touched_sequence && left_by_others(r, c)));
        row->sequence_of = mixed ? SEQUENCE_MIXED : r->t->clients[c->row].id;
        c->sequence_at = (uint64_t)s->slot << 32 | s->generation;
        if (!mixed || effect_flags & USES_SEQUENCES) x->touched_sequence = true;
    } else if (clean) {
        row->sequence_of = 0;
    }
}

static void send_query(struct relay *r, struct server *s, const char *text, uint32_t bytes) {
    send_head(r, s, 'Q', bytes);
    send_bytes(r, s, text, bytes);
    server_expects(s, 'Q' | INTERNAL);
    r->t->slots[s->slot].unnamed_of = 0; /* a simple query ends the unnamed statement */
}

#define DISCARD_TEXT "DISCARD SEQUENCES"

/* Outside of a transaction the statement begins one of its own, which must not wait for a safe snapshot. */
static const char *discard_text(const struct server *s) {
    bool outside = s->transaction == 'I' && !s->requests.count && !s->pipeline_open;
    return outside ? "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;" DISCARD_TEXT : DISCARD_TEXT;
}

/* A request of ours in the middle of what the client sends.  Between its messages it is a Query, whose errors
 * nobody sees (the transaction may fail before it comes to its turn: then nothing runs in it but its end, and
 * the server still has what others left); `inside` a pipeline, which a Query would commit, it shares the fate
 * of what stands around it. */
static void discard(struct relay *r, struct server *s, bool inside) {
    const char *text = inside ? DISCARD_TEXT : discard_text(s);
    if (inside) send_run(r, s, text, (uint32_t)strlen(text));
    else send_query(r, s, text, (uint32_t)strlen(text) + 1);
    s->session.may_skip_discard = true;
    /* behind the Execute of a run there are two Closes */
    s->session.discard_request = s->requests.pushed - (inside ? 3 : 1);
}

/* A transaction that has failed, and nothing on its way that could have ended it. */
static bool still_failed(const struct server *s) {
    const struct requests *q = &s->requests;
    if (s->transaction != 'E' || q->count > LOOKED_AT_MAX) return false;
    for (uint32_t i = 0; i < q->count; i++)
        if (strchr("EQF", requests_at(q, i) & 0x7f)) return false;
    return true;
}

/* Nothing runs: behind an error PostgreSQL skips all up to Sync, a request of ours too, which nothing would
 * answer; and in a transaction that has failed there is only its end. */
static bool runs_nothing(const struct server *s) { return s->skip || still_failed(s); }

/* Whether ours shares the fate of a pipeline, whatever the state of the transaction. */
static bool shares_pipeline(const struct server *s, uint32_t effect_flags) {
    return effect_flags & EFFECT_CURRVAL
        || (s->pipeline_open && (s->pipeline_binds || s->pipeline_runs || s->pipeline_ours));
}

/* Whether something on its way may begin a transaction, or end it. */
static bool transaction_unsure(const struct server *s) {
    const struct requests *q = &s->requests;
    for (uint32_t i = 0; i < q->count; i++)
        if (i == LOOKED_AT_MAX || strchr("EQF", requests_at(q, i))) return true; /* ours do not */
    return false;
}

/* A message of the extended protocol is about to run a statement, or to prepare it.  A Query commits what has
 * run, and ends portals, also those that a transaction keeps: where there is neither, what runs alone
 * (VACUUM) is not behind anything.  And a Query that fails does not keep from running what asks for what it
 * should have discarded. */
void sequences_before(struct relay *r, struct client *c, uint32_t effect_flags) {
    struct server *s = c->server;
    if (runs_nothing(s)) return;
    bool clean = in_the_way(r, c, effect_flags);
    bool inside = s->transaction == 'T' || shares_pipeline(s, effect_flags);
    /* what a cancel request meets there has the client skipped */
    if (clean && !inside && !s->requests.count) inside = !guard_take(r, s);
    if (clean) discard(r, s, inside);
    used(r, c, effect_flags, clean);
}

/* The same before a Query or FunctionCall, which must not run where it fails; it comes again when that is
 * known. */
static enum rewritten discard_first(struct relay *r, struct client *c, uint32_t effect_flags) {
    struct server *s = c->server;
    /* what stands in front in the same read goes out first: ours is no part of a message of the client's */
    if (s->requests.count || r->run_bytes || !guard_take(r, s)) return REWRITTEN_WAIT_ALL;
    internal_send(r, s, INTERNAL_SEQUENCES, discard_text(s));
    used(r, c, effect_flags, true);
    return REWRITTEN_WAIT_ALL;
}

/* The same, before anything is sent for that message.  WAIT: it comes again when it is known whether there is
 * a transaction; or, for what may read what others left and may have to run alone, that nothing is left. */
enum rewritten sequences_first(struct relay *r, struct client *c, uint32_t effect_flags) {
    const struct server *s = c->server;
    if (runs_nothing(s)) return REWRITTEN_NOT;
    if (may_read(effect_flags) && discard_unsure(s)) return REWRITTEN_WAIT_ALL;
    if (!in_the_way(r, c, effect_flags) || shares_pipeline(s, effect_flags)) return REWRITTEN_NOT;
    if (transaction_unsure(s)) return REWRITTEN_WAIT_ALL;
    if (s->transaction == 'T' || !may_read(effect_flags)) return REWRITTEN_NOT;
    return discard_first(r, c, effect_flags);
}

/* Both for a statement of which nothing is sent in front of this. */
enum rewritten sequences_before_statement(struct relay *r, struct client *c, uint32_t effect_flags) {
    enum rewritten how = sequences_first(r, c, effect_flags);
    if (how == REWRITTEN_NOT) sequences_before(r, c, effect_flags);
    return how;
}

/* A FunctionCall is about to run.  Like a Query it is told whether it runs in a transaction, which an Execute
 * of ours makes of a pipeline; unlike a Query it leaves the unnamed portal where it is, which a Query of ours
 * does not.  So in a transaction, where PostgreSQL keeps portals, ours is executed, and ended if nothing of
 * the client's will be.  WAIT: when it is known whether there is one. */
enum rewritten sequences_before_call(struct relay *r, struct client *c, uint32_t effect_flags) {
    struct server *s = c->server;
    if (runs_nothing(s)) return REWRITTEN_NOT;
    if (may_read(effect_flags) && discard_unsure(s)) return REWRITTEN_WAIT_ALL;
    bool clean = in_the_way(r, c, effect_flags), runs = s->pipeline_open && s->pipeline_runs;
    if (clean && !runs && s->requests.count) return REWRITTEN_WAIT_ALL;
    bool inside = runs || s->transaction == 'T';
    if (clean && !inside) return discard_first(r, c, effect_flags);
    if (clean) discard(r, s, inside);
    if (clean && inside && !s->pipeline_open) send_sync(r, s);
    used(r, c, effect_flags, clean);
    return REWRITTEN_NOT;
}

/* Takes the first statement of a text, without comments, if it runs in a transaction that has failed: it ends
 * it, or goes back to a savepoint (PostgreSQL's IsTransactionExitStmt()).  Returns its bytes; 0: it is
 * another one. */
static uint32_t first_end(const char *text, uint32_t bytes, char out[END_BYTES]) {
    static const char *const words[] = {"rollback", "abort", "commit", "end", "prepare"};
    struct lexer l = {.at = (const unsigned char *)text, .end = (const unsigned char *)text + bytes};
    struct token t;
    do lexer_next(&l, &t);
    while (token_is_char(&t, ';'));
    size_t i = 0;
    while (i < sizeof words / sizeof *words && !token_is_word(&t, words[i])) i++;
    if (i == sizeof words / sizeof *words) return 0;
    uint32_t n = 0;
    for (; t.kind != T_END && !token_is_char(&t, ';'); lexer_next(&l, &t)) {
        uint32_t size = (uint32_t)(l.at - t.start);
        if (n + size + 1 > END_BYTES) break; /* no name is as long: it is about to be refused */
        memcpy(out + n, t.start, size);
        out[n + size] = ' ';
        n += size + 1;
    }
    return n;
}

/* In a failed transaction, before a Query that ends it and goes on: it is ended for a moment, and in the same
 * state again afterwards.  The error at its end is the way there, SEQUENCES_GONE in
 * sequences_not_discarded(). */
static void discard_behind(struct relay *r, struct server *s, const char *end, uint32_t bytes) {
    static const char rest[] = "; DISCARD SEQUENCES; BEGIN; SELECT 1 OPERATOR(pg_catalog./) 0";
    char text[END_BYTES + sizeof rest];
    memcpy(text, end, bytes);
    memcpy(text + bytes, rest, sizeof rest);
    send_query(r, s, text, bytes + (uint32_t)sizeof rest);
}

/* A Query, which may end its transaction and go on, is about to run.  WAIT: when it is known whether that has
 * failed. */
enum rewritten sequences_before_query(struct relay *r, struct client *c, uint32_t effect_flags,
                                      const char *text, uint32_t bytes) {
    char end[END_BYTES];
    struct server *s = c->server;
    if (s->skip) return REWRITTEN_NOT;
    if (may_read(effect_flags) && discard_unsure(s)) return REWRITTEN_WAIT_ALL;
    if (!in_the_way(r, c, effect_flags)) {
        used(r, c, effect_flags, false);
        return REWRITTEN_NOT;
    }
    uint32_t n = s->transaction == 'E' || s->requests.count ? first_end(text, bytes, end) : 0;
    if (n && s->requests.count) return REWRITTEN_WAIT;
    if (s->transaction == 'E' && !s->requests.count) {
        if (!n) return REWRITTEN_NOT; /* nothing runs */
        discard_behind(r, s, end, n);
    } else { /* behind an Execute of ours alone a Query would be told that it is in a transaction */
        bool inside = s->pipeline_open && s->pipeline_runs;
        if (may_read(effect_flags) && !inside) return discard_first(r, c, effect_flags);
        if (!s->requests.count && !guard_take(r, s)) return REWRITTEN_WAIT_ALL;
        discard(r, s, inside);
    }
    used(r, c, effect_flags, true);
    return REWRITTEN_NOT;
}

/* What others left is there still. */
static void kept_by_server(struct relay *r, struct server *s) {
    r->t->slots[s->slot].sequence_of = SEQUENCE_MIXED;
    s->session.touched_sequence = false;
}

/* A request of ours among the client's met an error. */
void sequences_not_discarded(struct relay *r, struct server *s) {
    static const char SEQUENCES_GONE[] = "22012"; /* division_by_zero */
    if (strcmp(s->internal_sqlstate, SEQUENCES_GONE) != 0) kept_by_server(r, s);
}

/* INTERNAL_SEQUENCES is answered. */
void sequences_discarded(struct relay *r, struct server *s) {
    if (!s->internal_failed) {
        s->session.discard_tries = 0;
        return;
    }
    kept_by_server(r, s);
    if (s->client && s->transaction == 'I' && s->session.discard_tries++ >= ASK_TRIES)
        client_close(r, s->client, s->internal_sqlstate, s->internal_text, s->internal_text);
}

/* A request of ours was skipped behind an error of the client's pipeline. */
void sequences_skipped(struct relay *r, struct server *s) {
    if (s->session.may_skip_discard && requests_number(&s->requests) == s->session.discard_request)
        kept_by_server(r, s);
}

/* Whether another pipeline of the client has to wait: what others left may be there still. */
bool sequences_wait(struct server *s) {
    struct session *x = &s->session;
    if (requests_reached(&s->requests, x->discard_request + 1)) x->may_skip_discard = false;
    return x->may_skip_discard;
}

/* nextval pins only where clients ask for what it left: learned from what they do, each client and all of a
 * pool. */
bool sequences_pin(struct pool_row *pool, struct client *c, uint32_t effect_flags) {
    if (!(effect_flags & USES_SEQUENCES)) return false;
    if (c->currval_later) return true;
    if (pool->currval_seen && c->sequence_lessons < SEQUENCE_LESSONS_CLIENT) {
        c->sequence_lessons++;
        return true;
    }
    if (pool->currval_seen || pool->sequence_lessons >= SEQUENCE_LESSONS) return false;
    pool->sequence_lessons++;
    return true;
}

/* Others waited, and the client did not ask for what nextval had left. */
void sequences_given_up(struct pool_row *pool, struct client *c) {
    if (!c->currval_later) c->sequence_lessons = SEQUENCE_LESSONS_CLIENT;
    if (!pool->currval_seen && pool->sequence_lessons < SEQUENCE_LESSONS)
        pool->sequence_lessons += SEQUENCE_LESSONS_GIVEN_UP;
}
