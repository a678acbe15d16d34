/* What replies and errors mean for prepared statements: their names, and their texts. */
#define _GNU_SOURCE
#include "statements/replies.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/buffer.h"
#include "io/connection.h"
#include "io/request_queue.h"
#include "io/server_messages.h"
#include "relay/internal.h"
#include "session/sequences.h"
#include "session/session.h"
#include "sql/digest.h"
#include "sql/statement_names.h"
#include "statements/client_names.h"
#include "statements/parsing.h"
#include "statements/row_description.h"
#include "statements/send.h"
#include "statements/statement_store.h"
#include "tables/clock.h"
#include "tables/layout.h"
#include "tables/server_statements.h"
#include "tables/states.h"

/* When statements may last have changed their meaning. */
static _Atomic uint64_t *clock_of(const struct relay *r, const struct server *s) {
    return &r->t->databases[r->t->pools[r->t->slots[s->slot].pool].database].altered;
}

uint64_t statements_altered_at(const struct relay *r, const struct server *s) { return *clock_of(r, s); }

#define ANSWERS_BYTES 4096         /* of ours that are sent in one write */
#define UNNAMED_UNKNOWN UINT64_MAX /* instead of a client's id */

/* ---- replies --------------------------------------------------------------------------------- */

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
        conn_send(&r->loop, &s->client->io, answers, n);
        n = 0;
    }
    if (n) conn_send(&r->loop, &s->client->io, answers, n);
    memory_count(r, s->client); /* texts may be gone */
}

/* This one was not parsed, or not without an error: which unnamed statement the server has now nobody knows,
 * unless the client has sent another behind a Sync.  A Parse of ours that was skipped is sent once more where
 * it is used. */
static void unnamed_lost(struct relay *r, struct server *s, uint64_t number, bool own) {
    struct names *n = s->client ? s->client->names : NULL;
    if (n && n->unnamed_number != number) return;
    r->t->slots[s->slot].unnamed_of = UNNAMED_UNKNOWN;
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
    if ((letter == 'Q' || letter == 'C') && !row->unnamed_of) row->unnamed_of = UNNAMED_UNKNOWN;
    if (letter == 'P' || letter == 'U') {
        struct digest d = parsing_pop(s);
        if (parsing_is_named(&d)) prepared_remove(statements_set(r, s), &d);
        else if (parsing_is_unnamed(&d)) unnamed_lost(r, s, d.high, request & INTERNAL);
    }
    if (request == 'P' || request == 'p' || request == 'x') ++*names_lost;
    if (request == ('D' | INTERNAL)) columns_known(r, s);
    if (request == ('Q' | INTERNAL) || request == ('E' | INTERNAL)) sequences_skipped(r, s);
}

/* Statements of this database may mean something else now than when they were parsed. */
void statements_altered(struct relay *r, struct server *s) { atomic_store(clock_of(r, s), clock_us()); }

/* After DISCARD ALL and DEALLOCATE ALL the server has no statements but those that were sent behind it, and
 * neither has the client that said so.  Others keep their names: what they need is prepared again. */
static void forget_all(struct relay *r, struct server *s) {
    struct prepared_set *set = statements_set(r, s);
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
    } else if (server_message_tag_starts(tag, n, "ALTER ") || server_message_tag_starts(tag, n, "CREATE ")
               || server_message_tag_starts(tag, n, "DROP ")) {
        s->altered = true;
        statements_altered(r, s);
    } else if (s->altered && server_message_tag_starts(tag, n, "ROLLBACK")) {
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
    const struct name *name = names_of_number(s->client->names, statements_set(r, s), *number);
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
    if (prepared_digest(statements_set(r, s), number, &d)) prepared_remove(statements_set(r, s), &d);
    r->t->slots[s->slot].flags |= SF_CLOSE_NEEDED;
    return true;
}

/* Whether what fails now is not older than the last text, in which a name was replaced. */
static bool last_text(const struct server *s) { return requests_reached(&s->requests, s->renamed_request); }

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
    store_be32(head + 1, length);
    if (run_bytes) conn_send(&r->loop, &s->client->io, run, run_bytes);
    conn_send(&r->loop, &s->client->io, head, sizeof head);
    for (uint32_t i = 0; i < count; i++) {
        conn_send(&r->loop, &s->client->io, message + at, edits[i].at - at);
        conn_send(&r->loop, &s->client->io, edits[i].text, edits[i].bytes);
        at = edits[i].at + edits[i].old;
    }
    conn_send(&r->loop, &s->client->io, message + at, n - at);
    return true;
}
