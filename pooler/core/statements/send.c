/* Messages of pooler's own about prepared statements, and statements of its own. */
#include "statements/send.h"

#include <stdio.h>
#include <string.h>

#include "io/buffer.h"
#include "io/connection.h"
#include "io/request_queue.h"
#include "relay/internal.h"
#include "session/session.h"
#include "sql/digest.h"
#include "sql/statement_names.h"
#include "statements/parsing.h"
#include "statements/statement_store.h"
#include "tables/layout.h"
#include "tables/server_statements.h"

struct prepared_set *statements_set(const struct relay *r, const struct server *s) {
    return &r->t->prepared[s->slot];
}

struct counters *statements_counters(struct relay *r, const struct server *s) {
    return counters_of(r, r->t->slots[s->slot].pool);
}

/* Queues bytes for the server behind what the client sent before; the caller's feed() flushes. */
void send_bytes(struct relay *r, struct server *s, const void *p, uint32_t n) {
    if (r->run_bytes) conn_append(&r->loop, &s->io, r->run, r->run_bytes);
    r->run_bytes = 0;
    if (n) conn_append(&r->loop, &s->io, p, n);
    server_state_sent(s);
}

void send_head(struct relay *r, struct server *s, char letter, uint32_t body_bytes) {
    unsigned char head[5] = {(unsigned char)letter};
    store_be32(head + 1, body_bytes + 4);
    send_bytes(r, s, head, sizeof head);
}

/* A Parse for the server: `request` says who is to hear of its end. */
void send_parse(struct relay *r, struct server *s, const char *name, uint32_t name_bytes,
                const unsigned char *body, uint32_t bytes, uint8_t request, const struct digest *d) {
    send_head(r, s, 'P', name_bytes + bytes);
    send_bytes(r, s, name, name_bytes);
    send_bytes(r, s, body, bytes);
    server_expects(s, request);
    parsing_push(s, d);
    statements_counters(r, s)->server_parse_count++;
}

void send_describe(struct relay *r, struct server *s, const char *name, uint32_t name_bytes,
                   uint8_t request) {
    send_head(r, s, 'D', 1 + name_bytes);
    send_bytes(r, s, "S", 1);
    send_bytes(r, s, name, name_bytes);
    server_expects(s, request);
}

void send_close(struct relay *r, struct server *s, uint32_t number) {
    char name[SERVER_NAME_BYTES];
    uint32_t n = prepared_name(name, number);
    send_head(r, s, 'C', 1 + n);
    send_bytes(r, s, "S", 1);
    send_bytes(r, s, name, n);
    server_expects(s, 'C' | INTERNAL);
}

/* Sends the Parse of a text, which others find under `key`; an older one of the same or the least recently
 * used may have to go, and more of them when max_prepared_statements is less than it was. */
uint32_t send_statement(struct relay *r, struct server *s, const struct statement *st,
                        const struct digest *key, uint64_t made, uint8_t request) {
    char name[SERVER_NAME_BYTES];
    uint32_t limit = r->options.max_prepared_statements;
    uint32_t evicted, number = prepared_add(statements_set(r, s), key, made, limit, &evicted);
    for (; evicted; evicted = prepared_shrink(statements_set(r, s), limit)) send_close(r, s, evicted);
    struct prepared_entry *e = prepared_find(statements_set(r, s), key);
    if (e)
        e->foreign = st->apart || session_settings_uncertain(s)
            || !digest_same(st->under->literals, s->client->settings->literals);
    uint32_t name_bytes = prepared_name(name, number);
    send_parse(r, s, name, name_bytes, st->body, st->bytes, request, key);
    send_describe(r, s, name, name_bytes, 'D' | INTERNAL); /* its columns are compared when others use it */
    return number;
}

/* A statement and its portal of this name, with its NUL: Parse, Bind, Execute. */
void send_execute(struct relay *r, struct server *s, const char *name, uint32_t n, const char *text,
                  uint32_t bytes) {
    unsigned char parse[5 + SERVER_NAME_BYTES] = {'P'}, rest[3 + 5 + 2 * SERVER_NAME_BYTES + 6 + 5] = {0},
                            *p = rest + 3; /* behind the end of the text: no types of parameters */
    store_be32(parse + 1, 4 + n + bytes + 3);
    memcpy(parse + 5, name, n);
    *p = 'B';
    store_be32(p + 1, 4 + 2 * n + 6);
    memcpy(p + 5, name, n);
    memcpy(p + 5 + n, name, n);
    p += 5 + 2 * n + 6; /* no formats, no parameters, no formats of columns */
    *p = 'E';
    store_be32(p + 1, 4 + n + 4);
    conn_append(&r->loop, &s->io, parse, 5 + n);
    conn_append(&r->loop, &s->io, text, bytes);
    conn_append(&r->loop, &s->io, rest, (uint32_t)(p - rest) + 5);
    conn_append(&r->loop, &s->io, name, n);
    conn_append(&r->loop, &s->io, "\0\0\0", 4); /* all rows */
    server_expects(s, 'P' | INTERNAL);
    parsing_push(s, NULL);
    server_expects(s, 'B' | INTERNAL);
    server_expects(s, 'E' | INTERNAL);
}

/* Runs a statement of ours in the pipeline under way, whose fate it shares. */
void send_run(struct relay *r, struct server *s, const char *text, uint32_t bytes) {
    char name[SERVER_NAME_BYTES];
    uint32_t n = (uint32_t)snprintf(name, sizeof name, SERVER_NAME_PREFIX "s%u",
                                    ++s->session.sequence_requests)
        + 1;
    send_bytes(r, s, NULL, 0);
    send_execute(r, s, name, n, text, bytes);
    statements_counters(r, s)->server_parse_count++;
    s->pipeline_ours = true;
    for (const char *kind = "PS"; *kind; kind++) { /* in a transaction PostgreSQL would keep the portal */
        send_head(r, s, 'C', n + 1);
        send_bytes(r, s, kind, 1);
        send_bytes(r, s, name, n);
        server_expects(s, 'C' | INTERNAL);
    }
}

/* Ends what of ours stands alone: where it fails, what the client sends behind it is not skipped with it. */
void send_sync(struct relay *r, struct server *s) {
    send_bytes(r, s, "S\0\0\0\4", 5);
    server_expects(s, 'S' | INTERNAL);
    s->pipeline_ours = false;
    parsing_end_pipeline(s);
}
