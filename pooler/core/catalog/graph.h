/* Which objects of a database lead to which others, and what each may leave behind: of the worker that reads
 * its catalogs.
 *
 * Theory.  A *symbol* is a name of some kind, an oid, or one of two special things (every statement, every
 * DDL).  A *source* is a row of a catalog: it gives its effect flags, and those of the symbols that it refers
 * to, to its owners.  The effects of a symbol are the least fixed point of that, so cycles need no care.
 * What refers to a name refers to all objects of that name, of whatever kind: nothing is resolved.  Solving
 * goes in steps of a bounded number of sources, so that it never holds up the relay.
 */
#ifndef POOLER_CATALOG_GRAPH_H
#define POOLER_CATALOG_GRAPH_H

#include <stdbool.h>
#include <stdint.h>

#include "sql/catalog_names.h"

#define DRAFT_IDS_MAX 8192 /* owners and references of one source; with more it is unknown */

/* A function whose text is kept as such, and what is in it is planned once in each server; and one of those
 * of which PostgreSQL believes that it needs to be called but once for each plan. */
enum body_kind { BODY_NONE, BODY_TEXT, BODY_IMMUTABLE };

struct source {
    uint32_t oid, xmin, effect_flags, bytes;
    uint16_t owners;
    uint8_t class, body; /* enum body_kind */
    bool seen;
    unsigned char *ids;
};

#define DRAFT_RECENT 512 /* a power of two */

/* A source while its rows come in.  A body says most of its names again and again. */
struct draft {
    uint32_t oid, xmin, effect_flags, count, owners, parts;
    uint8_t class, body;
    bool open;
    uint64_t recent[DRAFT_RECENT]; /* symbols that it refers to, each where its bits lead to */
    uint32_t ids[DRAFT_IDS_MAX];
};

struct graph {
    uint64_t key;      /* of names, in the shared tables */
    uint64_t *symbols; /* by number */
    uint32_t *effect_flags;
    uint8_t *defined; /* an object has that name */
    uint8_t *kinds;   /* of names: 1 + enum catalog_kind; 0: of something else */
    uint32_t symbol_count, symbol_space;
    uint32_t *symbol_places, symbol_capacity; /* open addressing: number + 1 */
    struct source *sources;
    uint32_t source_count, source_space, dead;
    uint32_t *source_places, source_capacity;
    uint64_t bytes; /* of all that, and of the lists */
    uint32_t at;    /* solving: the next source, */
    bool changed;   /* and whether this pass has changed anything */
    bool starved;   /* there was no memory for some of it: it is good for nothing */
};

#define SYMBOL_EVERYTHING 1ull
#define SYMBOL_DDL 2ull

/* Keys of symbols. */
uint64_t symbol_of_name(enum catalog_kind kind, uint64_t name_hash);
uint64_t symbol_of_any(uint64_t name_hash);
uint64_t symbol_of_oid(uint32_t oid);
uint32_t graph_effect_flags(const struct graph *g, uint64_t symbol);
struct source *graph_find(const struct graph *g, uint8_t class, uint32_t oid);
void graph_free(struct graph *g);
void graph_unsee(struct graph *g, uint8_t class);
void graph_drop_unseen(struct graph *g, uint8_t class);
void draft_begin(struct draft *d, uint8_t class, uint32_t oid, uint32_t xmin);

/* all owners come before the references */
void draft_owner(struct graph *g, struct draft *d, uint64_t symbol);

/* as an owner */
void draft_name(struct graph *g, struct draft *d, enum catalog_kind kind, uint64_t name_hash, bool any);

/* false: not the name of anything */
bool graph_entry(const struct graph *g, uint32_t number, struct catalog_entry *out);
void draft_reference(struct graph *g, struct draft *d, uint64_t symbol);
void graph_put(struct graph *g, struct draft *d);
void graph_solve(struct graph *g);
bool graph_solve_step(struct graph *g, uint32_t sources); /* true: solved */

#endif
