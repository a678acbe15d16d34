/* How clients leave: the theory stands in client_leave.c. */
#ifndef POOLER_RELAY_CLIENT_LEAVE_H
#define POOLER_RELAY_CLIENT_LEAVE_H

#include <stdbool.h>

#include "relay/client.h"

struct relay;

void client_left_copy(struct relay *r, struct client *c);
void client_leave(struct relay *r, struct client *c);
void client_hung_up(struct relay *r, struct client *c);
void client_leave_look(struct relay *r);
void client_end(struct relay *r, struct client *c, enum leaving how);
bool client_retired(struct relay *r, struct client *c);

#endif
