/* The welcome of a client: it waits for a server to accept the values of its startup packet, as it would at a
 * PostgreSQL of its own, until one has accepted the same values before.  While no server is free it is let in
 * as it is: the first server that it gets is asked before its first statement, and it is told what its values
 * have come to. */
#include "session/startup_values.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "io/buffer.h"
#include "io/connection.h"
#include "io/parameter_status.h"
#include "io/server_messages.h"
#include "relay/internal.h"
#include "session/accepted_settings.h"
#include "session/client_reset.h"
#include "session/settings.h"
#include "sql/builder.h"
#include "tables/layout.h"
#include "tables/tables.h"

#define SESSION_USER "session_authorization"

/* The settings that a client's startup packet leads to.  PostgreSQL looks whether it may be the user that a
 * session_authorization there names, and lets the session begin as the user of the login all the same: that
 * has been set with a higher priority.  NULL: no memory. */
struct settings *startup_settings(struct relay *r, struct settings *given) {
    const char *user = settings_find_extra(given, SESSION_USER);
    if (!user) return settings_keep(given);
    char values[SETTINGS_BYTES];
    uint32_t before = (uint32_t)(user - given->values) - (uint32_t)sizeof SESSION_USER;
    uint32_t behind = (uint32_t)(user - given->values) + (uint32_t)strlen(user) + 1;
    memcpy(values, given->values, before);
    memcpy(values + before, given->values + behind, given->bytes - behind);
    return settings_intern(&r->store, &given->scope, values, before + given->bytes - behind, false);
}

/* NULL: no memory. */
struct settings *greeting_without_name(struct relay *r, const struct settings *s) {
    struct settings *key = settings_change(&r->store, s, "application_name", "");
    return key ? key : settings_intern(&r->store, &s->scope, s->values, s->bytes, false);
}

/* With space for so many bytes; NULL: no memory. */
struct greeting *greeting_new(uint32_t head, uint32_t tail) {
    struct greeting *g = malloc(sizeof *g + head + tail);
    if (g) *g = (struct greeting){.head_bytes = head, .tail_bytes = tail};
    return g;
}

/* NULL: no memory. */
struct greeting *greeting_of(const unsigned char *bytes, uint32_t head, uint32_t tail) {
    struct greeting *g = greeting_new(head, tail);
    if (g) memcpy(g->bytes, bytes, head + tail);
    return g;
}

/* The ParameterStatus of the greeting at `*at`, or the first behind it, that is not tracked, and goes on
 * behind that. */
static bool next_report(const struct relay *r, const struct greeting *g, uint32_t *at, const char **name,
                        const char **value) {
    while (*at + 5 < g->head_bytes) {
        const unsigned char *p = g->bytes + *at;
        *at += load_be32(p + 1) + 1;
        *name = (const char *)p + 5;
        *value = *name + strlen(*name) + 1;
        if (p[0] == 'S' && !settings_tracked(&r->store, *name)) return true;
    }
    return false;
}

/* Asks what a server has made of the values: those that are tracked, and those that it reports.  It does not
 * report what it had already, for another client. */
uint32_t greeting_question(const struct relay *r, const struct client *c, char *out, uint32_t at,
                           uint32_t space) {
    const struct greeting *g = greeting_asked(c);
    const struct tracked *tracked = &r->store.tracked;
    const char *name, *value;
    at = sql_put(out, at, space,
                 ";SELECT 's',n,pg_catalog.current_setting(n,true) FROM pg_catalog.unnest(ARRAY[");
    for (int i = 0; i < tracked->count; i++) {
        if (i) at = sql_put(out, at, space, ",");
        at = sql_put_literal(out, at, space, tracked->names[i]);
    }
    if (settings_has_extras(c->settings))
        for (uint32_t next = 0; next_report(r, g, &next, &name, &value);) {
            at = sql_put(out, at, space, ",");
            at = sql_put_literal(out, at, space, name);
        }
    at = sql_put(out, at, space, "]::pg_catalog.text[]) n");
    const char *user = settings_find_extra(c->startup, SESSION_USER);
    if (!user) return at;
    /* it ends with this request, and comes last: the answers before are those of the session's own user */
    at = sql_put(out, at, space, ";SELECT pg_catalog.set_config('" SESSION_USER "',");
    return sql_put(out, sql_put_literal(out, at, space, user), space, ",true)");
}

static void report(struct relay *r, struct client *c, const unsigned char *messages, uint32_t n) {
    struct greeting **place = c->greeting ? &c->greeting : &c->unconfirmed;
    struct greeting *g = realloc(*place, sizeof *g + (*place)->head_bytes + (*place)->tail_bytes + n);
    if (!g) {
        client_without_memory(r, c);
        return;
    }
    *place = g;
    memmove(g->bytes + g->head_bytes + n, g->bytes + g->head_bytes, g->tail_bytes);
    memcpy(g->bytes + g->head_bytes, messages, n);
    g->head_bytes += n;
    g->reports_bytes += n;
}

/* Adds a value to the greeting, unless that is what servers have by themselves, or was not asked for. */
static void add_report(struct relay *r, struct client *c, const char *name, const char *value) {
    const char *other, *now;
    bool asked = false;
    for (uint32_t at = 0; next_report(r, greeting_asked(c), &at, &other, &now);)
        if (strcmp(name, other) == 0) {
            if (strcmp(value, now) == 0) return;
            asked = true;
        }
    if (!asked) return;
    unsigned char message[PARAMETER_STATUS_BYTES + 2 * GREETING_VALUE_BYTES];
    report(r, c, message, parameter_status(message, name, value));
}

/* The answer to greeting_question(): a row for each value. */
void greeting_hear(struct relay *r, struct server *s, unsigned char letter, const unsigned char *body,
                   uint32_t n, bool whole) {
    struct client *c = s->client;
    struct column columns[3] = {{0}};
    char texts[2][GREETING_VALUE_BYTES];
    (void)n;
    if (letter != 'D' || !whole || !c || !greeting_asked(c)) return;
    server_message_columns(body, columns, 3);
    if (!columns[0].text || !columns[0].bytes || !columns[1].text || !columns[2].text) return;
    if (columns[1].bytes >= sizeof texts[0] || columns[2].bytes >= sizeof texts[1]) return;
    snprintf(texts[0], sizeof texts[0], "%.*s", (int)columns[1].bytes, (const char *)columns[1].text);
    snprintf(texts[1], sizeof texts[1], "%.*s", (int)columns[2].bytes, (const char *)columns[2].text);
    if (!settings_tracked(&r->store, texts[0])) {
        add_report(r, c, texts[0], texts[1]);
        return;
    }
    const char *now = settings_value(&r->store, c->settings, texts[0]);
    struct settings *changed = now && *now ? settings_change(&r->store, c->settings, texts[0], texts[1])
                                           : NULL;
    if (changed) client_settings(r, c, changed);
    else if (settings_starved(&r->store)) client_without_memory(r, c);
}

/* Of the values that servers of the pool have by themselves: what they make of others depends on them. */
static uint32_t welcome_version(const struct relay *r, const struct client *c) {
    return r->t->pools[r->t->clients[c->row].pool].welcome_version;
}

/* What a server of the pool has made of these values before, all but application_name: of `key`, by
 * greeting_without_name(); NULL: none has seen them. */
struct settings *greeting_accepted(struct relay *r, struct client *c, struct settings *given,
                                   const struct settings *key) {
    struct settings *found = NULL;
    const char *name = settings_value(&r->store, given, "application_name");
    bool current = key->remembered && key->welcome_version == welcome_version(r, c);
    const struct settings *canonical = current && key->canonical ? key->canonical
        : current || key->verified                               ? key
                                                                 : NULL;
    if (settings_has_extras(given) && !current) canonical = NULL; /* nobody knows what is reported of them */
    if (canonical == key && key != given) found = settings_keep(given); /* with its name again */
    else if (canonical && name) found = settings_change(&r->store, canonical, "application_name", name);
    if (found) found->verified = true;
    if (found && current && key->reports) report(r, c, key->reports, key->reports_bytes);
    return found;
}

/* A server has accepted the startup values of this client: others with the same need not ask one.
 * (is_superuser is reported for a role, and depends on who takes it.) */
static void remember(struct relay *r, struct client *c) {
    struct settings *key = greeting_without_name(r, c->startup);
    if (!key) return;
    uint32_t version = welcome_version(r, c);
    bool known = key->remembered && key->welcome_version == version;
    if (known || settings_find_extra(c->startup, "role") || settings_find_extra(c->startup, SESSION_USER)
        || !accepted_keep(r, r->t->clients[c->row].pool, key)) {
        settings_drop(&r->store, key);
        return;
    }
    const struct greeting *g = greeting_asked(c);
    struct settings *canonical = greeting_without_name(r, c->settings);
    unsigned char *reports = g->reports_bytes ? malloc(g->reports_bytes) : NULL;
    if (!canonical || (g->reports_bytes && !reports)) {
        settings_drop(&r->store, canonical);
        free(reports);
        settings_drop(&r->store, key);
        return;
    }
    key->remembered = true;
    key->welcome_version = version;
    if (key->canonical) settings_drop(&r->store, key->canonical);
    key->canonical = canonical;
    if (key->canonical == key) {
        settings_drop(&r->store, key);
        key->canonical = NULL;
    }
    if (reports) memcpy(reports, g->bytes + g->head_bytes - g->reports_bytes, g->reports_bytes);
    free(key->reports);
    key->reports = reports;
    key->reports_bytes = reports ? g->reports_bytes : 0;
    settings_drop(&r->store, key); /* one reference is kept with the pool */
}

/* A server has said what it makes of the client's startup values. */
static void confirm(struct relay *r, struct client *c) {
    if (c->startup == c->settings && !settings_has_extras(c->startup)) return;
    remember(r, c);
    settings_drop(&r->store, c->startup);
    c->startup = settings_keep(c->settings);
}

static void send_greeting(struct relay *r, struct client *c, const struct greeting *g) {
    c->io.corked = true;
    conn_send(&r->loop, &c->io, g->bytes, g->head_bytes);
    session_send_parameters(r, c, NULL);
    conn_send(&r->loop, &c->io, g->bytes + g->head_bytes, g->tail_bytes);
    conn_uncork(&r->loop, &c->io);
}

/* The client is in: AuthenticationOk, its parameters, its key, ReadyForQuery. */
void client_greet(struct relay *r, struct client *c) {
    if (c->server) confirm(r, c);
    client_move(c, c->server ? CLIENT_SERVED : CLIENT_IDLE);
    send_greeting(r, c, c->greeting);
    free(c->greeting);
    c->greeting = NULL;
}

/* The same before any server was asked: none is free. */
void client_let_in(struct relay *r, struct client *c) {
    client_move(c, client_waits(c) ? CLIENT_WAITING : CLIENT_IDLE);
    send_greeting(r, c, c->greeting);
    c->unconfirmed = c->greeting;
    c->unconfirmed->reports_bytes = 0;
    c->greeting = NULL;
}

/* The values that servers have by themselves may be others than when the client logged in: it gets those of
 * now. */
void greeting_renew(struct relay *r, struct client *c) {
    struct pool_row *p = &r->t->pools[r->t->clients[c->row].pool];
    char welcome[WELCOME_BYTES];
    tables_lock(r->t);
    uint32_t bytes = p->welcome_bytes;
    memcpy(welcome, p->welcome, bytes);
    c->defaults_seen = p->defaults_version;
    tables_unlock(r->t);
    for (const char *name = welcome, *value; name < welcome + bytes; name = value + strlen(value) + 1) {
        value = name + strlen(name) + 1;
        bool tracked = false;
        for (int i = 0; i < r->store.tracked.count; i++) {
            if (strcasecmp(r->store.tracked.names[i], name) != 0) continue;
            struct settings *now = c->startup_values & 1u << i
                ? NULL
                : settings_change(&r->store, c->settings, name, value);
            if (now) client_settings(r, c, now);
            tracked = true;
        }
        if (!tracked && strlen(name) < GREETING_VALUE_BYTES && strlen(value) < GREETING_VALUE_BYTES)
            add_report(r, c, name, value);
    }
}

/* The first server of a client that was let in has its settings: the client hears of what they are called
 * there.  It goes back at once if the client has not said anything yet. */
void greeting_confirmed(struct relay *r, struct server *s) {
    struct client *c = s->client;
    struct greeting *g = c->unconfirmed;
    session_send_parameters(r, c, c->startup);
    conn_send(&r->loop, &c->io, g->bytes + g->head_bytes - g->reports_bytes, g->reports_bytes);
    confirm(r, c);
    free(c->unconfirmed);
    c->unconfirmed = NULL;
    if (!bytes_pending(&c->io.stash)) server_state_greeted(s);
}
