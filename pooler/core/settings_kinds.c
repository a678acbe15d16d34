/* Which settings decide what the text of a prepared statement means.
 *
 * Theory.  PostgreSQL reads literals when it parses a statement (DateStyle, TimeZone, IntervalStyle,
 * xmloption, ...), and the statement keeps that meaning whatever is set afterwards.  Names it looks up
 * again whenever the statement runs under another search_path or role: those settings need not be what they
 * were.  What is not known to be without influence is taken for one of the first kind: a statement that is
 * prepared needlessly once more costs little. */
#include <string.h>
#include <strings.h>

#include "settings.h"
#include "sqltext.h"

/* Plans, limits, logs and the like: no literal and no name means anything else.  (Not bytea_output and
 * extra_float_digits: casts of constants to text are made when a statement is planned.) */
static const char *const HARMLESS[] = {
    "application_name", "backend_flush_after", "check_function_bodies", "client_connection_check_interval",
    "client_min_messages", "commit_delay", "commit_siblings", "constraint_exclusion", "cursor_tuple_fraction",
    "deadlock_timeout", "default_statistics_target", "effective_cache_size", "effective_io_concurrency",
    "exit_on_error", "from_collapse_limit", "gin_pending_list_limit", "hash_mem_multiplier", "join_collapse_limit",
    "lc_messages", "logical_decoding_work_mem", "maintenance_io_concurrency", "maintenance_work_mem",
    "plan_cache_mode", "recursive_worktable_factor", "stats_fetch_consistency", "synchronous_commit", "temp_buffers",
    "temp_file_limit", "work_mem",
};
static const char *const HARMLESS_PREFIXES[] = {
    "cpu_", "debug_", "default_transaction_", "enable_", "geqo", "jit", "log_", "max_parallel_", "min_parallel_",
    "parallel_", "tcp_", "track_", "transaction_", "vacuum_", "wal_",
};
static const char *const HARMLESS_SUFFIXES[] = {"_timeout", "_page_cost"};

/* Settings with a dot are the application's own, which only functions read, but for those of libraries that
 * take part in parsing. */
static const char *const LIBRARIES[] = {
    "plpgsql.", "postgis.", "pg_hint_plan.", "sepgsql.", "babelfishpg_tsql.", "orafce.", "age.",
};

/* What PostgreSQL compares, or plans again for, when a statement runs. */
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

/* Whether a setting is known to be without influence on what a text means. */
bool settings_harmless(const char *name, uint32_t bytes) {
    if (memchr(name, '.', bytes)) return !begins_with_one(LIBRARIES, COUNT(LIBRARIES), name, bytes);
    for (size_t i = 0; i < COUNT(HARMLESS_SUFFIXES); i++) {
        size_t n = strlen(HARMLESS_SUFFIXES[i]);
        if (n < bytes && strncasecmp(name + bytes - n, HARMLESS_SUFFIXES[i], n) == 0) return true;
    }
    return is_one_of(HARMLESS, COUNT(HARMLESS), name, bytes)
        || begins_with_one(HARMLESS_PREFIXES, COUNT(HARMLESS_PREFIXES), name, bytes);
}

static bool is_followed(const char *name) {
    return is_one_of(FOLLOWED, COUNT(FOLLOWED), name, (uint32_t)strlen(name));
}

static bool is_literal(const char *name) {
    return !settings_harmless(name, (uint32_t)strlen(name)) && !is_followed(name);
}

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
    s->paths = digest_where(store, s, is_followed);
}

/* One more call; value NULL: what it is without having been set. */
static uint32_t put_local(char *out, uint32_t at, uint32_t room, const char *name, const char *value,
                          const char *encoding) {
    at = sql_put(out, at, room, at ? ",pg_catalog.set_config(" : "SELECT pg_catalog.set_config(");
    at = sql_put(out, sql_put_literal(out, at, room, name), room, ",");
    if (value) {
        at = sql_put_encoded(out, at, room, value, encoding);
    } else {
        at = sql_put(out, at, room, "(SELECT reset_val FROM pg_catalog.pg_settings");
        at = sql_put(out, at, room, " WHERE name OPERATOR(pg_catalog.=) ");
        at = sql_put(out, sql_put_literal(out, at, room, name), room, ")");
    }
    return sql_put(out, at, room, ",true)");
}

/* Writes the query that puts in force, until the transaction ends, what literals are read under in `to`,
 * where `from` is in force.  Returns its bytes; `room` or more when it does not fit. */
uint32_t settings_switch(const struct settings_store *store, const struct settings *from, const struct settings *to,
                         char *out, uint32_t room) {
    uint32_t at = 0;
    const char *old = from->values, *new = to->values, *encoding = settings_value(store, to, "client_encoding");
    for (int i = 0; i < store->tracked.count; i++, old += strlen(old) + 1, new += strlen(new) + 1)
        if (*new && strcmp(old, new) != 0 && is_literal(store->tracked.names[i]))
            at = put_local(out, at, room, store->tracked.names[i], new, encoding);
    for (const char *name = NULL, *value, *there; settings_next_extra(to, &name, &value);) {
        if (!is_literal(name)) continue;
        there = settings_find_extra(from, name);
        if (!there || strcmp(there, value) != 0) at = put_local(out, at, room, name, value, NULL);
    }
    for (const char *name = NULL, *value; settings_next_extra(from, &name, &value);)
        if (is_literal(name) && !settings_find_extra(to, name)) at = put_local(out, at, room, name, NULL, NULL);
    return at;
}
