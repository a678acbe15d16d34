/* Notifications of the listening connections, on their way to clients. */
#ifndef POOLER_NOTIFY_DELIVER_H
#define POOLER_NOTIFY_DELIVER_H

#include <stdint.h>

struct client;
struct relay;

void listen_flush(struct relay *r, struct client *c);
void listen_take(struct relay *r, const int32_t datagram[3], const unsigned char *data, uint32_t n);
void listen_deliver(struct relay *r);
void listen_look(struct relay *r);

#endif
