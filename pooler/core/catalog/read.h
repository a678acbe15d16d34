/* Reads the catalogs of databases, in small pieces, on servers that no client has just then.
 *
 * Theory.  No client waits for it, and no connection is opened for it.  A server that is given back while
 * nothing waits for one of its pool, or that is idle, answers one piece of at most PIECE_US; then the next
 * one, unless a client has come, which gets the server first; the pieces behind it are shorter (WAITED_US).
 * A server that its client keeps is used while that says nothing.  Where clients always wait, a piece goes
 * between two transactions when a look has stood still for STARVED_US, or UNKNOWN_STARVED_US.  So what is
 * read counts in no limit, evicts nothing, and is never in the way for longer than a piece.  What the relay
 * does with it goes in steps, too: one buffer of rows in each turn, and see publish.c.  Until all of it is
 * done, and whenever it fails, everything is asked for.
 *
 * A look asks for count and sum of xmin of each catalog, in a few pieces, and reads only the classes of
 * objects that have changed: of functions and rules, whose rows are long, only the rows.  It begins when
 * something has run in the database since the last one, PROFILE_CHECK_US after it, and as the budget of the
 * instance allows (store.h).
 */
#ifndef POOLER_CATALOG_READ_H
#define POOLER_CATALOG_READ_H

#include <stdbool.h>
#include <stdint.h>

#include "catalog/customs.h"
#include "catalog/graph.h"

struct relay;
struct server;
struct snapshot;

/* In the order of _CLASSES in worker/catalog_queries.py. */
enum catalog_class {
    CLASS_BUILTIN_FUNCTION,
    CLASS_BUILTIN_RELATION,
    CLASS_BUILTIN_TYPE,
    CLASS_BUILTIN_OPERATOR,
    CLASS_FUNCTION,
    CLASS_RELATION,
    CLASS_TYPE,
    CLASS_OPERATOR,
    CLASS_CAST,
    CLASS_RULE,
    CLASS_DEFAULT,
    CLASS_POLICY,
    CLASS_CONSTRAINT,
    CLASS_INDEX,
    CLASS_OPCLASS,
    CLASS_STATISTICS,
    CLASS_TRIGGER,
    CLASS_PARTITIONED,
    CLASS_EVENT_TRIGGER,
    CLASS_INHERITS,
    CATALOG_CLASSES,
};
#define CATALOG_SUMS 6 /* pieces of the question that begins a look; the first one says who answers */
#define CATALOG_TEXTS (CATALOG_SUMS + 3 * CATALOG_CLASSES)

#define SUM_BYTES 192 /* of up to three catalogs: a count and 32 digits each */

#define CATALOG_FIELDS 9
#define PIECE_US 2500u
/* where a client has waited for the end of a piece: of those behind it, for so long */
#define WAITED_US 1000u
#define WAITED_FOR_US 100000u
/* clients wait all the time: a piece goes between two transactions, each so often, */
#define STARVED_US 200000u
#define UNKNOWN_STARVED_US 20000u /* or so often as long as everything is asked for */

enum reading {
    READING_NOT, /* no look is under way */
    READING_SUMS,
    READING_LIST,
    READING_CHANGED,
    READING_PAGES,
    READING_SOLVE, /* the steps of publish.c from here on: no server is asked */
    READING_COUNT,
    READING_WRITE,
};

/* The snapshot that is made of the graph. */
struct writing {
    uint32_t at; /* the next symbol to be counted or written */
    uint32_t count, functions, relations;
    struct snapshot *to;
};

struct catalog_reader {
    enum reading phase;
    uint32_t row_generation, version, server_version;
    char identity[160], next_identity[160];
    char sums[CATALOG_CLASSES][SUM_BYTES], next_sums[CATALOG_CLASSES][SUM_BYTES];
    bool complete;              /* the graph has all of what `sums` stand for */
    bool changes;               /* this look has changed the graph */
    bool utf8;                  /* the encoding of the server that answers */
    bool given_idle;            /* an idle server has its next piece: it needs none that a client keeps */
    uint8_t class;              /* of READING_SUMS: the piece */
    uint32_t last, rows, limit; /* of pages: the last key; rows of this piece, and how many it may have */
    uint32_t *wanted, wanted_count, wanted_at, wanted_space; /* oids of rows that have changed */
    int32_t slot, instance;                                  /* the server that answers a piece, or NO_ROW */
    uint32_t slot_generation;
    uint64_t took_us; /* of the piece, as PostgreSQL says */
    uint64_t piece_at, moved_at, waited_at, cost_us, next_at, failures;
    struct writing writing;
    struct graph graph;
    struct draft draft;
    struct customs customs;
};

int32_t catalog_database_of(const struct relay *r, const struct server *s);
struct catalog_reader *catalog_reader_of(struct relay *r, int32_t database);
void catalog_forget_all(struct catalog_reader *c);
void catalog_end_look(struct relay *r, int32_t database, struct catalog_reader *c);
void catalog_fail(struct relay *r, int32_t database, struct catalog_reader *c);
bool catalog_may_ask(struct relay *r, const struct server *s);
void catalog_ask(struct relay *r, struct server *s);
void catalog_answered(struct relay *r, struct server *s);
void catalog_hear(struct relay *r, struct server *s, unsigned char letter, const unsigned char *body,
                  uint32_t n, bool whole);

#endif
