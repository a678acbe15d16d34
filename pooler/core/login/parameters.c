/* The parameters of a client that comes in: see parameters.h. */
#include "login/parameters.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "io/buffer.h"
#include "io/utf8.h"
#include "login/login.h"
#include "login/policy.h"
#include "login/welcome.h"
#include "relay/internal.h"
#include "session/startup_values.h"
#include "tables/layout.h"

#define NAMED_BYTES (4 * NAME_KEPT_BYTES + 1 + LOG_PLACE_BYTES + 8)

/* ---- spelling ---------------------------------------------------------------------------------- */

/* How much of a name is kept: cut where a character ends, if all of it is UTF-8. */
static size_t kept(const unsigned char *name, size_t n) {
    size_t whole = 0, at = 0;
    if (n <= NAME_KEPT_BYTES) return n;
    while (at < n) {
        uint32_t code, bytes = utf8_character(name + at, n - at, &code);
        if (!bytes) return NAME_KEPT_BYTES;
        at += bytes;
        if (at <= NAME_KEPT_BYTES) whole = at;
    }
    return whole;
}

void parameters_printable(const char *name, const char *server_version, char out[4 * NAME_KEPT_BYTES + 1]) {
    const unsigned char *p = (const unsigned char *)name;
    size_t n = kept(p, strlen(name));
    bool shows = server_version && atoi(server_version) >= 16;
    for (size_t i = 0; i < n; i++) {
        if (p[i] >= 32 && p[i] < 127) *out++ = (char)p[i];
        else out += sprintf(out, shows ? "\\x%02x" : "?", p[i]);
    }
    *out = 0;
}

/* The same letters and digits. */
static bool same_letters(const char *one, const char *other) {
    for (;; one++, other++) {
        while (*one && !isalnum((unsigned char)*one)) one++;
        while (*other && !isalnum((unsigned char)*other)) other++;
        if (tolower((unsigned char)*one) != tolower((unsigned char)*other)) return false;
        if (!*one) return true;
    }
}

bool parameters_same(const char *name, const char *value, const char *reported) {
    if (strcasecmp(name, "client_encoding") == 0) return *value && same_letters(value, reported);
    size_t n = strlen(value);
    return strcasecmp(name, "DateStyle") == 0 && n && strncasecmp(reported, value, n) == 0
        && reported[n] == ',';
}

/* ---- what the relay gets ----------------------------------------------------------------------- */

static void put(struct bytes *b, bool *whole, const void *bytes, uint32_t n) {
    *whole = *whole && (!n || bytes_add(b, bytes, n));
}

static void put_text(struct bytes *b, bool *whole, const char *text) {
    put(b, whole, text, (uint32_t)strlen(text) + 1);
}

/* How a client calls itself: as PostgreSQL writes it, with its address if that was asked for. */
static const char *name_application(struct relay *r, const struct login *l, const struct welcome *w,
                                    const char *given, const char *value, char out[NAMED_BYTES]) {
    char printable[4 * NAME_KEPT_BYTES + 1], *shown = r->t->clients[l->row].application_name;
    if (given) {
        parameters_printable(given, w->server_version, printable);
        value = printable;
    }
    if (l->policy->settings.add_host) snprintf(out, NAMED_BYTES, "%s - %s", *value ? value : "app", l->where);
    else snprintf(out, NAMED_BYTES, "%s", value);
    size_t n = strnlen(out, APPLICATION_NAME_BYTES - 1);
    memcpy(shown, out, n);
    shown[n] = 0;
    return out;
}

static void put_tracked(struct relay *r, const struct login *l, const struct welcome *w, struct newcomer *n,
                        struct bytes *values, bool *whole) {
    char named[NAMED_BYTES];
    for (int i = 0; i < r->store.tracked.count; i++) {
        const char *name = r->store.tracked.names[i], *given = l->wanted.tracked[i];
        const char *reported = w->tracked[i], *value = given ? given : reported ? reported : "";
        if (given) n->given |= 1u << i;
        if (strcmp(name, "application_name") == 0) {
            value = name_application(r, l, w, given, value, named);
            if (l->policy->settings.add_host) n->given |= 1u << i; /* it is no server's */
        } else if (given) {
            if (reported && parameters_same(name, given, reported)) value = reported;
            n->usual = n->usual && reported && strcmp(value, reported) == 0;
        }
        put_text(values, whole, value);
    }
}

static int by_name(const void *one, const void *other) {
    return strcmp(((const struct pair *)one)->name, ((const struct pair *)other)->name);
}

static unsigned char *copy(unsigned char *out, const void *bytes, uint32_t n) {
    if (n) memcpy(out, bytes, n);
    return out + n;
}

/* AuthenticationOk, the notice for all, and what is reported but does not follow the client; then
 * BackendKeyData, with a secret as long as the protocol of this client has it, and ReadyForQuery.  NULL: no
 * memory. */
static struct greeting *greeting_for(struct relay *r, const struct login *l, const struct welcome *w) {
    static const unsigned char ok[9] = {'R', 0, 0, 0, 8, 0, 0, 0, 0};
    struct client_row *row = &r->t->clients[l->row];
    uint32_t more = l->packet.minor >= LONG_KEYS_MINOR ? CANCEL_MORE_BYTES : 0;
    unsigned char key[13] = {'K'};
    struct greeting *g = greeting_new(sizeof ok + l->policy->notice_bytes + w->reports_bytes,
                                      sizeof key + more + READY_IDLE_BYTES);
    if (!g) return NULL;
    unsigned char *at = copy(g->bytes, ok, sizeof ok);
    at = copy(at, l->policy->notice, l->policy->notice_bytes);
    at = copy(at, w->reports, w->reports_bytes);
    row->long_key = more > 0;
    store_be32(key + 1, 12 + more);
    store_be32(key + 5, row->cancel_pid);
    store_be32(key + 9, row->cancel_secret);
    at = copy(at, key, sizeof key);
    at = copy(at, row->cancel_more, more);
    copy(at, READY_IDLE, READY_IDLE_BYTES);
    return g;
}

/* What only sessions of superusers may begin with; PostgreSQL looks at that before all else about them. */
const char *parameters_refused(const struct login *l, const struct welcome *w) {
    static const char *const of_superusers[] = {"log_connections", "log_disconnections",
                                                "jit_debugging_support", "jit_profiling_support"};
    if (!w->is_superuser || strcmp(w->is_superuser, "off") != 0) return NULL;
    for (uint32_t i = 0; i < l->wanted.other_count; i++)
        for (size_t j = 0; j < sizeof of_superusers / sizeof *of_superusers; j++)
            if (strcmp(l->wanted.others[i].name, of_superusers[j]) == 0) return of_superusers[j];
    return NULL;
}

bool parameters_of(struct relay *r, struct login *l, const struct welcome *w, struct newcomer *n) {
    struct bytes values = {0};
    bool whole = true;
    put_tracked(r, l, w, n, &values, &whole);
    if (l->wanted.other_count) qsort(l->wanted.others, l->wanted.other_count, sizeof(struct pair), by_name);
    for (uint32_t i = 0; i < l->wanted.other_count; i++) {
        put_text(&values, &whole, l->wanted.others[i].name);
        put_text(&values, &whole, l->wanted.others[i].value);
        n->usual = false;
    }
    n->greeting = whole ? greeting_for(r, l, w) : NULL;
    n->values = (char *)values.data;
    n->values_bytes = bytes_pending(&values);
    if (n->greeting) return true;
    bytes_free(&values);
    n->values = NULL;
    return false;
}
