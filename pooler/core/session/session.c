/* What the statements of a client say about its session, and what follows at the end of a transaction.  The
 * theory stands in session.h. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/body.h"
#include "catalog/store.h"
#include "relay/relay.h"
#include "sql/builder.h"
#include "sql/lexer.h"
#include "statements/forward.h"

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
};

/* `advisory lock, listen`: why a server is pinned. */
const char *pin_reasons(uint32_t pinned, char *out, uint32_t room) {
    uint32_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < sizeof REASONS / sizeof *REASONS; i++)
        if (pinned & REASONS[i].bit && at < room)
            at += (uint32_t)snprintf(out + at, room - at, "%s%s", at ? ", " : "", REASONS[i].text);
    return out;
}

static struct pool_row *pool_of(const struct relay *r, const struct client *c) {
    return &r->t->pools[r->t->clients[c->row].pool];
}

/* Not in session pooling: there the server is its client's, and reset afterwards; or closed, where it is its
 * client's own. What was begun under one mode or session_state ends under it, whatever the configuration says
 * meanwhile. */
bool session_on(const struct relay *r, const struct client *c) {
    const struct pool_limits *limits = &pool_of(r, c)->limits;
    const struct server *s = c->server;
    if (c->dedicated) return false;
    return s ? s->session_state != SESSION_OFF && s->mode != MODE_SESSION
             : limits->session_state != SESSION_OFF && limits->mode != MODE_SESSION;
}

struct profile *session_profile(struct relay *r, const struct client *c) {
    return profile_of(r, r->t->clients[c->row].pool);
}

/* ---- what statements say ---------------------------------------------------------------------- */

static void keep_name(struct session *x, char kind, const char *name) {
    uint32_t n = (uint32_t)strlen(name) + 2;
    if (!x->notes) x->notes = calloc(1, sizeof *x->notes);
    if (!x->notes || x->notes->bytes + n > sizeof x->notes->names) {
        x->effect_flags |= ASK_SETTINGS; /* instead of single names */
        if (kind != 'r') return;
        x->effect_flags |= EFFECT_RESET_ALL;
        x->resets_all = true;
        return;
    }
    x->notes->names[x->notes->bytes] = kind;
    memcpy(x->notes->names + x->notes->bytes + 1, name, n - 1);
    x->notes->bytes += n;
}

/* Settings whose names are arguments: a literal of the text that looks like one is taken for it. */
static void note_candidate(struct relay *r, struct client *c, const char *name) {
    if (!sql_plain(name)) return; /* the setting stays one of unknown name */
    if (profile_custom(session_profile(r, c), name, false)) c->server->session.named = true;
}

/* Idle servers of that database are to be closed: now, so that they are not in the way, or because it is
 * done, so that the next ones know of it. */
static void tell_of_database(struct relay *r, const struct client *c, const char *name,
                             enum shared_ddl what) {
    struct event e = {.type = EVENT_DATABASE, .a = r->t->clients[c->row].pool, .b = what};
    snprintf(e.text, sizeof e.text, "%s", name);
    relay_emit(r, &e);
}

static void tell_of_databases(struct relay *r, struct client *c) {
    const struct session *x = &c->server->session;
    char kind;
    const char *name;
    for (uint32_t at = 0;
         x->notes && !x->failed && next_name(x->notes->names, x->notes->bytes, &at, &kind, &name);)
        if (kind == 'D') tell_of_database(r, c, name, DDL_DATABASE);
        else if (kind == 'R') tell_of_database(r, c, name, DDL_ROLE);
        else if (kind == 'X') tell_of_database(r, c, name, DDL_ROLE_GONE);
}

static void note_names(struct relay *r, struct client *c, const struct scan *scan) {
    struct session *x = &c->server->session;
    char kind;
    const char *name;
    for (uint32_t at = 0; next_name(scan->names, scan->names_bytes, &at, &kind, &name);) {
        if (kind == 'c') {
            if (scan->effect_flags & PIN_NAMELESS) note_candidate(r, c, name);
            continue;
        }
        if (kind == 'k') continue; /* session_scan() has dealt with it */
        if (kind == 'd') {
            tell_of_database(r, c, name, DDL_BEGINS);
            continue;
        }
        if (strchr("sr", kind) && !sql_plain(name)) { /* the server may spell it otherwise */
            x->effect_flags |= ASK_SETTINGS | PIN_OPAQUE;
            continue;
        }
        if (kind == 's' && settings_tracked(&r->store, name)) continue; /* the server reports it */
        if (kind == 's' && strcmp(name, "temp_buffers") == 0)
            c->server->unfit = r->t->slots[c->server->slot].temporary;
        if (kind == 's' && strchr(name, '.') && !profile_custom(session_profile(r, c), name, false)) {
            x->effect_flags |= ASK_SETTINGS | PIN_OPAQUE; /* no memory: nobody will ask for it */
            continue;
        }
        keep_name(x, kind, name);
    }
}

/* Adds what one statement says. */
void session_note(struct relay *r, struct client *c, const struct scan *scan) {
    struct session *x = &c->server->session;
    uint32_t effect_flags = scan->effect_flags;
    if (effect_flags & EFFECT_EXECUTE) {
        effect_flags |= x->prepared_effect_flags;
        if (x->prepared_effect_flags && x->prepared_serial != session_profile(r, c)->serial)
            effect_flags |= EVERYTHING;
    }
    if (effect_flags & ASK_PREPARED) {
        if (!x->prepared_effect_flags) x->prepared_serial = session_profile(r, c)->serial;
        x->prepared_effect_flags |= (effect_flags & ~(uint32_t)ASK_PREPARED) | EFFECT_EXECUTE;
    }
    if (scan->names_bytes) note_names(r, c, scan);
    if (effect_flags & (EFFECT_RESET | EFFECT_RESET_ALL)) session_note_reset(r, c, effect_flags);
    for (uint32_t i = 0; i < scan->unknown_count && x->unknown_count < SCAN_UNKNOWN_MAX; i++)
        x->unknown[x->unknown_count++] = scan->unknown[i];
    if (effect_flags & EFFECT_UNLISTEN && c->subscriptions) effect_flags |= ASK_CHANNELS;
    if (effect_flags & ASK_TEMP) r->t->slots[c->server->slot].temporary = 1;
    plans_note(r, c, effect_flags);
    if (effect_flags & SETS_MEANING) x->sets_meaning = true;
    /* others may run it as soon as it is committed */
    if (effect_flags & EFFECT_SCHEMA) session_made(r, c->server);
    x->effect_flags |= effect_flags;
    x->ends |= scan->ends;
}

/* Session pooling: nothing of a session is looked after but that RESET leads back to the client's startup
 * packet. */
bool session_resets(const struct relay *r, const struct client *c) {
    const struct server *s = c->server;
    return !c->dedicated && s->mode == MODE_SESSION
        && !digest_same(c->startup->digest, r->t->slots[s->slot].login_settings);
}

void session_note_resets(struct relay *r, struct client *c, const char *text, uint32_t bytes) {
    struct scan scan;
    char kind;
    const char *name;
    session_scan(r, c, text, bytes, &scan);
    if (!(scan.effect_flags & (EFFECT_RESET | EFFECT_RESET_ALL))) return;
    for (uint32_t at = 0; next_name(scan.names, scan.names_bytes, &at, &kind, &name);)
        if (kind == 'r') keep_name(&c->server->session, kind, name);
    c->server->session.effect_flags |= scan.effect_flags & (EFFECT_RESET | EFFECT_RESET_ALL);
    session_note_reset(r, c, scan.effect_flags);
}

/* Nobody lists settings with a dot, but who reads one says its name: from then on it is asked for. */
static void learn_names(struct profile *p, const struct scan *scan) {
    char kind;
    const char *name;
    for (uint32_t at = 0; next_name(scan->names, scan->names_bytes, &at, &kind, &name);)
        if (kind == 'k' && sql_plain(name)) profile_custom(p, name, false);
}

static bool beyond_ascii(const char *text, uint32_t bytes) {
    unsigned char all = 0;
    for (uint32_t i = 0; i < bytes; i++) all |= (unsigned char)text[i];
    return all >= 0x80;
}

/* Whether a byte of a character in the text may look like a letter of SQL: the encoding has such characters,
 * or may have them by the time that the server reads what is sent now. */
bool session_misleading(const struct client *c, const char *text, uint32_t bytes) {
    const uint32_t unsure = EFFECT_ENCODING | ASK_SETTINGS | PIN_NAMELESS | EFFECT_UNSURE | EFFECT_RESET
        | EFFECT_RESET_ALL;
    bool may = c->settings->misleading || (c->server && c->server->session.effect_flags & unsure);
    return may && beyond_ascii(text, bytes);
}

/* A statement is about to run whose text is not known: anything may be left. */
void session_anything(const struct relay *r, struct client *c) {
    if (session_on(r, c)) c->server->session.effect_flags |= EVERYTHING;
}

/* Names beyond ASCII are known in UTF-8: as they are in the text, and in the database, which cuts and folds
 * them. */
static bool names_are_known(const struct relay *r, const struct client *c) {
    static const char UTF8[] = "server_encoding\0UTF8";
    const struct pool_row *pool = pool_of(r, c);
    const char *client = settings_value(&r->store, c->settings, "client_encoding");
    uint32_t bytes = pool->welcome_bytes < sizeof pool->welcome ? pool->welcome_bytes
                                                                : (uint32_t)sizeof pool->welcome;
    return client && strcmp(client, "UTF8") == 0 && memmem(pool->welcome, bytes, UTF8, sizeof UTF8);
}

/* The client has made or changed some object since the catalogs were read: what is known of any name may be
 * of before. */
static bool made_some(const struct relay *r, const struct client *c) {
    const struct database_row *d = &r->t->databases[pool_of(r, c)->database];
    return c->made_version
        && (int32_t)(c->made_version - atomic_load_explicit(&d->catalog.version, memory_order_relaxed)) > 0;
}

void session_scan(struct relay *r, struct client *c, const char *text, uint32_t bytes, struct scan *scan) {
    struct profile *p = session_profile(r, c);
    scan_text(&r->builtin, &p->catalog, (const unsigned char *)text, bytes, c->settings->backslash, scan);
    learn_names(p, scan);
    if (catalog_known(&p->catalog)) {
        scan->effect_flags |= p->everything;
    } else {
        /* what it calls may set settings whose names cannot be listed: the server stays, until others wait */
        bool anything = scan->effect_flags & EFFECT_UNKNOWN || (scan->effect_flags & ASK_ALL) == ASK_ALL
            || (scan->calls && made_some(r, c));
        scan->effect_flags |= EVERYTHING | (anything ? PIN_UNJUDGED : 0);
    }
    if (c->server && (c->server->session.pinned | c->server->session.effect_flags) & ASK_TEMP)
        /* a temporary object may stand for any name, and no look at the catalogs is due for it */
        scan->effect_flags |= EVERYTHING;
    if (session_misleading(c, text, bytes)) scan->effect_flags |= EVERYTHING | PIN_OPAQUE;
    if (scan->foreign && !names_are_known(r, c)) scan->effect_flags |= EVERYTHING;
}

/* The same for the parameters of a Bind, in text format: behind the names of portal and statement. */
void session_parameters(struct relay *r, struct client *c, const unsigned char *p, uint32_t n) {
    char name[64];
    uint32_t at = n >= 2 ? 2 + 2 * (uint32_t)(p[0] << 8 | p[1]) : n;
    for (at += 2; at + 4 <= n;) {
        uint32_t bytes = read_u32(p + at);
        at += 4;
        if (bytes == UINT32_MAX) continue;
        if (bytes > n - at) return;
        if (names_a_setting(p + at, bytes)) {
            for (uint32_t i = 0; i < bytes; i++) name[i] = (char)lower(p[at + i]);
            name[bytes] = '\0';
            note_candidate(r, c, name);
        }
        at += bytes;
    }
}

/* A text that the client's server is about to run.  `whole`: all of it is here.  Returns its effect flags,
 * with PIN_OPAQUE for what could not be looked at. */
uint32_t session_text(struct relay *r, struct client *c, const char *text, uint32_t bytes, bool whole) {
    struct scan scan;
    session_scan(r, c, text, bytes, &scan);
    if (!whole) scan.effect_flags |= EVERYTHING | EFFECT_INSERT;
    if (!(scan.effect_flags | scan.ends)) return 0;
    session_note(r, c, &scan);
    if (!whole) c->server->session.partly = true;
    return scan.effect_flags | (whole ? 0 : PIN_OPAQUE);
}

/* What follows from the types of parameters, behind the text of a Parse: those of users may run anything. */
uint32_t session_types(struct relay *r, const struct client *c, const unsigned char *p, uint32_t n) {
    uint32_t count = n >= 2 ? (uint32_t)(p[0] << 8 | p[1]) : 0;
    bool own = n < 2 + 4 * count;
    for (uint32_t i = 0; i < count && !own; i++) own = read_u32(p + 2 + 4 * i) >= USER_OID;
    if (!own) return 0;
    return EVERYTHING | (session_profile(r, c)->nameless ? PIN_OPAQUE : 0);
}

/* A fast-path call names its function by number: those of large objects leave nothing behind.  Returns its
 * effect flags. */
uint32_t session_call(struct client *c, const unsigned char *p, uint32_t here) {
    static const uint16_t large_objects[] = {715, 764, 765,  767,  952,  953,  954,  955,  956,  957,
                                             958, 964, 1004, 3170, 3171, 3172, 3457, 3458, 3459, 3460};
    uint32_t oid = here >= 9 ? read_u32(p + 5) : 0;
    for (size_t i = 0; i < sizeof large_objects / sizeof *large_objects; i++)
        if (large_objects[i] == oid) return 0;
    c->server->session.effect_flags |= ASK_ALL | PIN_OPAQUE;
    return ASK_ALL | PIN_OPAQUE;
}

/* Whether something else than the client's settings may be in force on its server. */
bool session_settings_uncertain(const struct server *s) {
    const struct session *x = &s->session;
    return x->opaque || x->effect_flags & MAY_SET_MEANING || x->pinned & (PIN_NAMELESS | PIN_LOADED);
}

/* Whether that may be, or names may mean what they mean to this client alone: what is parsed or run there now
 * is not for others. */
bool session_uncertain(const struct server *s) {
    return session_settings_uncertain(s) || (s->session.effect_flags | s->session.pinned) & ASK_TEMP;
}

/* An error, or a rollback: what the statements set may not be in force. */
void session_failed(struct server *s) {
    if (s->internal == INTERNAL_RESTORE) return; /* nothing of the client's */
    s->session.reset_ran = s->session.reset_kept;
    if (s->session.effect_flags | s->session.ends) s->session.failed = true;
}

/* Nobody knows what settings are in force on a server: whoever comes next has them reset. */
void session_unknown(struct slot_row *row) {
    row->settings = (struct digest){0};
    row->flags |= SF_EXTRAS;
}

/* ---- the end of a transaction ------------------------------------------------------------------ */

/* Why others of the pool cannot have the server even if they wait for it. */
static uint32_t strong(uint32_t pinned) { return pinned & ~(uint32_t)PIN_WEAK; }

static bool only_weakly(uint32_t pinned) { return pinned && !strong(pinned); }

static int pinned_servers(const struct relay *r, int32_t pool) {
    int n = 0;
    for (int32_t i = 0; i < r->t->h->slots_high; i++) {
        const struct slot_row *row = &r->t->slots[i];
        n += row->state == SL_ACTIVE && row->pool == pool && row->client != NOBODY
            && strong(r->t->clients[row->client].pinned);
    }
    return n;
}

/* Nothing has been said in this transaction yet. */
void session_begin(struct session *x) {
    x->effect_flags = x->ends = x->unknown_count = 0;
    x->failed = x->named = x->unseen = x->partly = x->resets_all = false;
    if (x->notes) x->notes->bytes = 0;
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
    const struct pool_limits *limits = &pool_of(r, c)->limits;
    uint32_t pinned = s->session.pinned, before = row->pinned;
    if (pinned & ~before) count_pins(r, row->pool, pinned & ~before);
    if (!before && pinned) row->pinned_at = r->now;
    row->pinned = pinned;
    if (!pinned) return false;
    if (limits->session_state == SESSION_ERROR && pinned & ~(uint32_t)(PIN_SEQUENCE | PIN_UNJUDGED))
        return refuse(r, c, "0A000", "session state is not allowed here (session_state = error)", pinned);
    if (strong(pinned) && !strong(before) && limits->pin_limit
        && pinned_servers(r, row->pool) > limits->pin_limit)
        return refuse(r, c, "53400", "too many pinned servers (pin_limit)", pinned);
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
    bool same = atomic_load(&r->t->databases[pool_of(r, c)->database].schema_version) == x->unjudged_version;
    if (p->catalog.known && same && !p->nameless) x->pinned &= ~(uint32_t)PIN_UNJUDGED;
}

/* It uses what the catalogs, as far as they are known, do not have. */
static bool newer(const struct session *x) { return x->effect_flags & EFFECT_UNKNOWN || x->unknown_count; }

/* A text that is made when it runs may open connections (`connects`).  Nothing is asked for them: the
 * question would be a call of something outside pg_catalog, made with the rights of the client. */
static bool connects_unseen(uint32_t effect_flags) {
    return (effect_flags & ASK_ALL) == ASK_ALL && effect_flags & PIN_NAMELESS;
}

static bool weak(const struct relay *r, const struct server *s) {
    return s && s->client && only_weakly(s->session.pinned) && r->t->clients[s->client->row].pinned;
}

/* Clients wait, and for longer than that. */
static bool waited(const struct relay *r, const struct pool_row *pool, uint64_t us) {
    int32_t first = pool->waiting.head;
    return first != NOBODY && r->now > r->t->clients[first].wait_start + us;
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
    return pool_of(r, s->client)->currval_seen ? CURRVAL_SILENT_US : NEXTVAL_SILENT_US;
}

static void give_up(struct relay *r, struct server *s) {
    if (s->session.pinned & PIN_SEQUENCE) sequences_given_up(pool_of(r, s->client), s->client);
    s->session.pinned = 0;
    s->session.given_up = true;
}

/* Where a client is never silent, a weak pin would never end. */
static bool gives_up(const struct relay *r, const struct server *s) {
    const struct pool_row *pool = pool_of(r, s->client);
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

/* The tag of what a client has done by a text that was not looked at.  A table alone counts for no name that
 * was there: temporary ones are made all the time. */
void session_tag(struct relay *r, struct server *s, const unsigned char *tag, uint32_t n) {
    struct session *x = &s->session;
    if (!s->client || (session_on(r, s->client) && !x->partly)) return;
    bool alters = tag_starts(tag, n, "ALTER "), creates = tag_starts(tag, n, "CREATE ");
    bool role = (alters || creates || tag_starts(tag, n, "DROP ")) && memmem(tag, n, " ROLE", 5);
    if (alters || (creates && !tag_starts(tag, n, "CREATE TABLE")) || tag_starts(tag, n, "IMPORT ")
        || tag_starts(tag, n, "COMMIT PREPARED"))
        x->effect_flags |= EFFECT_SCHEMA;
    if (!role && !tag_starts(tag, n, "ALTER DATABASE")) return;
    x->effect_flags |= EFFECT_DATABASE;
    keep_name(x, 'R', ""); /* any: its name is in the text */
}

/* A transaction is over, before its client hears of it. */
void session_ended(struct relay *r, struct server *s) {
    if (s->session.effect_flags & EFFECT_SCHEMA) session_made(r, s);
    if (s->session.effect_flags & EFFECT_DATABASE && s->client) tell_of_databases(r, s->client);
    /* its tags have said so, and session_settle() is not called */
    if (s->client && !session_on(r, s->client))
        s->session.effect_flags &= ~(uint32_t)(EFFECT_SCHEMA | EFFECT_DATABASE);
}

/* A transaction that may have made or altered something is over, or its server is: what is known of names may
 * be of before. */
void session_made(struct relay *r, const struct server *s) {
    int32_t database = r->t->pools[r->t->slots[s->slot].pool].database;
    uint32_t version = atomic_fetch_add(&r->t->databases[database].schema_version, 1) + 1;
    if (s->client) s->client->made_version = version;
}

/* Called when a transaction is over and the server could be given back.  True: not yet, or not at all. */
bool session_settle(struct relay *r, struct server *s) {
    struct session *x = &s->session;
    struct client *c = s->client;
    struct pool_row *pool = pool_of(r, c);
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
    if (x->unknown_count) profile_unknown(r, r->t->clients[c->row].pool, x);
    x->effect_flags &= ~(uint32_t)(EFFECT_SCHEMA | EFFECT_DATABASE);
    bool connects = connects_unseen(x->effect_flags);
    x->unseen |= connects && !p->catalog.known;
    /* whatever it was, whoever comes next gets a server without it */
    if (x->effect_flags & (PIN_NAMELESS | EFFECT_UNSURE)) {
        session_unknown(&r->t->slots[s->slot]);
        x->opaque = true;
    }
    uint32_t ask = (x->effect_flags & ASK_ALL) | (x->ends & x->pinned & ASK_ALL);
    if (x->effect_flags & EFFECT_NAMED && x->failed) ask |= ASK_SETTINGS;
    if (!x->failed) x->pinned &= ~(x->ends & PIN_ALL); /* else what ends it may not have run, or is undone */
    x->pinned |= x->effect_flags & (PIN_LOADED | (opaque_pins(c, x) ? PIN_OPAQUE : 0));
    if (connects && p->connects) { /* kept as long as no other client waits, then closed */
        x->doomed = true;
        x->pinned |= PIN_OPAQUE;
    }
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
    uint32_t said = x->pinned | x->effect_flags;
    if (said & PIN_LOADED || x->doomed || !s->client) return said & PIN_LOADED || x->doomed;
    const struct profile *p = session_profile(r, s->client);
    return x->unseen || newer(x) || (connects_unseen(x->effect_flags) && (p->connects || !p->catalog.known));
}

/* Its client is gone or goes to another server: nothing of it counts any more. */
void session_left(struct relay *r, struct server *s) {
    struct session *x = &s->session;
    if (s->client) r->t->clients[s->client->row].pinned = 0;
    session_begin(x);
    x->prepared_effect_flags = x->prepared_serial = x->pinned = x->asked = 0;
    x->touched_sequence = x->opaque = x->given_up = x->sets_meaning = x->doomed = x->looked = false;
    x->held = 0;
    x->restore_due = false;
    x->restore_one = x->restore_tries = x->discard_tries = 0;
    listen_forget(r, s);
    settings_drop(&r->store, x->told);
    x->told = NULL;
    free(x->answer);
    x->answer = NULL;
}

void session_forget(struct relay *r, struct server *s) {
    session_left(r, s);
    free(s->session.notes);
    s->session.notes = NULL;
}

/* Servers that are kept only for what sequences remember, or for a setting of unknown name, are given up
 * while others wait for one.  Nobody else gets to see it: the server is reset, or sequences are discarded,
 * before. */
void session_tick(struct relay *r) {
    if (r->now < r->weak_checked_at + WEAK_PIN_LOOK_MS * 1000) return;
    r->weak_checked_at = r->now;
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
            s->releasable = !row->pinned;
            if (!row->pinned) conn_ready(r, &s->io);
            continue;
        }
        bool silent = r->now > row->idle_start + silence(r, s) && idle;
        if (!silent || !wanted(r, s)) {
            r->weak_pins++;
            continue;
        }
        give_up(r, s);
        row->pinned = 0;
        s->releasable = true;
        conn_ready(r, &s->io);
    }
}
