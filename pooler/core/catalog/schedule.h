/* When servers are asked about the catalogs. */
#ifndef POOLER_CATALOG_SCHEDULE_H
#define POOLER_CATALOG_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

struct relay;
struct server;

bool catalog_matters(const struct relay *r, int32_t pool);
bool catalog_is_known(const struct relay *r, int32_t database);
bool catalog_has_work(struct relay *r, int32_t database);
bool catalog_due(struct relay *r, const struct server *s);
void catalog_between(struct relay *r, struct server *s);
void catalog_look(struct relay *r);

#endif
