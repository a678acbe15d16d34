/* What expressions of the catalogs refer to. */
#ifndef POOLER_CATALOG_TREE_H
#define POOLER_CATALOG_TREE_H

#include <stdbool.h>
#include <stdint.h>

struct customs;
struct draft;
struct graph;

/* Oids with other characters between them. */
void tree_scan_oids(struct graph *g, struct draft *d, const unsigned char *text, uint32_t n);

/* An expression as PostgreSQL keeps it (pg_node_tree), or a part of one: oids of what it uses.  `is_default`:
 * of a column. */
void tree_scan(struct graph *g, struct draft *d, const unsigned char *text, uint32_t n, bool is_default,
               struct customs *customs);

#endif
