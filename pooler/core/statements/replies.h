/* What replies and errors mean for prepared statements. */
#ifndef POOLER_STATEMENTS_REPLIES_H
#define POOLER_STATEMENTS_REPLIES_H

#include <stdbool.h>
#include <stdint.h>

struct relay;
struct server;

uint64_t statements_altered_at(const struct relay *r, const struct server *s);
bool statements_due(const struct server *s);
void statements_answer(struct relay *r, struct server *s);
void statements_parsed(struct relay *r, struct server *s, uint8_t request);
void statements_skipped(struct relay *r, struct server *s, uint8_t request, uint32_t *names_lost);
void statements_altered(struct relay *r, struct server *s);
void statements_tag(struct relay *r, struct server *s, const unsigned char *tag, uint32_t n);
void statements_ended(struct relay *r, struct server *s, uint8_t status);
bool statements_gone(struct relay *r, struct server *s, const unsigned char *message, uint32_t n);
bool statements_error(struct relay *r, struct server *s, const unsigned char *message, uint32_t n,
                      const unsigned char *run, uint32_t run_bytes);

#endif
