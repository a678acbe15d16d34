/* Settings by name: which have influence on what a text means, and on how literals are read. */
#include "sql/setting_names.h"

#include <string.h>
#include <strings.h>

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
bool setting_is_harmless(const char *name, uint32_t bytes) {
    if (memchr(name, '.', bytes)) return !begins_with_one(LIBRARIES, COUNT(LIBRARIES), name, bytes);
    if (is_planning(name, bytes)) return false;
    return is_one_of(HARMLESS, COUNT(HARMLESS), name, bytes)
        || begins_with_one(HARMLESS_PREFIXES, COUNT(HARMLESS_PREFIXES), name, bytes)
        || ends_with_one(HARMLESS_SUFFIXES, COUNT(HARMLESS_SUFFIXES), name, bytes);
}

/* Whether literals may be read under it. */
bool setting_is_literal(const char *name, uint32_t bytes) {
    return !setting_is_harmless(name, bytes) && !is_one_of(FOLLOWED, COUNT(FOLLOWED), name, bytes)
        && !is_planning(name, bytes);
}
