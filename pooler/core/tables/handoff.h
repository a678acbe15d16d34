/* Two instances, one limit: the theory stands in handoff.c. */
#ifndef POOLER_TABLES_HANDOFF_H
#define POOLER_TABLES_HANDOFF_H

#include <stdbool.h>
#include <stdint.h>

struct outcome;
struct pool_row;
struct tables;

enum handoff_word { HANDOFF_TAKEN, HANDOFF_RELEASED, HANDOFF_WANTED, HANDOFF_GRANTED, HANDOFF_HURRY };
struct handoff_message {
    enum handoff_word word;
    int32_t pool, servers;
};

int32_t handoff_usable(const struct pool_row *p);
bool handoff_surplus(struct tables *t, const struct pool_row *p);
void handoff_retire(struct tables *t, uint64_t now, uint64_t *ring);
void handoff_settle_quota(struct tables *t, bool make_way, uint64_t now, struct outcome *out);
int32_t handoff_owed_pool(struct tables *t, int32_t pool);
int handoff_messages(struct tables *t, uint64_t now, struct handoff_message *out, int max);
int32_t handoff_quota(const struct tables *t, int32_t pool);
bool handoff_told(struct tables *t, const struct handoff_message *news, uint64_t now, uint64_t *ring);
void handoff_left(struct tables *t, uint64_t now, uint64_t *ring);

#endif
