/* Answers that change what is known of a server. */
#ifndef POOLER_RELAY_SERVER_READY_H
#define POOLER_RELAY_SERVER_READY_H

#include <stdbool.h>
#include <stdint.h>

struct relay;
struct server;

void server_parameter(struct relay *r, struct server *s, const unsigned char *body, uint32_t n, bool own);
bool server_ready(struct relay *r, struct server *s, uint8_t status);

#endif
