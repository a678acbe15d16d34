/* Under which settings prepared statements are parsed: the theory stands in parse_settings.c. */
#ifndef POOLER_STATEMENTS_PARSE_SETTINGS_H
#define POOLER_STATEMENTS_PARSE_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

struct client;
struct name;
struct prepared_entry;
struct relay;
struct server;
struct settings;
struct statement;

bool meaning_waits(const struct client *c);
bool meaning_unreported(const struct server *s);
struct settings *meaning_of_unnamed(struct client *c);
struct statement *meaning_parsed(struct relay *r, struct client *c, const unsigned char *body,
                                 uint32_t bytes);
const struct prepared_entry *meaning_find(struct relay *r, struct server *s, const struct name *name);
bool meaning_is_unsure(struct relay *r, struct server *s, const struct name *name);
uint32_t meaning_ensure(struct relay *r, struct server *s, const struct name *name);
bool meaning_parse_unnamed(struct relay *r, struct client *c);

#endif
