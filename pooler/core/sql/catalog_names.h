/* What the catalogs of a database say about names, for all who look into texts.
 *
 * Theory.  search_path is not resolved: a name stands for *all* objects of its kind and name in the database,
 * and its effects are the sum of theirs.  A name that the snapshot lacks is unknown, and unknown is treated
 * as harmful.  Names are kept as they are in the catalogs: folded, cut at 63 bytes and in UTF-8; whoever
 * cannot bring a name into that form takes it for unknown without asking here.
 */
#ifndef POOLER_SQL_CATALOG_NAMES_H
#define POOLER_SQL_CATALOG_NAMES_H

#include <stdbool.h>
#include <stdint.h>

enum catalog_kind {
    CATALOG_FUNCTION, /* functions, procedures, aggregates */
    CATALOG_RELATION, /* tables, views, ...: what runs when they are read *or* written */
    CATALOG_TYPE,     /* also domains; what runs when a value becomes one of it, casts to it included */
    CATALOG_OPERATOR, /* by its characters */
};

/* In an answer: no such name is in the snapshot, or something runs of which nobody knows what it does. */
#define CATALOG_UNKNOWN (1u << 30)

struct catalog_entry {
    uint64_t hash;
    uint32_t effect_flags, kind;
}; /* hash 0: an empty place */

/* A worker's copy of the snapshot of one database (catalog/store.h). */
struct catalog {
    struct catalog_entry *entries; /* open addressing */
    uint32_t capacity;             /* a power of two; 0: none */
    uint32_t generation, everything, ddl;
    bool known;
    bool bodies; /* there are functions whose texts servers plan, and keep the plans of */
};

/* Where the search for a name begins. */
uint32_t catalog_place(uint64_t word_hash, enum catalog_kind kind, uint32_t capacity);

/* Bits of enum effect_flag (effects.h) and CATALOG_UNKNOWN; 0: known, and harmless.  What sets an ASK_ bit
 * may also end what that bit stands for.  `words_hash`: words_hash() of the name under the key of the shared
 * tables. */
uint32_t catalog_effects(const struct catalog *c, enum catalog_kind kind, uint64_t word_hash);

/* Whether there is such a name at all. */
bool catalog_has(const struct catalog *c, enum catalog_kind kind, uint64_t word_hash);

/* False: nothing is known yet, or DDL has passed since it was read; everything is to be asked for. */
bool catalog_known(const struct catalog *c);

/* Effects of every statement, which no name tells: implicit casts between types of PostgreSQL itself. */
uint32_t catalog_everything(const struct catalog *c);

/* Effects of every DDL statement: event triggers. */
uint32_t catalog_ddl(const struct catalog *c);

#endif
