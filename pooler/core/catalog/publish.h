/* From what was read of catalogs to the snapshot for all workers. */
#ifndef POOLER_CATALOG_PUBLISH_H
#define POOLER_CATALOG_PUBLISH_H

struct relay;

void catalog_work(struct relay *r);

#endif
