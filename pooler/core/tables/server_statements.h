/* What is prepared on a server: the theory stands in statements/statement_store.h. */
#ifndef POOLER_TABLES_SERVER_STATEMENTS_H
#define POOLER_TABLES_SERVER_STATEMENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "sql/digest.h"
#include "sql/statement_names.h"

#define PREPARED_MAX 1000 /* texts on one server; max_prepared_statements above that counts as that */
#define PREPARED_BUCKETS 1024
#define PREPARED_NONE 0xffff

/* In the shared map, one per slot; only the slot's owner touches it. */
struct prepared_entry {
    struct digest digest;
    uint64_t made; /* when its Parse was sent */
    uint32_t number, columns;
    uint16_t chain, newer, older;
    bool foreign; /* parsed under other settings than it is run under, or it may be */
};
struct prepared_set {
    uint32_t next_number;
    /* `unused`: chain of free entries; `count` high-water in `used` */
    uint16_t count, newest, oldest, unused;
    uint16_t used;
    uint16_t buckets[PREPARED_BUCKETS];
    struct prepared_entry entries[PREPARED_MAX];
};

uint32_t prepared_name(char out[SERVER_NAME_BYTES], uint32_t number);
void prepared_reset(struct prepared_set *set);
struct prepared_entry *prepared_find(struct prepared_set *set, const struct digest *d);
struct prepared_entry *prepared_use(struct prepared_set *set, const struct digest *d, uint64_t made);
bool prepared_digest(const struct prepared_set *set, uint32_t number, struct digest *out);
void prepared_remove(struct prepared_set *set, const struct digest *d);
void prepared_forget_before(struct prepared_set *set, uint32_t floor);
uint32_t prepared_add(struct prepared_set *set, const struct digest *d, uint64_t made, uint32_t limit,
                      uint32_t *evicted);
void prepared_plans_discarded(struct prepared_set *set);
uint32_t prepared_shrink(struct prepared_set *set, uint32_t limit);

#endif
