/* Messages of a client that have to be there whole before they are dealt with. */
#ifndef POOLER_RELAY_WHOLE_MESSAGE_H
#define POOLER_RELAY_WHOLE_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

struct client;
struct relay;

bool whole_before_server(struct relay *r, struct client *c, uint32_t here, uint32_t total);
bool whole_wanted(struct relay *r, struct client *c, uint32_t here, uint32_t total);
bool whole_read(struct relay *r, struct client *c);

#endif
