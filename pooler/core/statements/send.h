/* Messages of pooler's own about prepared statements, and statements of its own. */
#ifndef POOLER_STATEMENTS_SEND_H
#define POOLER_STATEMENTS_SEND_H

#include <stdint.h>

struct counters;
struct digest;
struct prepared_set;
struct relay;
struct server;
struct statement;

struct prepared_set *statements_set(const struct relay *r, const struct server *s);
struct counters *statements_counters(struct relay *r, const struct server *s);
void send_bytes(struct relay *r, struct server *s, const void *p, uint32_t n);
void send_head(struct relay *r, struct server *s, char letter, uint32_t body_bytes);
void send_parse(struct relay *r, struct server *s, const char *name, uint32_t name_bytes,
                const unsigned char *body, uint32_t bytes, uint8_t request, const struct digest *d);
void send_describe(struct relay *r, struct server *s, const char *name, uint32_t name_bytes, uint8_t request);
void send_close(struct relay *r, struct server *s, uint32_t number);
uint32_t send_statement(struct relay *r, struct server *s, const struct statement *st,
                        const struct digest *key, uint64_t made, uint8_t request);
void send_execute(struct relay *r, struct server *s, const char *name, uint32_t n, const char *text,
                  uint32_t bytes);
void send_run(struct relay *r, struct server *s, const char *text, uint32_t bytes);
void send_sync(struct relay *r, struct server *s);

#endif
