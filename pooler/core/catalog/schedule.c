/* When servers are asked about the catalogs: see read.h. */
#include "catalog/schedule.h"

#include <stddef.h>

#include "catalog/read.h"
#include "catalog/store.h"
#include "io/buffer.h"
#include "io/connection.h"
#include "relay/internal.h"
#include "sql/effects.h"
#include "tables/layout.h"
#include "tables/pool.h"
#include "tables/states.h"

/* ---- when ---------------------------------------------------------------------------------------- */

bool catalog_matters(const struct relay *r, int32_t pool) {
    const struct pool_row *p = &r->t->pools[pool];
    return p->kind == POOL_CLIENTS && p->limits.mode != MODE_SESSION
        && p->limits.session_state != SESSION_OFF;
}

/* The server that had a piece was closed without an answer. */
static bool lost(const struct relay *r, const struct catalog_reader *c) {
    const struct server *s = c->slot == NO_ROW ? NULL : r->servers[c->slot];
    return c->slot != NO_ROW
        && (!s || s->generation != c->slot_generation || s->internal != INTERNAL_CATALOG);
}

bool catalog_is_known(const struct relay *r, int32_t database) {
    return catalog_is_published(r->t, database) && catalog_is_current(r->t, database);
}

/* A look is to begin, or to go on. */
bool catalog_has_work(struct relay *r, int32_t database) {
    const struct database_row *d = &r->t->databases[database];
    struct catalog_reader *c = catalog_reader_of(r, database);
    if (!c) return false;
    if (c->row_generation != d->generation) {
        catalog_forget_all(c);
        if (c->phase == READING_WRITE) catalog_drop(r->t, database, r->worker);
        c->row_generation = d->generation;
        c->phase = READING_NOT;
        c->slot = NO_ROW;
        c->next_at = c->failures = 0;
    }
    if (lost(r, c)) catalog_fail(r, database, c);
    if (c->phase >= READING_SOLVE || c->slot != NO_ROW) return false;
    if (c->phase != READING_NOT) return true;
    if (r->loop.now < c->next_at) return false;
    return atomic_load(&d->catalog.used) || !catalog_is_known(r, database);
}

/* Whether it is to answer one at once.  A look that begins is claimed here: who claims one and does not ask
 * keeps all databases of the instance from theirs. */
bool catalog_due(struct relay *r, const struct server *s) {
    if (!catalog_may_ask(r, s)) return false;
    const struct pool_row *p = &r->t->pools[r->t->slots[s->slot].pool];
    return r->readers[p->database]->phase != READING_NOT
        || catalog_claim(r->t, p->database, p->instance, r->worker, r->loop.now);
}

/* ---- on which servers ------------------------------------------------------------------------ */

/* A server that its client keeps may have a piece while that says nothing: where all are kept nothing would
 * ever be known. One that is kept because nothing is known may have one now and then even if its client has
 * already said more. */
void catalog_between(struct relay *r, struct server *s) {
    const struct client *c = s->client;
    if (!c || !s->session.pinned || !server_in_step(s) || c->io.hangup || c->state == CLIENT_LEAVING) return;
    bool quiet = !c->io.readable && !bytes_pending(&c->io.stash);
    bool unjudged = s->session.pinned & PIN_UNJUDGED;
    const struct catalog_reader *reader = catalog_reader_of(r, catalog_database_of(r, s));
    if (!reader || (!quiet && !(unjudged && r->loop.now > reader->moved_at + UNKNOWN_STARVED_US))) return;
    if (catalog_due(r, s)) catalog_ask(r, s);
}

/* One pass for all databases with work: each has few of the servers that there are. */
static void use_kept(struct relay *r) {
    for (int32_t i = 0; i < r->t->h->slots_high; i++) {
        struct server *s = r->servers[i];
        if (!s || !s->client || s->state == SERVER_DEDICATED) continue;
        int32_t database = catalog_database_of(r, s);
        if (catalog_has_work(r, database) && !r->readers[database]->given_idle) catalog_between(r, s);
    }
}

/* An idle server of a database with work, whichever worker had it last: for one piece after the other.
 * False: there is none. */
static bool use_idle(struct relay *r, int32_t database) {
    for (int32_t pool = r->t->databases[database].first_pool; pool != NO_ROW;
         pool = r->t->pools[pool].next_in_database) {
        int32_t slot = r->t->pools[pool].idle.head;
        struct server *s = slot == NO_ROW || !catalog_matters(r, pool) ? NULL : server_of(r, slot);
        if (!s || s->state != SERVER_POOLED || !catalog_may_ask(r, s)) continue;
        if (!pool_claim_idle(r->t, slot, s->generation, r->worker)) continue;
        conn_arm(&r->loop, &s->io);
        s->internal_since = r->loop.now;
        server_move(s, SERVER_RETURNING); /* from where it is given back the next piece is asked */
        conn_ready(&r->loop, &s->io);
        return true;
    }
    return false;
}

/* Now and then: looks that stand still, or could begin, while no server is given back. */
void catalog_look(struct relay *r) {
    bool wanted = false;
    for (int32_t i = 0; i < r->t->h->databases_high; i++) {
        if (!r->t->databases[i].used || !r->t->databases[i].servers || !catalog_has_work(r, i)) continue;
        r->readers[i]->given_idle = use_idle(r, i);
        wanted |= !r->readers[i]->given_idle;
    }
    if (wanted) use_kept(r);
}
