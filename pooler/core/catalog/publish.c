/* From what was read of catalogs to the snapshot for all workers: the fixed point of the effects (graph.h),
 * then the names that the snapshot has are counted, and written into the store.
 *
 * Theory.  None of it needs a server, and with many objects it takes milliseconds, in which the relay would
 * serve no client: so it goes in steps, one in each turn.  Until the last of them the graph does not change,
 * for no piece is asked meanwhile. */
#include "catalog/publish.h"

#include <stddef.h>
#include <string.h>

#include "catalog/customs.h"
#include "catalog/graph.h"
#include "catalog/read.h"
#include "catalog/store.h"
#include "relay/internal.h"
#include "sql/catalog_names.h"
#include "tables/layout.h"

/* A step; each takes about 0.1 ms. */
#define SOLVE_SOURCES 1000
#define COUNT_SYMBOLS 8192
#define WRITE_SYMBOLS 4096

static void put_entry(struct snapshot *to, const struct catalog_entry *e) {
    struct catalog_entry *entries = (struct catalog_entry *)(to + 1);
    uint32_t at = catalog_place(e->hash, (enum catalog_kind)e->kind, to->capacity);
    while (entries[at].hash) at = (at + 1) & (to->capacity - 1);
    entries[at] = *e;
}

static bool has_bodies(const struct graph *g) {
    for (uint32_t i = 0; i < g->source_count; i++)
        if (g->sources[i].ids && g->sources[i].body != BODY_NONE) return true;
    return false;
}

static uint32_t end_of_step(const struct catalog_reader *c, uint32_t symbols) {
    uint32_t left = c->graph.symbol_count - c->writing.at;
    return c->writing.at + (left < symbols ? left : symbols);
}

static void count_names(struct catalog_reader *c) {
    struct writing *w = &c->writing;
    struct catalog_entry e;
    for (uint32_t end = end_of_step(c, COUNT_SYMBOLS); w->at < end; w->at++) {
        if (!graph_entry(&c->graph, w->at, &e)) continue;
        w->count++;
        w->functions += e.kind == CATALOG_FUNCTION;
        w->relations += e.kind == CATALOG_RELATION;
    }
}

/* A worker has one extent to write into: the snapshot of another database is finished first. */
static bool is_writing_another(const struct relay *r, const struct catalog_reader *c) {
    for (int32_t i = 0; i < r->t->h->databases_high; i++)
        if (r->readers[i] && r->readers[i] != c && r->readers[i]->phase == READING_WRITE) return true;
    return false;
}

/* All are counted: the place for them, without them.  False: there is none, or another worker has taken
 * over. */
static bool begin_writing(struct relay *r, int32_t database, struct catalog_reader *c) {
    struct writing *w = &c->writing;
    uint32_t capacity = 1024;
    while (capacity < w->count + w->count / 3) capacity *= 2;
    w->to = catalog_reserve(r->t, database, r->worker, capacity, c->customs.bytes);
    w->at = 0;
    c->phase = READING_WRITE;
    return w->to;
}

static void write_names(struct catalog_reader *c) {
    struct writing *w = &c->writing;
    struct catalog_entry e;
    for (uint32_t end = end_of_step(c, WRITE_SYMBOLS); w->at < end; w->at++)
        if (graph_entry(&c->graph, w->at, &e)) put_entry(w->to, &e);
}

/* All are written: what goes for all of them. */
static void publish(struct relay *r, int32_t database, struct catalog_reader *c) {
    const struct graph *g = &c->graph;
    struct snapshot *to = c->writing.to;
    struct catalog_totals totals = {
        .functions = c->writing.functions,
        .relations = c->writing.relations,
        .reader_bytes = g->bytes + sizeof *c,
    };
    to->everything = graph_effect_flags(g, SYMBOL_EVERYTHING);
    to->ddl = graph_effect_flags(g, SYMBOL_DDL);
    to->bodies = has_bodies(g);
    memcpy((struct catalog_entry *)(to + 1) + to->capacity, c->customs.names, c->customs.bytes);
    catalog_publish(r->t, database, r->worker, r->loop.now, c->version, &totals);
    catalog_end_look(r, database, c);
}

/* False: nothing came of it, or another worker reads by now. */
static bool step(struct relay *r, int32_t database, struct catalog_reader *c) {
    if (!catalog_keep(r->t, database, c->instance, r->worker, r->loop.now)) return false;
    if (c->phase == READING_SOLVE) {
        if (!graph_solve_step(&c->graph, SOLVE_SOURCES)) return true;
        c->writing = (struct writing){0};
        c->phase = READING_COUNT;
    } else if (c->phase == READING_COUNT) {
        count_names(c);
        if (c->writing.at == c->graph.symbol_count && !is_writing_another(r, c))
            return begin_writing(r, database, c);
    } else {
        write_names(c);
        if (c->writing.at == c->graph.symbol_count) publish(r, database, c);
    }
    return true;
}

/* A step of what needs no server; called in each turn of the relay while there is any. */
void catalog_work(struct relay *r) {
    r->catalog_work = false;
    for (int32_t i = 0; i < r->t->h->databases_high; i++) {
        struct catalog_reader *c = r->readers[i];
        if (!c || c->phase < READING_SOLVE) continue;
        if (!step(r, i, c)) catalog_fail(r, i, c);
        else if (c->phase >= READING_SOLVE) r->catalog_work = true;
    }
}
