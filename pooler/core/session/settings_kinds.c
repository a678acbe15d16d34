/* Which settings decide what the text of a prepared statement means, and how it is planned.
 *
 * Theory.  PostgreSQL reads literals when it parses a statement (DateStyle, TimeZone, IntervalStyle,
 * xmloption, ...), and once more, under what is in force then, when the statement is used after something
 * has invalidated it: DDL, ANALYZE, DISCARD PLANS.  Names it looks up again whenever the statement runs
 * under another search_path or role.  Plans it makes under what is in force, and keeps.  So a statement is
 * shared by those only who parse it and run it under the same settings of all three kinds
 * (statements/parse_settings.c); those of the first are put in force for a Parse of ours.  What is not known
 * to be without influence is taken for one of the first kind: a statement that is prepared needlessly once
 * more costs little. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "session/settings.h"
#include "sql/builder.h"

/* Limits, logs and the like: no literal and no name means anything else, and no plan is another.  (Not
 * bytea_output and extra_float_digits: casts of constants to text are made when a statement is planned.) */
static const char *const HARMLESS[] = {
    "application_name",          "backend_flush_after",
    "check_function_bodies",     "client_connection_check_interval",
    "client_min_messages",       "commit_delay",
    "commit_siblings",           "deadlock_timeout",
    "default_statistics_target", "exit_on_error",
    "gin_pending_list_limit",    "lc_messages",
    "logical_decoding_work_mem", "maintenance_io_concurrency",
    "maintenance_work_mem",      "stats_fetch_consistency",
    "synchronous_commit",        "temp_buffers",
    "temp_file_limit",
};
static const char *const HARMLESS_PREFIXES[] = {
    "debug_", "default_transaction_", "log_", "tcp_", "track_", "transaction_", "vacuum_", "wal_",
};
static const char *const HARMLESS_SUFFIXES[] = {"_timeout"};

/* What plans are made by. */
static const char *const PLANNING[] = {
    "constraint_exclusion",     "cursor_tuple_fraction", "debug_parallel_query",       "effective_cache_size",
    "effective_io_concurrency", "force_parallel_mode",   "from_collapse_limit",        "hash_mem_multiplier",
    "join_collapse_limit",      "plan_cache_mode",       "recursive_worktable_factor", "work_mem",
};
static const char *const PLANNING_PREFIXES[] = {
    "cpu_", "enable_", "geqo", "jit", "max_parallel_", "min_parallel_", "parallel_",
};
static const char *const PLANNING_SUFFIXES[] = {"_page_cost"};

/* Settings with a dot are the application's own, which only functions read, but for those of libraries that
 * take part in parsing. */
static const char *const LIBRARIES[] = {
    "plpgsql.", "postgis.", "pg_hint_plan.", "sepgsql.", "babelfishpg_tsql.", "orafce.", "age.",
};

/* What PostgreSQL compares, or plans again for, when a statement runs: a Parse need not be made under
 * them. */
static const char *const FOLLOWED[] = {"search_path", "role", "session_authorization", "row_security",
                                       "session_replication_role"};

#define COUNT(a) (sizeof(a) / sizeof *(a))

static bool is_one_of(const char *const *list, size_t count, const char *name, uint32_t bytes) {
    for (size_t i = 0; i < count; i++)
        if (strlen(list[i]) == bytes && strncasecmp(list[i], name, bytes) == 0) return true;
    return false;
}

static bool begins_with_one(const char *const *list, size_t count, const char *name, uint32_t bytes) {
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(list[i]);
        if (n <= bytes && strncasecmp(list[i], name, n) == 0) return true;
    }
    return false;
}

static bool ends_with_one(const char *const *list, size_t count, const char *name, uint32_t bytes) {
    for (size_t i = 0; i < count; i++) {
        size_t n = strlen(list[i]);
        if (n < bytes && strncasecmp(name + bytes - n, list[i], n) == 0) return true;
    }
    return false;
}

static bool is_planning(const char *name, uint32_t bytes) {
    return is_one_of(PLANNING, COUNT(PLANNING), name, bytes)
        || begins_with_one(PLANNING_PREFIXES, COUNT(PLANNING_PREFIXES), name, bytes)
        || ends_with_one(PLANNING_SUFFIXES, COUNT(PLANNING_SUFFIXES), name, bytes);
}

/* Whether a setting is known to be without influence on what a text means, and how it is planned. */
bool settings_harmless(const char *name, uint32_t bytes) {
    if (memchr(name, '.', bytes)) return !begins_with_one(LIBRARIES, COUNT(LIBRARIES), name, bytes);
    if (is_planning(name, bytes)) return false;
    return is_one_of(HARMLESS, COUNT(HARMLESS), name, bytes)
        || begins_with_one(HARMLESS_PREFIXES, COUNT(HARMLESS_PREFIXES), name, bytes)
        || ends_with_one(HARMLESS_SUFFIXES, COUNT(HARMLESS_SUFFIXES), name, bytes);
}

static bool counts_when_run(const char *name) { return !settings_harmless(name, (uint32_t)strlen(name)); }

/* Whether literals may be read under it. */
bool settings_literal(const char *name, uint32_t bytes) {
    return !settings_harmless(name, bytes) && !is_one_of(FOLLOWED, COUNT(FOLLOWED), name, bytes)
        && !is_planning(name, bytes);
}

static bool is_literal(const char *name) { return settings_literal(name, (uint32_t)strlen(name)); }

/* The digest of the settings of one kind; of the tracked ones their places tell the names. */
static struct digest digest_where(const struct settings_store *store, const struct settings *s,
                                  bool (*counts)(const char *name)) {
    char text[SETTINGS_BYTES];
    uint32_t at = 0, n;
    struct digest d;
    const char *value = s->values, *end = s->values + s->tracked_bytes;
    for (int i = 0; i < store->tracked.count && value < end; i++, value += strlen(value) + 1) {
        if (!counts(store->tracked.names[i])) continue;
        n = (uint32_t)strlen(value) + 1;
        memcpy(text + at, value, n);
        at += n;
    }
    for (const char *name = NULL, *extra; settings_next_extra(s, &name, &extra);) {
        if (!counts(name)) continue;
        n = (uint32_t)(extra + strlen(extra) + 1 - name);
        memcpy(text + at, name, n);
        at += n;
    }
    digest_of(store->key, (unsigned char *)text, at, &d);
    return d;
}

void settings_classify(const struct settings_store *store, struct settings *s) {
    s->literals = digest_where(store, s, is_literal);
    s->run = digest_where(store, s, counts_when_run);
}

/* Where what was in force is kept meanwhile: a setting of ours. */
static uint32_t put_kept(char *out, uint32_t at, uint32_t room, int number) {
    char name[32];
    snprintf(name, sizeof name, "'pooler.kept_%d'", number);
    return sql_put(out, at, room, name);
}

static uint32_t put_current(char *out, uint32_t at, uint32_t room, const char *name) {
    at = sql_put(out, at, room, "pg_catalog.current_setting(");
    return sql_put(out, sql_put_literal(out, at, room, name), room, ",true)");
}

struct change_text {
    char *out;
    uint32_t at, room;
    enum switching how;
    int count;
};

static void put(struct change_text *t, const char *text) { t->at = sql_put(t->out, t->at, t->room, text); }

/* One more setting; value NULL: what it is without having been set. */
static void put_local(struct change_text *t, const char *name, const char *value, const char *encoding) {
    int number = t->count++;
    put(t, number ? ",pg_catalog.set_config(" : "SELECT pg_catalog.set_config(");
    if (t->how == SWITCH_KEEPING) {
        t->at = put_kept(t->out, t->at, t->room, number);
        put(t, ",");
        t->at = put_current(t->out, t->at, t->room, name);
        put(t, ",true),pg_catalog.set_config(");
    }
    t->at = sql_put_literal(t->out, t->at, t->room, name);
    put(t, ",");
    if (t->how == SWITCH_BACK) {
        put(t, "pg_catalog.current_setting(");
        t->at = put_kept(t->out, t->at, t->room, number);
        put(t, ",true)");
    } else if (value) {
        t->at = sql_put_encoded(t->out, t->at, t->room, value, encoding);
    } else {
        put(t, "(SELECT reset_val FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) ");
        t->at = sql_put_literal(t->out, t->at, t->room, name);
        put(t, ")");
    }
    put(t, ",true)");
}

/* Writes the query that puts in force, until the transaction ends, what literals are read under in `to`,
 * where `from` is in force (SWITCH_KNOWN), or may be, or something else (SWITCH_KEEPING); and the one that
 * brings that back (SWITCH_BACK, of the same two).  Returns its bytes; `room` or more when it does not
 * fit. */
uint32_t settings_switch(const struct settings_store *store, const struct settings *from,
                         const struct settings *to, enum switching how, char *out, uint32_t room) {
    struct change_text t = {.out = out, .room = room, .how = how};
    bool all = how != SWITCH_KNOWN;
    if (!all && digest_same(from->literals, to->literals)) return 0;
    const char *old = from->values, *new = to->values,
               *encoding = settings_value(store, to, "client_encoding");
    for (int i = 0; i < store->tracked.count; i++, old += strlen(old) + 1, new += strlen(new) + 1)
        if (*new && (all || strcmp(old, new) != 0) && is_literal(store->tracked.names[i]))
            put_local(&t, store->tracked.names[i], new, encoding);
    for (const char *name = NULL, *value, *there; settings_next_extra(to, &name, &value);) {
        if (!is_literal(name)) continue;
        there = settings_find_extra(from, name);
        if (all || !there || strcmp(there, value) != 0) put_local(&t, name, value, NULL);
    }
    for (const char *name = NULL, *value; settings_next_extra(from, &name, &value);)
        if (is_literal(name) && !settings_find_extra(to, name)) put_local(&t, name, NULL, NULL);
    return t.at;
}
