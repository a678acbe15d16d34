/* What clients listen on, and who hears it for them. */
#ifndef POOLER_TABLES_CHANNELS_H
#define POOLER_TABLES_CHANNELS_H

#include <stdbool.h>
#include <stdint.h>

struct tables;

struct joined {
    int32_t row;
    uint32_t id;
};

enum hearing { HEARING_NO, HEARING_SOON, HEARING_YES };

int32_t channel_join(struct tables *t, int32_t client, const char *name, const char *encoding, int worker,
                     uint64_t now, struct joined *out);
void channel_leave(struct tables *t, const struct joined *channel, int worker);
enum hearing channels_heard(struct tables *t, int32_t client, const struct joined *channels, int count,
                            int32_t listens);
void channel_heard(struct tables *t, int32_t row, uint32_t id);
bool channel_drop(struct tables *t, int32_t row, uint32_t id);
int32_t listener_reserve(struct tables *t, int32_t pool, int worker, uint64_t now, int32_t *ever);
void listener_opened(struct tables *t, int32_t database, int32_t slot);
bool listener_rest(struct tables *t, int32_t database);
int listener_lost(struct tables *t, int32_t database, uint64_t refused_until);
int listeners_kill(struct tables *t, int32_t database, int worker);
void channels_worker_died(struct tables *t, int worker, uint64_t *ring);

#endif
