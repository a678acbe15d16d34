/* What a server sends, message by message. */
#ifndef POOLER_RELAY_SERVER_REPLIES_H
#define POOLER_RELAY_SERVER_REPLIES_H

#include <stdint.h>

struct relay;
struct server;

uint32_t server_feed(struct relay *r, struct server *s, const unsigned char *p, uint32_t n);

#endif
