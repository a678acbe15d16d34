/* Texts that a server is parsing: what it owes besides its queue of requests. */
#include "statements/parsing.h"

#include <stdlib.h>

#include "relay/internal.h"
#include "sql/digest.h"

static const struct digest NO_TEXT; /* no text has this digest, nor one of those of unnamed statements */
#define UNNAMED_LOW 1

bool parsing_is_unnamed(const struct digest *d) { return d->high && d->low == UNNAMED_LOW; }

bool parsing_is_named(const struct digest *d) { return !digest_none(*d) && !parsing_is_unnamed(d); }

/* What stands for an unnamed statement.  `number`: which of all that its client has had, from 1. */
struct digest parsing_of_unnamed(uint64_t number) {
    return (struct digest){.high = number, .low = UNNAMED_LOW};
}

/* Without memory it is the same as with a request that is in no queue: its client is closed, and the
 * server. */
void parsing_push(struct server *s, const struct digest *d) {
    struct parsing *q = &s->parsing;
    if (q->count == q->space) {
        uint32_t space = q->space ? q->space * 2 : 8;
        struct digest *larger = malloc(space * sizeof *larger);
        if (!larger) {
            s->unrecorded = true;
            return;
        }
        for (uint32_t i = 0; i < q->count; i++) larger[i] = q->ring[(q->head + i) & (q->space - 1)];
        free(q->ring);
        *q = (struct parsing){
            .ring = larger, .space = space, .count = q->count, .named = q->named, .ended = q->ended};
    }
    if (!d) d = &NO_TEXT;
    q->ring[(q->head + q->count++) & (q->space - 1)] = *d;
    q->named += parsing_is_named(d);
}

/* The oldest; all zero when there is none. */
static struct digest parsing_first(const struct server *s) {
    return s->parsing.count ? s->parsing.ring[s->parsing.head] : NO_TEXT;
}

struct digest parsing_pop(struct server *s) {
    struct parsing *q = &s->parsing;
    struct digest first = parsing_first(s);
    if (!q->count) return first;
    q->head = (q->head + 1) & (q->space - 1);
    q->count--;
    q->named -= parsing_is_named(&first);
    q->ended -= q->ended > 0;
    return first;
}

/* A Sync has been sent. */
void parsing_end_pipeline(struct server *s) { s->parsing.ended = s->parsing.count; }

#define UNSURE_MAX 64 /* looked at for each use of a statement; behind more of them it waits */

/* Whether this text is being parsed in a pipeline that has ended: an error in front of it may have it
 * skipped, and what is sent now is not skipped with it. */
bool parsing_is_unsure(const struct server *s, const struct digest *d) {
    const struct parsing *q = &s->parsing;
    if (q->ended > UNSURE_MAX) return true;
    for (uint32_t i = 0; i < q->ended; i++)
        if (digest_same(q->ring[(q->head + i) & (q->space - 1)], *d)) return true;
    return false;
}

void parsing_free(struct server *s) {
    free(s->parsing.ring);
    s->parsing = (struct parsing){0};
}
