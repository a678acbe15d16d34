/* How a client comes to the relay. */
#ifndef POOLER_RELAY_CLIENT_ENTER_H
#define POOLER_RELAY_CLIENT_ENTER_H

#include <stdint.h>

struct command;
struct newcomer;
struct relay;
struct tls;

void client_turn_away(struct relay *r, int32_t row, int fd, struct tls *tls);
void client_add(struct relay *r, struct command *command);
void client_enter(struct relay *r, const struct newcomer *n);

#endif
