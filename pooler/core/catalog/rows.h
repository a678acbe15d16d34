/* What rows of the catalogs say, put into the graph. */
#ifndef POOLER_CATALOG_ROWS_H
#define POOLER_CATALOG_ROWS_H

#include <stdbool.h>
#include <stdint.h>

struct catalog_reader;

/* No more rows come for now. */
void catalog_rows_end(struct catalog_reader *c);

/* One DataRow.  `whole`: all of it is here.  `trusted`: see catalog_extension_effect_flags(). */
void catalog_rows_take(struct catalog_reader *c, const unsigned char *body, uint32_t n, bool whole,
                       const char *trusted);

#endif
