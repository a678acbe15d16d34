/* Statements that reset something, parsed in session pooling: the theory stands in parsed_resets.c. */
#ifndef POOLER_SESSION_PARSED_RESETS_H
#define POOLER_SESSION_PARSED_RESETS_H

#include <stdbool.h>
#include <stdint.h>

struct client;
struct scan;

struct parsed_reset {
    struct parsed_reset *next; /* parsed before this one */
    uint32_t effect_flags;
    uint32_t name_bytes, bytes; /* of its name; of that and the names of settings, with 'r' each */
    char text[];
};

bool parsed_resets_note(struct client *c, const char *name, const struct scan *scan);
const struct parsed_reset *parsed_resets_find(const struct client *c, const char *name);
void parsed_resets_free(struct client *c);

#endif
