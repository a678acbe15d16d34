/* Requests of pooler's own: what the relay does about their answers.  The table of them stands in
 * internal_table.h. */
#ifndef POOLER_RELAY_INTERNAL_REQUESTS_H
#define POOLER_RELAY_INTERNAL_REQUESTS_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/internal_table.h"
#include "relay/server.h"

struct relay;

struct internal_kind {
    uint8_t traits;
    const char *unanswered;
    void (*hear)(struct relay *r, struct server *s, unsigned char letter, const unsigned char *body,
                 uint32_t n, bool whole);
    void (*done)(struct relay *r, struct server *s);
};

/* By enum internal_request; all zero for INTERNAL_NONE. */
extern const struct internal_kind internal_kinds[];

void server_suit(struct relay *r, struct server *s);
void internal_done(struct relay *r, struct server *s);
void internal_error(struct relay *r, struct server *s, const unsigned char *body, uint32_t n);

/* Whether the request in flight is one of that kind. */
static inline bool internal_is(const struct server *s, enum internal_trait trait) {
    return internal_kinds[s->internal].traits & trait;
}

#endif
