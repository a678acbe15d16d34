/* Looks at catalogs: when one begins, its pieces, what follows from their answers.  The theory stands in
 * read.h; what rows mean stands in rows.c. */
#include "catalog/read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/customs.h"
#include "catalog/database.h"
#include "catalog/graph.h"
#include "catalog/rows.h"
#include "catalog/schedule.h"
#include "catalog/store.h"
#include "io/buffer.h"
#include "relay/internal.h"
#include "sql/builder.h"
#include "sql/catalog_names.h"
#include "tables/layout.h"
#include "tables/states.h"

#define LIMIT_MIN 32 /* a machine without time for us must not make it endless */
#define LIMIT_MAX 4096
#define LIMIT_LIST 512       /* of the first list of oids, whose rows are short; then as for all */
#define CHANGED_MAX 512      /* oids in one question */
#define CLAIM_AGAIN_US 1000u /* so long a claim that the budget does not allow is not tried again */
#define FAILED_US 10000000u  /* after a failure, times the number of failures */

/* Our own settings, whatever a client has left: for this request alone.  The first answer says in which
 * encoding.  Behind a piece on a server that it keeps, a client would have to wait. */
#define HEAD                                                                   \
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED,READ ONLY,NOT DEFERRABLE;" \
    "SET LOCAL jit=off;" SQL_NO_TRANSACTION_TIMEOUT                            \
    "SET LOCAL exit_on_error=off;SET LOCAL max_parallel_workers_per_gather=0;" \
    "SET LOCAL search_path=pg_catalog,pg_temp;" /* though all names have their schema */
#define PATIENT "SET LOCAL statement_timeout=2000;SET LOCAL lock_timeout=0;"
#define HURRIED "SET LOCAL statement_timeout=500;SET LOCAL lock_timeout=50;"
#define ENCODING "SELECT 'e',pg_catalog.pg_client_encoding();"

/* How long PostgreSQL has had it, in microseconds: what the answer waits for on its way here is not its
 * work. */
#define TAIL                                                                                        \
    ";SELECT 'd',(pg_catalog.date_part('epoch',pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-)" \
    " pg_catalog.statement_timestamp()) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8"

int32_t catalog_database_of(const struct relay *r, const struct server *s) {
    return r->t->pools[r->t->slots[s->slot].pool].database;
}

/* NULL: no memory. */
struct catalog_reader *catalog_reader_of(struct relay *r, int32_t database) {
    struct catalog_reader *c = r->readers[database];
    if (!c) {
        if (!(c = r->readers[database] = calloc(1, sizeof *c))) return NULL;
        c->slot = NO_ROW;
        c->limit = 64;
        c->graph.key = r->builtin.key;
        customs_forget(&c->customs, c->graph.key);
    }
    return c;
}

void catalog_forget_all(struct catalog_reader *c) {
    graph_free(&c->graph);
    memset(c->sums, 0, sizeof c->sums);
    c->complete = false;
    customs_forget(&c->customs, c->graph.key);
}

void catalog_end_look(struct relay *r, int32_t database, struct catalog_reader *c) {
    catalog_paid(r->t, database, c->instance, r->worker, r->loop.now, c->cost_us);
    if (c->phase == READING_WRITE) catalog_drop(r->t, database, r->worker);
    c->phase = READING_NOT;
    c->slot = NO_ROW;
    c->next_at = r->loop.now + PROFILE_CHECK_US
        + (c->failures ? FAILED_US * (c->failures < 6 ? c->failures : 6) : 0);
}

/* More than this worker may keep of catalogs, or can. */
static bool too_large(const struct relay *r, const struct catalog_reader *c) {
    return c->graph.starved || c->graph.bytes > r->options.catalog_bytes;
}

/* A piece could not be read, or another worker reads: nothing of this look counts. */
void catalog_fail(struct relay *r, int32_t database, struct catalog_reader *c) {
    c->failures++;
    c->complete = false;                        /* some rows may be of now, and others of before */
    if (too_large(r, c)) catalog_forget_all(c); /* what is gone from the catalogs does not count for ever */
    struct catalog_row *row = &r->t->databases[database].catalog;
    if (!atomic_load(&row->generation)) row->state = CATALOG_FAILED;
    catalog_end_look(r, database, c);
}

/* ---- when ---------------------------------------------------------------------------------------- */

/* Whether a server that no client has is to answer a piece now, if a look that is to begin can be claimed. */
bool catalog_may_ask(struct relay *r, const struct server *s) {
    const struct slot_row *row = &r->t->slots[s->slot];
    const struct pool_row *p = &r->t->pools[row->pool];
    const struct database_row *d = &r->t->databases[p->database];
    struct catalog_reader *c = r->readers[p->database];
    /* each server that is given back comes here: this is the usual answer */
    if (c && c->phase == READING_NOT && r->loop.now < c->next_at && c->row_generation == d->generation)
        return false;
    if (!catalog_matters(r, row->pool) || row->flags & (SF_CLOSE_NEEDED | SF_ONCE)) return false;
    if (r->t->h->paused || r->t->h->suspended || r->t->h->draining || r->t->h->retiring || d->paused
        || s->state == SERVER_DEDICATED)
        return false;
    if (!catalog_has_work(r, p->database)) return false;
    c = r->readers[p->database];
    if (p->waiting.head != NO_ROW
        && r->loop.now < c->moved_at + (catalog_is_known(r, p->database) ? STARVED_US : UNKNOWN_STARVED_US))
        return false;
    if (c->phase != READING_NOT) return true;
    if (catalog_may_claim(r->t, p->database, p->instance, r->worker, r->loop.now)) return true;
    c->next_at = r->loop.now + CLAIM_AGAIN_US;
    return false;
}

/* ---- pieces -------------------------------------------------------------------------------------- */

static const char *text_of(const struct relay *r, uint8_t class, int which) {
    return r->catalogs[CATALOG_SUMS + 3 * class + which];
}

static uint32_t put_wanted(struct catalog_reader *c, char *out, uint32_t space, const char *key) {
    uint32_t n = (uint32_t)snprintf(out, space, "%s OPERATOR(pg_catalog.=) ANY ('{", key);
    uint32_t end = c->wanted_at + (c->limit < CHANGED_MAX ? c->limit : CHANGED_MAX);
    for (bool first = true; c->wanted_at < c->wanted_count && c->wanted_at < end;
         c->wanted_at++, first = false)
        n += (uint32_t)snprintf(out + n, space - n, first ? "%u" : ",%u", c->wanted[c->wanted_at]);
    return n + (uint32_t)snprintf(out + n, space - n, "}'::pg_catalog.oid[])");
}

/* `$W` and `$T` of a question replaced. */
static void fill(char *out, uint32_t space, bool hurried, const char *text, const char *where,
                 const char *tail) {
    uint32_t n = (uint32_t)snprintf(out, space, "%s%s%s", HEAD, hurried ? HURRIED : PATIENT, ENCODING);
    for (; *text && n + 1 < space; text++) {
        const char *put = text[0] == '$' && text[1] == 'W' ? where
            : text[0] == '$' && text[1] == 'T'             ? tail
                                                           : NULL;
        if (put) {
            n += (uint32_t)snprintf(out + n, space - n, "%s", put);
            if (n >= space) n = space - 1;
            text++;
        } else {
            out[n++] = *text;
        }
    }
    snprintf(out + n, space - n, "%s", TAIL);
}

static void send_piece(struct relay *r, struct server *s, struct catalog_reader *c) {
    static char query[32768]; /* of the one thread of the relay */
    char where[8192], tail[96];
    const char *key = text_of(r, c->class, 0);
    tail[0] = '\0';
    c->rows = 0;
    if (c->phase == READING_CHANGED) {
        put_wanted(c, where, sizeof where, key);
    } else if (c->phase != READING_SUMS) {
        if (c->phase == READING_LIST) key = "oid";
        snprintf(where, sizeof where, "%s OPERATOR(pg_catalog.>) '%u'::pg_catalog.oid", key, c->last);
        /* the cast to what it is makes it no name of a column of the result, which are texts */
        snprintf(tail, sizeof tail, "ORDER BY %s::pg_catalog.oid LIMIT %u", key, c->limit);
    }
    bool hurried = s->client;
    if (c->phase == READING_SUMS) fill(query, sizeof query, hurried, r->catalogs[c->class], "", "");
    else
        fill(query, sizeof query, hurried, text_of(r, c->class, c->phase == READING_LIST ? 2 : 1), where,
             tail);
    c->slot = s->slot;
    c->slot_generation = s->generation;
    c->piece_at = r->loop.now;
    c->draft.open = false;
    c->took_us = 0;
    internal_send(r, s, INTERNAL_CATALOG, query);
}

/* The server has been taken from its client, or claimed: it answers a piece.  When nothing is to be asked it
 * is given back. */
void catalog_ask(struct relay *r, struct server *s) {
    int32_t database = catalog_database_of(r, s);
    struct catalog_reader *c = catalog_reader_of(r, database);
    if (c->phase == READING_NOT) {
        c->instance = r->t->pools[r->t->slots[s->slot].pool].instance;
        c->version = atomic_load(&r->t->databases[database].schema_version);
        c->phase = READING_SUMS;
        c->class = 0;
        c->cost_us = 0;
        c->changes = false;
        memset(c->next_sums, 0, sizeof c->next_sums);
        c->next_identity[0] = '\0';
    }
    send_piece(r, s, c);
}

/* ---- what follows -------------------------------------------------------------------------------- */

static bool read_by_list(const struct relay *r, const struct catalog_reader *c) {
    return text_of(r, c->class, 2)[0];
}

/* The next class that has changed; behind the last one effects are computed. */
static void next_class(struct relay *r, struct catalog_reader *c) {
    for (; c->class < CATALOG_CLASSES; c->class++) {
        bool known = c->complete && strcmp(c->sums[c->class], c->next_sums[c->class]) == 0;
        if (known) continue;
        c->phase = read_by_list(r, c) ? READING_LIST : READING_PAGES;
        c->last = c->wanted_count = c->wanted_at = 0;
        c->limit = c->phase == READING_LIST ? LIMIT_LIST : 64;
        graph_unsee(&c->graph, c->class);
        c->changes = true;
        return;
    }
    memcpy(c->sums, c->next_sums, sizeof c->sums);
    c->complete = true;
    c->phase = READING_SOLVE;
    graph_solve(&c->graph);
}

static void class_done(struct relay *r, struct catalog_reader *c) {
    graph_drop_unseen(&c->graph, c->class++);
    next_class(r, c);
}

/* The sums have come: what was known counts, if it is the same PostgreSQL and nothing has changed. */
static void compare(struct relay *r, int32_t database, struct catalog_reader *c) {
    if (strcmp(c->identity, c->next_identity) != 0) catalog_forget_all(c);
    memcpy(c->identity, c->next_identity, sizeof c->identity);
    c->class = 0;
    if (c->complete && memcmp(c->sums, c->next_sums, sizeof c->sums) == 0
        && catalog_is_published(r->t, database)) {
        catalog_seen_again(r->t, database, r->worker, r->loop.now, c->version);
        catalog_end_look(r, database, c);
        return;
    }
    next_class(r, c);
}

/* A client has come while its server, or one of its pool, has answered a piece. */
static bool has_waited(const struct relay *r, const struct server *s) {
    const struct client *c = s->client;
    if (c) return c->io.readable || bytes_pending(&c->io.stash);
    return r->t->pools[r->t->slots[s->slot].pool].waiting.head != NO_ROW;
}

/* How many rows the next piece has, by what those of this one took. */
static void adapt(struct catalog_reader *c, uint64_t now) {
    uint64_t took = now - c->piece_at; /* with the time in which its rows are read here */
    bool waited = c->waited_at && now < c->waited_at + WAITED_FOR_US;
    if (c->phase == READING_SUMS) return;
    uint64_t limit = took ? c->limit * (uint64_t)(waited ? WAITED_US : PIECE_US) / took : LIMIT_MAX;
    if (limit > c->limit * 4u) limit = c->limit * 4u;
    c->limit = limit < LIMIT_MIN ? LIMIT_MIN : limit > LIMIT_MAX ? LIMIT_MAX : (uint32_t)limit;
}

/* A piece is complete, or PostgreSQL has refused it. */
void catalog_answered(struct relay *r, struct server *s) {
    int32_t database = catalog_database_of(r, s);
    struct catalog_reader *c = catalog_reader_of(r, database);
    if (c->slot != s->slot || c->slot_generation != s->generation) return; /* of a look that was given up */
    s->session.looked = s->client;
    uint64_t took = c->took_us ? c->took_us : r->loop.now - c->piece_at;
    uint32_t limit = c->limit;
    c->slot = NO_ROW;
    c->cost_us += took;
    c->moved_at = r->loop.now;
    catalog_rows_end(c);
    if (s->internal_failed || (c->phase == READING_SUMS && !c->next_identity[0])
        || !catalog_keep(r->t, database, c->instance, r->worker, r->loop.now) || too_large(r, c)) {
        catalog_fail(r, database, c);
        return;
    }
    c->failures = 0;
    if (has_waited(r, s)) c->waited_at = r->loop.now;
    adapt(c, r->loop.now);
    bool last = c->rows < limit;
    switch (c->phase) {
    case READING_SUMS:
        if (++c->class == CATALOG_SUMS) compare(r, database, c);
        break;
    case READING_LIST:
        if (!last) break;
        c->phase = READING_CHANGED;
        c->limit = 64;
        if (!c->wanted_count) class_done(r, c);
        break;
    case READING_CHANGED:
        if (c->wanted_at == c->wanted_count) class_done(r, c);
        break;
    case READING_PAGES:
        if (last) class_done(r, c);
        break;
    case READING_NOT:
    case READING_SOLVE:
    case READING_COUNT:
    case READING_WRITE: break;
    }
    if (c->phase == READING_SOLVE) r->catalog_work = true;
}

void catalog_hear(struct relay *r, struct server *s, unsigned char letter, const unsigned char *body,
                  uint32_t n, bool whole) {
    struct catalog_reader *c = catalog_reader_of(r, catalog_database_of(r, s));
    if (letter == 'D' && c->slot == s->slot && c->slot_generation == s->generation)
        catalog_rows_take(c, body, n, whole, r->options.trusted);
}
