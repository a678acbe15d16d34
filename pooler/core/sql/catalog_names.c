/* Answers about names; the theory stands in catalog_names.h. */
#include "sql/catalog_names.h"

#include <stddef.h>

#include "sql/effects.h"

/* Where the search for a name begins. */
uint32_t catalog_place(uint64_t word_hash, enum catalog_kind kind, uint32_t capacity) {
    uint64_t x = (word_hash ^ kind) * 0x9e3779b97f4a7c15ull;
    return (uint32_t)(x >> 32) & (capacity - 1);
}

static uint32_t effects(uint32_t effect_flags) {
    return effect_flags & CATALOG_UNKNOWN ? effect_flags | ASK_ALL | PIN_OPAQUE | EFFECT_UNSURE
                                          : effect_flags;
}

static const struct catalog_entry *find(const struct catalog *c, enum catalog_kind kind, uint64_t word_hash) {
    if (!c->capacity) return NULL;
    uint32_t at = catalog_place(word_hash, kind, c->capacity);
    for (; c->entries[at].hash; at = (at + 1) & (c->capacity - 1))
        if (c->entries[at].hash == word_hash && c->entries[at].kind == kind) return &c->entries[at];
    return NULL;
}

uint32_t catalog_effects(const struct catalog *c, enum catalog_kind kind, uint64_t word_hash) {
    const struct catalog_entry *found = find(c, kind, word_hash);
    return effects(found ? found->effect_flags : CATALOG_UNKNOWN);
}

bool catalog_has(const struct catalog *c, enum catalog_kind kind, uint64_t word_hash) {
    return find(c, kind, word_hash);
}

bool catalog_known(const struct catalog *c) { return c->known; }

uint32_t catalog_everything(const struct catalog *c) { return effects(c->everything); }

uint32_t catalog_ddl(const struct catalog *c) { return effects(c->ddl); }
