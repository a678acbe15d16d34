/* Symbols, sources, and the fixed point of their effects.  The theory stands in graph.h. */
#include "catalog/graph.h"

#include <stdlib.h>
#include <string.h>

#include "sql/catalog_names.h"
#include "sql/effects.h"

/* ---- symbols ------------------------------------------------------------------------------------- */

/* splitmix64: different kinds of the same name or number are different keys */
static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static uint64_t salt(unsigned kind) { return mix(kind * 0x9e3779b97f4a7c15ull); }

uint64_t symbol_of_name(enum catalog_kind kind, uint64_t name_hash) { return name_hash ^ salt(1 + kind); }

uint64_t symbol_of_any(uint64_t name_hash) { return name_hash ^ salt(7); }

uint64_t symbol_of_oid(uint32_t oid) { return mix(oid + salt(8)); }

/* False: no memory, and what was there is. */
static bool grow(void *array, uint32_t count, size_t size) {
    void *old, *larger;
    memcpy(&old, array, sizeof old);
    larger = realloc(old, count * size);
    if (larger) memcpy(array, &larger, sizeof larger);
    return larger;
}

static uint32_t *place_of_symbol(const struct graph *g, uint64_t symbol) {
    uint32_t mask = g->symbol_capacity - 1, at = (uint32_t)mix(symbol) & mask;
    while (g->symbol_places[at] && g->symbols[g->symbol_places[at] - 1] != symbol) at = (at + 1) & mask;
    return &g->symbol_places[at];
}

static bool more_symbols(struct graph *g) {
    uint32_t space = g->symbol_space ? g->symbol_space * 2 : 4096;
    uint32_t *places = calloc(space * 2, sizeof *places);
    bool grew = places && grow(&g->symbols, space, sizeof *g->symbols)
        && grow(&g->effect_flags, space, sizeof *g->effect_flags)
        && grow(&g->defined, space, sizeof *g->defined) && grow(&g->kinds, space, sizeof *g->kinds);
    if (!grew) {
        free(places);
        return false;
    }
    free(g->symbol_places);
    g->symbol_places = places;
    g->symbol_capacity = space * 2;
    g->bytes += (space - g->symbol_space)
        * (sizeof *g->symbols + sizeof *g->effect_flags + 2 + 2 * sizeof *g->symbol_places);
    g->symbol_space = space;
    for (uint32_t i = 0; i < g->symbol_count; i++) *place_of_symbol(g, g->symbols[i]) = i + 1;
    return true;
}

#define NO_NUMBER UINT32_MAX

/* NO_NUMBER: no memory, and the graph is not whole. */
static uint32_t number_of(struct graph *g, uint64_t symbol) {
    if (g->symbol_count == g->symbol_space && !more_symbols(g)) {
        g->starved = true;
        return NO_NUMBER;
    }
    uint32_t *place = place_of_symbol(g, symbol);
    if (*place) return *place - 1;
    g->symbols[g->symbol_count] = symbol;
    g->effect_flags[g->symbol_count] = g->defined[g->symbol_count] = g->kinds[g->symbol_count] = 0;
    *place = ++g->symbol_count;
    return *place - 1;
}

uint32_t graph_effect_flags(const struct graph *g, uint64_t symbol) {
    uint32_t place = g->symbol_capacity ? *place_of_symbol(g, symbol) : 0;
    return place ? g->effect_flags[place - 1] : 0;
}

/* ---- sources ------------------------------------------------------------------------------------- */

static uint32_t *place_of_source(const struct graph *g, uint8_t class, uint32_t oid) {
    uint32_t mask = g->source_capacity - 1, at = (uint32_t)mix((uint64_t)class << 32 | oid) & mask;
    for (;; at = (at + 1) & mask) {
        uint32_t place = g->source_places[at];
        if (!place || (g->sources[place - 1].class == class && g->sources[place - 1].oid == oid))
            return &g->source_places[at];
    }
}

struct source *graph_find(const struct graph *g, uint8_t class, uint32_t oid) {
    uint32_t place = g->source_capacity ? *place_of_source(g, class, oid) : 0;
    return place && g->sources[place - 1].ids ? &g->sources[place - 1] : NULL;
}

/* By half: the list is nearly all of what a graph needs. */
static bool larger_sources(struct graph *g) {
    uint32_t space = g->source_space ? g->source_space + g->source_space / 2 : 4096, capacity = 8192;
    while (capacity < space + space / 2) capacity *= 2;
    uint32_t *places = calloc(capacity, sizeof *places);
    if (!places || !grow(&g->sources, space, sizeof *g->sources)) {
        free(places);
        return false;
    }
    free(g->source_places);
    g->source_places = places;
    g->bytes += (space - g->source_space) * sizeof *g->sources
        + (capacity - g->source_capacity) * sizeof *places;
    g->source_capacity = capacity;
    g->source_space = space;
    return true;
}

/* Makes space; what was dropped goes when it is much.  False: no memory. */
static bool more_sources(struct graph *g) {
    uint32_t kept = 0;
    if (g->dead > g->source_count / 4) {
        for (uint32_t i = 0; i < g->source_count; i++)
            if (g->sources[i].ids) g->sources[kept++] = g->sources[i];
        g->source_count = kept;
        g->dead = 0;
    }
    bool space = g->source_count < g->source_space || larger_sources(g);
    if (g->source_places) memset(g->source_places, 0, g->source_capacity * sizeof *g->source_places);
    for (uint32_t i = 0; i < g->source_count; i++)
        *place_of_source(g, g->sources[i].class, g->sources[i].oid) = i + 1;
    return space;
}

static void drop(struct graph *g, struct source *s) {
    free(s->ids);
    g->bytes -= s->bytes + 16;
    s->ids = NULL;
    s->bytes = 0;
    g->dead++;
}

void graph_free(struct graph *g) {
    for (uint32_t i = 0; i < g->source_count; i++) free(g->sources[i].ids);
    free(g->symbols);
    free(g->effect_flags);
    free(g->defined);
    free(g->kinds);
    free(g->symbol_places);
    free(g->sources);
    free(g->source_places);
    *g = (struct graph){.key = g->key};
}

void graph_unsee(struct graph *g, uint8_t class) {
    for (uint32_t i = 0; i < g->source_count; i++)
        if (g->sources[i].class == class) g->sources[i].seen = false;
}

void graph_drop_unseen(struct graph *g, uint8_t class) {
    for (uint32_t i = 0; i < g->source_count; i++)
        if (g->sources[i].class == class && !g->sources[i].seen && g->sources[i].ids) drop(g, &g->sources[i]);
}

/* ---- drafts -------------------------------------------------------------------------------------- */

void draft_begin(struct draft *d, uint8_t class, uint32_t oid, uint32_t xmin) {
    d->class = class;
    d->oid = oid;
    d->xmin = xmin;
    d->effect_flags = d->count = d->owners = d->parts = 0;
    d->body = BODY_NONE;
    memset(d->recent, 0, sizeof d->recent);
    d->open = true;
}

void draft_owner(struct graph *g, struct draft *d, uint64_t symbol) {
    if (d->owners == DRAFT_IDS_MAX / 2) return; /* so many parents: the rest is not theirs to tell */
    uint32_t id = number_of(g, symbol);
    if (id == NO_NUMBER) return;
    d->ids[d->owners++] = id;
    d->count = d->owners;
}

void draft_name(struct graph *g, struct draft *d, enum catalog_kind kind, uint64_t name_hash, bool any) {
    if (d->owners >= DRAFT_IDS_MAX / 2) return;
    uint32_t id = number_of(g, symbol_of_name(kind, name_hash));
    if (id == NO_NUMBER) return;
    g->kinds[id] = (uint8_t)(1 + kind);
    draft_owner(g, d, symbol_of_name(kind, name_hash));
    if (any) draft_owner(g, d, symbol_of_any(name_hash));
}

bool graph_entry(const struct graph *g, uint32_t number, struct catalog_entry *out) {
    if (!g->kinds[number] || !g->defined[number]) return false;
    enum catalog_kind kind = (enum catalog_kind)(g->kinds[number] - 1);
    *out = (struct catalog_entry){.hash = g->symbols[number] ^ salt(1 + kind),
                                  .kind = kind,
                                  .effect_flags = g->effect_flags[number] & ~(uint32_t)EFFECT_READS};
    return true;
}

void draft_reference(struct graph *g, struct draft *d, uint64_t symbol) {
    uint64_t *recent = &d->recent[symbol >> 32 & (DRAFT_RECENT - 1)];
    if (*recent == symbol) return;
    *recent = symbol;
    uint32_t id = d->count < DRAFT_IDS_MAX ? number_of(g, symbol) : NO_NUMBER;
    if (id == NO_NUMBER) d->effect_flags |= CATALOG_UNKNOWN;
    else d->ids[d->count++] = id;
}

static int by_number(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t put_number(unsigned char *out, uint32_t at, uint32_t n) {
    for (; n >= 128; n >>= 7) out[at++] = (unsigned char)(n | 128);
    out[at++] = (unsigned char)n;
    return at;
}

static uint32_t take_number(const unsigned char *p, uint32_t *at) {
    uint32_t n = 0, shift = 0;
    unsigned char c;
    do {
        c = p[(*at)++];
        n |= (uint32_t)(c & 127) << shift;
        shift += 7;
    } while (c & 128);
    return n;
}

/* Owners as they are, references sorted and as differences: nearly all of them take one byte. */
void graph_put(struct graph *g, struct draft *d) {
    static unsigned char packed[DRAFT_IDS_MAX * 5]; /* of the one thread that reads catalogs */
    uint32_t n = 0, last = 0;
    d->open = false;
    for (uint32_t i = 0; i < d->owners; i++) n = put_number(packed, n, d->ids[i]);
    qsort(d->ids + d->owners, d->count - d->owners, sizeof *d->ids, by_number);
    for (uint32_t i = d->owners; i < d->count; i++) {
        if (i > d->owners && d->ids[i] == last) continue;
        n = put_number(packed, n, d->ids[i] - last);
        last = d->ids[i];
    }
    unsigned char *ids = malloc(n ? n : 1);
    if (!ids || (g->source_count == g->source_space && !more_sources(g))) {
        free(ids);
        g->starved = true;
        return;
    }
    uint32_t *place = place_of_source(g, d->class, d->oid);
    struct source *s;
    if (*place) {
        s = &g->sources[*place - 1];
        if (s->ids) drop(g, s);
        g->dead--;
    } else {
        s = &g->sources[g->source_count];
        *place = ++g->source_count;
    }
    *s = (struct source){.oid = d->oid,
                         .xmin = d->xmin,
                         .effect_flags = d->effect_flags,
                         .bytes = n,
                         .owners = (uint16_t)d->owners,
                         .class = d->class,
                         .body = d->body,
                         .seen = true,
                         .ids = ids};
    memcpy(s->ids, packed, n);
    g->bytes += n + 16;
}

/* ---- solving -------------------------------------------------------------------------------------- */

void graph_solve(struct graph *g) {
    memset(g->effect_flags, 0, g->symbol_count * sizeof *g->effect_flags);
    memset(g->defined, 0, g->symbol_count);
    g->at = 0;
    g->changed = false;
}

/* What an IMMUTABLE function that does not keep its promise may have read. */
#define MAY_READ (EFFECT_READS | ASK_SETTINGS | PIN_OPAQUE | EFFECT_UNSURE)

static void solve_source(struct graph *g, const struct source *s) {
    uint32_t effect_flags = s->effect_flags, at = 0, id = 0;
    for (uint32_t i = 0; i < s->owners; i++) take_number(s->ids, &at);
    while (at < s->bytes) {
        id += take_number(s->ids, &at);
        effect_flags |= g->effect_flags[id];
    }
    if (s->body == BODY_IMMUTABLE && effect_flags & MAY_READ) effect_flags |= EFFECT_FOLDS;
    at = 0;
    for (uint32_t i = 0; i < s->owners; i++) {
        id = take_number(s->ids, &at);
        g->defined[id] = 1;
        if (effect_flags & ~g->effect_flags[id]) {
            g->effect_flags[id] |= effect_flags;
            g->changed = true;
        }
    }
}

bool graph_solve_step(struct graph *g, uint32_t sources) {
    for (; sources; sources--) {
        if (g->at == g->source_count) {
            if (!g->changed) return true;
            g->changed = false;
            g->at = 0;
            if (!g->source_count) return true;
        }
        if (g->sources[g->at].ids) solve_source(g, &g->sources[g->at]);
        g->at++;
    }
    return false;
}
