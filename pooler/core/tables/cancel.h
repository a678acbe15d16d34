/* Cancel requests. */
#ifndef POOLER_TABLES_CANCEL_H
#define POOLER_TABLES_CANCEL_H

#include <stdbool.h>
#include <stdint.h>

struct tables;

enum cancel_verdict { CANCEL_NOTHING, CANCEL_QUEUED, CANCEL_FORWARD, CANCEL_BUSY, CANCEL_IDLE };

bool cancel_key_fits(struct tables *t, uint32_t pid, const unsigned char *key, uint32_t bytes);
int32_t cancel_instance(struct tables *t, uint32_t pid, const unsigned char *key, uint32_t bytes);
enum cancel_verdict cancel_begin(struct tables *t, uint32_t pid, uint32_t secret, int worker, int32_t *slot,
                                 uint32_t *generation, int32_t *client);
void cancel_end(struct tables *t, int32_t slot, uint32_t generation, int32_t client, uint64_t client_id,
                int worker, uint64_t now);
void cancel_over_locked(struct tables *t, int32_t slot, int worker, uint64_t *ring);

#endif
