/* Requests of pooler's own: what the relay does about their answers. */
#ifndef POOLER_RELAY_INTERNAL_REQUESTS_H
#define POOLER_RELAY_INTERNAL_REQUESTS_H

#include <stdint.h>

struct relay;
struct server;

void server_suit(struct relay *r, struct server *s);
void internal_done(struct relay *r, struct server *s);
void internal_error(struct relay *r, struct server *s, const unsigned char *body, uint32_t n);

#endif
