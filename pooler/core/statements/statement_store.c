/* Texts of prepared statements that clients of a worker use. */
#include "statements/statement_store.h"

#include <stdlib.h>
#include <string.h>

#include "session/settings.h"
#include "sql/digest.h"
#include "sql/statement_names.h"

/* Without memory chains become longer. */
static void store_grow(struct statement_store *store) {
    uint32_t capacity = store->capacity ? store->capacity * 2 : 64;
    struct statement **buckets = calloc(capacity, sizeof *buckets);
    if (!buckets) return;
    for (uint32_t b = 0; b < store->capacity; b++)
        for (struct statement *s = store->buckets[b], *next; s; s = next) {
            next = s->next;
            s->next = buckets[s->digest.low & (capacity - 1)];
            buckets[s->digest.low & (capacity - 1)] = s;
        }
    free(store->buckets);
    store->buckets = buckets;
    store->capacity = capacity;
}

/* A reference to the statement with this text, parsed under these settings.  `apart`: a number of its own for
 * one that is not shared, for the settings may be others, or names mean what they mean to its client alone;
 * 0: shared.  NULL: no memory. */
struct statement *statement_intern(struct statement_store *store, const unsigned char *body, uint32_t bytes,
                                   struct settings *under, uint64_t apart) {
    struct digest d, literals, parts[2] = {[1] = under->literals};
    digest_of(store->key, body, bytes, &parts[0]);
    digest_of(store->key, (unsigned char *)parts, sizeof parts, &literals);
    d = statement_key(store, &literals, apart ? (struct digest){0, apart} : under->run);
    if (store->count >= store->capacity) store_grow(store);
    if (!store->capacity) return NULL;
    struct statement **bucket = &store->buckets[d.low & (store->capacity - 1)];
    for (struct statement *s = *bucket; s; s = s->next)
        if (digest_is(&s->digest, &d)) {
            s->references++;
            return s;
        }
    struct statement *s = malloc(sizeof *s + bytes);
    if (!s) return NULL;
    *s = (struct statement){.next = *bucket,
                            .digest = d,
                            .literals = literals,
                            .under = settings_keep(under),
                            .apart = apart != 0,
                            .references = 1,
                            .bytes = bytes};
    memcpy(s->body, body, bytes);
    s->deeds = sql_deeds((const char *)body, (uint32_t)strnlen((const char *)body, bytes), true);
    store->count++;
    return *bucket = s;
}

/* The digest of a text with its literals for those who run it under such settings, or of one that is not
 * shared. */
struct digest statement_key(const struct statement_store *store, const struct digest *literals,
                            struct digest run) {
    struct digest d, parts[2] = {*literals, run};
    digest_of(store->key, (unsigned char *)parts, sizeof parts, &d);
    return d;
}

void statement_drop(struct statement_store *store, struct statement *s) {
    if (!s || --s->references) return;
    struct statement **at = &store->buckets[s->digest.low & (store->capacity - 1)];
    while (*at != s) at = &(*at)->next;
    *at = s->next;
    store->count--;
    settings_drop(store->settings, s->under);
    free(s);
}
