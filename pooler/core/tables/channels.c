/* What clients listen on, for all workers: names, who wants them, and the connection that hears them.
 *
 * Theory.  A name is WANTED from the first client that listens on it, and HEARD when the listening connection
 * of its database has said LISTEN; a client relies on it only if it saw HEARD (channels_heard, which notes in
 * the client's row that it relies on it, under the same lock).  When the connection is lost nobody knows what
 * was missed: every client that relied on it is closed, as it would be by PostgreSQL, and names are WANTED
 * again.
 *
 * A listener belongs to one worker: the first that needs it.  Counts are by worker, so that a dead worker's
 * go with it.
 */
#include "tables/channels.h"

#include <string.h>

#include "tables/eviction.h"
#include "tables/layout.h"
#include "tables/limits.h"
#include "tables/mailbox.h"
#include "tables/outcome.h"
#include "tables/pool.h"
#include "tables/registry.h"
#include "tables/slots.h"
#include "tables/states.h"
#include "tables/tables.h"
#include "tables/workers.h"

static int32_t find_channel(const struct tables *t, int32_t database, const char *name) {
    for (int32_t i = 0; i < t->h->channels_high; i++) {
        const struct channel_row *c = &t->channels[i];
        if (c->state != CH_FREE && c->database == database && strcmp(c->name, name) == 0) return i;
    }
    return NO_ROW;
}

/* A database may have as many names as are left to others: however many some have, each finds space. */
static int32_t new_channel(struct tables *t, int32_t database, const char *name) {
    int32_t i = t->h->channels_high, used = 0, own = 0;
    for (int32_t k = t->h->channels_high; k--;) {
        const struct channel_row *c = &t->channels[k];
        if (c->state == CH_FREE) i = k;
        else used++, own += c->database == database;
    }
    if (own >= CHANNELS_MAX - used || strlen(name) >= CHANNEL_NAME_BYTES) return NO_ROW;
    struct channel_row *c = &t->channels[i];
    memset(c, 0, sizeof *c);
    c->database = database;
    c->id = (uint32_t)tables_new_id(t);
    strcpy(c->name, name);
    COMMIT();
    c->state = CH_WANTED;
    if (i >= t->h->channels_high) t->h->channels_high = i + 1;
    return i;
}

/* A client wants to hear of a name.  Returns the worker that has the listener, or is to open it; NO_ROW: it
 * cannot be heard that way. */
int32_t channel_join(struct tables *t, int32_t client, const char *name, const char *encoding, int worker,
                     uint64_t now, struct joined *out) {
    int32_t owner = NO_ROW;
    tables_lock(t);
    int32_t database = t->pools[t->clients[client].pool].database;
    struct listener *l = &t->databases[database].listener;
    if (l->state == LISTENER_REFUSED && now >= l->refused_until) l->state = LISTENER_NONE;
    if (l->state == LISTENER_NONE && strlen(encoding) < sizeof l->encoding) {
        strcpy(l->encoding, encoding);
        l->owner = (int16_t)worker;
        l->state = LISTENER_WANTED;
    }
    if ((l->state == LISTENER_WANTED || l->state == LISTENER_OPEN) && strcmp(l->encoding, encoding) == 0) {
        int32_t row = find_channel(t, database, name);
        if (row == NO_ROW) row = new_channel(t, database, name);
        if (row != NO_ROW) {
            t->channels[row].clients[worker]++;
            *out = (struct joined){row, t->channels[row].id};
            owner = l->owner;
        }
    }
    tables_unlock(t);
    return owner;
}

static bool lives(const struct tables *t, const struct joined *j) {
    return t->channels[j->row].state != CH_FREE && t->channels[j->row].id == j->id;
}

void channel_leave(struct tables *t, const struct joined *channel, int worker) {
    tables_lock(t);
    if (lives(t, channel) && t->channels[channel->row].clients[worker] > 0)
        t->channels[channel->row].clients[worker]--;
    tables_unlock(t);
}

/* Whether all of these are heard.  If so the client relies on it from now on, on `listens` channels in
 * all. */
enum hearing channels_heard(struct tables *t, int32_t client, const struct joined *channels, int count,
                            int32_t listens) {
    tables_lock(t);
    const struct listener *l = &t->databases[t->pools[t->clients[client].pool].database].listener;
    enum hearing hearing = l->state == LISTENER_OPEN ? HEARING_YES
        : l->state == LISTENER_WANTED                ? HEARING_SOON
                                                     : HEARING_NO;
    for (int i = 0; i < count && hearing != HEARING_NO; i++) {
        if (!lives(t, &channels[i])) hearing = HEARING_NO;
        else if (t->channels[channels[i].row].state != CH_HEARD) hearing = HEARING_SOON;
    }
    if (hearing == HEARING_YES || !listens) t->clients[client].listens = listens;
    tables_unlock(t);
    return hearing;
}

static uint64_t workers_of(const struct tables *t, const struct channel_row *c) {
    uint64_t mask = 0;
    for (int w = 0; w < t->h->sizes.workers; w++)
        if (c->clients[w] > 0) mask |= worker_bit(w);
    return mask;
}

/* The listener has said LISTEN. */
void channel_heard(struct tables *t, int32_t row, uint32_t id) {
    uint64_t ring = 0;
    tables_lock(t);
    struct channel_row *c = &t->channels[row];
    if (c->state == CH_WANTED && c->id == id) {
        c->state = CH_HEARD;
        ring = workers_of(t, c);
    }
    tables_unlock(t);
    tables_ring(t, ring);
}

/* Frees the row of a name that nobody wants any more; false when somebody does. */
bool channel_drop(struct tables *t, int32_t row, uint32_t id) {
    tables_lock(t);
    struct channel_row *c = &t->channels[row];
    bool unused = c->state != CH_FREE && c->id == id && !workers_of(t, c);
    if (unused) c->state = CH_FREE;
    tables_unlock(t);
    return unused;
}

/* Whether a server that counts against the same limits is on its way to be idle or gone. */
static bool passing(const struct tables *t, const struct pool_row *own) {
    for (int32_t i = 0; i < t->h->slots_high; i++) {
        const struct slot_row *s = &t->slots[i];
        const struct pool_row *p = &t->pools[s->pool];
        if (s->state == SL_FREE || p->kind != POOL_CLIENTS || (s->state == SL_ACTIVE && s->client != NO_ROW))
            continue;
        if (p->database == own->database || p->user == own->user || p->instance == own->instance) return true;
    }
    return false;
}

/* A slot for the listener of a database, logged in as the user of `pool`; NO_ROW when a limit forbids it.
 * `ever`: it may be granted soon, an idle server has been told to go. */
int32_t listener_reserve(struct tables *t, int32_t pool, int worker, uint64_t now, int32_t *ever) {
    struct outcome out;
    outcome_clear(&out);
    *ever = 0;
    tables_lock(t);
    const struct pool_row *like = &t->pools[pool];
    int32_t own = tables_pool_of_kind(t, like->database, like->user, like->instance, POOL_LISTENER, true);
    if (own != NO_ROW) {
        enum blocked_by why = limits_blocked(t, &t->pools[own], 0);
        if (why == BLOCKED_NOT) slot_dial_for(t, own, worker, worker, now, &out);
        else
            *ever = pool_opening(&t->pools[own]) || eviction_evict(t, own, why, NO_ROW, true, now, &out)
                || passing(t, &t->pools[own]);
    }
    tables_unlock(t);
    tables_ring(t, out.ring);
    return out.dial;
}

void listener_opened(struct tables *t, int32_t database, int32_t slot) {
    tables_lock(t);
    slot_state(t, slot, SL_ACTIVE);
    struct listener *l = &t->databases[database].listener;
    l->generation++;
    l->state = LISTENER_OPEN;
    tables_unlock(t);
}

/* The listener ends, because nobody listens; false when somebody does. */
bool listener_rest(struct tables *t, int32_t database) {
    bool unused = true;
    tables_lock(t);
    for (int32_t i = 0; i < t->h->channels_high; i++)
        if (t->channels[i].state != CH_FREE && t->channels[i].database == database) unused = false;
    if (unused) {
        t->databases[database].listener.state = LISTENER_NONE;
        t->databases[database].listener.owner = NO_ROW;
    }
    tables_unlock(t);
    return unused;
}

static int kill_listening(struct tables *t, int32_t database, int worker, uint64_t *ring) {
    int killed = 0;
    for (int32_t i = 0; i < t->h->clients_high; i++) {
        const struct client_row *c = &t->clients[i];
        if (c->state == CL_FREE || !c->listens || t->pools[c->pool].database != database) continue;
        if (worker == NO_ROW || c->worker == worker)
            killed += mailbox_tell_locked(t, i, c->id, ORDER_KILL, KILL_UNHEARD, ring);
    }
    return killed;
}

static int lost_locked(struct tables *t, int32_t database, uint64_t refused_until, uint64_t *ring) {
    struct listener *l = &t->databases[database].listener;
    for (int32_t i = 0; i < t->h->channels_high; i++) {
        struct channel_row *c = &t->channels[i];
        if (c->state == CH_FREE || c->database != database) continue;
        c->state = CH_WANTED;
        *ring |= workers_of(t, c);
        if (!workers_of(t, c)) c->state = CH_FREE;
    }
    l->generation++;
    l->refused_until = refused_until;
    l->state = refused_until ? LISTENER_REFUSED : LISTENER_NONE;
    l->owner = NO_ROW;
    return kill_listening(t, database, NO_ROW, ring);
}

/* The listener of a database is gone, or could not be opened.  How many clients are closed for it. */
int listener_lost(struct tables *t, int32_t database, uint64_t refused_until) {
    uint64_t ring = 0;
    tables_lock(t);
    int killed = lost_locked(t, database, refused_until, &ring);
    tables_unlock(t);
    tables_ring(t, ring);
    return killed;
}

/* A worker does not take what its clients are to hear: they are closed. */
int listeners_kill(struct tables *t, int32_t database, int worker) {
    uint64_t ring = 0;
    tables_lock(t);
    int killed = kill_listening(t, database, worker, &ring);
    tables_unlock(t);
    tables_ring(t, ring);
    return killed;
}

/* The caller holds the lock. */
void channels_worker_died(struct tables *t, int worker, uint64_t *ring) {
    for (int32_t i = 0; i < t->h->channels_high; i++) t->channels[i].clients[worker] = 0;
    for (int32_t i = 0; i < t->h->databases_high; i++) {
        const struct listener *l = &t->databases[i].listener;
        if ((l->state == LISTENER_WANTED || l->state == LISTENER_OPEN) && l->owner == worker)
            lost_locked(t, i, 0, ring);
    }
}
