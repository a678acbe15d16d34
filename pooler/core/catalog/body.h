/* What bodies of functions and expressions of the catalogs refer to, and what they may leave behind by
 * themselves.
 *
 * Theory.  No parser: every word of a body may be the name of anything, so all of them are references, to all
 * objects of that name; so are operators.  Few things are more than names: statements that change the session
 * (SET, LISTEN, CREATE, ...) and texts that are made when they run (EXECUTE).  What cannot be read as
 * PostgreSQL would read it, is unknown.
 */
#ifndef POOLER_CATALOG_BODY_H
#define POOLER_CATALOG_BODY_H

#include "catalog/graph.h"

#define USER_OID 16384 /* the first of what users make (access/transam.h: FirstNormalObjectId) */
#define BODY_CUSTOMS_BYTES 16384
/* more than twice as many as there can be names, which have four bytes at least */
#define BODY_CUSTOMS_PLACES 8192

/* Names of settings with a dot, each with a NUL behind it; those for which there is no room are not asked
 * for. */
struct customs {
    uint32_t bytes;
    uint64_t key; /* of the hashes */
    /* where a name begins, counted from 1; a place is that of its hash, or behind it */
    uint16_t places[BODY_CUSTOMS_PLACES];
    char names[BODY_CUSTOMS_BYTES];
};

/* A body in SQL, or else in PL/pgSQL.  `utf8`: what is beyond ASCII is UTF-8; else it is in an encoding of a
 * stranger. */
void body_scan(struct graph *g, struct draft *d, const unsigned char *text, uint32_t n, bool utf8, bool sql,
               struct customs *customs);

/* An expression as PostgreSQL keeps it (pg_node_tree), or a part of one: oids of what it uses.  `is_default`:
 * of a column. */
void tree_scan(struct graph *g, struct draft *d, const unsigned char *text, uint32_t n, bool is_default,
               struct customs *customs);

/* Oids with other characters between them. */
void oids_scan(struct graph *g, struct draft *d, const unsigned char *text, uint32_t n);

void customs_forget(struct customs *customs, uint64_t key);
void customs_add(struct customs *customs, const unsigned char *name, uint32_t bytes);

#endif
