/* Plans that servers keep: the theory stands in plans.c. */
#ifndef POOLER_SESSION_PLANS_H
#define POOLER_SESSION_PLANS_H

#include <stdbool.h>
#include <stdint.h>

struct client;
struct relay;
struct server;
struct slot_row;

void plans_note(struct relay *r, struct client *c, uint32_t effect_flags);
void plans_follow(struct relay *r, const struct client *c);
bool plans_foreign(struct relay *r, const struct server *s);
void plans_begin(const struct relay *r, const struct server *s, bool discarded);
void plans_forget(struct slot_row *row);

#endif
