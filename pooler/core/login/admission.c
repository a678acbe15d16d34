/* From a proof to a client of the relay: see admission.h. */
#include "login/admission.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/connection.h"
#include "io/sqlstate.h"
#include "login/names.h"
#include "login/parameters.h"
#include "login/policy.h"
#include "login/questions.h"
#include "login/welcome.h"
#include "relay/internal.h"
#include "tables/clients.h"
#include "tables/histogram.h"
#include "tables/layout.h"
#include "tables/outcome.h"
#include "tables/pool.h"
#include "tables/registry.h"
#include "tables/states.h"
#include "tables/tables.h"

#define POOL_ASKED_MAX 3

/* Rows that a client counts in. */
struct rows { int32_t database, user, pool; };

/* ---- rows -------------------------------------------------------------------------------------- */

/* Whether these are the rows of such a client still.  A look-up is a use: they are not forgotten. */
static bool fits(struct tables *t, const struct known_pool *k, const struct login *l, const char *server_user,
                 const char *instance) {
    if (!k->set) return false;
    struct database_row *d = &t->databases[k->database];
    struct user_row *u = &t->users[k->user];
    struct pool_row *p = &t->pools[k->pool];
    bool used = d->used && u->used && p->used && p->kind == POOL_CLIENTS && p->database == k->database;
    if (!used || strcmp(d->name, l->packet.database) != 0 || strcmp(u->name, login_user(l)) != 0)
        return false;
    struct user_row *at_server = &t->users[p->user];
    struct instance_row *i = &t->instances[p->instance];
    if (strcmp(at_server->name, server_user) != 0 || strcmp(i->name, instance) != 0) return false;
    d->idle_since = u->idle_since = p->idle_since = at_server->idle_since = i->idle_since = 0;
    return true;
}

/* False: one is not there yet. */
static bool look_up(struct tables *t, struct known_pool *k, const struct login *l, const char *server_user,
                    const char *instance) {
    k->database = tables_database(t, l->packet.database, false);
    k->user = tables_user(t, login_user(l), false);
    int32_t at_server = tables_user(t, server_user, false), i = tables_instance(t, instance, false);
    k->set = k->database != NO_ROW && k->user != NO_ROW && at_server != NO_ROW && i != NO_ROW;
    if (!k->set) return false;
    k->pool = tables_pool_of_kind(t, k->database, at_server, i, POOL_CLIENTS, false);
    k->set = k->pool != NO_ROW;
    return k->set;
}

static struct known_pool *place_of(struct relay *r, const struct login *l) {
    uint64_t hash = names_mix(names_mix(NAMES_MIX, l->packet.database), login_user(l));
    return &r->logins->known[hash % KNOWN_POOLS]; /* a cache: what is found there is compared */
}

static bool find_rows(struct relay *r, const struct login *l, const struct policy_database *d,
                      struct rows *rows) {
    struct known_pool *k = place_of(r, l);
    const char *server_user = d->forced_user && *d->user ? d->user : login_user(l);
    tables_lock(r->t);
    bool there = fits(r->t, k, l, server_user, d->instance) || look_up(r->t, k, l, server_user, d->instance);
    if (there) *rows = (struct rows){k->database, k->user, k->pool};
    tables_unlock(r->t);
    return there;
}

/* ---- what the pool's servers log in with -------------------------------------------------------- */

static void keep(struct tables *t, unsigned char *place, uint16_t *length, const void *bytes, uint32_t n) {
    tables_lock(t);
    if (*length != n || memcmp(place, bytes, n) != 0) keep_bytes(place, length, bytes, (uint16_t)n);
    tables_unlock(t);
}

/* Keeps for the pool's servers what this login has shown, or auth_query has brought.  Where it has neither,
 * what an earlier one has left stays (as in PgBouncer), unless auth_file has a password, which is then the
 * newer word. */
static void remember(struct relay *r, const struct login *l, int32_t pool) {
    struct pool_row *p = &r->t->pools[pool];
    const void *secret = l->password;
    uint32_t n = l->password_bytes;
    if (l->keeps_keys) keep(r->t, p->scram_keys, &p->scram_keys_bytes, &l->keys, sizeof l->keys);
    if (!n && l->secret_is_own && l->secret->kind != SECRET_SCRAM) {
        secret = secret_raw(l->secret);
        n = l->secret->raw_bytes;
    }
    const struct secret *listed = policy_secret(l->policy, login_user(l));
    if (n > SECRET_BYTES)
        relay_log(r, LEVEL_WARNING, "C-%llu: its password is too long to log in to PostgreSQL with",
                  (unsigned long long)l->id);
    else if (n || (listed && listed->raw_bytes && p->secret_bytes))
        keep(r->t, p->secret, &p->secret_bytes, n ? secret : "", n);
}

/* ---- limits ------------------------------------------------------------------------------------ */

static void refuse_limit(struct relay *r, struct login *l, enum login_verdict verdict) {
    char text[128];
    const char *said = text;
    l->refusal = verdict == LOGIN_DISABLED ? REFUSAL_DISABLED : REFUSAL_LIMIT;
    switch (verdict) {
    case LOGIN_DISABLED:
        snprintf(text, sizeof text, "database \"%s\" is disabled", l->packet.database);
        break;
    case LOGIN_MAX_DB: said = "client connections exceeded (max_db_client_connections)"; break;
    case LOGIN_MAX_USER: said = "client connections exceeded (max_user_client_connections)"; break;
    default: said = "no more connections allowed (max_client_conn)";
    }
    login_refuse(r, l, PROTOCOL_VIOLATION, said, NULL);
}

/* The client counts from now on; false: it is refused, or Python makes rows first. */
static bool count(struct relay *r, struct login *l, const struct policy_database *d) {
    struct rows rows;
    enum login_verdict verdict = LOGIN_FORGOTTEN;
    if (find_rows(r, l, d, &rows))
        verdict = client_login(r->t, l->row, rows.database, rows.user, rows.pool, 0, false);
    if (verdict == LOGIN_FORGOTTEN) {
        if (l->pool_asked++ < POOL_ASKED_MAX) question_pool(r, l);
        else login_config_error(r, l, "the rows of its pool are not there");
        return false;
    }
    if (verdict != LOGIN_OK) {
        refuse_limit(r, l, verdict);
        return false;
    }
    counters_of(r, rows.pool)->client_login_count++;
    if (!d->forced_user) remember(r, l, rows.pool);
    return true;
}

_Static_assert(METHOD_UNKNOWN < LOGIN_METHODS, "each has its histogram");

/* It is who it says it is, and has a place. */
static void count_time(struct relay *r, const struct login *l) {
    struct login_times *times = &r->t->workers[r->worker].logins[l->method];
    uint64_t took = r->loop.now > l->started_at ? r->loop.now - l->started_at : 0;
    times->time += took;
    histogram_add(times->histogram, took);
}

void admission_begin(struct relay *r, struct login *l) {
    char text[128];
    const struct policy *p = r->logins->policy;
    if (policy_is_console(l->policy, l->packet.database)) {
        count_time(r, l);
        question_pass(r, l, PASS_CONSOLE);
        return;
    }
    const struct policy_database *d = policy_find(p, l->packet.database);
    if (!d) {
        snprintf(text, sizeof text, "no such database: %s", l->packet.database);
        login_refuse(r, l, NO_DATABASE, text, NULL);
    } else if ((l->method == METHOD_ANY || p->settings.auth_type == METHOD_ANY) && !d->forced_user)
        login_config_error(r, l, NULL);
    else if (r->logins->draining) {
        l->refusal = REFUSAL_SHUTDOWN;
        login_refuse(r, l, PROTOCOL_VIOLATION, "pooler is shutting down", NULL);
    } else if (count(r, l, d)) {
        count_time(r, l);
        if (l->packet.replication != REPLICATION_NONE) question_pass(r, l, PASS_REPLICATION);
        else admission_enter(r, l);
    }
}

/* ---- in ---------------------------------------------------------------------------------------- */

/* The client is the relay's: what it has sent behind its login is its first message.  `w` is NULL without
 * memory. */
static void hand_over(struct relay *r, struct login *l, const struct welcome *w, uint32_t defaults) {
    char text[128];
    const char *refused = w ? parameters_refused(l, w) : NULL;
    if (refused) {
        snprintf(text, sizeof text, "permission denied to set parameter \"%s\"", refused);
        login_refuse(r, l, NO_PRIVILEGE, text, NULL);
        return;
    }
    struct newcomer n = {
        .client = l->client, .usual = true, .defaults = defaults, .waited = l->state == LOGIN_WELCOME};
    if (!w || !parameters_of(r, l, w, &n)) {
        login_without_memory(r, l);
        return;
    }
    if (l->policy->settings.verbose) login_log(r, l, LEVEL_DEBUG, "logged in, waits for its greeting");
    login_move(l, LOGIN_OVER);
    login_free(r, l);
    n.client->io.kind = KIND_CLIENT;
    n.client->io.readable = true; /* what was there meanwhile may have been passed over */
    client_enter(r, &n);
    if (!n.client->io.dead) conn_uncork(&r->loop, &n.client->io);
    free(n.values);
}

void admission_enter(struct relay *r, struct login *l) {
    const struct welcome *w;
    uint32_t defaults;
    struct outcome out;
    if (welcome_of(r, r->t->clients[l->row].pool, &w, &defaults)) {
        hand_over(r, l, w, defaults);
        return;
    }
    if (l->state != LOGIN_WELCOME) login_move(l, LOGIN_WELCOME);
    l->waits_for_server = true;
    pool_wait_welcome(r->t, l->row, r->loop.now, &out);
    relay_apply(r, &out);
}
