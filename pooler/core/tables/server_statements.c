/* What is prepared on a server, in the shared map: its next user may be another worker. */
#include "tables/server_statements.h"

#include <string.h>

#include "sql/digest.h"
#include "sql/statement_names.h"

/* With its NUL; every Bind needs one, so not by printf. */
uint32_t prepared_name(char out[SERVER_NAME_BYTES], uint32_t number) {
    char digits[10];
    uint32_t count = 0, n = sizeof SERVER_NAME_PREFIX - 1;
    memcpy(out, SERVER_NAME_PREFIX, n);
    do digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    while (count) out[n++] = digits[--count];
    out[n++] = '\0';
    return n;
}

/* A new connection. */
void prepared_reset(struct prepared_set *set) {
    set->next_number = set->count = set->used = 0;
    set->newest = set->oldest = set->unused = PREPARED_NONE;
    memset(set->buckets, 0xff, sizeof set->buckets);
}

static uint16_t find(struct prepared_set *set, const struct digest *d) {
    uint16_t i = set->buckets[d->low & (PREPARED_BUCKETS - 1)];
    while (i != PREPARED_NONE && !digest_is(&set->entries[i].digest, d)) i = set->entries[i].chain;
    return i;
}

static void order_remove(struct prepared_set *set, uint16_t i) {
    struct prepared_entry *e = &set->entries[i];
    if (e->newer == PREPARED_NONE) set->newest = e->older;
    else set->entries[e->newer].older = e->older;
    if (e->older == PREPARED_NONE) set->oldest = e->newer;
    else set->entries[e->older].newer = e->newer;
}

static void order_newest(struct prepared_set *set, uint16_t i) {
    struct prepared_entry *e = &set->entries[i];
    e->newer = PREPARED_NONE;
    e->older = set->newest;
    if (set->newest == PREPARED_NONE) set->oldest = i;
    else set->entries[set->newest].newer = i;
    set->newest = i;
}

struct prepared_entry *prepared_find(struct prepared_set *set, const struct digest *d) {
    uint16_t i = find(set, d);
    return i == PREPARED_NONE ? NULL : &set->entries[i];
}

/* What the server has of this text (now the most recently used), prepared at `made` or later; NULL:
 * nothing. */
struct prepared_entry *prepared_use(struct prepared_set *set, const struct digest *d, uint64_t made) {
    uint16_t i = find(set, d);
    if (i == PREPARED_NONE || set->entries[i].made < made) return NULL;
    if (set->newest != i) {
        order_remove(set, i);
        order_newest(set, i);
    }
    return &set->entries[i];
}

/* The text behind a number. */
bool prepared_digest(const struct prepared_set *set, uint32_t number, struct digest *out) {
    for (uint16_t i = set->newest; i != PREPARED_NONE; i = set->entries[i].older)
        if (set->entries[i].number == number) {
            *out = set->entries[i].digest;
            return true;
        }
    return false;
}

void prepared_remove(struct prepared_set *set, const struct digest *d) {
    uint16_t i = find(set, d);
    if (i == PREPARED_NONE) return;
    uint16_t *at = &set->buckets[d->low & (PREPARED_BUCKETS - 1)];
    while (*at != i) at = &set->entries[*at].chain;
    *at = set->entries[i].chain;
    order_remove(set, i);
    set->entries[i].chain = set->unused;
    set->unused = i;
    set->count--;
}

/* Forgets one; its number. */
static uint32_t drop(struct prepared_set *set, uint16_t i) {
    uint32_t number = set->entries[i].number;
    struct digest leaves = set->entries[i].digest;
    prepared_remove(set, &leaves);
    return number;
}

/* The server has nothing any more of what got a number before `floor`: what is in flight comes behind. */
void prepared_forget_before(struct prepared_set *set, uint32_t floor) {
    for (uint16_t i = set->newest, older; i != PREPARED_NONE; i = older) {
        older = set->entries[i].older;
        if ((int32_t)(set->entries[i].number - floor) < 0) drop(set, i);
    }
}

/* Notes that the server is about to have this text.  A number never comes twice on one connection, so what
 * was forgotten here can at worst linger there.  `evicted`: number of what has to go, an older one of the
 * same text or that of the least recently used, or 0. */
uint32_t prepared_add(struct prepared_set *set, const struct digest *d, uint64_t made, uint32_t limit,
                      uint32_t *evicted) {
    if (limit > PREPARED_MAX) limit = PREPARED_MAX;
    uint16_t i = find(set, d);
    if (i == PREPARED_NONE && set->count >= limit) i = set->oldest;
    *evicted = i != PREPARED_NONE ? drop(set, i) : 0;
    i = set->unused;
    if (i != PREPARED_NONE) set->unused = set->entries[i].chain;
    else i = set->used++;
    uint16_t *bucket = &set->buckets[d->low & (PREPARED_BUCKETS - 1)];
    set->entries[i] = (struct prepared_entry){
        .digest = *d, .number = ++set->next_number, .made = made, .chain = *bucket};
    *bucket = i;
    order_newest(set, i);
    set->count++;
    return set->next_number;
}

/* All will be read again where they are used next, under what is in force then: what was parsed under
 * something else is as if it were too old. */
void prepared_plans_discarded(struct prepared_set *set) {
    for (uint16_t i = set->newest; i != PREPARED_NONE; i = set->entries[i].older)
        if (set->entries[i].foreign) set->entries[i].made = 0;
}

/* Forgets the least recently used of more than `limit` texts; its number, or 0. */
uint32_t prepared_shrink(struct prepared_set *set, uint32_t limit) {
    return set->count > limit ? drop(set, set->oldest) : 0;
}
