/* INTERNAL_PROBE: what is left of a session, in the server's own words.  One query, made of the questions
 * that matter. */
#include "session/probe.h"

#include <stdlib.h>
#include <string.h>

#include "catalog/database.h"
#include "io/server_messages.h"
#include "notify/subscribe.h"
#include "relay/internal.h"
#include "session/pin.h"
#include "session/session.h"
#include "session/settings.h"
#include "sql/builder.h"
#include "sql/digest.h"
#include "sql/effects.h"
#include "sql/lexer.h"
#include "tables/layout.h"
#include "tables/states.h"

/* Local to one transaction; told by the server as if the session had set them. */
static const char *const PASSING[] = {"transaction_isolation", "transaction_read_only",
                                      "transaction_deferrable"};

/* Limits of the client's that are not meant for our question: the values that matter are told first, then
 * they are not in force for the rest of it.  The first one would end the session, and goes first. */
static const char *const LIMIT_NAMES[LIMITS] = {"transaction_timeout", "statement_timeout", "lock_timeout"};
static const char LIFT_FIRST[] = "," SQL_LIFT_TRANSACTION_TIMEOUT ";";
static const char LIFT_OTHERS[] = "SET LOCAL statement_timeout=0;SET LOCAL lock_timeout=0;";

struct text {
    uint32_t bytes, space;
    char *out;
};

static void add(struct text *t, const char *p) { t->bytes = sql_put(t->out, t->bytes, t->space, p); }

static void add_literal(struct text *t, const char *p) {
    t->bytes = sql_put_literal(t->out, t->bytes, t->space, p);
}

static void begin_select(struct text *t, bool *first) {
    if (!*first) add(t, " UNION ALL ");
    *first = false;
}

static void add_value(struct text *t, const char *name, bool *first) {
    begin_select(t, first);
    add(t, "SELECT 's',");
    add_literal(t, name);
    add(t, ",pg_catalog.encode(pg_catalog.convert_to(pg_catalog.current_setting(");
    add_literal(t, name);
    add(t, ",true),pg_catalog.getdatabaseencoding()),'hex')");
}

static int limit_of(const unsigned char *name, uint32_t bytes) {
    int i = 0;
    while (i < LIMITS && (strlen(LIMIT_NAMES[i]) != bytes || memcmp(LIMIT_NAMES[i], name, bytes) != 0)) i++;
    return i;
}

static bool is_limit(const char *name) {
    return limit_of((const unsigned char *)name, (uint32_t)strlen(name)) < LIMITS;
}

static bool names_limit(const struct session *x, int limit) {
    char kind;
    const char *name;
    for (uint32_t at = 0; x->notes && scan_next_name(x->notes->names, x->notes->bytes, &at, &kind, &name);)
        if (kind == 's' && strcmp(name, LIMIT_NAMES[limit]) == 0) return true;
    return false;
}

/* Whether the client may have set one. */
static bool may_be_limited(const struct server *s, uint32_t ask) {
    const struct session *x = &s->session;
    if (ask & ASK_SETTINGS || x->opaque || x->pinned & PIN_NAMELESS) return true;
    for (int i = 0; i < LIMITS; i++)
        if (names_limit(x, i) || settings_find_extra(s->client->settings, LIMIT_NAMES[i])) return true;
    return false;
}

/* True: a row tells its value. */
static bool add_limit(struct text *t, const struct session *x, uint32_t ask, int limit, bool *first) {
    if (ask & ASK_SETTINGS) {
        begin_select(t, first);
        add(t, "SELECT 'v',");
        add_literal(t, LIMIT_NAMES[limit]);
        add(t, ",pg_catalog.current_setting(");
        add_literal(t, LIMIT_NAMES[limit]);
        add(t, ",true)");
    } else if (names_limit(x, limit)) {
        add_value(t, LIMIT_NAMES[limit], first);
    } else {
        return false;
    }
    return true;
}

static void add_limits(struct text *t, const struct session *x, uint32_t ask) {
    bool first = true;
    if (!add_limit(t, x, ask, 0, &first)) add(t, "SELECT NULL,NULL,NULL");
    add(t, LIFT_FIRST);
    first = true;
    for (int i = 1; i < LIMITS; i++) add_limit(t, x, ask, i, &first);
    if (!first) add(t, ";");
    add(t, LIFT_OTHERS);
}

/* Settings with a dot that no library has defined: those that one has are in pg_settings like all others. */
static void add_customs(struct text *t, const struct profile *p, bool *first) {
    if (!p->custom_count) return;
    begin_select(t, first);
    add(t,
        "SELECT 's',n,pg_catalog.encode(pg_catalog.convert_to(pg_catalog.current_setting(n,true),"
        "pg_catalog.getdatabaseencoding()),'hex') FROM pg_catalog.unnest(ARRAY[");
    for (int i = 0; i < p->custom_count; i++) {
        if (i) add(t, ",");
        add_literal(t, p->customs[i].name);
    }
    add(t,
        "]::pg_catalog.text[]) n WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_settings g WHERE g.name"
        " OPERATOR(pg_catalog.=) n)");
}

/* Nothing was known when something unknown was called: what keeps connections, or variables of an
 * interpreter, is closed with its server, if it is there.  `trusted`: see
 * catalog_extension_effect_flags(). */
static void add_keepers(struct text *t, bool *first, const char *trusted) {
    begin_select(t, first);
    add(t,
        "SELECT 'p','7',NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_extension"
        " WHERE extname OPERATOR(pg_catalog.=) ANY ('{dblink,postgres_fdw}'::pg_catalog.name[]))"
        " UNION ALL SELECT 'p','10',NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_language"
        " WHERE lanname OPERATOR(pg_catalog.<>) ALL (ARRAY['internal','c','sql','plpgsql'");
    for (; *trusted; trusted += strlen(trusted) + 1) {
        add(t, ",");
        add_literal(t, trusted);
    }
    add(t, "]::pg_catalog.name[]))");
}

static const char *login_user(const struct relay *r, const struct server *s) {
    return r->t->users[r->t->pools[r->t->slots[s->slot].pool].user].name;
}

/* Asks for what the bits say; without ASK_SETTINGS for the settings that were mentioned by name. */
void session_probe(struct relay *r, struct server *s, uint32_t ask) {
    struct session *x = &s->session;
    char query[INTERNAL_QUERY_BYTES];
    struct text t = {.out = query, .space = sizeof query - 1};
    bool first = true, space = true;
    add(&t, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;"); /* no wait for a safe snapshot */
    if (may_be_limited(s, ask)) add_limits(&t, x, ask);
    for (int i = 0; i < QUESTION_DEFAULTS; i++)
        if (ask & 1u << i) {
            begin_select(&t, &first);
            add(&t, r->questions[i]);
        }
    if (ask & ASK_SETTINGS) {
        struct profile *p = session_profile(r, s->client);
        for (const char *name = NULL, *value; settings_next_extra(s->client->settings, &name, &value);)
            if (strchr(name, '.')) space &= profile_custom(p, name, false);
        add_value(&t, "role", &first);
        add_value(&t, "session_authorization", &first);
        add_customs(&t, p, &first);
        if (x->unseen) add_keepers(&t, &first, r->options.trusted);
    } else if (x->notes) {
        char kind;
        const char *name;
        for (uint32_t at = 0; scan_next_name(x->notes->names, x->notes->bytes, &at, &kind, &name);)
            if (kind == 's' && !is_limit(name)) add_value(&t, name, &first);
    }
    if (!x->answer) x->answer = malloc(sizeof *x->answer);
    if (!x->answer || !space) {
        server_without_memory(r, s);
        return;
    }
    x->answer->got = x->answer->bytes = 0;
    memset(x->answer->limits, 0, sizeof x->answer->limits);
    if (x->listen) x->listen->count = 0;
    query[t.bytes] = '\0';
    x->answer->overflow = t.bytes >= t.space;
    x->asked = ask | EFFECT_NAMED;
    counters_of(r, r->t->slots[s->slot].pool)->session_asks++;
    internal_send(r, s, INTERNAL_PROBE, query);
}

/* ---- rows ---------------------------------------------------------------------------------------- */

/* A limit as it is for the client. */
static void take_limit(struct answer *a, const struct column *name, const struct column *value) {
    int i = limit_of(name->text, name->bytes);
    if (i == LIMITS || value->bytes >= sizeof a->limits[i]) {
        a->overflow = true;
        return;
    }
    memcpy(a->limits[i], value->text, value->bytes);
    a->limits[i][value->bytes] = '\0';
}

/* `5s` as the number of milliseconds. */
static uint64_t milliseconds(const char *text) {
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *unit;
    uint64_t n = strtoull(text, &unit, 10);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(unit, units[i].unit) == 0) return n * units[i].ms;
    return n;
}

/* The default of a limit, in milliseconds: where it is another, the client has set it. */
static void take_default(struct answer *a, const struct column *name, const struct column *value) {
    char number[24] = {0};
    int i = limit_of(name->text, name->bytes);
    if (i == LIMITS || value->bytes >= sizeof number || !a->limits[i][0]) {
        a->overflow = true;
        return;
    }
    memcpy(number, value->text, value->bytes);
    if (milliseconds(number) == milliseconds(a->limits[i])) return;
    uint32_t name_bytes = name->bytes + 1, bytes = name_bytes + (uint32_t)strlen(a->limits[i]) + 1;
    if (a->bytes + bytes > sizeof a->pairs) {
        a->overflow = true;
        return;
    }
    memcpy(a->pairs + a->bytes, LIMIT_NAMES[i], name_bytes);
    memcpy(a->pairs + a->bytes + name_bytes, a->limits[i], bytes - name_bytes);
    a->bytes += bytes;
}

static bool passing(const char *name) {
    for (size_t i = 0; i < sizeof PASSING / sizeof *PASSING; i++)
        if (strcmp(PASSING[i], name) == 0) return true;
    return false;
}

static int digit_of(unsigned char c) { return c >= 'a' ? c - 'a' + 10 : c - '0'; }

/* Keeps a setting of the session, whose value is in hex. */
static void take_setting(struct relay *r, struct server *s, const struct column *name,
                         const struct column *value) {
    struct answer *a = s->session.answer;
    uint32_t name_bytes = name->bytes, value_bytes = value->bytes / 2;
    if (a->bytes + name_bytes + value_bytes + 2 > sizeof a->pairs) {
        a->overflow = true;
        return;
    }
    char *at = a->pairs + a->bytes, *text = at + name_bytes + 1;
    memcpy(at, name->text, name_bytes);
    at[name_bytes] = '\0';
    for (uint32_t i = 0; i < value_bytes; i++)
        text[i] = (char)(digit_of(value->text[2 * i]) << 4 | digit_of(value->text[2 * i + 1]));
    text[value_bytes] = '\0';
    if (memchr(at, 0, name_bytes) || memchr(text, 0, value_bytes)) { /* no setting has one */
        a->overflow = true;
        return;
    }
    for (char *c = at; *c; c++) *c = (char)lower((unsigned char)*c); /* one spelling for all */
    bool none = (strcmp(at, "role") == 0 && strcmp(text, "none") == 0)
        || (strcmp(at, "session_authorization") == 0 && strcmp(text, login_user(r, s)) == 0);
    /* a custom setting that another client had: it is empty for ever after, and not of this one */
    bool faded = !value_bytes && strchr(at, '.') && s->session.asked & ASK_SETTINGS
        && !settings_find_extra(s->client->settings, at);
    if (none || faded || passing(at) || settings_tracked(&r->store, at)) return;
    a->bytes += name_bytes + value_bytes + 2;
}

/* What a row that says `p` found, as a bit of its question. */
static uint32_t found_bit(const struct column *c) {
    uint32_t bit = 0;
    if (!c->bytes || c->bytes > 2) return 0;
    for (uint32_t i = 0; i < c->bytes; i++) {
        if (c->text[i] < '0' || c->text[i] > '9') return 0;
        bit = 10 * bit + (uint32_t)(c->text[i] - '0');
    }
    return bit <= PIN_REASONS ? 1u << bit : 0;
}

/* The answer.  The first column of a row says what it is.  No text in it has a NUL inside. */
void session_hear(struct relay *r, struct server *s, unsigned char letter, const unsigned char *body,
                  uint32_t n, bool whole) {
    struct answer *a = s->session.answer;
    struct column columns[3] = {{0}};
    (void)n;
    if (letter != 'D' || !a || !s->client) return;
    if (!whole) {
        a->overflow = true;
        return;
    }
    server_message_columns(body, columns, 3);
    const struct column *kind = &columns[0], *name = &columns[1], *value = &columns[2];
    if (!kind->text || !kind->bytes) return;
    bool pair = name->text && value->text;
    if (kind->text[0] == 'p') a->got |= found_bit(name);
    else if (kind->text[0] == 'l' && name->text) {
        a->got |= ASK_CHANNELS;
        listen_row(r, s, name->text, name->bytes);
    } else if (kind->text[0] == 'v' && pair) take_limit(a, name, value);
    else if (kind->text[0] == 'd' && pair) take_default(a, name, value);
    else if (kind->text[0] == 's' && pair) take_setting(r, s, name, value);
}

/* ---- what follows -------------------------------------------------------------------------------- */

/* The settings that were asked for by name, put into the client's set. */
static struct settings *with_named(struct relay *r, struct server *s) {
    const struct session *x = &s->session;
    const struct answer *a = x->answer;
    struct settings *now = settings_keep(s->client->settings);
    char kind;
    const char *name;
    for (uint32_t at = 0; now && scan_next_name(x->notes->names, x->notes->bytes, &at, &kind, &name);) {
        if (kind != 's') continue;
        const char *value = NULL;
        for (const char *p = a->pairs; p < a->pairs + a->bytes && !value; p += strlen(p) + 1) {
            const char *text = p + strlen(p) + 1;
            if (strcmp(p, name) == 0) value = text;
            p = text;
        }
        struct settings *next = settings_extra(&r->store, now, name, value);
        settings_drop(&r->store, now);
        now = next;
    }
    return now;
}

static void forget_question(struct session *x) {
    session_begin(x);
    x->asked = x->tries = 0;
    free(x->answer);
    x->answer = NULL;
}

/* No answer came, most likely because of the client's own statement_timeout: it keeps the server until one
 * does. */
void session_unanswered(struct server *s) {
    struct session *x = &s->session;
    x->pinned |= (x->asked & ASK_ALL & ~(uint32_t)ASK_SETTINGS) | PIN_OPAQUE;
    forget_question(x);
}

/* The answer is complete: settings become the client's, the rest says whether the server stays with it. */
void session_answered(struct relay *r, struct server *s) {
    struct session *x = &s->session;
    struct client *c = s->client;
    struct slot_row *row = &r->t->slots[s->slot];
    struct settings *now = NULL;
    if (x->asked & ASK_SETTINGS)
        now = settings_with_extras(&r->store, c->settings, x->answer->pairs, x->answer->bytes);
    else now = x->notes ? with_named(r, s) : settings_keep(c->settings);
    if (!now && settings_starved(&r->store)) client_without_memory(r, c); /* not without what it has set */
    if (!now || x->answer->overflow) {                                    /* more than can follow it */
        settings_drop(&r->store, now);
        x->pinned |= PIN_OPAQUE;
        x->opaque = true;
        session_unknown(row);
    } else {
        client_settings(r, c, now);
        row->settings = x->opaque ? (struct digest){0} : now->digest;
        if (x->opaque || settings_has_extras(now)) row->flags |= SF_EXTRAS;
    }
    uint32_t states = x->asked & ASK_ALL & ~(uint32_t)ASK_SETTINGS;
    x->pinned = (x->pinned & ~states) | (x->answer->got & states);
    /* it may connect, or be a function in any language: kept as long as no other client waits, then closed */
    x->doomed |= (x->answer->got & (PIN_LOADED | PIN_INTERPRETER)) != 0;
    if (x->answer->got & PIN_LOADED) x->pinned |= PIN_OPAQUE;
    x->pinned |= x->answer->got & PIN_INTERPRETER;
    if (x->asked & ASK_CHANNELS) listen_answered(r, s);
    forget_question(x);
    session_turn(r, s);
}
