/* What a Parse, Bind, Describe, Close becomes on its way to a server.  The theory stands in
 * statement_store.h. */
#include "statements/forward.h"

#include <stdlib.h>
#include <string.h>

#include "catalog/database.h"
#include "io/request_queue.h"
#include "io/rewritten.h"
#include "relay/internal.h"
#include "session/sequences.h"
#include "session/session.h"
#include "sql/digest.h"
#include "sql/effects.h"
#include "sql/statement_names.h"
#include "statements/client_names.h"
#include "statements/parse_settings.h"
#include "statements/parsing.h"
#include "statements/row_description.h"
#include "statements/send.h"
#include "statements/sql_execute.h"
#include "statements/statement_store.h"
#include "tables/clock.h"
#include "tables/layout.h"
#include "tables/server_statements.h"
#include "tables/states.h"

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

/* ---- what statements say, and the unnamed one ------------------------------------------------ */

/* A Parse of a name that its client has: PostgreSQL is to say that it exists.  So it gets a name that has
 * just been given to the empty text, which is parsed in a transaction that has failed, too.  No statement
 * that others use may stand for it: deallocated where nobody sees it (DO, a function), it would be replaced
 * by this one. */
static void send_in_the_way(struct relay *r, struct server *s, const unsigned char *body, uint32_t bytes) {
    static const unsigned char EMPTY[] = "\0\0"; /* text, NUL, number of parameter types */
    char name[SERVER_NAME_BYTES];
    uint32_t n = prepared_name(name, TAKEN_NUMBER);
    send_close(r, s, TAKEN_NUMBER);
    send_parse(r, s, name, n, EMPTY, sizeof EMPTY, 'P' | INTERNAL, NULL);
    send_parse(r, s, name, n, body, bytes, 'U', NULL);
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
        send_bytes(r, s, "C\0\0\0\6S\0", 7);
        server_expects(s, 'C' | INTERNAL);
        row->unnamed_of = 0;
    }
}

static void look_at(struct relay *r, struct client *c, struct statement *st, struct scan *scan) {
    const struct profile *p = session_profile(r, c);
    scan->effect_flags = scan->ends = scan->names_bytes = scan->unknown_count = 0;
    uint32_t bytes = (uint32_t)strnlen((const char *)st->body, st->bytes);
    if (st->serial != p->serial || !p->catalog.known) {
        session_scan(r, c, (const char *)st->body, bytes, scan);
        st->effect_flags = scan->effect_flags;
        st->ends = scan->ends;
        st->serial = p->serial;
    } else if (st->effect_flags | st->ends) {
        session_scan(r, c, (const char *)st->body, bytes, scan); /* for the names */
    }
    if (st->misleading) scan->effect_flags |= EVERYTHING | PIN_OPAQUE;
    if (bytes < st->bytes)
        scan->effect_flags |= session_types(r, c, st->body + bytes + 1, st->bytes - bytes - 1);
}

/* What a statement does that is about to run, where others have left what it may have to wait for. */
uint32_t statements_effects(struct relay *r, struct client *c, struct statement *st) {
    struct scan scan;
    if (!session_on(r, c) || !sequences_left(r, c)) return 0;
    look_at(r, c, st, &scan);
    return scan.effect_flags;
}

/* What a statement that is about to run says about the session. */
uint32_t statements_note(struct relay *r, struct client *c, struct statement *st) {
    struct scan scan;
    if (!session_on(r, c)) return 0;
    look_at(r, c, st, &scan);
    if (!(scan.effect_flags | scan.ends)) return 0;
    session_note(r, c, &scan);
    sequences_before(r, c, scan.effect_flags);
    return scan.effect_flags;
}

static enum rewritten note_unnamed(struct relay *r, struct client *c) {
    const struct names *n = c->names;
    if (!n || !n->unnamed_live || !session_on(r, c)) return REWRITTEN_NOT;
    if (!n->unnamed_kept) {
        session_text(r, c, "", 0, false);
        return REWRITTEN_NOT;
    }
    if (n->unnamed_misleading) session_anything(r, c);
    uint32_t bytes = (uint32_t)strnlen((const char *)n->unnamed, n->unnamed_bytes);
    if (bytes < n->unnamed_bytes)
        c->server->session.effect_flags |= session_types(r, c, n->unnamed + bytes + 1,
                                                         n->unnamed_bytes - bytes - 1);
    uint32_t effect_flags = session_text(r, c, (const char *)n->unnamed, bytes, true);
    return sequences_before_statement(r, c, effect_flags);
}

/* Whether what is on its way may deallocate all names: then it is not known whether one that is said now is
 * another's. */
bool statements_names_may_go(const struct server *s) { return s->deeds & MAY_CLEAR && s->requests.count; }

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
    enum rewritten how = here == total ? execute_parse(r, c, p, total) : REWRITTEN_NOT;
    bool renamed = how == REWRITTEN_ALL;
    if (how != REWRITTEN_NOT && !renamed) return how;
    bool keep = here == total && !renamed;
    uint32_t bytes = keep ? total - 6 : UNNAMED_BYTES_MAX + 1, space = n->unnamed_space;
    if (!names_keep_unnamed(&r->statements, n, keep ? p + 6 : NULL, bytes, meaning_of_unnamed(c)))
        return REWRITTEN_NO_MEMORY;
    if (n->unnamed_space > space && !memory_within(r, c, 0)) return REWRITTEN_NO_MEMORY;
    n->unnamed_misleading = session_misleading(c, (const char *)p + 6, here - 6);
    note_unnamed_here(r, c);
    statements_counters(r, s)->client_parse_count++;
    statements_counters(r, s)->server_parse_count++;
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
    if (statements_names_may_go(s)) return REWRITTEN_WAIT_ALL; /* one may stand in its text */
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
    statements_counters(r, s)->client_parse_count++;
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
    uint64_t made = target ? target->made : clock_us();
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
        enum rewritten how = name_bytes || s->unnamed_noted ? REWRITTEN_NOT : note_unnamed(r, c);
        if (how != REWRITTEN_NOT) return how;
        statements_counters(r, s)->bind_count++;
        if (name_bytes) { /* of SQL PREPARE, or of what somebody else prepared */
            s->deeds |= MAY_COPY;
            session_anything(r, c);
            return pass(c, 'B', head);
        }
        if (s->unnamed_noted && s->session.parsed_sets_meaning) s->session.sets_meaning = true;
        ensure_unnamed(r, c);
        s->deeds |= c->unnamed_deeds;
        if (s->session.effect_flags & PIN_NAMELESS && here == total)
            session_parameters(r, c, behind, (uint32_t)(p + total - behind));
        s->unnamed_noted = false;
        return pass(c, 'B', head);
    }
    if (statements_names_may_go(s) || meaning_is_unsure(r, s, there)) return REWRITTEN_WAIT_ALL;
    enum rewritten first = sequences_first(r, c, statements_effects(r, c, there->statement));
    if (first != REWRITTEN_NOT) return first;
    const struct prepared_entry *e = meaning_find(r, s, there);
    bool same = e && e->columns == there->columns;
    enum columns check = same ? COLUMNS_FINE : columns_check(r, c, there, e, p, portal_bytes, total);
    if (check == COLUMNS_WAIT) return REWRITTEN_MORE;
    statements_counters(r, s)->bind_count++;
    char live[SERVER_NAME_BYTES];
    uint32_t runs = s->session.sequence_requests;
    uint32_t number = same ? e->number : check == COLUMNS_CHANGED ? NO_NUMBER : meaning_ensure(r, s, there);
    end_runs(r, s, runs);
    if (statements_note(r, c, there->statement) & PIN_NAMELESS && here == total)
        session_parameters(r, c, behind, (uint32_t)(p + total - behind));
    uint32_t live_bytes = prepared_name(live, number);
    send_head(r, s, 'B', total - 5 - (name_bytes + 1) + live_bytes);
    send_bytes(r, s, p + 5, portal_bytes);
    send_bytes(r, s, live, live_bytes);
    server_expects(s, 'B');
    s->renamed_by = 0;
    s->deeds |= there->statement->deeds;
    c->names->bound = c->names->used = there;
    c->names->used_number = number;
    if (portal_bytes > 1) there->told = true; /* its Describe may come behind another Bind */
    *head = (uint32_t)(end + 1 - p);
    return REWRITTEN_HEAD;
}

/* A name that servers may know a statement of anybody's by: nobody closes it by that. */
static bool is_ours(const char *name, uint32_t bytes) {
    return bytes >= sizeof SERVER_NAME_PREFIX - 1
        && memcmp(name, SERVER_NAME_PREFIX, sizeof SERVER_NAME_PREFIX - 1) == 0;
}

/* Describe and Close; those of statements are read whole. */
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
    if (statements_names_may_go(s) || meaning_is_unsure(r, s, there)) return REWRITTEN_WAIT_ALL;
    char live[SERVER_NAME_BYTES];
    uint32_t runs = s->session.sequence_requests;
    uint32_t number = meaning_ensure(r, s, there), live_bytes = prepared_name(live, number);
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
