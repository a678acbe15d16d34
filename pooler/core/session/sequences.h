/* What sequences leave in a session: the theory stands in sequences.c. */
#ifndef POOLER_SESSION_SEQUENCES_H
#define POOLER_SESSION_SEQUENCES_H

#include <stdbool.h>
#include <stdint.h>

#include "io/rewritten.h"

struct client;
struct pool_row;
struct relay;
struct server;

bool sequences_left(const struct relay *r, const struct client *c);
enum rewritten sequences_first(struct relay *r, struct client *c, uint32_t effect_flags);
enum rewritten sequences_before_statement(struct relay *r, struct client *c, uint32_t effect_flags);
void sequences_before(struct relay *r, struct client *c, uint32_t effect_flags);
enum rewritten sequences_before_call(struct relay *r, struct client *c, uint32_t effect_flags);
enum rewritten sequences_before_query(struct relay *r, struct client *c, uint32_t effect_flags,
                                      const char *text, uint32_t bytes);
void sequences_not_discarded(struct relay *r, struct server *s);
void sequences_discarded(struct relay *r, struct server *s);
void sequences_skipped(struct relay *r, struct server *s);
bool sequences_wait(struct server *s);
bool sequences_pin(struct pool_row *pool, struct client *c, uint32_t effect_flags);
void sequences_given_up(struct pool_row *pool, struct client *c);

#endif
