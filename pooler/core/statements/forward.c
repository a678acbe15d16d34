/* Prepared statements where messages pass: what a Parse, Bind, Describe, Close becomes on its way to a
 * server, and what replies and errors mean for names and texts.  The theory stands in store.h. */
#define _GNU_SOURCE
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sql/statement_names.h"
#include "statements/forward.h"

bool statements_on(const struct relay *r, const struct client *c) {
    if (c->dedicated || !(r->options.max_prepared_statements || (c->names && c->names->count))) return false;
    return c->server ? c->server->mode != MODE_SESSION
                     : r->t->pools[r->t->clients[c->row].pool].limits.mode != MODE_SESSION;
}

/* The client's names; NULL: no memory. */
static struct names *names_of(const struct relay *r, struct client *c) {
    if (!c->names && (c->names = calloc(1, sizeof *c->names))) c->names->key = r->statements.key[0];
    return c->names;
}

struct prepared_set *set_of(const struct relay *r, const struct server *s) {
    return &r->t->prepared[s->slot];
}

static struct counters *count(struct relay *r, const struct server *s) {
    return counters_of(r, r->t->slots[s->slot].pool);
}

/* When statements may last have changed their meaning. */
static _Atomic uint64_t *clock_of(const struct relay *r, const struct server *s) {
    return &r->t->databases[r->t->pools[r->t->slots[s->slot].pool].database].altered;
}

uint64_t statements_altered_at(const struct relay *r, const struct server *s) { return *clock_of(r, s); }

/* ---- sending ---------------------------------------------------------------------------------- */

/* Queues bytes for the server behind what the client sent before; the caller's feed() flushes. */
void put(struct relay *r, struct server *s, const void *p, uint32_t n) {
    if (r->run_bytes) conn_append(r, &s->io, r->run, r->run_bytes);
    r->run_bytes = 0;
    conn_append(r, &s->io, p, n);
    s->fresh = s->releasable = false;
}

void put_head(struct relay *r, struct server *s, char letter, uint32_t body_bytes) {
    unsigned char head[5] = {(unsigned char)letter};
    write_u32(head + 1, body_bytes + 4);
    put(r, s, head, sizeof head);
}

/* With its NUL; every Bind needs one, so not by printf. */
uint32_t server_name(char out[SERVER_NAME_BYTES], uint32_t number) {
    char digits[10];
    uint32_t count = 0, n = sizeof SERVER_NAME_PREFIX - 1;
    memcpy(out, SERVER_NAME_PREFIX, n);
    do digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    while (count) out[n++] = digits[--count];
    out[n++] = '\0';
    return n;
}

#define ANSWERS_BYTES 4096      /* of ours that are sent in one write */
#define NOBODY_KNOWS UINT64_MAX /* instead of a client's id */

/* A Parse for the server: `request` says who is to hear of its end. */
void send_parse(struct relay *r, struct server *s, const char *name, uint32_t name_bytes,
                const unsigned char *body, uint32_t bytes, uint8_t request, const struct digest *d) {
    put_head(r, s, 'P', name_bytes + bytes);
    put(r, s, name, name_bytes);
    put(r, s, body, bytes);
    server_expects(s, request);
    parsing_push(s, d);
    count(r, s)->server_parse_count++;
}

static void send_describe(struct relay *r, struct server *s, const char *name, uint32_t name_bytes,
                          uint8_t request) {
    put_head(r, s, 'D', 1 + name_bytes);
    put(r, s, "S", 1);
    put(r, s, name, name_bytes);
    server_expects(s, request);
}

static void send_close(struct relay *r, struct server *s, uint32_t number) {
    char name[SERVER_NAME_BYTES];
    uint32_t n = server_name(name, number);
    put_head(r, s, 'C', 1 + n);
    put(r, s, "S", 1);
    put(r, s, name, n);
    server_expects(s, 'C' | INTERNAL);
}

/* Sends the Parse of a text, which others find under `key`; an older one of the same or the least recently
 * used may have to go, and more of them when max_prepared_statements is less than it was. */
uint32_t send_statement(struct relay *r, struct server *s, const struct statement *st,
                        const struct digest *key, uint64_t made, uint8_t request) {
    char name[SERVER_NAME_BYTES];
    uint32_t limit = r->options.max_prepared_statements;
    uint32_t evicted, number = prepared_add(set_of(r, s), key, made, limit, &evicted);
    for (; evicted; evicted = prepared_shrink(set_of(r, s), limit)) send_close(r, s, evicted);
    struct prepared_entry *e = prepared_find(set_of(r, s), key);
    if (e)
        e->foreign = st->apart || session_settings_uncertain(s)
            || !digest_same(st->under->literals, s->client->settings->literals);
    uint32_t name_bytes = server_name(name, number);
    send_parse(r, s, name, name_bytes, st->body, st->bytes, request, key);
    send_describe(r, s, name, name_bytes, 'D' | INTERNAL); /* its columns are compared when others use it */
    return number;
}

/* A Parse of a name that its client has: PostgreSQL is to say that it exists.  So it gets a name that has
 * just been given to the empty text, which is parsed in a transaction that has failed, too.  No statement
 * that others use may stand for it: deallocated where nobody sees it (DO, a function), it would be replaced
 * by this one. */
static void send_in_the_way(struct relay *r, struct server *s, const unsigned char *body, uint32_t bytes) {
    static const unsigned char EMPTY[] = "\0\0"; /* text, NUL, number of parameter types */
    char name[SERVER_NAME_BYTES];
    uint32_t n = server_name(name, TAKEN_NUMBER);
    send_close(r, s, TAKEN_NUMBER);
    send_parse(r, s, name, n, EMPTY, sizeof EMPTY, 'P' | INTERNAL, NULL);
    send_parse(r, s, name, n, body, bytes, 'U', NULL);
}

/* Runs a statement of ours in the pipeline under way, whose fate it shares. */
void send_run(struct relay *r, struct server *s, const char *text, uint32_t bytes) {
    char name[SERVER_NAME_BYTES];
    uint32_t n = (uint32_t)snprintf(name, sizeof name, SERVER_NAME_PREFIX "s%u",
                                    ++s->session.sequence_requests)
        + 1;
    put_head(r, s, 'P', n + bytes + 3);
    put(r, s, name, n);
    put(r, s, text, bytes);
    put(r, s, "\0\0\0", 3); /* its end, no types of parameters */
    server_expects(s, 'P' | INTERNAL);
    parsing_push(s, NULL);
    count(r, s)->server_parse_count++;
    put_head(r, s, 'B', 2 * n + 6);
    put(r, s, name, n);
    put(r, s, name, n);
    put(r, s, "\0\0\0\0\0", 6);
    server_expects(s, 'B' | INTERNAL);
    put_head(r, s, 'E', n + 4);
    put(r, s, name, n);
    put(r, s, "\0\0\0", 4);
    server_expects(s, 'E' | INTERNAL);
    s->pipeline_ours = true;
    put_head(r, s, 'C', n + 1);
    put(r, s, "S", 1);
    put(r, s, name, n);
    server_expects(s, 'C' | INTERNAL);
}

/* Ends what of ours stands alone: where it fails, what the client sends behind it is not skipped with it. */
void send_sync(struct relay *r, struct server *s) {
    put(r, s, "S\0\0\0\4", 5);
    server_expects(s, 'S' | INTERNAL);
    s->pipeline_ours = false;
    parsing_end_pipeline(s);
}

/* Ends what of ours has run since then, in front of the first message of a client's pipeline: VACUUM, COMMIT
 * PREPARED and their like do not run behind anything.  Elsewhere a Sync of ours would end what the client has
 * begun. */
static void end_runs(struct relay *r, struct server *s, uint32_t runs) {
    if (s->session.sequence_requests != runs && !s->pipeline_open) send_sync(r, s);
}

/* The client's latest unnamed statement is on its server. */
static void note_unnamed_here(struct relay *r, const struct client *c) {
    struct slot_row *row = &r->t->slots[c->server->slot];
    row->unnamed_of = r->t->clients[c->row].id;
    row->unnamed_number = c->names->unnamed_number;
    c->names->unnamed_pipeline = c->names->pipeline;
}

/* Whether the client's unnamed statement is being parsed in a pipeline that has ended: it may be skipped. */
static bool unnamed_is_unsure(const struct client *c) {
    const struct names *n = c->names;
    if (!n || !n->unnamed_live || n->unnamed_pipeline == n->pipeline) return false;
    struct digest d = parsing_of_unnamed(n->unnamed_number);
    return parsing_is_unsure(c->server, &d);
}

/* The client is about to use the unnamed statement: its own, or none; never somebody else's. */
static void ensure_unnamed(struct relay *r, struct client *c) {
    struct server *s = c->server;
    struct slot_row *row = &r->t->slots[s->slot];
    uint64_t me = r->t->clients[c->row].id;
    const struct names *n = c->names;
    if (row->unnamed_of == me && n && n->unnamed_live && row->unnamed_number == n->unnamed_number) return;
    uint32_t runs = s->session.sequence_requests;
    if (n && n->unnamed_live && n->unnamed_kept && meaning_parse_unnamed(r, c)) {
        end_runs(r, s, runs);
        note_unnamed_here(r, c);
    } else if (row->unnamed_of || s->requests.count) { /* what has ended it may be skipped */
        put(r, s, "C\0\0\0\6S\0", 7);
        server_expects(s, 'C' | INTERNAL);
        row->unnamed_of = 0;
    }
}

/* What a statement that is about to run says about the session. */
uint32_t note_statement(struct relay *r, struct client *c, struct statement *st) {
    if (!session_on(r, c)) return 0;
    const struct profile *p = session_profile(r, c);
    struct scan scan;
    scan.effect_flags = scan.ends = scan.names_bytes = scan.unknown_count = 0;
    uint32_t bytes = (uint32_t)strnlen((const char *)st->body, st->bytes);
    if (st->serial != p->serial || !p->catalog.known) {
        session_scan(r, c, (const char *)st->body, bytes, &scan);
        st->effect_flags = scan.effect_flags;
        st->ends = scan.ends;
        st->serial = p->serial;
    } else if (st->effect_flags | st->ends) {
        session_scan(r, c, (const char *)st->body, bytes, &scan); /* for the names */
    }
    if (st->misleading) scan.effect_flags |= EVERYTHING | PIN_OPAQUE;
    if (bytes < st->bytes)
        scan.effect_flags |= session_types(r, c, st->body + bytes + 1, st->bytes - bytes - 1);
    if (!(scan.effect_flags | scan.ends)) return 0;
    session_note(r, c, &scan);
    sequences_before(r, c, scan.effect_flags);
    return scan.effect_flags;
}

static void note_unnamed(struct relay *r, struct client *c) {
    const struct names *n = c->names;
    if (!n || !n->unnamed_live || !session_on(r, c)) return;
    if (!n->unnamed_kept) {
        session_text(r, c, "", 0, false);
        return;
    }
    if (n->unnamed_misleading) session_anything(r, c);
    uint32_t bytes = (uint32_t)strnlen((const char *)n->unnamed, n->unnamed_bytes);
    if (bytes < n->unnamed_bytes)
        c->server->session.effect_flags |= session_types(r, c, n->unnamed + bytes + 1,
                                                         n->unnamed_bytes - bytes - 1);
    sequences_before(r, c, session_text(r, c, (const char *)n->unnamed, bytes, true));
}

/* Whether what is on its way may deallocate all names: then it is not known whether one that is said now is
 * another's. */
bool names_may_go(const struct server *s) { return s->deeds & MAY_CLEAR && s->requests.count; }

/* ---- messages of a client --------------------------------------------------------------------- */

/* Notes a reply that no server will send; it goes out in its turn. */
static void owe(struct client *c, uint8_t request) { server_expects(c->server, request); }

static enum rewritten pass(struct client *c, uint8_t request, uint32_t *head) {
    server_expects(c->server, request);
    *head = 0;
    return REWRITTEN_HEAD;
}

static enum rewritten forward_parse_unnamed(struct relay *r, struct client *c, const unsigned char *p,
                                            uint32_t here, uint32_t total, uint32_t *head) {
    struct server *s = c->server;
    s->unnamed_noted = true;
    if (here < total && total <= UNNAMED_BYTES_MAX) return REWRITTEN_MORE;
    if (execute_waits(c, p + 6, here - 6)) return REWRITTEN_WAIT_ALL;
    if (meaning_waits(c)) return REWRITTEN_WAIT_ALL; /* it could not be parsed again in a later transaction */
    struct names *n = names_of(r, c);
    if (!n) return REWRITTEN_NO_MEMORY;
    bool renamed = here == total && execute_parse(r, c, p, total);
    bool keep = here == total && !renamed;
    uint32_t bytes = keep ? total - 6 : UNNAMED_BYTES_MAX + 1, room = n->unnamed_room;
    if (!names_keep_unnamed(&r->statements, n, keep ? p + 6 : NULL, bytes, meaning_now(c)))
        return REWRITTEN_NO_MEMORY;
    if (n->unnamed_room > room && !memory_within(r, c, 0)) return REWRITTEN_NO_MEMORY;
    n->unnamed_misleading = session_misleading(c, (const char *)p + 6, here - 6);
    note_unnamed_here(r, c);
    count(r, s)->client_parse_count++;
    count(r, s)->server_parse_count++;
    if (renamed) return REWRITTEN_ALL;
    struct digest unnamed = parsing_of_unnamed(n->unnamed_number);
    parsing_push(s, &unnamed);
    return pass(c, 'U', head);
}

static enum rewritten forward_parse(struct relay *r, struct client *c, const unsigned char *p, uint32_t here,
                                    uint32_t total, uint32_t *head) {
    struct server *s = c->server;
    if (here < 6 && here < total) return REWRITTEN_MORE;
    s->renamed_by = 0;
    if (names_may_go(s)) return REWRITTEN_WAIT_ALL; /* one may stand in its text */
    if (total > 5 && p[5] == 0) return forward_parse_unnamed(r, c, p, here, total, head);
    if (total > STATEMENT_BYTES_MAX) return REWRITTEN_TOO_LARGE;
    if (here < total) return REWRITTEN_MORE;
    const unsigned char *end = memchr(p + 5, 0, total - 5);
    if (end && end - (p + 5) > STATEMENT_NAME_MAX) return REWRITTEN_TOO_LARGE;
    if (!end) { /* malformed: PostgreSQL says so */
        parsing_push(s, NULL);
        return pass(c, 'U', head);
    }
    const char *name = (const char *)p + 5;
    const unsigned char *body = end + 1;
    uint32_t name_bytes = (uint32_t)(end - (p + 5)), bytes = total - 6 - name_bytes;
    if (names_unconfirmed(c->names, name, name_bytes)) return REWRITTEN_WAIT;
    struct names *n = names_of(r, c);
    if (!n) return REWRITTEN_NO_MEMORY;
    struct name *there = names_find(n, name, name_bytes);
    count(r, s)->client_parse_count++;
    if (there && s->requests.count) return REWRITTEN_WAIT_ALL; /* what is on its way may deallocate it */
    if (there) {
        n->used = n->taken = there;
        n->used_number = n->taken_number = TAKEN_NUMBER;
        send_in_the_way(r, s, body, bytes);
        return REWRITTEN_ALL;
    }
    if (execute_waits(c, body, bytes)) return REWRITTEN_WAIT_ALL;
    const struct name *target = execute_target(c, body, bytes);
    if (!target && meaning_waits(c)) return REWRITTEN_WAIT_ALL;
    struct statement *st = target ? target->statement : meaning_parsed(r, c, body, bytes);
    if (!st) return REWRITTEN_NO_MEMORY;
    if (!target) st->misleading |= session_misleading(c, (const char *)body, bytes);
    uint64_t made = target ? target->made : now_us();
    if (target) st->references++;
    if (!names_set(n, name, name_bytes, st, made)) {
        statement_drop(&r->statements, st);
        return REWRITTEN_NO_MEMORY;
    }
    if (!memory_within(r, c, 0)) return REWRITTEN_NO_MEMORY;
    n->floating |= st->floating;
    r->t->clients[c->row].prepared_statements = (int32_t)n->count;
    if (target) owe(c, 'p');
    else
        send_statement(r, s, st, &st->digest, made,
                       'P'); /* names and literals are to mean what they mean now */
    return REWRITTEN_ALL;
}

static enum rewritten forward_bind(struct relay *r, struct client *c, const unsigned char *p, uint32_t here,
                                   uint32_t total, uint32_t *head) {
    struct server *s = c->server;
    const unsigned char *portal_end = memchr(p + 5, 0, here - 5);
    const unsigned char *end = portal_end ? memchr(portal_end + 1, 0, (size_t)(p + here - portal_end - 1))
                                          : NULL;
    if (!end && here < total && here < HEAD_BYTES_MAX) return REWRITTEN_MORE;
    if (end ? end - portal_end - 1 > STATEMENT_NAME_MAX : here < total) return REWRITTEN_TOO_LARGE;
    if (!end) return pass(c, 'B', head); /* malformed */
    const char *name = (const char *)portal_end + 1;
    uint32_t name_bytes = (uint32_t)(end - (portal_end + 1)),
             portal_bytes = (uint32_t)(portal_end + 1 - (p + 5));
    if (names_unconfirmed(c->names, name, name_bytes)) return REWRITTEN_WAIT;
    struct name *there = name_bytes ? names_find(c->names, name, name_bytes) : NULL;
    const unsigned char *behind = end + 1;
    if (!name_bytes && unnamed_is_unsure(c)) return REWRITTEN_WAIT_ALL;
    if (!there) {
        count(r, s)->bind_count++;
        if (name_bytes) { /* of SQL PREPARE, or of what somebody else prepared */
            s->deeds |= MAY_COPY;
            session_anything(r, c);
            return pass(c, 'B', head);
        }
        if (!s->unnamed_noted) note_unnamed(r, c);
        else if (s->session.parsed_sets_meaning) s->session.sets_meaning = true;
        ensure_unnamed(r, c);
        s->deeds |= c->unnamed_deeds;
        if (s->session.effect_flags & PIN_NAMELESS && here == total)
            session_parameters(r, c, behind, (uint32_t)(p + total - behind));
        s->unnamed_noted = false;
        return pass(c, 'B', head);
    }
    if (names_may_go(s) || meaning_is_unsure(r, s, there)) return REWRITTEN_WAIT_ALL;
    const struct prepared_entry *e = meaning_find(r, s, there);
    bool same = e && e->columns == there->columns;
    enum columns check = same ? COLUMNS_FINE : columns_check(r, c, there, e, p, portal_bytes, total);
    if (check == COLUMNS_WAIT) return REWRITTEN_MORE;
    count(r, s)->bind_count++;
    char live[SERVER_NAME_BYTES];
    uint32_t runs = s->session.sequence_requests;
    uint32_t number = same ? e->number : check == COLUMNS_CHANGED ? NO_NUMBER : ensure_prepared(r, s, there);
    end_runs(r, s, runs);
    if (note_statement(r, c, there->statement) & PIN_NAMELESS && here == total)
        session_parameters(r, c, behind, (uint32_t)(p + total - behind));
    uint32_t live_bytes = server_name(live, number);
    put_head(r, s, 'B', total - 5 - (name_bytes + 1) + live_bytes);
    put(r, s, p + 5, portal_bytes);
    put(r, s, live, live_bytes);
    server_expects(s, 'B');
    s->renamed_by = 0;
    s->deeds |= there->statement->deeds;
    c->names->bound = c->names->used = there;
    c->names->used_number = number;
    if (portal_bytes > 1) there->told = true; /* its Describe may come behind another Bind */
    *head = (uint32_t)(end + 1 - p);
    return REWRITTEN_HEAD;
}

/* Describe and Close; those of statements are read whole. */
/* A name that servers may know a statement of anybody's by: nobody closes it by that. */
static bool is_ours(const char *name, uint32_t bytes) {
    return bytes >= sizeof SERVER_NAME_PREFIX - 1
        && memcmp(name, SERVER_NAME_PREFIX, sizeof SERVER_NAME_PREFIX - 1) == 0;
}

static enum rewritten forward_named(struct relay *r, struct client *c, const unsigned char *p, uint32_t here,
                                    uint32_t total, uint32_t *head) {
    struct server *s = c->server;
    uint8_t letter = p[0];
    if (here < total && here < 6) return REWRITTEN_MORE;
    if (letter == 'D' && total > 6 && p[5] == 'P' && c->names && c->names->bound)
        c->names->bound->told = true;
    if (total < 7 || p[5] != 'S') return pass(c, letter, head);
    if (total - 7 > STATEMENT_NAME_MAX) return REWRITTEN_TOO_LARGE;
    if (here < total) return REWRITTEN_MORE;
    if (p[total - 1] != 0) return pass(c, letter, head);
    uint32_t name_bytes = total - 7;
    if (!name_bytes) {
        if (letter == 'D' && unnamed_is_unsure(c)) return REWRITTEN_WAIT_ALL;
        if (letter == 'D') ensure_unnamed(r, c);
        else if (c->names) c->names->unnamed_live = false;
        if (letter == 'C') r->t->slots[s->slot].unnamed_of = 0;
        return pass(c, letter, head);
    }
    if (names_unconfirmed(c->names, (const char *)p + 6, name_bytes)) return REWRITTEN_WAIT;
    struct name *there = names_find(c->names, (const char *)p + 6, name_bytes);
    if (!there && (letter != 'C' || !is_ours((const char *)p + 6, name_bytes))) return pass(c, letter, head);
    if (letter == 'C') {
        if (there) names_unset(c->names, there);
        if (there) r->t->clients[c->row].prepared_statements = (int32_t)c->names->count;
        owe(c, 'x');
        return REWRITTEN_ALL;
    }
    if (names_may_go(s) || meaning_is_unsure(r, s, there)) return REWRITTEN_WAIT_ALL;
    char live[SERVER_NAME_BYTES];
    uint32_t runs = s->session.sequence_requests;
    uint32_t number = ensure_prepared(r, s, there), live_bytes = server_name(live, number);
    end_runs(r, s, runs);
    there->told = true;
    there->columns = 0; /* those that it will hear of now */
    c->names->used = there;
    c->names->used_number = number;
    send_describe(r, s, live, live_bytes, letter);
    return REWRITTEN_ALL;
}

/* Sends a message of a client on, with names replaced, and notes what it will be answered with.  NOT: it
 * passes as it is and is not noted.  HEAD: noted; its first *head bytes have been replaced, the rest passes.
 * ALL: nothing of it is left to be sent.  MORE: it must come whole.  WAIT: not before earlier pipelines have
 * been answered. */
enum rewritten statements_forward(struct relay *r, struct client *c, const unsigned char *p, uint32_t here,
                                  uint32_t total, uint32_t *head) {
    if (c->server->skip || c->server->copy == COPY_READING) return REWRITTEN_NOT;
    switch (p[0]) {
    case 'P': return forward_parse(r, c, p, here, total, head);
    case 'B': return forward_bind(r, c, p, here, total, head);
    case 'D':
    case 'C': return forward_named(r, c, p, here, total, head);
    case 'Q': return execute_query(r, c, p, here, total);
    default: return REWRITTEN_NOT;
    }
}

/* ---- messages of a server --------------------------------------------------------------------- */

/* Whether replies of ours are due now: the requests before them have been answered. */
bool statements_due(const struct server *s) {
    uint8_t head = requests_head(&s->requests);
    return (head == 'p' || head == 'x') && s->client && !s->io.body_left;
}

void statements_answer(struct relay *r, struct server *s) {
    unsigned char answers[ANSWERS_BYTES];
    uint32_t n = 0;
    for (uint8_t head; (head = requests_head(&s->requests)) == 'p' || head == 'x';) {
        memcpy(answers + n, head == 'p' ? "1\0\0\0\4" : "3\0\0\0\4", 5);
        n += 5;
        requests_pop(&s->requests);
        names_confirm(&r->statements, s->client->names);
        if (n + 5 <= sizeof answers) continue;
        conn_send(r, &s->client->io, answers, n);
        n = 0;
    }
    if (n) conn_send(r, &s->client->io, answers, n);
    memory_count(r, s->client); /* texts may be gone */
}

/* This one was not parsed, or not without an error: which unnamed statement the server has now nobody knows,
 * unless the client has sent another behind a Sync.  A Parse of ours that was skipped is sent once more where
 * it is used. */
static void unnamed_lost(struct relay *r, struct server *s, uint64_t number, bool own) {
    struct names *n = s->client ? s->client->names : NULL;
    if (n && n->unnamed_number != number) return;
    r->t->slots[s->slot].unnamed_of = NOBODY_KNOWS;
    if (n && !own) n->unnamed_live = false;
}

/* ParseComplete came for this request. */
void statements_parsed(struct relay *r, struct server *s, uint8_t request) {
    s->parsed = parsing_pop(s);
    if (request == 'P' && s->client) names_confirm(&r->statements, s->client->names);
}

/* This request was skipped after an error: its text is not on the server, its name was not taken; and what
 * would have ended an unnamed statement, a Query or a Close, has left it there. */
void statements_skipped(struct relay *r, struct server *s, uint8_t request, uint32_t *names_lost) {
    uint8_t letter = request & (uint8_t)~INTERNAL;
    struct slot_row *row = &r->t->slots[s->slot];
    if ((letter == 'Q' || letter == 'C') && !row->unnamed_of) row->unnamed_of = NOBODY_KNOWS;
    if (letter == 'P' || letter == 'U') {
        struct digest d = parsing_pop(s);
        if (parsing_is_named(&d)) prepared_remove(set_of(r, s), &d);
        else if (parsing_is_unnamed(&d)) unnamed_lost(r, s, d.high, request & INTERNAL);
    }
    if (request == 'P' || request == 'p' || request == 'x') ++*names_lost;
    if (request == ('D' | INTERNAL)) columns_known(r, s);
    if (request == ('Q' | INTERNAL) || request == ('E' | INTERNAL)) sequences_skipped(r, s);
}

/* Statements of this database may mean something else now than when they were parsed. */
void statements_altered(struct relay *r, struct server *s) { atomic_store(clock_of(r, s), now_us()); }

bool tag_starts(const unsigned char *tag, uint32_t n, const char *with) {
    size_t bytes = strlen(with);
    return n >= bytes && memcmp(tag, with, bytes) == 0;
}

/* After DISCARD ALL and DEALLOCATE ALL the server has no statements but those that were sent behind it, and
 * neither has the client that said so.  Others keep their names: what they need is prepared again. */
static void forget_all(struct relay *r, struct server *s) {
    struct prepared_set *set = set_of(r, s);
    prepared_forget_before(set, set->next_number - s->parsing.named + 1);
    if (!s->client || requests_head(&s->requests) & INTERNAL || !s->client->names) return;
    names_clear(&r->statements, s->client->names);
    memory_count(r, s->client);
    r->t->clients[s->client->row].prepared_statements = (int32_t)s->client->names->count;
}

/* What a CommandComplete means for statements.  DDL counts when it has run, for its own transaction, when
 * that ends, for the others, and when it is undone. */
void statements_tag(struct relay *r, struct server *s, const unsigned char *tag, uint32_t n) {
    session_tag(r, s, tag, n);
    bool discard = n == sizeof "DISCARD ALL" && memcmp(tag, "DISCARD ALL", n) == 0;
    if (discard || (n == sizeof "DEALLOCATE ALL" && memcmp(tag, "DEALLOCATE ALL", n) == 0)) {
        forget_all(r, s);
    } else if (tag_starts(tag, n, "ALTER ") || tag_starts(tag, n, "CREATE ") || tag_starts(tag, n, "DROP ")) {
        s->altered = true;
        statements_altered(r, s);
    } else if (s->altered && tag_starts(tag, n, "ROLLBACK")) {
        statements_altered(r, s);
    }
}

/* A transaction, perhaps with DDL in it, has come to its end, or not yet; before its client hears of it. */
void statements_ended(struct relay *r, struct server *s, uint8_t status) {
    if (status != 'I') return;
    if (s->altered) statements_altered(r, s);
    s->altered = false;
    session_ended(r, s);
}

/* ---- errors ----------------------------------------------------------------------------------- */

/* What is to stand in a message instead of message[at..at+old). */
struct edit {
    uint32_t at, old, bytes;
    const char *text;
};

/* A statement's name, if the message has the server's for it. */
static const struct name *name_in(struct relay *r, struct server *s, const unsigned char *message, uint32_t n,
                                  uint32_t *number, struct edit *e) {
    static const char PREFIX[] = SERVER_NAME_PREFIX;
    const unsigned char *at = memmem(message, n, PREFIX, sizeof PREFIX - 1);
    if (!at || !isdigit(at[sizeof PREFIX - 1])) return NULL;
    char *end;
    unsigned long found = strtoul((const char *)at + sizeof PREFIX - 1, &end, 10);
    if (found > UINT32_MAX || found == NO_NUMBER) return NULL;
    *number = (uint32_t)found;
    const struct name *name = names_of_number(s->client->names, set_of(r, s), *number);
    if (name)
        *e = (struct edit){(uint32_t)(at - message), (uint32_t)((unsigned char *)end - at), name->bytes,
                           name->text};
    return name;
}

/* The server does not have a statement any more that was prepared there: somebody has deallocated it by our
 * name, or makes us believe so.  Nobody is to look for it there again. */
bool statements_gone(struct relay *r, struct server *s, const unsigned char *message, uint32_t n) {
    uint32_t number;
    struct edit e;
    struct digest d;
    /* with the NUL behind it; what RAISE says is by another */
    static const char BY[] = "\0RFetchPreparedStatement";
    if (!memmem(message, n, "\0C26000", 8) || !memmem(message, n, BY, sizeof BY)) return false;
    if (!name_in(r, s, message, n, &number, &e)) return false;
    if (prepared_digest(set_of(r, s), number, &d)) prepared_remove(set_of(r, s), &d);
    r->t->slots[s->slot].flags |= SF_CLOSE_NEEDED;
    return true;
}

/* Whether what fails now is not older than the last text, in which a name was replaced. */
static bool last_text(const struct server *s) {
    return (int32_t)(requests_number(&s->requests) - s->renamed_request) >= 0;
}

#define PLACE_DIGITS 10 /* of a place in a text, which has at most 2^30 characters */
#define PLACE_BYTES (PLACE_DIGITS + 2)

/* A place in the client's text, if it is behind a name that was replaced by one of another length. */
static bool edit_position(const struct server *s, const unsigned char *message, uint32_t n,
                          char text[PLACE_BYTES], struct edit *e) {
    if (!s->renamed_by || !last_text(s)) return false;
    const unsigned char *field = memmem(message + 5, n - 5, "\0P", 2);
    if (!field) return false;
    const char *digits = (const char *)field + 2;
    size_t count = strspn(digits, "0123456789");
    if (!count || count > PLACE_DIGITS || digits[count]) return false;
    long place = strtol(digits, NULL, 10);
    if (place <= (long)s->renamed_at || place <= s->renamed_by) return false;
    int bytes = snprintf(text, PLACE_BYTES, "%ld", place - s->renamed_by);
    *e = (struct edit){(uint32_t)(field + 2 - message), (uint32_t)count, (uint32_t)bytes, text};
    return true;
}

/* An ErrorResponse that speaks of what was replaced goes out in the client's own words.  False: it does
 * not. */
bool statements_error(struct relay *r, struct server *s, const unsigned char *message, uint32_t n,
                      const unsigned char *run, uint32_t run_bytes) {
    struct edit edits[2];
    char place[PLACE_BYTES];
    uint32_t count = 0, length = n - 1, at = 5, number;
    if (!s->client || !s->client->names) return false;
    count += name_in(r, s, message, n, &number, &edits[count]) != NULL;
    count += edit_position(s, message, n, place, &edits[count]);
    if (!count) return false;
    if (count == 2 && edits[0].at > edits[1].at) {
        struct edit first = edits[1];
        edits[1] = edits[0];
        edits[0] = first;
    }
    if (count == 2 && edits[0].at + edits[0].old > edits[1].at) return false; /* PostgreSQL's never overlap */
    for (uint32_t i = 0; i < count; i++) length += edits[i].bytes - edits[i].old;
    unsigned char head[5] = {'E'};
    write_u32(head + 1, length);
    if (run_bytes) conn_send(r, &s->client->io, run, run_bytes);
    conn_send(r, &s->client->io, head, sizeof head);
    for (uint32_t i = 0; i < count; i++) {
        conn_send(r, &s->client->io, message + at, edits[i].at - at);
        conn_send(r, &s->client->io, edits[i].text, edits[i].bytes);
        at = edits[i].at + edits[i].old;
    }
    conn_send(r, &s->client->io, message + at, n - at);
    return true;
}
