/* What a client may know of the rows to come: see row_description.c. */
#ifndef POOLER_STATEMENTS_ROW_DESCRIPTION_H
#define POOLER_STATEMENTS_ROW_DESCRIPTION_H

#include <stdbool.h>
#include <stdint.h>

struct client;
struct name;
struct prepared_entry;
struct relay;
struct server;

enum columns { COLUMNS_FINE, COLUMNS_CHANGED, COLUMNS_WAIT };

void columns_parameters(struct server *s, const unsigned char *body, uint32_t n);
void columns_known(struct relay *r, struct server *s);
void columns_learned(struct relay *r, struct server *s, const unsigned char *body, uint32_t n);
bool columns_formatted(const unsigned char *bind, uint32_t total);
enum columns columns_check(struct relay *r, struct client *c, struct name *name,
                           const struct prepared_entry *e, const unsigned char *p, uint32_t portal_bytes,
                           uint32_t total);

#endif
