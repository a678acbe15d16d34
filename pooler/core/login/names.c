/* Sets of names (see names.h). */
#include "login/names.h"

#include <stdlib.h>
#include <string.h>

#include "sql/digest.h"

#define NAMES_MIN 8 /* places of the smallest table */

uint64_t names_hash(const uint64_t key[2], const char *name) {
    struct digest d;
    digest_of(key, (const unsigned char *)name, (uint32_t)strlen(name), &d);
    return d.low;
}

/* The place of a name, or the free one where it belongs.  There is a free one: a quarter of them are. */
static struct name_entry *place(const struct name_set *s, const char *name) {
    uint32_t at = (uint32_t)names_hash(s->key, name) & (s->capacity - 1);
    while (s->entries[at].name && strcmp(s->entries[at].name, name) != 0) at = (at + 1) & (s->capacity - 1);
    return &s->entries[at];
}

static bool grow(struct name_set *s) {
    struct name_set wider = *s;
    if (s->capacity > UINT32_MAX / 4) return false;
    wider.capacity = s->capacity ? s->capacity * 2 : NAMES_MIN;
    wider.entries = calloc(wider.capacity, sizeof(*wider.entries));
    if (!wider.entries) return false;
    for (uint32_t i = 0; i < s->capacity; i++)
        if (s->entries[i].name) *place(&wider, s->entries[i].name) = s->entries[i];
    free(s->entries);
    *s = wider;
    return true;
}

bool names_put(struct name_set *s, const char *name, void *value, void **old) {
    *old = NULL;
    if (s->count >= s->capacity / 4 * 3 && !grow(s)) return false;
    struct name_entry *entry = place(s, name);
    if (!entry->name) {
        entry->name = strdup(name);
        if (!entry->name) return false;
        s->count++;
    } else *old = entry->value;
    entry->value = value;
    return true;
}

struct name_entry *names_get(const struct name_set *s, const char *name) {
    if (!s->count) return NULL;
    struct name_entry *entry = place(s, name);
    return entry->name ? entry : NULL;
}

void names_free_all(struct name_set *s, void (*free_value)(void *)) {
    for (uint32_t i = 0; i < s->capacity; i++) {
        struct name_entry *entry = &s->entries[i];
        if (entry->name && free_value) free_value(entry->value);
        free(entry->name);
    }
    free(s->entries);
    s->entries = NULL;
    s->count = s->capacity = 0;
}
