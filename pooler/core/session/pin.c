/* What follows at the end of a transaction: whether the server stays with its client, and for how long. */
#include "session/pin.h"

#include <stdio.h>

#include "catalog/database.h"
#include "catalog/store.h"
#include "io/connection.h"
#include "io/sqlstate.h"
#include "relay/internal.h"
#include "session/probe.h"
#include "session/sequences.h"
#include "session/session.h"
#include "sql/effects.h"
#include "statements/client_names.h"
#include "tables/layout.h"
#include "tables/states.h"

static const struct {
    uint32_t bit;
    const char *text;
} REASONS[] = {
    {ASK_LOCKS, "advisory lock"},
    {ASK_TEMP, "temporary object"},
    {ASK_PREPARED, "prepare"},
    {ASK_CURSORS, "holdable cursor"},
    {ASK_CHANNELS, "listen"},
    {PIN_OPAQUE, "setting"},
    {PIN_LOADED, "load"},
    {PIN_SEQUENCE, "sequence"},
    {PIN_UNJUDGED, "catalogs unread"},
    {PIN_INTERPRETER, "interpreter"},
};

/* `advisory lock, listen`: why a server is pinned. */
const char *pin_reasons(uint32_t pinned, char *out, uint32_t space) {
    uint32_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof REASONS / sizeof *REASONS; i++)
        if (pinned & REASONS[i].bit && at < space)
            at += (uint32_t)snprintf(out + at, space - at, "%s%s", at ? ", " : "", REASONS[i].text);
    return out;
}

/* Why others of the pool cannot have the server even if they wait for it. */
static uint32_t strong(uint32_t pinned) { return pinned & ~(uint32_t)PIN_WEAK; }

static bool only_weakly(uint32_t pinned) { return pinned && !strong(pinned); }

static int pinned_servers(const struct relay *r, int32_t pool) {
    int n = 0;
    for (int32_t i = 0; i < r->t->h->slots_high; i++) {
        const struct slot_row *row = &r->t->slots[i];
        n += row->state == SL_ACTIVE && row->pool == pool && row->client != NO_ROW
            && strong(r->t->clients[row->client].pinned);
    }
    return n;
}

static void count_pins(struct relay *r, int32_t pool, uint32_t added) {
    struct counters *n = counters_of(r, pool);
    for (int i = 0; i < PIN_REASONS; i++)
        if (added & 1u << (i + 1)) n->pins[i]++;
}

static bool refuse(struct relay *r, struct client *c, const char *sqlstate, const char *what,
                   uint32_t pinned) {
    char text[EVENT_TEXT_BYTES], reasons[128];
    snprintf(text, sizeof text, "%s (%s)", what, pin_reasons(pinned, reasons, sizeof reasons));
    client_close(r, c, sqlstate, text, text);
    return true;
}

/* Writes down why the server stays with its client, or that it does not.  True: the client had to be
 * closed. */
static bool decide(struct relay *r, struct server *s) {
    struct client *c = s->client;
    struct client_row *row = &r->t->clients[c->row];
    const struct pool_limits *limits = &session_pool(r, c)->limits;
    uint32_t pinned = s->session.pinned, before = row->pinned;
    if (pinned & ~before) count_pins(r, row->pool, pinned & ~before);
    if (!before && pinned) row->pinned_at = r->loop.now;
    row->pinned = pinned;
    if (!pinned) return false;
    if (limits->session_state == SESSION_ERROR && pinned & ~(uint32_t)(PIN_SEQUENCE | PIN_UNJUDGED))
        return refuse(r, c, NOT_SUPPORTED, "session state is not allowed here (session_state = error)",
                      pinned);
    if (strong(pinned) && !strong(before) && limits->pin_limit
        && pinned_servers(r, row->pool) > limits->pin_limit)
        return refuse(r, c, LIMIT_EXCEEDED, "too many pinned servers (pin_limit)", pinned);
    return false;
}

/* Where every transaction calls a function of dynamic SQL, a pin each would leave others nothing. */
static bool opaque_pins(struct client *c, const struct session *x) {
    if (x->named || !(x->effect_flags & PIN_OPAQUE) || c->opaque_lessons >= OPAQUE_LESSONS) return false;
    c->opaque_lessons++;
    return true;
}

/* It called something before the catalogs were known, or before they were read again. */
static void leave_unjudged(const struct relay *r, const struct pool_row *pool, struct session *x) {
    uint32_t version = atomic_load(&r->t->databases[pool->database].schema_version);
    /* what it called then may be gone */
    bool before = x->pinned & PIN_UNJUDGED && x->unjudged_version != version;
    x->pinned |= before ? PIN_OPAQUE : PIN_UNJUDGED;
    x->unjudged_version = version;
}

/* Once the catalogs are known, and nothing in them sets settings whose names are not in its text, no client
 * has such a setting.  What was dropped meanwhile is not in them. */
static void judge(struct relay *r, const struct client *c, struct session *x) {
    if (!(x->pinned & PIN_UNJUDGED)) return;
    const struct profile *p = session_profile(r, c);
    bool same = atomic_load(&r->t->databases[session_pool(r, c)->database].schema_version)
        == x->unjudged_version;
    if (p->catalog.known && same && !p->nameless) x->pinned &= ~(uint32_t)PIN_UNJUDGED;
}

/* It uses what the catalogs, as far as they are known, do not have. */
static bool newer(const struct session *x) { return x->effect_flags & EFFECT_UNKNOWN || x->unknown_count; }

/* A text that is made when it runs may open connections (`connects`), or call a function in any language
 * (`interpreters`).  Nothing is asked for them: the question would be a call of something outside pg_catalog,
 * made with the rights of the client. */
static bool runs_unseen(uint32_t effect_flags) {
    return (effect_flags & ASK_ALL) == ASK_ALL && effect_flags & PIN_NAMELESS;
}

/* What no reset undoes, and a server may carry once `effect_flags` have run: bits of a weak pin, after which
 * it is closed.  To make a function in another language may run it, too (BEGIN of Perl). */
static uint32_t carried(const struct profile *p, uint32_t effect_flags) {
    uint32_t pins = effect_flags & PIN_INTERPRETER;
    if (p->connects && runs_unseen(effect_flags)) pins |= PIN_OPAQUE;
    if (p->interpreters && (runs_unseen(effect_flags) || effect_flags & EFFECT_SCHEMA))
        pins |= PIN_INTERPRETER;
    return pins;
}

static bool weak(const struct relay *r, const struct server *s) {
    return s && s->client && only_weakly(s->session.pinned) && r->t->clients[s->client->row].pinned;
}

/* Clients wait, and for longer than that. */
static bool waited(const struct relay *r, const struct pool_row *pool, uint64_t us) {
    int32_t first = pool->waiting.head;
    return first != NO_ROW && r->loop.now > r->t->clients[first].wait_start + us;
}

/* Clients wait, and not only for a moment, or for a server that is being opened. */
static bool starving(const struct relay *r, const struct pool_row *pool) {
    bool full = pool->limits.size && pool->servers >= pool->limits.size;
    return waited(r, pool, full ? WEAK_PIN_WAIT_US : WEAK_PIN_DIAL_US);
}

/* An operator waits until no server is in use. */
static bool pausing(const struct relay *r, const struct pool_row *pool) {
    return r->t->h->paused || r->t->h->draining || r->t->databases[pool->database].paused;
}

/* Somebody else needs the server: a client in the queue, or an operator who waits for it or wants another. */
static bool wanted(const struct relay *r, const struct server *s) {
    const struct slot_row *row = &r->t->slots[s->slot];
    const struct pool_row *pool = &r->t->pools[row->pool];
    return starving(r, pool) || row->flags & SF_CLOSE_NEEDED || pausing(r, pool);
}

/* It may ask in a later transaction for what its sequences have left: where clients of its pool never do,
 * nothing pins. */
static bool may_ask_later(const struct server *s) { return s->session.pinned & PIN_SEQUENCE; }

/* How long its client may say nothing before others that wait get it. */
static uint64_t silence(const struct relay *r, const struct server *s) {
    if (!may_ask_later(s)) return WEAK_PIN_SILENT_US;
    return session_pool(r, s->client)->currval_seen ? CURRVAL_SILENT_US : NEXTVAL_SILENT_US;
}

static void give_up(struct relay *r, struct server *s) {
    if (s->session.pinned & PIN_SEQUENCE) sequences_given_up(session_pool(r, s->client), s->client);
    s->session.pinned = 0;
    s->session.given_up = true;
}

/* Where a client is never silent, a weak pin would never end. */
static bool gives_up(const struct relay *r, const struct server *s) {
    const struct pool_row *pool = session_pool(r, s->client);
    return only_weakly(s->session.pinned)
        && (pausing(r, pool) || waited(r, pool, may_ask_later(s) ? CURRVAL_BUSY_US : WEAK_PIN_BUSY_US));
}

/* It is known whether the server stays.  True: it does, or the client had to be closed. */
static bool releasable(struct relay *r, struct server *s) {
    struct session *x = &s->session;
    if (gives_up(r, s)) give_up(r, s);
    if (x->pinned != r->t->clients[s->client->row].pinned && decide(r, s)) return true;
    r->weak_pins += only_weakly(x->pinned);
    return x->pinned != 0;
}

static uint32_t schema_of(const struct relay *r, const struct server *s) {
    return atomic_load(&r->t->databases[r->t->pools[r->t->slots[s->slot].pool].database].schema_version);
}

/* What follows is looked at by what is known now. */
void session_turn(struct relay *r, struct server *s) { s->session.judged_version = schema_of(r, s); }

/* Called when a transaction is over and the server could be given back.  True: not yet, or not at all. */
bool session_settle(struct relay *r, struct server *s) {
    struct session *x = &s->session;
    struct client *c = s->client;
    struct pool_row *pool = session_pool(r, c);
    if (!session_on(r, c)) return false;
    bool looked = x->looked;
    x->looked = false;
    if (looked && !(x->effect_flags | x->ends)) { /* nothing of the client has run that says anything */
        judge(r, c, x);
        return releasable(r, s);
    }
    /* it may have run what was made meanwhile */
    if (x->judged_version != schema_of(r, s)) x->effect_flags |= EVERYTHING;
    /* it may be gone again */
    if (x->effect_flags & EFFECT_SCHEMA && x->unknown_count) x->effect_flags |= ASK_ALL | PIN_OPAQUE;
    catalog_mark(r->t, pool->database);
    const struct profile *p = session_profile(r, c);
    x->unseen |= newer(x);
    if (x->unknown_count)
        profile_unknown(r, r->t->clients[c->row].pool, x->unknown, x->unknown_count, &x->effect_flags,
                        &x->ends);
    x->unknown_count = 0;
    uint32_t carries = carried(p, x->effect_flags);
    x->effect_flags &= ~(uint32_t)(EFFECT_SCHEMA | EFFECT_DATABASE);
    x->unseen |= runs_unseen(x->effect_flags) && !p->catalog.known;
    /* whatever it was, whoever comes next gets a server without it */
    if (x->effect_flags & (PIN_NAMELESS | EFFECT_UNSURE)) {
        session_unknown(&r->t->slots[s->slot]);
        x->opaque = true;
    }
    uint32_t ask = (x->effect_flags & ASK_ALL) | (x->ends & x->pinned & ASK_ALL);
    if (x->effect_flags & EFFECT_NAMED && x->failed) ask |= ASK_SETTINGS;
    if (!x->failed) x->pinned &= ~(x->ends & PIN_ALL); /* else what ends it may not have run, or is undone */
    x->pinned |= x->effect_flags & (PIN_LOADED | (opaque_pins(c, x) ? PIN_OPAQUE : 0));
    x->doomed |= carries != 0; /* kept as long as no other client waits, then closed */
    x->pinned |= carries;
    if (x->effect_flags & PIN_UNJUDGED && !x->named) leave_unjudged(r, pool, x);
    judge(r, c, x);
    bool kept_here = !x->given_up && (c->settings->particular || (c->names && c->names->floating));
    /* another server may refuse them, or read a statement otherwise */
    if (kept_here) x->pinned |= PIN_OPAQUE;
    if (sequences_pin(pool, c, x->effect_flags)) x->pinned |= PIN_SEQUENCE;
    if (ask || (x->effect_flags & EFFECT_NAMED && x->notes && x->notes->bytes)) {
        session_probe(r, s, ask);
        return true;
    }
    session_begin(x);
    session_turn(r, s);
    return releasable(r, s);
}

/* Whether the server must be cleaned before another client gets it. */
bool session_dirty(const struct server *s) {
    const struct session *x = &s->session;
    return x->pinned || x->asked
        || x->effect_flags & (ASK_ALL | PIN_ALL | EFFECT_NAMED | EFFECT_RESET | EFFECT_RESET_ALL);
}

/* No DISCARD ALL undoes what it carries, or may carry: it goes with its client. */
bool session_beyond_reset(struct relay *r, const struct server *s) {
    const struct session *x = &s->session;
    if ((x->pinned | x->effect_flags) & (PIN_LOADED | PIN_INTERPRETER) || x->doomed) return true;
    if (!s->client) return false;
    if (x->unseen || newer(x)) return true;
    const struct profile *p = session_profile(r, s->client);
    return carried(p, x->effect_flags) || (!p->catalog.known && runs_unseen(x->effect_flags));
}

/* An idle server is not kept any more; its client may have begun a message. */
static void go_back(struct relay *r, struct server *s) {
    if (s->state == SERVER_SERVING) server_state_ready(s, true);
    conn_ready(&r->loop, &s->io);
}

/* Servers that are kept only for what sequences remember, or for a setting of unknown name, are given up
 * while others wait for one.  Nobody else gets to see it: the server is reset, or sequences are discarded,
 * before. */
void session_tick(struct relay *r) {
    if (r->loop.now < r->weak_checked_at + WEAK_PIN_LOOK_MS * 1000) return;
    r->weak_checked_at = r->loop.now;
    r->weak_pins = 0;
    for (int32_t i = 0; i < r->t->h->slots_high; i++) {
        struct server *s = r->servers[i];
        if (!weak(r, s)) continue;
        struct client_row *row = &r->t->clients[s->client->row];
        bool idle = s->transaction == 'I' && server_in_step(s);
        if (idle) judge(r, s->client, &s->session);
        if (idle && row->pinned != s->session.pinned) {
            row->pinned = s->session.pinned;
            r->weak_pins += row->pinned != 0;
            if (!row->pinned) go_back(r, s);
            continue;
        }
        bool silent = r->loop.now > row->idle_start + silence(r, s) && idle;
        if (!silent || !wanted(r, s)) {
            r->weak_pins++;
            continue;
        }
        give_up(r, s);
        row->pinned = 0;
        go_back(r, s);
    }
}
