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

#include <stdbool.h>
#include <stdint.h>

struct customs;
struct draft;
struct graph;

#define USER_OID 16384 /* the first of what users make (access/transam.h: FirstNormalObjectId) */

/* A body in SQL, or else in PL/pgSQL.  `utf8`: what is beyond ASCII is UTF-8; else it is in an encoding of a
 * stranger. */
void body_scan(struct graph *g, struct draft *d, const unsigned char *text, uint32_t n, bool utf8, bool sql,
               struct customs *customs);

#endif
