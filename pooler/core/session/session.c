/* What the statements of a client say about its session.  The theory stands in session.h. */
#define _GNU_SOURCE
#include "session/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalog/body.h"
#include "catalog/database.h"
#include "io/buffer.h"
#include "io/server_messages.h"
#include "notify/subscribe.h"
#include "relay/internal.h"
#include "session/client_reset.h"
#include "session/parsed_resets.h"
#include "session/plans.h"
#include "session/settings.h"
#include "sql/builder.h"
#include "sql/catalog_names.h"
#include "sql/clean_texts.h"
#include "sql/digest.h"
#include "sql/effects.h"
#include "sql/lexer.h"
#include "sql/scan.h"
#include "tables/layout.h"
#include "tables/states.h"

struct pool_row *session_pool(const struct relay *r, const struct client *c) {
    return &r->t->pools[r->t->clients[c->row].pool];
}

/* Not in session pooling: there the server is its client's, and reset afterwards; or closed, where it is its
 * client's own. What was begun under one mode or session_state ends under it, whatever the configuration says
 * meanwhile. */
bool session_on(const struct relay *r, const struct client *c) {
    const struct pool_limits *limits = &session_pool(r, c)->limits;
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
         x->notes && !x->failed && scan_next_name(x->notes->names, x->notes->bytes, &at, &kind, &name);)
        if (kind == 'D') tell_of_database(r, c, name, DDL_DATABASE);
        else if (kind == 'R') tell_of_database(r, c, name, DDL_ROLE);
        else if (kind == 'X') tell_of_database(r, c, name, DDL_ROLE_GONE);
}

static void note_names(struct relay *r, struct client *c, const struct scan *scan) {
    struct session *x = &c->server->session;
    char kind;
    const char *name;
    for (uint32_t at = 0; scan_next_name(scan->names, scan->names_bytes, &at, &kind, &name);) {
        if (kind == 'c') {
            if (scan->effect_flags & PIN_NAMELESS) note_candidate(r, c, name);
            continue;
        }
        if (kind == 'd') tell_of_database(r, c, name, DDL_BEGINS);
        if (kind == 'd' || kind == 'k') continue;     /* session_scan() has dealt with `k` */
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

static void note_resets(struct relay *r, struct client *c, uint32_t effect_flags, const char *names,
                        uint32_t bytes) {
    char kind;
    const char *name;
    effect_flags &= EFFECT_RESET | EFFECT_RESET_ALL;
    if (!effect_flags) return;
    for (uint32_t at = 0; scan_next_name(names, bytes, &at, &kind, &name);)
        if (kind == 'r') keep_name(&c->server->session, kind, name);
    c->server->session.effect_flags |= effect_flags;
    session_note_reset(r, c, effect_flags);
}

/* A Query. */
void session_note_resets(struct relay *r, struct client *c, const char *text, uint32_t bytes) {
    struct scan scan;
    session_scan(r, c, text, bytes, &scan);
    note_resets(r, c, scan.effect_flags, scan.names, scan.names_bytes);
}

/* A Parse: it counts when it is run. */
enum rewritten session_keep_resets(struct relay *r, struct client *c, const char *name, const char *text,
                                   uint32_t bytes) {
    struct scan scan;
    session_scan(r, c, text, bytes, &scan);
    return parsed_resets_note(c, name, &scan) ? REWRITTEN_NOT : REWRITTEN_NO_MEMORY;
}

/* A Bind. */
void session_bound_resets(struct relay *r, struct client *c, const char *name) {
    const struct parsed_reset *p = parsed_resets_find(c, name);
    if (p) note_resets(r, c, p->effect_flags, p->text + p->name_bytes, p->bytes - p->name_bytes);
}

/* Nobody lists settings with a dot, but who reads one says its name: from then on it is asked for. */
static void learn_names(struct profile *p, const struct scan *scan) {
    char kind;
    const char *name;
    for (uint32_t at = 0; scan_next_name(scan->names, scan->names_bytes, &at, &kind, &name);)
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
    const struct pool_row *pool = session_pool(r, c);
    const char *client = settings_value(&r->store, c->settings, "client_encoding");
    uint32_t bytes = pool->welcome_bytes < sizeof pool->welcome ? pool->welcome_bytes
                                                                : (uint32_t)sizeof pool->welcome;
    return client && strcmp(client, "UTF8") == 0 && memmem(pool->welcome, bytes, UTF8, sizeof UTF8);
}

/* The client has made or changed some object since the catalogs were read: what is known of any name may be
 * of before. */
static bool made_some(const struct relay *r, const struct client *c) {
    const struct database_row *d = &r->t->databases[session_pool(r, c)->database];
    return c->made_version
        && (int32_t)(c->made_version - atomic_load_explicit(&d->catalog.version, memory_order_relaxed)) > 0;
}

void session_scan(struct relay *r, struct client *c, const char *text, uint32_t bytes, struct scan *scan) {
    struct profile *p = session_profile(r, c);
    struct readable in = {(const unsigned char *)text, bytes, p->serial, c->settings->backslash};
    if (!clean_texts_find(&r->clean_texts, r->builtin.key, &in, scan)) {
        scan_text(&r->builtin, &p->catalog, in.text, bytes, in.backslash, scan);
        clean_texts_keep(&r->clean_texts, r->builtin.key, &in, scan);
        learn_names(p, scan);
    }
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
        uint32_t bytes = load_be32(p + at);
        at += 4;
        if (bytes == UINT32_MAX) continue;
        if (bytes > n - at) return;
        if (scan_names_a_setting(p + at, bytes)) {
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
    for (uint32_t i = 0; i < count && !own; i++) own = load_be32(p + 2 + 4 * i) >= USER_OID;
    if (!own) return 0;
    return EVERYTHING | (session_profile(r, c)->nameless ? PIN_OPAQUE : 0);
}

/* A fast-path call names its function by number: those of large objects leave nothing behind; any other may
 * leave what no reset undoes (setseed, dblink_connect).  Returns its effect flags. */
uint32_t session_call(struct client *c, const unsigned char *p, uint32_t here) {
    static const uint16_t large_objects[] = {715, 764, 765,  767,  952,  953,  954,  955,  956,  957,
                                             958, 964, 1004, 3170, 3171, 3172, 3457, 3458, 3459, 3460};
    uint32_t oid = here >= 9 ? load_be32(p + 5) : 0, effect_flags = ASK_ALL | PIN_OPAQUE;
    for (size_t i = 0; i < sizeof large_objects / sizeof *large_objects; i++)
        if (large_objects[i] == oid) return 0;
    if (oid == 1599) effect_flags |= PIN_LOADED; /* setseed */
    c->server->session.doomed = true;
    c->server->session.effect_flags |= effect_flags;
    return effect_flags;
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
    session_reset_undone(&s->session);
    if (s->session.effect_flags | s->session.ends) s->session.failed = true;
}

/* Nobody knows what settings are in force on a server: whoever comes next has them reset. */
void session_unknown(struct slot_row *row) {
    row->settings = (struct digest){0};
    row->flags |= SF_EXTRAS;
}

/* ---- the end of a transaction ------------------------------------------------------------------ */

/* Nothing has been said in this transaction yet. */
void session_begin(struct session *x) {
    x->effect_flags = x->ends = x->unknown_count = 0;
    x->failed = x->named = x->unseen = x->partly = x->resets_all = x->reset_bound = false;
    if (x->notes) x->notes->bytes = 0;
}

/* The tag of what a client has done by a text that was not looked at.  A table alone counts for no name that
 * was there: temporary ones are made all the time. */
void session_tag(struct relay *r, struct server *s, const unsigned char *tag, uint32_t n) {
    struct session *x = &s->session;
    if (!s->client || (session_on(r, s->client) && !x->partly)) return;
    bool alters = server_message_tag_starts(tag, n, "ALTER "),
         creates = server_message_tag_starts(tag, n, "CREATE ");
    bool role = (alters || creates || server_message_tag_starts(tag, n, "DROP "))
        && memmem(tag, n, " ROLE", 5);
    if (alters || (creates && !server_message_tag_starts(tag, n, "CREATE TABLE"))
        || server_message_tag_starts(tag, n, "IMPORT ")
        || server_message_tag_starts(tag, n, "COMMIT PREPARED"))
        x->effect_flags |= EFFECT_SCHEMA;
    if (!role && !server_message_tag_starts(tag, n, "ALTER DATABASE")) return;
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

/* Its client is gone or goes to another server: nothing of it counts any more. */
void session_left(struct relay *r, struct server *s) {
    struct session *x = &s->session;
    if (s->client) r->t->clients[s->client->row].pinned = 0;
    session_begin(x);
    x->prepared_effect_flags = x->prepared_serial = x->pinned = x->asked = 0;
    x->touched_sequence = x->opaque = x->given_up = x->sets_meaning = x->doomed = x->looked = false;
    x->held = 0;
    x->restore_due = x->may_skip_discard = x->parsed_unreported = x->noted = false;
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
