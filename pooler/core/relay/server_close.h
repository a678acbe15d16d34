/* The end of a server connection. */
#ifndef POOLER_RELAY_SERVER_CLOSE_H
#define POOLER_RELAY_SERVER_CLOSE_H

#include <stdbool.h>
#include <stdint.h>

struct relay;
struct server;

void server_close_left(struct relay *r, struct server *s, bool busy, bool half, const char *reason);
bool server_untouched(const struct server *s);
bool server_replace(struct relay *r, struct server *s);
void server_overdue(struct relay *r, struct server *s);
void server_tell_closed(struct relay *r, int32_t slot, uint32_t generation);
void server_gone(struct relay *r, struct server *s);

#endif
