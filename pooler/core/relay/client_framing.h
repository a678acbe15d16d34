/* What a client sends, message by message. */
#ifndef POOLER_RELAY_CLIENT_FRAMING_H
#define POOLER_RELAY_CLIENT_FRAMING_H

#include <stdbool.h>

#include "relay/client.h"
#include "relay/server.h"

struct relay;

void client_begins(struct relay *r, struct client *c);
void client_ask_for_answers(struct relay *r, struct client *c);

/* A client that pipelines without an end is read only so far ahead: what a server was sent it runs, even for
 * a client that has gone. */
static inline bool client_far_ahead(const struct client *c) { return c->server->requests.count >= AHEAD_MAX; }

#endif
