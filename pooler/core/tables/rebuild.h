/* How the derived parts of the tables are rebuilt from the rows. */
#ifndef POOLER_TABLES_REBUILD_H
#define POOLER_TABLES_REBUILD_H

struct tables;

void tables_rebuild(struct tables *t);

#endif
