/* The welcome of clients: the values of their startup packets. */
#ifndef POOLER_SESSION_STARTUP_VALUES_H
#define POOLER_SESSION_STARTUP_VALUES_H

#include <stdbool.h>
#include <stdint.h>

struct client;
struct relay;
struct server;
struct settings;

#define GREETING_VALUE_BYTES 512

/* What a client is greeted with: before and behind its ParameterStatus messages; then what it sent early. */
struct greeting {
    uint32_t head_bytes, tail_bytes, reports_bytes;
    unsigned char bytes[];
};

struct settings *startup_settings(struct relay *r, struct settings *given);
struct settings *greeting_without_name(struct relay *r, const struct settings *s);
struct greeting *greeting_new(uint32_t head, uint32_t tail);
struct greeting *greeting_of(const unsigned char *bytes, uint32_t head, uint32_t tail);
uint32_t greeting_question(const struct relay *r, const struct client *c, char *out, uint32_t at,
                           uint32_t space);
void greeting_hear(struct relay *r, struct server *s, unsigned char letter, const unsigned char *body,
                   uint32_t n, bool whole);
struct settings *greeting_accepted(struct relay *r, struct client *c, struct settings *given,
                                   const struct settings *key);
void client_greet(struct relay *r, struct client *c);
void client_let_in(struct relay *r, struct client *c);
void greeting_renew(struct relay *r, struct client *c);
void greeting_confirmed(struct relay *r, struct server *s);

#endif
