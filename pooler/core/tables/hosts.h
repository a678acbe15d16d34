/* Names of the DNS. */
#ifndef POOLER_TABLES_HOSTS_H
#define POOLER_TABLES_HOSTS_H

#include <stdbool.h>
#include <stdint.h>

#include "tables/states.h"

struct host_row;
struct tables;

int32_t host_find(struct tables *t, const char *name, enum host_kind kind, uint64_t now);
bool host_read(struct tables *t, int32_t row, struct host_row *out);
void host_asked(struct tables *t, int32_t row, uint64_t until);
void host_answered(struct tables *t, int32_t row, const char *addresses, uint64_t expires_at);
void host_failed(struct tables *t, int32_t row, uint64_t expires_at);
bool host_zone_answered(struct tables *t, int32_t row, uint32_t serial, uint32_t *before);
int host_obsolete(struct tables *t, int32_t row, const char *address);

#endif
