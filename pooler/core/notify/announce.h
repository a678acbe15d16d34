/* LISTEN and NOTIFY before a statement. */
#ifndef POOLER_NOTIFY_ANNOUNCE_H
#define POOLER_NOTIFY_ANNOUNCE_H

#include <stdbool.h>
#include <stdint.h>

struct client;
struct relay;
struct server;

uint32_t listen_add_marker(const struct relay *r, const struct server *s, char *out, uint32_t n,
                           const char *text);
bool listen_first(struct relay *r, struct client *c, const unsigned char *p, uint32_t here, uint32_t total);

#endif
