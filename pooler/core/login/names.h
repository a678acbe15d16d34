/* Sets and maps of names by hash: users, databases, parameters.  Filled once, then only read. */
#ifndef POOLER_LOGIN_NAMES_H
#define POOLER_LOGIN_NAMES_H

#include <stdbool.h>
#include <stdint.h>

struct name_entry {
    char *name; /* NULL: free */
    void *value;
};

/* Open addressing; `capacity` is a power of two or 0.  Names are hashed under a key (SipHash of sql/, that no
 * stranger can aim at). */
struct name_set {
    uint32_t count, capacity;
    struct name_entry *entries;
    uint64_t key[2];
};

/* The hash of a name under a key. */
uint64_t names_hash(const uint64_t key[2], const char *name);

/* For tables that strangers gain nothing by aiming at: FNV-1a, of a name behind others; of the first with
 * NAMES_MIX. */
#define NAMES_MIX 14695981039346656037u
static inline uint64_t names_mix(uint64_t hash, const char *name) {
    for (; *name; name++) hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    return hash;
}

/* False: no memory.  A name that is there already gets the new value; what it had is returned in `old`
 * (NULL: there was none). */
bool names_put(struct name_set *s, const char *name, void *value, void **old);
/* NULL: not there. */
struct name_entry *names_get(const struct name_set *s, const char *name);
/* What it has is freed; `free_value` may be NULL. */
void names_free_all(struct name_set *s, void (*free_value)(void *));

#endif
