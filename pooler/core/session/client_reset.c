/* RESET and DISCARD ALL lead back to the values of the client's startup packet.  PostgreSQL knows those of
 * our own login only, so the client's are set again before it gets its ReadyForQuery; of the parameters that
 * the server reports it hears what has really changed.
 *
 * What has run is known by the tags of CommandComplete.  A statement behind the RESET may set something
 * again; an error or ROLLBACK undoes it, or not, where it goes back to a savepoint behind the RESET.  Then
 * those values only are put back whose settings nothing of the session has set, as PostgreSQL tells
 * (RESET_UNSURE).  In a transaction that has failed nothing can be put back: that waits until it has ended,
 * or goes on from a savepoint, and so does the client's hearing of it. */
#include "session/client_reset.h"

#include <string.h>

#include "io/connection.h"
#include "io/error_message.h"
#include "io/message_table.h"
#include "io/parameter_status.h"
#include "io/request_queue.h"
#include "io/server_messages.h"
#include "io/sqlstate.h"
#include "relay/internal.h"
#include "session/probe.h"
#include "session/session.h"
#include "session/settings.h"
#include "sql/builder.h"
#include "sql/digest.h"
#include "sql/effects.h"
#include "sql/lexer.h"
#include "sql/statement_names.h"
#include "statements/send.h"

/* A statement that may reset something is about to be sent: where the client's values are not the server's
 * own, they have to come back. */
void session_note_reset(struct relay *r, struct client *c, uint32_t effect_flags) {
    struct server *s = c->server;
    struct session *x = &s->session;
    if (effect_flags & EFFECT_RESET_ALL) x->resets_all = true;
    if (x->told || digest_same(c->startup->digest, r->t->slots[s->slot].login_settings)) return;
    x->told = settings_keep(c->settings);
    x->reset_from = s->requests.pushed;
    x->reset = x->reset_bound ? RESET_UNSURE : RESET_SENT;
}

enum reset_event { RAN_RESET, RAN_ALL, RAN_OTHER, RAN_NEUTRAL, RAN_UNDOES };

static const uint8_t BEHIND[][RAN_UNDOES + 1] = {
    [RESET_SENT] = {RESET_RAN, RESET_RAN, RESET_OTHER, RESET_SENT, RESET_SENT},
    [RESET_OTHER] = {RESET_UNSURE, RESET_RAN, RESET_OTHER, RESET_OTHER, RESET_UNSURE},
    [RESET_RAN] = {RESET_RAN, RESET_RAN, RESET_UNSURE, RESET_RAN, RESET_UNSURE},
    [RESET_UNSURE] = {RESET_UNSURE, RESET_UNSURE, RESET_UNSURE, RESET_UNSURE, RESET_UNSURE},
};

/* What the tag of a CommandComplete says of a statement. */
static enum reset_event event_of(const struct session *x, const unsigned char *tag, uint32_t n) {
    static const char *const neutral[] = {"BEGIN", "START TRANSACTION", "COMMIT", "SAVEPOINT", "RELEASE"};
    if (server_message_tag_starts(tag, n, "RESET") || server_message_tag_starts(tag, n, "DISCARD ALL"))
        return x->resets_all ? RAN_ALL : RAN_RESET;
    if (server_message_tag_starts(tag, n, "ROLLBACK")) return RAN_UNDOES;
    for (size_t i = 0; i < sizeof neutral / sizeof *neutral; i++)
        if (server_message_tag_starts(tag, n, neutral[i])) return RAN_NEUTRAL;
    return RAN_OTHER;
}

/* An error, or a rollback. */
void session_reset_undone(struct session *x) { x->reset = BEHIND[x->reset][RAN_UNDOES]; }

/* A message of the server has come.  Whether it answers a statement that resets, or what came behind that. */
bool session_restoring(struct relay *r, struct server *s, int effect, const unsigned char *body, uint32_t n) {
    struct session *x = &s->session;
    if (!x->told || !s->client) return false;
    bool before = !requests_reached(&s->requests, x->reset_from);
    if (before && effect == BE_READY) { /* what is answered before that the client believes, too */
        settings_drop(&r->store, x->told);
        x->told = settings_keep(s->client->settings);
    }
    if (!before && effect == BE_COMMAND && !s->internal_body)
        x->reset = BEHIND[x->reset][event_of(x, body, n)];
    return !before && s->requests.count;
}

/* What the client sends behind a statement that resets is not to run before its values are back. */
bool session_resetting(const struct server *s) { return s->session.told && s->requests.count; }

/* ParameterStatus. */
void session_send_parameter(struct relay *r, struct client *c, const char *name, const char *value) {
    unsigned char message[512];
    if (strlen(name) + strlen(value) + PARAMETER_STATUS_BYTES > sizeof message) return;
    conn_send(&r->loop, &c->io, message, parameter_status(message, name, value));
}

/* ParameterStatus of all tracked values, or of those that are not what `told` says. */
void session_send_parameters(struct relay *r, struct client *c, const struct settings *told) {
    const char *value = c->settings->values, *old = told ? told->values : NULL;
    for (int i = 0; i < r->store.tracked.count; i++) {
        const char *name = r->store.tracked.names[i];
        bool reported = *value || strcmp(name, "application_name") == 0; /* no other can be empty */
        if (told ? strcmp(old, value) != 0 : reported) session_send_parameter(r, c, name, value);
        value += strlen(value) + 1;
        if (told) old += strlen(old) + 1;
    }
}

/* What was reset so far is not reset again with what the transaction resets later. */
static void forget_names(struct session *x) {
    x->resets_all = false;
    for (uint32_t at = 0; x->notes && at < x->notes->bytes; at += (uint32_t)strlen(x->notes->names + at) + 1)
        if (x->notes->names[at] == 'r') x->notes->names[at] = 'o';
}

static void tell(struct relay *r, struct server *s) {
    if (s->client) session_send_parameters(r, s->client, s->session.told);
    settings_drop(&r->store, s->session.told);
    s->session.told = NULL;
    if (!s->session.reset_bound) forget_names(&s->session);
}

/* A parameter that is not tracked, and is the client's from its startup packet: it goes back to that value,
 * not to the server's.  True: the client does not hear of this report. */
bool session_report_hidden(struct relay *r, const struct server *s, const char *name, const char *value) {
    char key[128];
    if (settings_tracked(&r->store, name)) return true;
    uint32_t n = (uint32_t)strnlen(name, sizeof key);
    if (n == sizeof key) return false;
    for (uint32_t i = 0; i <= n; i++) key[i] = (char)lower((unsigned char)name[i]);
    const char *startup = settings_find_extra(s->client->startup, key),
               *told = settings_find_extra(s->session.told, key);
    if (s->internal != INTERNAL_RESTORE) return startup != NULL;
    return !startup || (told && strcmp(told, value) == 0);
}

/* ReadyForQuery came behind a RESET.  True: the client gets it later, behind INTERNAL_RESTORE. */
bool session_hold(struct relay *r, struct server *s, uint8_t status) {
    struct session *x = &s->session;
    bool last = s->requests.count == 1 && !s->in_doubt;
    if (last && x->reset != RESET_SENT && status == 'E') return false; /* it may come back into force */
    if (last && x->reset != RESET_SENT) {
        x->held = status;
        return true;
    }
    x->reset_bound |= status == 'T';
    tell(r, s);
    return false;
}

#define SAVEPOINT "pooler_restore"

static bool is_role(const char *name) {
    return strcmp(name, "role") == 0 || strcmp(name, "session_authorization") == 0;
}

/* Of the names that statements reset, the one of that number; `roles`: those alone that RESET ALL leaves.
 * Where the session's user is reset, its role is, too. */
static const char *named(const struct session *x, uint32_t number, bool roles) {
    char kind;
    const char *name;
    for (uint32_t at = 0; x->notes && scan_next_name(x->notes->names, x->notes->bytes, &at, &kind, &name);)
        if (kind == 'r' && (!roles || is_role(name)) && !number--) return is_role(name) ? "role" : name;
    return NULL;
}

/* The name of a setting that is to be put back, by its number; NULL: there are not so many. */
static const char *one_of(const struct relay *r, const struct server *s, uint32_t number) {
    const struct session *x = &s->session;
    uint32_t tracked = (uint32_t)r->store.tracked.count;
    if (!x->resets_all) return named(x, number, false);
    if (number < tracked) return r->store.tracked.names[number];
    number -= tracked;
    for (const char *p = NULL, *value; settings_next_extra(s->client->startup, &p, &value);)
        if (!is_role(p) && !number--) return p;
    return named(x, number, true);
}

/* What puts the values back, or the one that it is the turn of.  Returns the bytes, `space` or more when they
 * do not fit. */
static uint32_t put_values(const struct relay *r, const struct server *s, char *out, uint32_t space) {
    const struct session *x = &s->session;
    const struct settings *startup = s->client->startup;
    uint32_t n = 0;
    bool unsure = x->reset == RESET_UNSURE || x->reset == RESET_OTHER;
    const char *name;
    if (x->resets_all && !unsure && !x->restore_one) {
        n = settings_assign_all(&r->store, startup, out, space);
        return named(x, 0, true) ? settings_assign(&r->store, startup, "role", out, n, space) : n;
    }
    uint32_t first = x->restore_one ? x->restore_one - 1 : 0;
    for (uint32_t i = first; (name = one_of(r, s, i)) && (!x->restore_one || i == first); i++)
        n = unsure ? settings_assign_unset(&r->store, startup, name, out, n, space)
                   : settings_assign(&r->store, startup, name, out, n, space);
    return n;
}

/* Closes the statement and the portal of a name, with its NUL, or neither. */
static void close_name(struct relay *r, struct server *s, const char *name, uint32_t n) {
    for (const char *kind = "SP"; *kind; kind++) {
        send_head(r, s, 'C', n + 1);
        send_bytes(r, s, kind, 1);
        send_bytes(r, s, name, n);
        server_expects(s, 'C' | INTERNAL);
    }
}

/* In a transaction PostgreSQL keeps portals, of which a Query would end the unnamed one: the statements of
 * the text are executed, by a name that an attempt that has failed may have left. */
static void execute_all(struct relay *r, struct server *s, const char *text, uint32_t bytes) {
    static const char name[] = SERVER_NAME_PREFIX "restore";
    const unsigned char *begin = (const unsigned char *)text;
    struct lexer l = {.at = begin, .end = begin + bytes};
    struct token t;
    internal_begin(r, s, INTERNAL_RESTORE);
    do {
        lexer_next(&l, &t);
        bool ends = t.kind == T_END;
        if (!ends && !token_is_char(&t, ';')) continue;
        const unsigned char *end = ends ? l.end : t.start;
        close_name(r, s, name, sizeof name);
        send_execute(r, s, name, sizeof name, (const char *)begin, (uint32_t)(end - begin));
        begin = l.at;
    } while (t.kind != T_END);
    close_name(r, s, name, sizeof name);
    send_sync(r, s);
    conn_flush(&r->loop, &s->io);
}

/* Sets what was reset to the values of the startup packet; in a transaction behind a savepoint: an error does
 * not end it. */
void session_restore(struct relay *r, struct server *s) {
    struct session *x = &s->session;
    server_state_asked(s);
    s->internal_blocks = x->restore_due = !guard_take(r, s);
    if (x->restore_due) return;
    char query[INTERNAL_QUERY_BYTES];
    bool inside = x->held != 'I', again = s->transaction == 'E';
    uint32_t space = sizeof query - 64, n = 0;
    if (inside)
        n = sql_put(query, 0, space, again ? "ROLLBACK TO " SAVEPOINT ";" : "SAVEPOINT " SAVEPOINT ";");
    uint32_t values = put_values(r, s, query + n, space - n);
    if (values >= space - n) values = sql_put(query, n, space, "SELECT 1 OPERATOR(pg_catalog./) 0") - n;
    n += values;
    if (inside) n = sql_put(query, n, sizeof query, ";RELEASE " SAVEPOINT);
    query[n] = '\0';
    if (inside) execute_all(r, s, query, n);
    else internal_send(r, s, INTERNAL_RESTORE, query);
}

/* An error of the moment does not count; what is refused otherwise (temp_buffers, behind temporary tables) is
 * left out, so that the others are not lost with it.  True: there is more to put back. */
static bool restore_on(struct relay *r, struct server *s) {
    struct session *x = &s->session;
    bool failed = s->internal_failed, passing = failed && server_error_is_passing(s->internal_sqlstate);
    if (!failed && !x->restore_one) return false;
    if (failed && strcmp(s->internal_sqlstate, "3B001") == 0) return false; /* there is no savepoint */
    if (passing && x->restore_tries++ >= ASK_TRIES) return false;
    if (failed && !passing) x->effect_flags |= ASK_SETTINGS;
    if (!passing) x->restore_one++;
    bool more = x->restore_one < 2 || one_of(r, s, x->restore_one - 1)
        || (s->transaction == 'E' && one_of(r, s, x->restore_one - 2));
    if (more) session_restore(r, s);
    return more;
}

void session_restored(struct relay *r, struct server *s) {
    struct session *x = &s->session;
    struct client *c = s->client;
    uint8_t status = x->held;
    static const char text[] = "values of the startup packet could not be put back";
    if (restore_on(r, s)) return;
    bool failed = s->internal_failed && server_error_is_passing(s->internal_sqlstate);
    x->restore_one = x->restore_tries = 0;
    if (failed && status == 'I') {
        client_close(r, c, s->internal_sqlstate, text, text);
        return;
    }
    tell(r, s);
    x->held = 0;
    if (s->transaction == 'E') {
        char message[512];
        conn_send(&r->loop, &c->io, message, error_message(message, "ERROR", ROLLED_BACK, text, NULL));
        status = 'E';
    }
    r->t->clients[c->row].idle_start = r->loop.now; /* it has waited for us until now */
    client_ready(r, c, status);
}
