/* Requests of ours and cancel requests do not meet: the theory stands in cancel_guard.c. */
#ifndef POOLER_RELAY_CANCEL_GUARD_H
#define POOLER_RELAY_CANCEL_GUARD_H

struct client;
struct relay;
struct server;

void guard_drop(struct relay *r, struct server *s);
void guard_look(struct relay *r, struct server *s);
void guard_over(struct relay *r, struct client *c);

#endif
