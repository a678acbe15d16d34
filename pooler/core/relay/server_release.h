/* Giving servers back to their pool. */
#ifndef POOLER_RELAY_SERVER_RELEASE_H
#define POOLER_RELAY_SERVER_RELEASE_H

#include <stdbool.h>

struct relay;
struct server;

void server_place(struct relay *r, struct server *s);
void server_left(struct relay *r, struct server *s, bool clean);
bool server_fast_closed(struct relay *r, struct server *s);
void server_release_if_done(struct relay *r, struct server *s);

#endif
