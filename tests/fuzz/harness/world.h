/* A relay without its thread, and tables with one pool, for fuzzers that play its clients, its servers and Python. */
#ifndef FUZZ_WORLD_H
#define FUZZ_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/commands.h"

#define WORLD_TRACKED 3

struct relay;

struct world_shape {
    int clients, slots, pool_size;
    const char *user;
    const char *tracked[WORLD_TRACKED];
    const char *welcome; /* what servers report, names and values with their NULs; NULL: nothing yet */
    uint32_t welcome_bytes;
};

/* Its tables are relay->t, and its pool is 0. */
struct relay *world_open(const struct world_shape *shape);
/* Two connected ends. */
void world_pair(int ends[2]);
/* A command with space for data behind it, to be filled and told. */
struct command *world_command(enum command_type type, int32_t a, int32_t b, uint32_t data_bytes);
void world_tell(struct relay *r, struct command *k);
/* A dial comes to nothing: the slot is free again. */
void world_refuse_dial(struct relay *r, int32_t slot);
/* One round of the relay's loop, at this time. */
void world_turn(struct relay *r, uint64_t now);
/* No row of a client or server is in use. */
bool world_is_empty(const struct relay *r);

#endif
