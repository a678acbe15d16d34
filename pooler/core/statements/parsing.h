/* Texts that a server is parsing. */
#ifndef POOLER_STATEMENTS_PARSING_H
#define POOLER_STATEMENTS_PARSING_H

#include <stdbool.h>
#include <stdint.h>

#include "sql/digest.h"

struct server;

/* Texts of Parses in flight, oldest first; all zero for those without one. */
struct parsing {
    struct digest *ring;
    uint32_t head, count, space;
    uint32_t named; /* those with a text: the latest so many numbers of the slot's prepared_set */
    uint32_t ended; /* the oldest so many are in pipelines that a Sync has ended */
};

bool parsing_is_unnamed(const struct digest *d);
bool parsing_is_named(const struct digest *d);
struct digest parsing_of_unnamed(uint64_t number);
void parsing_push(struct server *s, const struct digest *d);
struct digest parsing_pop(struct server *s);
void parsing_end_pipeline(struct server *s);
bool parsing_is_unsure(const struct server *s, const struct digest *d);
void parsing_free(struct server *s);

#endif
