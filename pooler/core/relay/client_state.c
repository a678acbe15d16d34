/* How what happens to a client moves it: the theory stands in client_state.h. */
#include "relay/client_state.h"

#include <stddef.h>

#include "relay/client.h"
#include "relay/internal.h"

STATE_MACHINE(client_machine, "client", CLIENT_STATES, CLIENT_TRANSITIONS);

void client_move(struct client *c, enum client_relay_state to) {
    state_move(&client_machine, &c->state, (uint8_t)to);
}

/* It is not read before its server has answered more.  (A client that leaves is not read anyway.) */
void client_hold(struct client *c, enum held_for why) {
    c->held_for = (uint8_t)why;
    if (c->state == CLIENT_SERVED) client_move(c, CLIENT_HELD);
}

/* Its server has been taken from it. */
void client_parted(struct client *c) {
    c->server = NULL;
    if (c->state == CLIENT_SERVED || c->state == CLIENT_HELD) client_move(c, CLIENT_IDLE);
}
