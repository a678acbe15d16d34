/* Clients with a server of their own: see walsender.c. */
#ifndef POOLER_RELAY_WALSENDER_H
#define POOLER_RELAY_WALSENDER_H

struct command;
struct relay;

void walsender_add(struct relay *r, struct command *command);

#endif
