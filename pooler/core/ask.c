/* OWN_ASK: what is left of a session, in the server's own words.  One query, made of the questions that matter. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lexer.h"
#include "relay.h"
#include "sqltext.h"

/* Local to one transaction; told by the server as if the session had set them. */
static const char *const PASSING[] = {"transaction_isolation", "transaction_read_only", "transaction_deferrable"};

struct text { uint32_t bytes, room; char *out; };

static void add(struct text *t, const char *p) { t->bytes = sql_put(t->out, t->bytes, t->room, p); }

static void add_literal(struct text *t, const char *p) { t->bytes = sql_put_literal(t->out, t->bytes, t->room, p); }

static void begin_select(struct text *t, bool *first) {
    if (!*first) add(t, " UNION ALL ");
    *first = false;
}

static void add_value(struct text *t, const char *name, bool *first) {
    begin_select(t, first);
    add(t, "SELECT 's',");
    add_literal(t, name);
    add(t, ",pg_catalog.current_setting(");
    add_literal(t, name);
    add(t, ",true)");
}

/* Settings with a dot that no library has defined: those that one has are in pg_settings like all others. */
static void add_customs(struct text *t, const struct profile *p, bool *first) {
    if (!p->custom_count) return;
    begin_select(t, first);
    add(t, "SELECT 's',n,pg_catalog.current_setting(n,true) FROM pg_catalog.unnest(ARRAY[");
    for (int i = 0; i < p->custom_count; i++) {
        if (i) add(t, ",");
        add_literal(t, p->customs[i].name);
    }
    add(t, "]::pg_catalog.text[]) n WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_settings g WHERE g.name OPERATOR(pg_catalog.=) n)");
}

/* Connections that dblink has opened: as a library that was loaded, they go with the server only. */
static void add_connections(struct text *t, const struct profile *p, bool *first) {
    if (!p->connections[0]) return;
    begin_select(t, first);
    add(t, "SELECT 'p','7',NULL WHERE ");
    add(t, p->connections);
    add(t, " IS NOT NULL");
}

static const char *login_user(const struct relay *r, const struct server *s) {
    return r->t->users[r->t->pools[r->t->slots[s->slot].pool].user].name;
}

/* Asks for what the bits say; without ASK_SETTINGS for the settings that were mentioned by name. */
void session_ask(struct relay *r, struct server *s, uint32_t ask) {
    struct session *x = &s->session;
    char query[OWN_QUERY_BYTES];
    struct text t = {.out = query, .room = sizeof query - 1};
    bool first = true;
    for (int i = 0; i < QUESTION_FINGERPRINT; i++)
        if (ask & 1u << i) {
            begin_select(&t, &first);
            add(&t, r->questions[i]);
        }
    if (ask & ASK_SETTINGS) {
        struct profile *p = session_profile(r, s->client);
        for (const char *name = NULL, *value; settings_next_extra(s->client->settings, &name, &value);)
            if (strchr(name, '.')) profile_custom(p, name, false);
        add_value(&t, "role", &first);
        add_value(&t, "session_authorization", &first);
        add_customs(&t, p, &first);
        if (ask & ASK_LOCKS) add_connections(&t, p, &first);   /* anything may have happened */
    } else if (x->notes) {
        char kind;
        const char *name;
        for (uint32_t at = 0; next_name(x->notes->names, x->notes->bytes, &at, &kind, &name);)
            if (kind == 's') add_value(&t, name, &first);
    }
    if (!x->answer && !(x->answer = malloc(sizeof *x->answer))) abort();   /* out of memory */
    x->answer->got = x->answer->bytes = 0;
    if (x->listen) x->listen->count = 0;
    query[t.bytes] = '\0';
    x->answer->overflow = t.bytes >= t.room;
    x->asked = ask | TRAIT_NAMED;
    counters_of(r, r->t->slots[s->slot].pool)->session_asks++;
    server_own(r, s, OWN_ASK, query, true);
}

/* ---- rows ---------------------------------------------------------------------------------------- */

static bool passing(const char *name) {
    for (size_t i = 0; i < sizeof PASSING / sizeof *PASSING; i++)
        if (strcmp(PASSING[i], name) == 0) return true;
    return false;
}

/* Keeps a setting of the session: `name`, `value` are not NUL-terminated. */
static void take_setting(struct relay *r, struct server *s, const unsigned char *name, uint32_t name_bytes,
                         const unsigned char *value, uint32_t value_bytes) {
    struct answer *a = s->session.answer;
    if (a->bytes + name_bytes + value_bytes + 2 > sizeof a->pairs) {
        a->overflow = true;
        return;
    }
    char *at = a->pairs + a->bytes, *text = at + name_bytes + 1;
    memcpy(at, name, name_bytes);
    at[name_bytes] = '\0';
    memcpy(text, value, value_bytes);
    text[value_bytes] = '\0';
    for (char *c = at; *c; c++) *c = (char)lower((unsigned char)*c);   /* one spelling for all */
    bool none = (strcmp(at, "role") == 0 && strcmp(text, "none") == 0)
        || (strcmp(at, "session_authorization") == 0 && strcmp(text, login_user(r, s)) == 0);
    /* a custom setting that somebody had: it is empty for ever after, and nobody's */
    bool faded = !value_bytes && strchr(at, '.') && s->session.asked & ASK_SETTINGS
        && !settings_find_extra(s->client->settings, at);
    if (none || faded || passing(at) || settings_tracked(&r->store, at)) return;
    a->bytes += name_bytes + value_bytes + 2;
}

/* One DataRow of an answer of ours: its first column says what it is. */
void session_row(struct relay *r, struct server *s, const unsigned char *body, uint32_t n, bool whole) {
    if (!whole) {
        if (s->session.answer) s->session.answer->overflow = true;
        return;
    }
    const unsigned char *fields[3] = {0};
    uint32_t bytes[3] = {0};
    int count = n >= 2 ? body[0] << 8 | body[1] : 0;
    uint32_t at = 2;
    for (int i = 0; i < count && i < 3 && at + 4 <= n; i++) {
        uint32_t length = read_u32(body + at);
        at += 4;
        if (length == UINT32_MAX) continue;   /* NULL */
        if (length > n - at) return;
        fields[i] = body + at;
        bytes[i] = length;
        at += length;
    }
    if (!fields[0] || !bytes[0]) return;
    if (s->own == OWN_FINGERPRINT || s->own == OWN_PROFILE) {
        profile_row(r, s, fields, bytes, count);
        return;
    }
    if (s->own == OWN_SETTINGS) {
        if (fields[1] && fields[2]) greeting_row(r, s->client, fields[1], bytes[1], fields[2], bytes[2]);
        return;
    }
    struct answer *a = s->session.answer;
    if (!a || !s->client) return;
    if (fields[0][0] == 'p' && bytes[1] == 1) a->got |= 1u << (fields[1][0] - '0');
    else if (fields[0][0] == 'l' && fields[1]) {
        a->got |= ASK_CHANNELS;
        listen_row(s, fields[1], bytes[1]);
    } else if (fields[0][0] == 's' && fields[1] && fields[2]) take_setting(r, s, fields[1], bytes[1], fields[2], bytes[2]);
}

/* ---- what follows -------------------------------------------------------------------------------- */

/* The settings that were asked for by name, put into the client's set. */
static struct settings *with_named(struct relay *r, struct server *s) {
    const struct session *x = &s->session;
    const struct answer *a = x->answer;
    struct settings *now = settings_keep(s->client->settings);
    char kind;
    const char *name;
    for (uint32_t at = 0; now && next_name(x->notes->names, x->notes->bytes, &at, &kind, &name);) {
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
    x->asked = 0;
    free(x->answer);
    x->answer = NULL;
}

/* No answer came, most likely because of the client's own statement_timeout: it keeps the server until one does. */
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
    else
        now = x->notes ? with_named(r, s) : settings_keep(c->settings);
    if (!now || x->answer->overflow) {   /* more than can follow it */
        settings_drop(&r->store, now);
        x->pinned |= PIN_OPAQUE;
        x->opaque = true;
        session_unknown(row);
    } else {
        client_settings(r, c, now);
        row->settings = x->opaque ? 0 : now->hash;
        if (x->opaque || settings_has_extras(now)) row->flags |= SF_EXTRAS;
    }
    uint32_t states = x->asked & ASK_ALL & ~(uint32_t)ASK_SETTINGS;
    x->pinned = (x->pinned & ~states) | (x->answer->got & (states | PIN_LOADED));
    if (x->asked & ASK_CHANNELS) listen_answered(r, s);
    forget_question(x);
}
