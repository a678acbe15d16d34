/* What a client knows of the rows to come: columns and parameters of a statement's result.
 *
 * Theory.  A client that asked for the columns once may go by them ever after, and PostgreSQL keeps the
 * promise: it refuses a statement whose result has changed since it was parsed.  Here the statement may have
 * been prepared anew since, on another server or for another client, and would be run.  So every Parse of
 * ours has a Describe of ours behind it: `columns` of an entry is the hash of the answer, `columns` of a name
 * that of the entry where it was used first.  When they differ, and the client does not ask again, it gets
 * PostgreSQL's error; the Bind goes out for a statement that does not exist, so that the server is in the
 * same state as if the error were its own.
 *
 * A server that does not have the statement is asked before the client's Bind is sent.
 */
#include "statements/row_description.h"

#include <string.h>

#include "io/buffer.h"
#include "io/connection.h"
#include "relay/internal.h"
#include "sql/digest.h"
#include "statements/client_names.h"
#include "statements/parse_settings.h"
#include "statements/replan.h"
#include "statements/send.h"
#include "statements/statement_store.h"
#include "tables/server_statements.h"

static uint32_t hash(uint32_t h, const unsigned char *p, uint32_t n) {
    struct digest d;
    const uint64_t key[2] = {h, 0};
    digest_of(key, p, n, &d);
    return (uint32_t)d.low | 1; /* 0: unknown */
}

/* A ParameterDescription for us. */
void columns_parameters(struct server *s, const unsigned char *body, uint32_t n) {
    bool whole = n >= 2 && n == 2 + 4 * ((uint32_t)body[0] << 8 | body[1]);
    s->parameters = whole ? hash(1, body, n) : 0;
}

/* Names and types, without the tables that they come from; 0: not all is there. */
static uint32_t hash_columns(uint32_t h, const unsigned char *body, uint32_t n) {
    if (n < 2 || !h) return 0;
    uint32_t at = 2;
    for (uint32_t i = 0, count = (uint32_t)body[0] << 8 | body[1]; i < count; i++) {
        const unsigned char *end = memchr(body + at, 0, n - at);
        if (!end || n - (uint32_t)(end - body) < 19) return 0;
        h = hash(h, body + at, (uint32_t)(end - (body + at)));
        h = hash(h, end + 7, 10); /* behind table and column number: type, its size and modifier */
        at = (uint32_t)(end - body) + 19;
    }
    return h;
}

/* A Describe of ours has been answered, or skipped: who waits for it can go on. */
void columns_known(struct relay *r, struct server *s) {
    if (!s->asks_columns) return;
    s->asks_columns = s->internal_blocks = false;
    if (s->client) conn_ready(&r->loop, &s->client->io);
}

/* The RowDescription (NULL: NoData) that answers our Describe of the statement that was parsed last. */
void columns_learned(struct relay *r, struct server *s, const unsigned char *body, uint32_t n) {
    struct prepared_entry *e = prepared_find(statements_set(r, s), &s->parsed);
    if (e) e->columns = body ? hash_columns(s->parameters, body, n) : s->parameters;
    columns_known(r, s);
}

static uint32_t short_at(const unsigned char *p, uint32_t at, uint32_t total) {
    return at + 2 <= total ? (uint32_t)p[at] << 8 | p[at + 1] : 0;
}

/* Whether a Bind asks for a format column by column: then their number is known to the client. */
bool columns_formatted(const unsigned char *bind, uint32_t total) {
    uint32_t at = 5;
    for (int name = 0; name < 2; name++, at++)
        while (at < total && bind[at]) at++;
    at += 2 + 2 * short_at(bind, at, total);
    uint32_t values = short_at(bind, at, total);
    for (at += 2; values && at + 4 <= total; values--) {
        uint32_t bytes = load_be32(bind + at);
        if (bytes == 0xffffffffu) bytes = 0; /* NULL */
        if (bytes > total - at - 4) return false;
        at += 4 + bytes;
    }
    return short_at(bind, at, total) > 1;
}

/* Whether the message behind the Bind at p describes its portal. */
static enum columns look_ahead(const struct relay *r, const unsigned char *p, uint32_t portal_bytes,
                               uint32_t total) {
    uint32_t space = total + 5 + 1 + portal_bytes; /* of both messages; portal_bytes is with its NUL */
    if (total > STATEMENT_BYTES_MAX) return COLUMNS_CHANGED;
    if (r->ahead > total && p[total] != 'D') return COLUMNS_CHANGED;
    if (r->ahead < space) return COLUMNS_WAIT;
    bool asks = p[total + 5] == 'P' && memcmp(p + total + 6, p + 5, portal_bytes) == 0;
    return asks && !columns_formatted(p, total) ? COLUMNS_FINE : COLUMNS_CHANGED;
}

/* Whether a Bind of this name can be sent as things are: the server has `e` for it (NULL: nothing), which may
 * have other columns than those that the client knows. */
enum columns columns_check(struct relay *r, struct client *c, struct name *name,
                           const struct prepared_entry *e, const unsigned char *p, uint32_t portal_bytes,
                           uint32_t total) {
    struct server *s = c->server;
    bool goes_by = name->told && name->columns;
    if (e && (!goes_by || !e->columns)) {
        if (e->columns) name->columns = e->columns;
        return COLUMNS_FINE;
    }
    if (!goes_by || s->transaction == 'E') return COLUMNS_FINE;
    enum columns check = look_ahead(r, p, portal_bytes, total);
    if (check == COLUMNS_FINE) name->columns = 0;
    if (check != COLUMNS_CHANGED) return check;
    if (e) {
        replan_refuse(s);
        return COLUMNS_CHANGED;
    }
    if (meaning_ensure(r, s, name) == NO_NUMBER) return COLUMNS_CHANGED;
    send_bytes(r, s, "H\0\0\0\4", 5);
    s->asks_columns = s->internal_blocks = true;
    conn_flush(&r->loop, &s->io);
    return COLUMNS_WAIT;
}
