/* Prepared statements: the hash, what a server has, what clients of a worker use, a client's names. */
#include "prepared.h"

#include <stdlib.h>
#include <string.h>

/* ---- SipHash-2-4 with 128 bits (Aumasson, Bernstein) ----------------------------------------- */

#define ROTATE(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#define SIP_ROUND                                                                                  \
    do {                                                                                           \
        v0 += v1; v1 = ROTATE(v1, 13); v1 ^= v0; v0 = ROTATE(v0, 32);                              \
        v2 += v3; v3 = ROTATE(v3, 16); v3 ^= v2;                                                   \
        v0 += v3; v3 = ROTATE(v3, 21); v3 ^= v0;                                                   \
        v2 += v1; v1 = ROTATE(v1, 17); v1 ^= v2; v2 = ROTATE(v2, 32);                              \
    } while (0)

void digest_of(const uint64_t key[2], const unsigned char *p, uint32_t n, struct digest *out) {
    uint64_t v0 = key[0] ^ 0x736f6d6570736575ull, v1 = key[1] ^ 0x646f72616e646f6dull ^ 0xee;
    uint64_t v2 = key[0] ^ 0x6c7967656e657261ull, v3 = key[1] ^ 0x7465646279746573ull, m;
    uint64_t tail = (uint64_t)n << 56;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&m, p, 8);
        v3 ^= m; SIP_ROUND; SIP_ROUND; v0 ^= m;
    }
    for (uint32_t i = 0; i < n; i++) tail |= (uint64_t)p[i] << (8 * i);
    v3 ^= tail; SIP_ROUND; SIP_ROUND; v0 ^= tail;
    v2 ^= 0xee;
    for (int i = 0; i < 4; i++) SIP_ROUND;
    out->high = v0 ^ v1 ^ v2 ^ v3;
    v1 ^= 0xdd;
    for (int i = 0; i < 4; i++) SIP_ROUND;
    out->low = v0 ^ v1 ^ v2 ^ v3;
}

static bool same(const struct digest *a, const struct digest *b) { return a->high == b->high && a->low == b->low; }

/* ---- what a server has ------------------------------------------------------------------------ */

/* A new connection. */
void prepared_reset(struct prepared_set *set) {
    set->next_number = 0;
    prepared_forget(set);
}

/* The server has nothing any more; numbers go on, for what is in flight. */
void prepared_forget(struct prepared_set *set) {
    set->count = set->used = 0;
    set->newest = set->oldest = set->unused = PREPARED_NONE;
    memset(set->buckets, 0xff, sizeof set->buckets);
}

static uint16_t find(struct prepared_set *set, const struct digest *d) {
    uint16_t i = set->buckets[d->low & (PREPARED_BUCKETS - 1)];
    while (i != PREPARED_NONE && !same(&set->entries[i].digest, d)) i = set->entries[i].chain;
    return i;
}

static void order_remove(struct prepared_set *set, uint16_t i) {
    struct prepared_entry *e = &set->entries[i];
    if (e->newer == PREPARED_NONE) set->newest = e->older; else set->entries[e->newer].older = e->older;
    if (e->older == PREPARED_NONE) set->oldest = e->newer; else set->entries[e->older].newer = e->newer;
}

static void order_newest(struct prepared_set *set, uint16_t i) {
    struct prepared_entry *e = &set->entries[i];
    e->newer = PREPARED_NONE;
    e->older = set->newest;
    if (set->newest == PREPARED_NONE) set->oldest = i; else set->entries[set->newest].newer = i;
    set->newest = i;
}

struct prepared_entry *prepared_find(struct prepared_set *set, const struct digest *d) {
    uint16_t i = find(set, d);
    return i == PREPARED_NONE ? NULL : &set->entries[i];
}

/* What the server has of this text (now the most recently used), prepared at `made` or later; NULL: nothing. */
struct prepared_entry *prepared_use(struct prepared_set *set, const struct digest *d, uint32_t made) {
    uint16_t i = find(set, d);
    if (i == PREPARED_NONE || (int32_t)(set->entries[i].made - made) < 0) return NULL;
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

/* Notes that the server is about to have this text.  A number never comes twice on one connection, so what was
 * forgotten here can at worst linger there.  `evicted`: number of what has to go, an older one of the same text or
 * that of the least recently used, or 0. */
uint32_t prepared_add(struct prepared_set *set, const struct digest *d, uint32_t made, uint32_t limit,
                      uint32_t *evicted) {
    if (limit > PREPARED_MAX) limit = PREPARED_MAX;
    uint16_t i = find(set, d);
    if (i == PREPARED_NONE && set->count >= limit) i = set->oldest;
    *evicted = i != PREPARED_NONE ? drop(set, i) : 0;
    i = set->unused;
    if (i != PREPARED_NONE) set->unused = set->entries[i].chain;
    else i = set->used++;
    uint16_t *bucket = &set->buckets[d->low & (PREPARED_BUCKETS - 1)];
    set->entries[i] = (struct prepared_entry){.digest = *d, .number = ++set->next_number, .made = made, .chain = *bucket};
    *bucket = i;
    order_newest(set, i);
    set->count++;
    return set->next_number;
}

/* Forgets the least recently used of more than `limit` texts; its number, or 0. */
uint32_t prepared_shrink(struct prepared_set *set, uint32_t limit) {
    return set->count > limit ? drop(set, set->oldest) : 0;
}

/* ---- texts of this worker's clients ----------------------------------------------------------- */

static void *claim(size_t n) {
    void *p = calloc(1, n);
    if (!p) abort();   /* out of memory: the worker ends, the master starts another */
    return p;
}

static void store_grow(struct statement_store *store) {
    uint32_t capacity = store->capacity ? store->capacity * 2 : 64;
    struct statement **buckets = claim(capacity * sizeof *buckets);
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

/* A reference to the statement with this text, parsed under settings with this meaning. */
struct statement *statement_intern(struct statement_store *store, const unsigned char *body, uint32_t bytes,
                                   uint64_t meaning) {
    struct digest d;
    digest_of(store->key, body, bytes, &d);
    d.high ^= meaning;
    if (store->count >= store->capacity) store_grow(store);
    struct statement **bucket = &store->buckets[d.low & (store->capacity - 1)];
    for (struct statement *s = *bucket; s; s = s->next)
        if (same(&s->digest, &d)) {
            s->references++;
            return s;
        }
    struct statement *s = claim(sizeof *s + bytes);
    *s = (struct statement){.next = *bucket, .digest = d, .references = 1, .bytes = bytes};
    memcpy(s->body, body, bytes);
    store->count++;
    return *bucket = s;
}

void statement_drop(struct statement_store *store, struct statement *s) {
    if (!s || --s->references) return;
    struct statement **at = &store->buckets[s->digest.low & (store->capacity - 1)];
    while (*at != s) at = &(*at)->next;
    *at = s->next;
    store->count--;
    free(s);
}

/* ---- a client's names ------------------------------------------------------------------------- */

static uint32_t hash_name(const char *p, uint32_t n) {   /* only within one client: FNV-1a will do */
    uint32_t h = 2166136261u;
    for (uint32_t i = 0; i < n; i++) h = (h ^ (unsigned char)p[i]) * 16777619u;
    return h;
}

struct name *names_find(const struct names *n, const char *text, uint32_t bytes) {
    if (!n || !n->count) return NULL;
    uint32_t hash = hash_name(text, bytes);
    for (struct name *at = n->buckets[hash & (n->capacity - 1)]; at; at = at->next)
        if (at->hash == hash && at->bytes == bytes && memcmp(at->text, text, bytes) == 0) return at;
    return NULL;
}

static void names_grow(struct names *n) {
    uint32_t capacity = n->capacity ? n->capacity * 2 : 8;
    struct name **buckets = claim(capacity * sizeof *buckets);
    for (uint32_t b = 0; b < n->capacity; b++)
        for (struct name *at = n->buckets[b], *next; at; at = next) {
            next = at->next;
            at->next = buckets[at->hash & (capacity - 1)];
            buckets[at->hash & (capacity - 1)] = at;
        }
    free(n->buckets);
    n->buckets = buckets;
    n->capacity = capacity;
}

static void link_name(struct names *n, struct name *name) {
    if (n->count >= n->capacity) names_grow(n);
    struct name **bucket = &n->buckets[name->hash & (n->capacity - 1)];
    name->next = *bucket;
    *bucket = name;
    n->count++;
}

static void unlink_name(struct names *n, struct name *name) {
    struct name **at = &n->buckets[name->hash & (n->capacity - 1)];
    while (*at != name) at = &(*at)->next;
    *at = name->next;
    n->count--;
}

static void note_change(struct names *n, struct name *name, bool added) {
    struct change *c = claim(sizeof *c);
    *c = (struct change){.added = added, .pipeline = n->pipeline, .name = name};
    if (n->last) n->last->next = c; else n->first = c;
    n->last = c;
}

/* Notes a name, which takes over the reference to `s`; to be confirmed or undone. */
void names_set(struct names *n, const char *text, uint32_t bytes, struct statement *s, uint32_t made) {
    struct name *name = claim(sizeof *name + bytes);
    name->statement = s;
    name->made = made;
    name->hash = hash_name(text, bytes);
    name->bytes = (uint16_t)bytes;
    memcpy(name->text, text, bytes);
    link_name(n, name);
    note_change(n, name, true);
}

/* Forgets a name; to be confirmed or undone. */
void names_unset(struct names *n, struct name *name) {
    unlink_name(n, name);
    note_change(n, name, false);
}

static bool is_called(const struct name *name, const char *text, uint32_t bytes) {
    return name && name->bytes == bytes && memcmp(name->text, text, bytes) == 0;
}

/* Whether an earlier pipeline, which may still fail, makes or closes this name: who says it now has to wait. */
bool names_unsettled(const struct names *n, const char *text, uint32_t bytes) {
    if (!n) return false;
    for (const struct change *c = n->first; c && c->pipeline != n->pipeline; c = c->next)
        if (is_called(c->name, text, bytes)) return true;
    return false;
}

/* All that earlier pipelines did to names has been answered. */
bool names_settled(const struct names *n) { return !n || !n->first || n->first->pipeline == n->pipeline; }

/* The same as names_find(), before all changes in the journal. */
struct name *names_find_old(const struct names *n, const char *text, uint32_t bytes) {
    for (const struct change *c = n->first; c; c = c->next)
        if (is_called(c->name, text, bytes)) return c->added ? NULL : c->name;
    return names_find(n, text, bytes);
}

static struct change *take_change(struct names *n) {
    struct change *c = n->first;
    n->first = c->next;
    if (!n->first) n->last = NULL;
    return c;
}

static void name_free(struct statement_store *store, struct names *n, struct name *name) {
    if (n->bound == name) n->bound = NULL;
    if (n->used == name) n->used = NULL;
    statement_drop(store, name->statement);
    free(name);
}

/* The oldest change has been answered: it holds. */
void names_confirm(struct statement_store *store, struct names *n) {
    if (!n || !n->first) return;
    struct change *c = take_change(n);
    if (!c->added && c->name) name_free(store, n, c->name);
    free(c);
}

/* The oldest `changes` changes were skipped: undone, the latest first. */
void names_undo(struct statement_store *store, struct names *n, uint32_t changes) {
    struct change *reversed = NULL;
    while (n && n->first && changes--) {
        struct change *c = take_change(n);
        c->next = reversed;
        reversed = c;
    }
    while (reversed) {
        struct change *c = reversed;
        reversed = c->next;
        if (c->name && c->added) {
            unlink_name(n, c->name);
            name_free(store, n, c->name);
        } else if (c->name) {
            link_name(n, c->name);
        }
        free(c);
    }
}

/* DEALLOCATE ALL, DISCARD ALL: no names any more.  What the journal has was read already, and each of its changes is
 * still owed an answer: they stay, void, so that each answer meets its own. */
void names_clear(struct statement_store *store, struct names *n) {
    if (!n) return;
    for (struct change *c = n->first; c; c = c->next) {
        if (c->name && !c->added) name_free(store, n, c->name);
        c->name = NULL;
    }
    for (uint32_t b = 0; b < n->capacity; b++)
        for (struct name *at = n->buckets[b], *next; at; at = next) {
            next = at->next;
            name_free(store, n, at);
        }
    free(n->buckets);
    n->buckets = NULL;
    n->count = n->capacity = 0;
    n->unnamed_live = n->unnamed_kept = false;
}

void names_free(struct statement_store *store, struct names *n) {
    if (!n) return;
    names_clear(store, n);
    while (n->first) free(take_change(n));
    free(n->unnamed);
    free(n);
}

void names_keep_unnamed(struct names *n, const unsigned char *body, uint32_t bytes) {
    n->unnamed_number++;
    n->unnamed_live = true;
    n->unnamed_kept = bytes <= UNNAMED_BYTES_MAX;
    if (!n->unnamed_kept) return;
    if (bytes > n->unnamed_room) {
        free(n->unnamed);
        n->unnamed_room = bytes < 256 ? 256 : bytes;
        n->unnamed = claim(n->unnamed_room);
    }
    memcpy(n->unnamed, body, bytes);
    n->unnamed_bytes = bytes;
}

/* The name under which a client knows a text, to tell it of an error in its own words. */
const struct name *names_of_digest(const struct names *n, const struct digest *d) {
    if (n && n->used && same(&n->used->statement->digest, d)) return n->used;
    for (uint32_t b = 0; n && b < n->capacity; b++)
        for (const struct name *at = n->buckets[b]; at; at = at->next)
            if (same(&at->statement->digest, d)) return at;
    return NULL;
}
