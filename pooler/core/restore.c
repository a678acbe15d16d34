/* RESET and DISCARD ALL lead back to the values of the client's startup packet.  PostgreSQL knows those of our own login
 * only, so the client's are set again before it gets its ReadyForQuery; of the parameters that the server reports it
 * hears what has really changed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lexer.h"
#include "relay.h"

bool session_restoring(const struct server *s) { return s->session.told != NULL; }

/* ParameterStatus. */
void send_parameter(struct relay *r, struct client *c, const char *name, const char *value) {
    char message[512];
    uint32_t n = (uint32_t)(strlen(name) + strlen(value)) + 2, length = n + 4;
    if (n > sizeof message - 5) return;
    message[0] = 'S';
    write_u32(message + 1, length);
    memcpy(message + 5, name, strlen(name) + 1);
    memcpy(message + 6 + strlen(name), value, strlen(value) + 1);
    conn_send(r, &c->io, message, n + 5);
}

/* ParameterStatus of all tracked values, or of those that are not what `told` says. */
void send_parameters(struct relay *r, struct client *c, const struct settings *told) {
    const char *value = c->settings->values, *old = told ? told->values : NULL;
    for (int i = 0; i < r->store.tracked.count; i++) {
        const char *name = r->store.tracked.names[i];
        bool reported = *value || strcmp(name, "application_name") == 0;   /* no other can be empty */
        if (told ? strcmp(old, value) != 0 : reported) send_parameter(r, c, name, value);
        value += strlen(value) + 1;
        if (told) old += strlen(old) + 1;
    }
}

static void tell(struct relay *r, struct server *s) {
    if (s->client) send_parameters(r, s->client, s->session.told);
    settings_drop(&r->store, s->session.told);
    s->session.told = NULL;
}

/* A parameter that is not tracked, and is the client's from its startup packet: it goes back to that value, not to the
 * server's.  True: the client does not hear of this report. */
bool session_report_hidden(struct relay *r, const struct server *s, const char *name, const char *value) {
    char key[128];
    if (settings_tracked(&r->store, name)) return true;
    uint32_t n = (uint32_t)strnlen(name, sizeof key);
    if (n == sizeof key) return false;
    for (uint32_t i = 0; i <= n; i++) key[i] = (char)lower((unsigned char)name[i]);
    const char *startup = settings_find_extra(s->client->startup, key), *told = settings_find_extra(s->session.told, key);
    if (s->own != OWN_RESTORE) return startup != NULL;
    return !startup || (told && strcmp(told, value) == 0);
}

/* ReadyForQuery came behind a RESET.  True: the client gets it later, behind OWN_RESTORE. */
bool session_hold(struct relay *r, struct server *s, uint8_t status) {
    if (status == 'E' || s->requests.count > 1) {
        tell(r, s);
        return false;
    }
    s->session.held = status;
    return true;
}

/* Sets what was reset to the values of the startup packet. */
void session_restore(struct relay *r, struct server *s) {
    struct session *x = &s->session;
    s->settled = false;
    s->own_blocks = x->restore_due = !guard_take(r, s);
    if (x->restore_due) return;
    const struct settings *startup = s->client->startup;
    char query[OWN_QUERY_BYTES];
    uint32_t n = 0, room = sizeof query - 1;
    if (x->traits & TRAIT_RESET_ALL) {
        n = settings_assign_all(&r->store, startup, query, room);
    } else {
        char kind;
        const char *name;
        for (uint32_t at = 0; x->notes && next_name(x->notes->names, x->notes->bytes, &at, &kind, &name);)
            if (kind == 'r') n = settings_assign(&r->store, startup, name, query, n, room);
    }
    query[n < room ? n : 0] = '\0';
    server_own(r, s, OWN_RESTORE, query, true);
}

void session_restored(struct relay *r, struct server *s) {
    struct session *x = &s->session;
    uint8_t status = x->held;
    tell(r, s);
    x->held = 0;
    client_ready(r, s->client, status);
}
