/* Tracked parameters (client_encoding, TimeZone, ...) as interned sets: comparing two is comparing hashes. */
#ifndef POOLER_SETTINGS_H
#define POOLER_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#define TRACKED_MAX 32
#define SETTINGS_BYTES 4096     /* all values of one client together */

struct settings {
    struct settings *next;      /* in the same bucket */
    uint64_t hash;
    uint32_t references;
    bool verified;              /* a server has accepted these values: they may be sent ahead of a statement */
    uint16_t bytes;             /* of values[]: tracked_count NUL-terminated texts */
    char values[];
};

struct tracked { int count; char *names[TRACKED_MAX]; };

struct settings_store {
    struct tracked tracked;
    struct settings *buckets[256];
};

void settings_open(struct settings_store *store, const char *const *names, int count);
struct settings *settings_intern(struct settings_store *store, const char *values, uint32_t bytes, bool verified);
void settings_drop(struct settings_store *store, struct settings *s);
struct settings *settings_change(struct settings_store *store, const struct settings *from, const char *name,
                                 const char *value);
bool settings_tracked(const struct settings_store *store, const char *name);
uint32_t settings_statement(const struct settings_store *store, const struct settings *s, char *out, uint32_t room);

#endif
