/* What forward.c and sql_execute.c share: the writing of messages about prepared statements. */
#ifndef POOLER_STATEMENTS_FORWARD_H
#define POOLER_STATEMENTS_FORWARD_H

#include "relay/relay.h"

struct prepared_set *set_of(const struct relay *r, const struct server *s);
void put(struct relay *r, struct server *s, const void *p, uint32_t n);
void put_head(struct relay *r, struct server *s, char letter, uint32_t body_bytes);
uint32_t server_name(char out[SERVER_NAME_BYTES], uint32_t number);
void send_parse(struct relay *r, struct server *s, const char *name, uint32_t name_bytes,
                const unsigned char *body, uint32_t bytes, uint8_t request, const struct digest *d);
uint32_t note_statement(struct relay *r, struct client *c, struct statement *st);
uint32_t send_statement(struct relay *r, struct server *s, const struct statement *st,
                        const struct digest *key, uint64_t made, uint8_t request);
void send_run(struct relay *r, struct server *s, const char *text, uint32_t bytes);
void send_sync(struct relay *r, struct server *s);
#define TAKEN_NUMBER UINT32_MAX /* of what is made to be in the way of a Parse */
bool names_may_go(const struct server *s);
bool tag_starts(const unsigned char *tag, uint32_t n, const char *with); /* of a CommandComplete */

/* parse_settings.c: under which settings statements are parsed */
struct statement *meaning_parsed(struct relay *r, struct client *c, const unsigned char *body,
                                 uint32_t bytes);
struct settings *meaning_now(struct client *c);
bool meaning_waits(const struct client *c);
const struct prepared_entry *meaning_find(struct relay *r, struct server *s, const struct name *name);
bool meaning_is_unsure(struct relay *r, struct server *s, const struct name *name);
uint32_t ensure_prepared(struct relay *r, struct server *s, const struct name *name);
bool meaning_parse_unnamed(struct relay *r, struct client *c);

/* row_description.c */
#define NO_NUMBER 0 /* no statement has it: a Bind of it fails */
enum columns { COLUMNS_FINE, COLUMNS_CHANGED, COLUMNS_WAIT };
enum columns columns_check(struct relay *r, struct client *c, struct name *name,
                           const struct prepared_entry *e, const unsigned char *p, uint32_t portal_bytes,
                           uint32_t total);
bool columns_formatted(const unsigned char *bind, uint32_t total);
void columns_known(struct relay *r, struct server *s);

/* sql_execute.c */
enum rewritten execute_query(struct relay *r, struct client *c, const unsigned char *p, uint32_t here,
                             uint32_t total);
bool execute_waits(struct client *c, const unsigned char *text, uint32_t bytes);
struct name *execute_target(struct client *c, const unsigned char *body, uint32_t bytes);
bool execute_parse(struct relay *r, struct client *c, const unsigned char *p, uint32_t total);

#endif
