/* How a server is reset between two clients: the theory stands in server_reset.h. */
#include "session/server_reset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "catalog/body.h"
#include "catalog/builtin.h"
#include "io/buffer.h"
#include "io/connection.h"
#include "io/request_queue.h"
#include "relay/internal.h"
#include "session/plans.h"
#include "sql/digest.h"
#include "tables/layout.h"
#include "tables/pool.h"
#include "tables/states.h"

#define SEVERAL UINT64_MAX /* in `left_by`: more than one client */

#define LISTED(name) "," name
#define STATELESS "'{plpgsql" CATALOG_STATELESS(LISTED) "}'::pg_catalog.name[]"

/* What isn keeps is a setting from 18 on, which RESET ALL undoes. */
#define WEAK_MODE_STAYS \
    "pg_catalog.current_setting('server_version_num')::pg_catalog.int4 OPERATOR(pg_catalog.<) 180000"

/* Why nothing less than the end of a server undoes what this database's functions, or this role, can do; the
 * newest function; plpgsql.  Roles count with all that they may become.  A role that may CREATE in the
 * database (or grant it, as its owner) may have made, used and dropped a trusted extension or language since:
 * those that are available count as if they were there.  The list of these, which PostgreSQL makes of files,
 * is not made for others. */
#define LOOK                                                                                                 \
    "SELECT COALESCE("                                                                                       \
    "(SELECT pg_catalog.concat('language ', l.lanname) FROM pg_catalog.pg_language l"                        \
    " WHERE l.lanname OPERATOR(pg_catalog.<>) ALL ('{internal,c,sql,plpgsql}'::pg_catalog.name[]) LIMIT 1)," \
    "(SELECT pg_catalog.concat('function ', p.proname) FROM pg_catalog.pg_proc p"                            \
    " WHERE p.oid OPERATOR(pg_catalog.>=) 16384 AND p.prolang OPERATOR(pg_catalog.<>) ALL (ARRAY(SELECT"     \
    " l.oid FROM pg_catalog.pg_language l"                                                                   \
    " WHERE l.lanname OPERATOR(pg_catalog.=) ANY ('{internal,sql,plpgsql}'::pg_catalog.name[])))"            \
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid"            \
    " OPERATOR(pg_catalog.=) d.refobjid"                                                                     \
    " WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid AND"  \
    " d.objid OPERATOR(pg_catalog.=) p.oid"                                                                  \
    " AND d.refclassid OPERATOR(pg_catalog.=)"                                                               \
    " 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid"                                        \
    " AND d.deptype::pg_catalog.text OPERATOR(pg_catalog.=) 'e' AND e.extname"                               \
    " OPERATOR(pg_catalog.=) ANY (" STATELESS ")) LIMIT 1),"                                                 \
    "(SELECT pg_catalog.concat('role ', a.rolname) FROM pg_catalog.pg_roles a WHERE"                         \
    " pg_catalog.pg_has_role(a.oid, 'member')"                                                               \
    " AND (a.rolsuper OR a.rolreplication OR EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.proname"       \
    " OPERATOR(pg_catalog.=)"                                                                                \
    " ANY ('{pg_replication_origin_session_setup,pg_backup_start,pg_start_backup}'::pg_catalog.name[])"      \
    " AND p.oid OPERATOR(pg_catalog.<) 16384 AND pg_catalog.has_function_privilege(a.oid, p.oid,"            \
    " 'execute'))) LIMIT 1),"                                                                                \
    "(SELECT pg_catalog.concat('extension ', v.name) FROM pg_catalog.pg_available_extension_versions v"      \
    " WHERE EXISTS (SELECT FROM pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=)"             \
    " pg_catalog.current_database()"                                                                         \
    " AND (pg_catalog.pg_has_role(d.datdba, 'member') OR EXISTS (SELECT FROM pg_catalog.pg_roles a"          \
    " WHERE pg_catalog.pg_has_role(a.oid, 'member') AND pg_catalog.has_database_privilege(a.oid, d.oid,"     \
    " 'create'))))"                                                                                          \
    " AND v.trusted AND v.name OPERATOR(pg_catalog.<>) ALL (" STATELESS ")"                                  \
    " AND (v.name OPERATOR(pg_catalog.<>) 'isn' OR " WEAK_MODE_STAYS ") LIMIT 1)),"                          \
    "(SELECT oid::pg_catalog.text FROM pg_catalog.pg_proc ORDER BY oid DESC LIMIT 1),"                       \
    "(SELECT oid::pg_catalog.text FROM pg_catalog.pg_language WHERE lanname OPERATOR(pg_catalog.=) 'plpgsql')"

static const char FIRST[] =
    "SET SESSION AUTHORIZATION DEFAULT;RESET ALL;SET default_transaction_isolation='read committed';SET"
    " seed=%.17f";

/* What the server has counted for the client is told to all before it goes to another: pg_stat_xact_* have
 * nothing of it then.  PostgreSQL has this function from 15 on. */
static const char FLUSH[] = "SELECT pg_catalog.pg_stat_force_next_flush();";

/* What PostgreSQL says to each part, ParameterStatus and notices left out. */
static const char *const DISCARDED[] = {"CSET", "CRESET", "CSET", "CSET", "Z", "CDISCARD ALL", "Z", NULL};
static const char *const STRICTLY[] = {"CSET",     "CRESET", "CSET",         "CSET", "Z", "T",
                                       "CSELECT ", "Z",      "CDISCARD ALL", "Z",    NULL};
static const char *const STRICTLY_FLUSHED[] = {"CSET", "CRESET",    "CSET", "CSET",     "Z", "T",
                                               "D",    "CSELECT 1", "T",    "CSELECT ", "Z", "CDISCARD ALL",
                                               "Z",    NULL};

static struct slot_row *row_of(const struct relay *r, const struct server *s) {
    return &r->t->slots[s->slot];
}

static struct pool_row *pool_of(const struct relay *r, const struct server *s) {
    return &r->t->pools[row_of(r, s)->pool];
}

static bool strict(const struct relay *r, const struct server *s) {
    return pool_of(r, s)->limits.session_state == SESSION_STRICT;
}

/* ---- who had it, and what follows ---------------------------------------------------------------- */

/* Written before anything of the client is sent. */
void handover_taken(struct relay *r, struct server *s) {
    struct slot_row *row = row_of(r, s);
    uint64_t id = r->t->clients[s->client->row].id;
    enum leftover left = s->mode == MODE_SESSION ? LEFT_SESSION
        : s->session_state == SESSION_OFF        ? LEFT_UNNOTED
                                                 : LEFT_NOTED;
    if (row->left == LEFT_NOTHING) row->left_at = r->loop.now;
    row->left_by = row->left == LEFT_NOTHING || row->left_by == id ? id : SEVERAL;
    if (row->left < left) row->left = (uint8_t)left;
}

/* What is to be done before anything of the client that has just got the server is sent. */
enum handover handover_before(const struct relay *r, const struct server *s) {
    const struct slot_row *row = row_of(r, s);
    if (row->left == LEFT_NOTHING || row->left_by == r->t->clients[s->client->row].id)
        return HANDOVER_AS_IT_IS;
    if (strict(r, s)) return HANDOVER_STRICT;
    bool noted = s->session_state != SESSION_OFF;
    if (s->mode == MODE_SESSION) /* without a server_reset_query nothing is promised there */
        return row->left >= LEFT_UNNOTED && r->options.reset_query[0] ? HANDOVER_QUERY : HANDOVER_AS_IT_IS;
    return row->left == LEFT_SESSION || (row->left == LEFT_UNNOTED && noted) ? HANDOVER_DISCARD
                                                                             : HANDOVER_AS_IT_IS;
}

/* All functions, and what the role may do, are to be looked at again. */
static bool look_due(const struct relay *r, const struct pool_row *pool) {
    uint64_t pause = pool->look_took * HANDOVER_LOOK_SHARE > HANDOVER_LOOK_US
        ? pool->look_took * HANDOVER_LOOK_SHARE
        : HANDOVER_LOOK_US;
    return !pool->looked_at || r->loop.now > pool->looked_at + pause;
}

/* What is to be done now that the server comes back.  `used`: something of its client was sent. */
enum handover handover_after(const struct relay *r, const struct server *s, bool used) {
    const struct slot_row *row = row_of(r, s);
    const struct pool_row *pool = pool_of(r, s);
    /* no reset brings a look: servers are closed */
    bool look = pool->beyond && strict(r, s) && look_due(r, pool);
    if (s->dirty || (used && (row->left == LEFT_SESSION || look) && strict(r, s)))
        return strict(r, s) ? HANDOVER_STRICT : HANDOVER_DISCARD;
    if (!used || (row->left != LEFT_SESSION && !r->options.reset_always)) return HANDOVER_AS_IT_IS;
    if (r->options.reset_query[0]) return HANDOVER_QUERY;
    return row->left == LEFT_SESSION && pool->limits.mode != MODE_SESSION ? HANDOVER_DISCARD
                                                                          : HANDOVER_AS_IT_IS;
}

/* ---- the reset ----------------------------------------------------------------------------------- */

static double seed(void) {
    uint64_t bits;
    if (getrandom(&bits, sizeof bits, 0) != sizeof bits) abort(); /* never for so few bytes */
    return (double)(bits >> 11) / 9007199254740992.0;             /* 53 bits, below 1 */
}

static bool add_query(struct relay *r, struct server *s, const char *text) {
    unsigned char head[5] = {'Q'};
    uint32_t n = (uint32_t)strlen(text) + 1;
    store_be32(head + 1, n + 4);
    conn_append(&r->loop, &s->io, head, sizeof head);
    conn_append(&r->loop, &s->io, text, n);
    return requests_push(&s->requests, 'Q' | INTERNAL);
}

/* Functions that are newer than the newest that was looked at, and not in SQL or plpgsql. */
static void put_question(const struct relay *r, struct server *s, char *out, uint32_t space) {
    const struct pool_row *pool = pool_of(r, s);
    s->looks = look_due(r, pool) || !pool->last_function;
    s->found = s->looks ? FOUND_NO_ANSWER : FOUND_NOTHING;
    if (s->looks) snprintf(out, space, "%s", LOOK);
    else
        snprintf(out, space,
                 "SELECT 'n' FROM pg_catalog.pg_proc WHERE oid OPERATOR(pg_catalog.>) %u AND prolang"
                 " OPERATOR(pg_catalog.<>) ALL ('{12,14,%u}'::pg_catalog.oid[]) LIMIT 1",
                 pool->last_function, pool->plpgsql);
}

/* Nothing may be outstanding; nothing else is sent before the whole is answered. */
void handover_begin(struct relay *r, struct server *s, enum handover how) {
    char text[sizeof FLUSH + sizeof LOOK + 64];
    s->handover = (uint8_t)how;
    s->reset_step = 0;
    s->found = FOUND_NOTHING;
    server_move(s, SERVER_RESETTING);
    counters_of(r, row_of(r, s)->pool)->session_resets++;
    if (how == HANDOVER_QUERY) {
        internal_send(r, s, INTERNAL_RESET, r->options.reset_query);
        return;
    }
    internal_begin(r, s, INTERNAL_RESET);
    snprintf(text, sizeof text, FIRST, seed());
    bool recorded = add_query(r, s, text);
    if (how == HANDOVER_STRICT) {
        /* under the isolation of the first part: it takes a snapshot */
        size_t n = row_of(r, s)->flushes ? sizeof FLUSH - 1 : 0;
        memcpy(text, FLUSH, n);
        put_question(r, s, text + n, (uint32_t)(sizeof text - n));
        recorded &= add_query(r, s, text);
    }
    recorded &= add_query(r, s, "DISCARD ALL");
    if (recorded) conn_flush(&r->loop, &s->io);
    else server_close(r, s, false, "too many requests in flight");
}

/* ---- the answer ---------------------------------------------------------------------------------- */

static bool number_of(const unsigned char *p, uint32_t n, uint32_t *out) {
    char text[11];
    if (!n || n >= sizeof text) return false;
    for (uint32_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9') return false;
        text[i] = (char)p[i];
    }
    text[n] = '\0';
    *out = (uint32_t)strtoull(text, NULL, 10);
    return true;
}

/* The row of a look: a reason or NULL, two numbers.  False: it is another. */
static bool looked(struct relay *r, struct server *s, const unsigned char *body, uint32_t n) {
    const unsigned char *fields[3] = {0};
    uint32_t bytes[3] = {0}, at = 2, function, plpgsql = 0;
    if (n < 2 || body[0] || body[1] != 3) return false;
    for (int i = 0; i < 3; i++) {
        if (n - at < 4) return false;
        uint32_t length = load_be32(body + at);
        at += 4;
        if (length == UINT32_MAX) continue; /* NULL */
        if (length > n - at) return false;
        fields[i] = body + at;
        bytes[i] = length;
        at += length;
    }
    if (!fields[1] || !number_of(fields[1], bytes[1], &function)
        || (fields[2] && !number_of(fields[2], bytes[2], &plpgsql)))
        return false;
    struct pool_row *pool = pool_of(r, s);
    pool->last_function = function > USER_OID ? function : USER_OID;
    pool->plpgsql = plpgsql;
    pool->looked_at = r->loop.now;
    pool->look_took = r->loop.now - s->internal_since;
    pool->beyond = fields[0] != NULL;
    if (pool->beyond) pool->beyond_at = r->loop.now;
    s->found = pool->beyond ? FOUND_BEYOND : FOUND_NOTHING;
    if (pool->beyond)
        snprintf(s->internal_text, sizeof s->internal_text, "no reset undoes what may have run: %.*s",
                 (int)(bytes[0] < 64 ? bytes[0] : 64), (const char *)fields[0]);
    return true;
}

static const char *due(const struct relay *r, const struct server *s) {
    if (s->handover != HANDOVER_STRICT) return DISCARDED[s->reset_step];
    return (row_of(r, s)->flushes ? STRICTLY_FLUSHED : STRICTLY)[s->reset_step];
}

/* A message that answers the reset.  What PostgreSQL never says here makes it a failure. */
void handover_hear(struct relay *r, struct server *s, unsigned char letter, const unsigned char *body,
                   uint32_t n, bool whole) {
    if (s->handover == HANDOVER_QUERY || letter == 'S' || letter == 'N' || s->internal_failed) return;
    const char *wanted = due(r, s);
    if (letter == 'D' && wanted && strcmp(wanted, "CSELECT ") == 0) {
        if (!s->looks) s->found = FOUND_NEWS;
        else if (!whole || !looked(r, s, body, n)) s->internal_failed = true;
        return;
    }
    uint32_t tag = wanted ? (uint32_t)strlen(wanted + 1) : 0;
    bool right = wanted && letter == (unsigned char)wanted[0] && (whole || letter == 'T');
    if (right && letter == 'C')
        right = n > tag && memcmp(body, wanted + 1, tag) == 0 && (wanted[tag] == ' ' || body[tag] == '\0');
    if (right && letter == 'Z') right = n == 1 && body[0] == 'I';
    s->reset_step++;
    if (right) return;
    s->internal_failed = true;
    if (letter != 'E') snprintf(s->internal_text, sizeof s->internal_text, "unexpected answer");
}

/* With PostgreSQL's words where the operator has not written what failed. */
static const char *why_failed(struct server *s) {
    static const char failed[] = "reset query failed";
    char words[sizeof s->internal_text];
    if (s->handover == HANDOVER_QUERY || !s->internal_text[0]) return failed;
    memcpy(words, s->internal_text, sizeof words);
    int space = (int)(sizeof words - sizeof failed - 2);
    snprintf(s->internal_text, sizeof s->internal_text, "%s: %.*s", failed, space, words);
    return s->internal_text;
}

/* All of the answer has come.  Returns why the server has to be closed; NULL: it is as new, or is about to
 * be. */
const char *handover_done(struct relay *r, struct server *s) {
    struct slot_row *row = row_of(r, s);
    enum handover how = (enum handover)s->handover;
    if (s->internal_failed || s->found == FOUND_NO_ANSWER) return why_failed(s);
    if (s->transaction != 'I') return "reset query left a transaction open";
    if (s->found == FOUND_BEYOND) return s->internal_text;
    const struct pool_row *pool = pool_of(r, s);
    if (how == HANDOVER_STRICT && (pool->beyond || pool->beyond_at >= row->left_at))
        return "no reset undoes what may have run there";
    bool all = how != HANDOVER_QUERY || strcasecmp(r->options.reset_query, "DISCARD ALL") == 0;
    row->settings = all ? row->login_settings : (struct digest){0};
    if (all) row->flags &= (uint8_t)~SF_EXTRAS;
    if (all) row->sequence_of = 0;
    if (all) plans_forget(row);
    row->left = all ? LEFT_NOTHING : LEFT_NOTED;
    row->left_by = all ? 0 : SEVERAL;
    s->dirty = false;
    if (s->found != FOUND_NEWS) return NULL;
    /* functions that are not known yet may have run: once more, with a look at them */
    row->left = LEFT_NOTED;
    row->left_by = SEVERAL;
    pool_of(r, s)->looked_at = 0;
    handover_begin(r, s, HANDOVER_STRICT);
    return NULL;
}

/* A client has left: idle servers that it had last do not wait for the next one to be reset. */
void handover_leftovers(struct relay *r, int32_t pool, uint64_t client) {
    if (r->t->pools[pool].limits.session_state != SESSION_STRICT) return;
    for (int32_t slot; (slot = pool_claim_left(r->t, pool, client, r->worker)) != NO_ROW;) {
        struct server *s = server_of(r, slot);
        if (!s || !conn_arm(&r->loop, &s->io)) {
            pool_abandon(r->t, slot);
            continue;
        }
        server_move(s, SERVER_RETURNING);
        s->dirty = s->internal_blocks = s->asks_columns = false;
        handover_begin(r, s, HANDOVER_STRICT);
    }
}
