/* The relay's thread. */
#ifndef POOLER_RELAY_LOOP_H
#define POOLER_RELAY_LOOP_H

struct relay;
struct tables;

struct relay *relay_open(struct tables *t, int worker, int inbox, const int *outboxes, int outbox_count,
                         const char *const *tracked, int tracked_count, const char *const *questions);
int relay_start(struct relay *r);
void relay_join(struct relay *r);

#endif
