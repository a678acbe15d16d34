/* The welcome of a client: it waits for a server to accept the values of its startup packet, as it would at a PostgreSQL of
 * its own, until one has accepted the same values before. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay.h"
#include "sqltext.h"

#define ACCEPTED_MAX 1024   /* combinations of startup values that are remembered as accepted */

struct settings *settings_without_name(struct relay *r, const struct settings *s) {
    struct settings *key = settings_change(&r->store, s, "application_name", "");
    return key ? key : settings_intern(&r->store, s->values, s->bytes, false);
}

struct greeting *greeting_of(const struct command *command) {
    uint32_t head = command->generation, tail = (uint32_t)command->token;
    struct greeting *g = malloc(sizeof *g + head + tail);
    if (!g) abort();   /* out of memory */
    *g = (struct greeting){.head_bytes = head, .tail_bytes = tail};
    memcpy(g->bytes, command->data + command->data_bytes, head + tail);
    return g;
}

/* The ParameterStatus of the greeting at `*at`, or the first behind it, that is not tracked, and goes on behind that. */
static bool next_report(const struct relay *r, const struct greeting *g, uint32_t *at, const char **name, const char **value) {
    while (*at + 5 < g->head_bytes) {
        const unsigned char *p = g->bytes + *at;
        *at += read_u32(p + 1) + 1;
        *name = (const char *)p + 5;
        *value = *name + strlen(*name) + 1;
        if (p[0] == 'S' && !settings_tracked(&r->store, *name)) return true;
    }
    return false;
}

/* Asks what a server has made of the values: those that are tracked, and those that it reports.  It does not report what
 * it had already, for another client. */
uint32_t greeting_question(const struct relay *r, const struct client *c, char *out, uint32_t at, uint32_t room) {
    const struct greeting *g = c->greeting;
    const struct tracked *tracked = &r->store.tracked;
    const char *name, *value;
    at = sql_put(out, at, room, ";SELECT 's',n,pg_catalog.current_setting(n,true) FROM pg_catalog.unnest(ARRAY[");
    for (int i = 0; i < tracked->count; i++) {
        if (i) at = sql_put(out, at, room, ",");
        at = sql_put_literal(out, at, room, tracked->names[i]);
    }
    if (settings_has_extras(c->settings))
        for (uint32_t next = 0; next_report(r, g, &next, &name, &value);) {
            at = sql_put(out, at, room, ",");
            at = sql_put_literal(out, at, room, name);
        }
    return sql_put(out, at, room, "]::pg_catalog.text[]) n");
}

static void report(struct client *c, const unsigned char *messages, uint32_t n) {
    struct greeting *g = realloc(c->greeting, sizeof *g + c->greeting->head_bytes + c->greeting->tail_bytes + n);
    if (!g) abort();   /* out of memory */
    c->greeting = g;
    memmove(g->bytes + g->head_bytes + n, g->bytes + g->head_bytes, g->tail_bytes);
    memcpy(g->bytes + g->head_bytes, messages, n);
    g->head_bytes += n;
    g->reports_bytes += n;
}

/* Adds a value to the greeting, unless that is what servers have by themselves. */
static void add_report(const struct relay *r, struct client *c, const char *name, const char *value) {
    const char *other, *now;
    for (uint32_t at = 0; next_report(r, c->greeting, &at, &other, &now);)
        if (strcmp(name, other) == 0 && strcmp(value, now) == 0) return;
    unsigned char message[5 + 2 * GREETING_VALUE_BYTES] = {'S'};
    uint32_t name_bytes = (uint32_t)strlen(name) + 1, value_bytes = (uint32_t)strlen(value) + 1;
    memcpy(message + 5, name, name_bytes);
    memcpy(message + 5 + name_bytes, value, value_bytes);
    write_u32(message + 1, 4 + name_bytes + value_bytes);
    report(c, message, 5 + name_bytes + value_bytes);
}

/* A row of the answer to greeting_question(). */
void greeting_row(struct relay *r, struct client *c, const unsigned char *name, uint32_t name_bytes,
                  const unsigned char *value, uint32_t value_bytes) {
    char texts[2][GREETING_VALUE_BYTES];
    if (name_bytes >= sizeof texts[0] || value_bytes >= sizeof texts[1]) return;
    snprintf(texts[0], sizeof texts[0], "%.*s", (int)name_bytes, (const char *)name);
    snprintf(texts[1], sizeof texts[1], "%.*s", (int)value_bytes, (const char *)value);
    if (!settings_tracked(&r->store, texts[0])) {
        if (c->greeting) add_report(r, c, texts[0], texts[1]);
        return;
    }
    const char *now = settings_value(&r->store, c->settings, texts[0]);
    struct settings *changed = now && *now ? settings_change(&r->store, c->settings, texts[0], texts[1]) : NULL;
    if (changed) client_settings(r, c, changed);
}

/* What a server has made of these values before, all but application_name; NULL: none has seen them. */
struct settings *greeting_accepted(struct relay *r, struct client *c, const struct settings *given) {
    struct settings *key = settings_without_name(r, given), *found = NULL;
    const char *name = settings_value(&r->store, given, "application_name");
    const struct settings *canonical = key->canonical ? key->canonical : key->verified ? key : NULL;
    if (settings_has_extras(given) && !key->remembered) canonical = NULL;   /* nobody knows what is reported of them */
    if (canonical && name) found = settings_change(&r->store, canonical, "application_name", name);
    if (found) found->verified = true;
    if (found && key->reports) report(c, key->reports, key->reports_bytes);
    settings_drop(&r->store, key);
    return found;
}

/* A server has accepted the startup values of this client: others with the same need not ask one.  (is_superuser is
 * reported for a role, and depends on who takes it.) */
static void remember(struct relay *r, struct client *c) {
    struct settings *key = settings_without_name(r, c->startup);
    if (key->remembered || r->store.remembered_count >= ACCEPTED_MAX || settings_find_extra(c->startup, "role")
        || settings_find_extra(c->startup, "session_authorization")) {
        settings_drop(&r->store, key);
        return;
    }
    key->remembered = true;   /* the reference to the key stays */
    r->store.remembered_count++;
    struct settings *canonical = settings_without_name(r, c->settings);
    if (canonical == key) settings_drop(&r->store, canonical);
    else key->canonical = canonical;
    const struct greeting *g = c->greeting;
    key->reports = g->reports_bytes ? malloc(g->reports_bytes) : NULL;
    if (key->reports) memcpy(key->reports, g->bytes + g->head_bytes - g->reports_bytes, g->reports_bytes);
    key->reports_bytes = key->reports ? g->reports_bytes : 0;
}

/* The client is in: AuthenticationOk, its parameters, its key, ReadyForQuery. */
void client_greet(struct relay *r, struct client *c) {
    struct greeting *g = c->greeting;
    if (c->server && (c->startup != c->settings || settings_has_extras(c->startup))) {
        remember(r, c);
        settings_drop(&r->store, c->startup);
        c->startup = settings_keep(c->settings);
    }
    conn_send(r, &c->io, g->bytes, g->head_bytes);
    send_parameters(r, c, NULL);
    conn_send(r, &c->io, g->bytes + g->head_bytes, g->tail_bytes);
    free(g);
    c->greeting = NULL;
}
