/* Clients follow the values that servers have by themselves: the theory stands in server_defaults.h. */
#include "session/server_defaults.h"

#include <string.h>
#include <strings.h>

#include "io/server_messages.h"
#include "relay/internal.h"
#include "session/client_reset.h"
#include "session/probe.h"
#include "session/settings.h"
#include "sql/lexer.h"
#include "tables/layout.h"
#include "tables/outcome.h"
#include "tables/pool_defaults.h"
#include "tables/states.h"
#include "tables/tables.h"

static struct pool_row *pool_of(const struct relay *r, const struct client *c) {
    return &r->t->pools[r->t->clients[c->row].pool];
}

bool defaults_stale(const struct relay *r, int32_t pool) {
    return r->loop.now > r->t->pools[pool].defaults_checked_at + DEFAULTS_CHECK_US;
}

/* Whether this server is to be asked.  Not in session pooling: there a client hears its own server. */
bool defaults_due(const struct relay *r, const struct server *s) {
    const struct slot_row *row = &r->t->slots[s->slot];
    const struct pool_row *p = &r->t->pools[row->pool];
    const struct header *h = r->t->h;
    /* they wait for servers to be idle */
    if (h->paused || h->suspended || h->draining || h->retiring) return false;
    return p->limits.mode != MODE_SESSION && p->kind == POOL_CLIENTS
        && !(row->flags & (SF_CLOSE_NEEDED | SF_ONCE)) && defaults_stale(r, row->pool);
}

void defaults_ask(struct relay *r, struct server *s) {
    r->t->pools[r->t->slots[s->slot].pool].defaults_checked_at = r->loop.now;
    internal_send(r, s, INTERNAL_DEFAULTS, r->questions[QUESTION_DEFAULTS]);
}

/* A text of plain letters, so that no encoding turns it; else nothing is learnt from it. */
static bool plain(const struct column *column, char *out, uint32_t space) {
    if (!column->text || column->bytes >= space) return false;
    for (uint32_t i = 0; i < column->bytes; i++)
        if (column->text[i] < ' ' || column->text[i] > '~') return false;
    memcpy(out, column->text, column->bytes);
    out[column->bytes] = '\0';
    return true;
}

/* The answer.  Rows: `r` what roles and databases have been given, `v` a parameter and the value that a RESET
 * leads to. */
void defaults_hear(struct relay *r, struct server *s, unsigned char letter, const unsigned char *body,
                   uint32_t n, bool whole) {
    const struct slot_row *row = &r->t->slots[s->slot];
    struct column columns[3] = {{0}};
    struct outcome out;
    char texts[2][DEFAULT_VALUE_BYTES];
    (void)n;
    if (letter != 'D' || !whole || row->flags & SF_CLOSE_NEEDED) return;
    server_message_columns(body, columns, 3);
    const struct column *kind = &columns[0];
    if (!kind->text || kind->bytes != 1 || !plain(&columns[1], texts[0], sizeof texts[0])) return;
    if (kind->text[0] == 'r') {
        pool_roles_seen(r->t, row->pool, texts[0], &out);
        relay_apply(r, &out);
    } else if (kind->text[0] == 'v' && plain(&columns[2], texts[1], sizeof texts[1])) {
        pool_default_seen(r->t, row->pool, texts[0], texts[1]);
    }
}

static int tracked_index(const struct relay *r, const char *name) {
    for (int i = 0; i < r->store.tracked.count; i++)
        if (strcasecmp(r->store.tracked.names[i], name) == 0) return i;
    return -1;
}

/* The client's own server has reported a tracked parameter: it is the client's from now on, unless that is
 * what the server has by itself. */
void defaults_reported(const struct relay *r, struct client *c, const char *name, const char *value) {
    int i = tracked_index(r, name);
    if (i < 0) return;
    const struct pool_row *p = pool_of(r, c);
    c->own_values |= 1u << i;
    for (int k = 0; k < p->default_count; k++)
        if (strcasecmp(p->defaults[k].name, name) == 0
            && strncmp(p->defaults[k].value, value, DEFAULT_VALUE_BYTES) == 0)
            c->own_values &= ~(1u << i);
}

/* One value that has changed, for a client that may have its own. */
static void follow(struct relay *r, struct client *c, const struct default_value *d) {
    int i = tracked_index(r, d->name);
    if (i < 0) {
        char key[sizeof d->name];
        for (size_t k = 0; k < sizeof key; k++) key[k] = (char)lower((unsigned char)d->name[k]);
        if (!settings_find_extra(c->settings, key)) session_send_parameter(r, c, d->name, d->value);
        return;
    }
    const char *now = settings_value(&r->store, c->settings, d->name);
    /* it had it from its server already */
    if (now && strcmp(now, d->value) == 0) c->own_values &= ~(1u << i);
    struct settings *changed = c->own_values & 1u << i
        ? NULL
        : settings_change(&r->store, c->settings, d->name, d->value);
    if (changed) client_settings(r, c, changed);
    struct settings *startup = c->startup_values & 1u << i
        ? NULL
        : settings_change(&r->store, c->startup, d->name, d->value);
    if (!startup) return;
    settings_drop(&r->store, c->startup);
    c->startup = startup;
}

/* The client has got a server: what its servers have by themselves may have changed since the one before. */
void defaults_follow(struct relay *r, struct client *c) {
    const struct pool_row *p = pool_of(r, c);
    if (c->defaults_seen == p->defaults_version || greeting_asked(c)) return;
    struct default_value changes[DEFAULTS_MAX];
    tables_lock(r->t);
    int count = p->default_count;
    uint32_t version = p->defaults_version;
    memcpy(changes, p->defaults, sizeof changes);
    tables_unlock(r->t);
    struct settings *told = settings_keep(c->settings);
    for (int i = 0; i < count; i++)
        if (changes[i].version && (int32_t)(changes[i].version - c->defaults_seen) > 0)
            follow(r, c, &changes[i]);
    session_send_parameters(r, c, told);
    settings_drop(&r->store, told);
    c->defaults_seen = version;
}
