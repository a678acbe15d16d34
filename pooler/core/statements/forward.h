/* What messages of clients about prepared statements become on their way to a server. */
#ifndef POOLER_STATEMENTS_FORWARD_H
#define POOLER_STATEMENTS_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "io/rewritten.h"

struct client;
struct relay;
struct server;
struct statement;

#define TAKEN_NUMBER UINT32_MAX /* of what is made to be in the way of a Parse */

bool statements_on(const struct relay *r, const struct client *c);
uint32_t statements_effects(struct relay *r, struct client *c, struct statement *st);
uint32_t statements_note(struct relay *r, struct client *c, struct statement *st);
bool statements_names_may_go(const struct server *s);
enum rewritten statements_forward(struct relay *r, struct client *c, const unsigned char *p, uint32_t here,
                                  uint32_t total, uint32_t *head);

#endif
