/* Tracked parameters: interning, change of one value, the SET statements that put a whole set in force. */
#include "session/settings.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "session/settings_kinds.h"
#include "sql/builder.h"
#include "sql/digest.h"

void settings_open(struct settings_store *store, const uint64_t key[2], const char *const *names, int count) {
    memset(store, 0, sizeof *store);
    memcpy(store->key, key, sizeof store->key);
    for (int i = 0; i < count && i < TRACKED_MAX; i++)
        store->tracked.names[store->tracked.count++] = strdup(names[i]);
}

static uint32_t tracked_bytes(const struct settings_store *store, const char *values, uint32_t bytes) {
    uint32_t at = 0;
    for (int i = 0; i < store->tracked.count && at < bytes; i++) at += (uint32_t)strlen(values + at) + 1;
    return at;
}

/* Encodings in which each byte of a character beyond ASCII is beyond ASCII, too, as their names begin without
 * blanks and the like.  In all others (SJIS, BIG5, GBK, ...) one can be a backslash or a letter: the scanner
 * may see what is not there. */
static bool misleading_encoding(const char *name) {
    static const char *const plain[] = {
        "utf8",   "unicode",    "sqlascii",   "latin", "iso8859", "win125", "windows125", "win866",
        "win874", "windows866", "windows874", "koi8",  "euc",     "mule",   "alt",        "tcvn"};
    char clean[16];
    size_t n = 0;
    if (!name || strcmp(name, "UTF8") == 0) return false;
    for (; *name && n < sizeof clean - 1; name++)
        if (isalnum((unsigned char)*name)) clean[n++] = (char)tolower((unsigned char)*name);
    clean[n] = '\0';
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (strncmp(clean, plain[i], strlen(plain[i])) == 0) return false;
    return true;
}

/* Without memory chains get longer. */
static void store_grow(struct settings_store *store) {
    uint32_t capacity = store->capacity ? store->capacity * 2 : 64;
    struct settings **buckets = calloc(capacity, sizeof *buckets);
    if (!buckets) return;
    for (uint32_t b = 0; b < store->capacity; b++)
        for (struct settings *s = store->buckets[b], *next; s; s = next) {
            next = s->next;
            s->next = buckets[s->digest.low & (capacity - 1)];
            buckets[s->digest.low & (capacity - 1)] = s;
        }
    free(store->buckets);
    store->buckets = buckets;
    store->capacity = capacity;
}

/* A reference to the set of this pool with these values (one NUL-terminated text per tracked name, then the
 * extras by name); NULL without memory, and for more than a set can have. */
struct settings *settings_intern(struct settings_store *store, const struct settings_scope *scope,
                                 const char *values, uint32_t bytes, bool verified) {
    if (bytes > SETTINGS_BYTES) return NULL;
    struct digest of_scope, digest;
    digest_of(store->key, (const unsigned char *)scope, sizeof *scope, &of_scope);
    const uint64_t key[2] = {of_scope.high, of_scope.low};
    digest_of(key, (const unsigned char *)values, bytes, &digest);
    if (store->count >= store->capacity) store_grow(store);
    if (!store->capacity) {
        store->starved = true;
        return NULL;
    }
    struct settings **bucket = &store->buckets[digest.low & (store->capacity - 1)];
    for (struct settings *s = *bucket; s; s = s->next)
        if (digest_same(s->digest, digest)) {
            s->verified |= verified;
            return settings_keep(s);
        }
    struct settings *s = malloc(sizeof *s + bytes);
    if (!s) {
        store->starved = true;
        return NULL;
    }
    *s = (struct settings){.next = *bucket,
                           .scope = *scope,
                           .digest = digest,
                           .references = 1,
                           .verified = verified,
                           .bytes = bytes,
                           .tracked_bytes = tracked_bytes(store, values, bytes)};
    memcpy(s->values, values, bytes);
    settings_classify(store, s);
    const char *strings = settings_value(store, s, "standard_conforming_strings");
    s->backslash = strings && strcmp(strings, "off") == 0;
    s->particular = settings_find_extra(s, "temp_buffers");
    s->misleading = misleading_encoding(settings_value(store, s, "client_encoding"));
    store->count++;
    return *bucket = s;
}

/* Whether the last set was not made for want of memory; else it was too large, or none was to be made. */
bool settings_starved(const struct settings_store *store) { return store->starved; }

struct settings *settings_keep(struct settings *s) {
    s->references++;
    return s;
}

void settings_drop(struct settings_store *store, struct settings *s) {
    if (!s || --s->references) return;
    struct settings **at = &store->buckets[s->digest.low & (store->capacity - 1)];
    while (*at != s) at = &(*at)->next;
    *at = s->next;
    store->count--;
    if (s->canonical) settings_drop(store, s->canonical);
    free(s->reports);
    free(s);
}

/* The place of a tracked name; -1: it is none. */
static int tracked_place(const struct settings_store *store, const char *name) {
    for (int i = 0; i < store->tracked.count; i++)
        if (strcasecmp(store->tracked.names[i], name) == 0) return i;
    return -1;
}

/* A reference to `from` with one tracked value changed; NULL when the name is not tracked or the set grew too
 * large. */
struct settings *settings_change(struct settings_store *store, const struct settings *from, const char *name,
                                 const char *value) {
    char values[SETTINGS_BYTES];
    store->starved = false;
    int place = tracked_place(store, name);
    if (place < 0) return NULL;
    const char *old = from->values;
    for (int i = 0; i < place; i++) old += strlen(old) + 1;
    size_t before = (size_t)(old - from->values), n = strlen(value) + 1;
    size_t rest = from->bytes - before - (strlen(old) + 1);
    if (before + n + rest > sizeof values) return NULL;
    memcpy(values, from->values, before);
    memcpy(values + before, value, n);
    memcpy(values + before + n, old + strlen(old) + 1, rest);
    return settings_intern(store, &from->scope, values, (uint32_t)(before + n + rest), from->verified);
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A reference to `from` with these extras (names and values, in any order) instead of its own; NULL: too
 * many. */
struct settings *settings_with_extras(struct settings_store *store, const struct settings *from,
                                      const char *pairs, uint32_t bytes) {
    char values[SETTINGS_BYTES];
    const char *names[EXTRAS_MAX];
    size_t count = 0;
    store->starved = false;
    uint32_t at = from->tracked_bytes;
    if (at + bytes > sizeof values) return NULL;
    for (const char *p = pairs, *end = pairs + bytes; p < end;) {
        if (count == EXTRAS_MAX) return NULL;
        names[count++] = p;
        for (int text = 0; text < 2; text++) { /* a name and its value, both with their NUL */
            const char *zero = p < end ? memchr(p, 0, (size_t)(end - p)) : NULL;
            if (!zero) return NULL;
            p = zero + 1;
        }
    }
    qsort(names, count, sizeof *names, by_name);
    memcpy(values, from->values, at);
    for (size_t i = 0; i < count; i++) {
        uint32_t n = (uint32_t)strlen(names[i]) + 1;
        n += (uint32_t)strlen(names[i] + n) + 1;
        if (n > sizeof values - at) return NULL;
        memcpy(values + at, names[i], n);
        at += n;
    }
    return settings_intern(store, &from->scope, values, at, true);
}

/* A reference to `from` with one extra set, or taken away (value NULL); NULL: too many. */
struct settings *settings_extra(struct settings_store *store, const struct settings *from, const char *name,
                                const char *value) {
    char pairs[SETTINGS_BYTES];
    store->starved = false;
    uint32_t at = 0;
    for (const char *p = from->values + from->tracked_bytes, *end = from->values + from->bytes; p < end;) {
        uint32_t n = (uint32_t)strlen(p) + 1;
        n += (uint32_t)strlen(p + n) + 1;
        if (strcmp(p, name) != 0) {
            if (n > sizeof pairs - at) return NULL;
            memcpy(pairs + at, p, n);
            at += n;
        }
        p += n;
    }
    if (value) {
        size_t n = strlen(name) + 1, m = strlen(value) + 1;
        if (at + n + m > sizeof pairs) return NULL;
        memcpy(pairs + at, name, n);
        memcpy(pairs + at + n, value, m);
        at += (uint32_t)(n + m);
    }
    return settings_with_extras(store, from, pairs, at);
}

/* Goes through the extras; `name` begins with NULL. */
bool settings_next_extra(const struct settings *s, const char **name, const char **value) {
    *name = *name ? *value + strlen(*value) + 1 : s->values + s->tracked_bytes;
    if (*name >= s->values + s->bytes) return false;
    *value = *name + strlen(*name) + 1;
    return true;
}

const char *settings_find_extra(const struct settings *s, const char *name) {
    for (const char *p = NULL, *value; settings_next_extra(s, &p, &value);)
        if (strcmp(p, name) == 0) return value;
    return NULL;
}

bool settings_has_extras(const struct settings *s) { return s->bytes > s->tracked_bytes; }

/* The value of a tracked parameter or an extra; NULL: neither. */
const char *settings_value(const struct settings_store *store, const struct settings *s, const char *name) {
    const char *value = s->values;
    for (int i = 0; i < store->tracked.count; i++, value += strlen(value) + 1)
        if (strcasecmp(store->tracked.names[i], name) == 0) return value;
    return settings_find_extra(s, name);
}

bool settings_tracked(const struct settings_store *store, const char *name) {
    return tracked_place(store, name) >= 0;
}

/* A custom setting that is empty again.  When a library has defined it meanwhile, empty is no value of it. */
static uint32_t put_empty(char *out, uint32_t at, uint32_t space, const char *name) {
    at = sql_put(out, at, space, at ? ";SELECT pg_catalog.set_config(" : "SELECT pg_catalog.set_config(");
    at = sql_put(out, sql_put_literal(out, at, space, name), space,
                 ",'',false) WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_settings "
                 "WHERE name OPERATOR(pg_catalog.=) ");
    return sql_put(out, sql_put_literal(out, at, space, name), space, ")");
}

/* search_path and other lists: quoting them as one value would make them one name.  set_config() takes the
 * text as it was given. */
static uint32_t put_set_config(char *out, uint32_t at, uint32_t space, const char *name, const char *value,
                               const char *encoding) {
    if (!*value && strchr(name, '.')) return put_empty(out, at, space, name);
    at = sql_put(out, at, space, at ? ";SELECT pg_catalog.set_config(" : "SELECT pg_catalog.set_config(");
    at = sql_put(out, sql_put_literal(out, at, space, name), space, ",");
    return sql_put(out, sql_put_encoded(out, at, space, value, encoding), space, ",false)");
}

/* The encoding in which the tracked values of a set were told: the client's, or, as they stood in a startup
 * packet, none: PostgreSQL takes those for text in the encoding of the database. */
static const char *encoding_of(const struct settings_store *store, const struct settings *s) {
    return s->verified ? settings_value(store, s, "client_encoding") : NULL;
}

static uint32_t put_tracked(char *out, uint32_t at, uint32_t space, const char *name, const char *value,
                            const char *encoding) {
    /* not reported by the server */
    if (*value == '\0' && strcasecmp(name, "application_name") != 0) return at;
    if (strcasecmp(name, "search_path") == 0 || !sql_plain(value))
        return put_set_config(out, at, space, name, value, encoding);
    at = sql_put(out, at, space, at ? ";SET " : "SET ");
    at = sql_put(out, sql_put(out, at, space, name), space, "=");
    return sql_put_literal(out, at, space, value);
}

/* The session's role decides what it may set: the role comes last, behind the session's user. */
static int rank(const char *name) {
    return strcmp(name, "role") == 0 ? 2 : strcmp(name, "session_authorization") == 0 ? 1 : 0;
}

/* `SET a='x';SET b='y'`: brings a server from any state to this set; `reset`: from one that may have extras,
 * too. Returns the bytes, `space` or more when it does not fit. */
uint32_t settings_statement(const struct settings_store *store, const struct settings *s, bool reset,
                            char *out, uint32_t space) {
    /* the settings of somebody else are in force: their limits are not for us, nor the waiting for a safe
     * snapshot */
    static const char begin[] =
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;SET LOCAL statement_timeout=0;"
        "SET LOCAL lock_timeout=0;SET SESSION AUTHORIZATION DEFAULT;RESET ALL";
    uint32_t at = reset ? sql_put(out, 0, space, begin) : 0;
    const char *value = s->values, *encoding = encoding_of(store, s);
    for (int i = 0; i < store->tracked.count; i++, value += strlen(value) + 1)
        at = put_tracked(out, at, space, store->tracked.names[i], value, encoding);
    for (int turn = 0; turn < 3; turn++)
        for (const char *p = NULL, *text; settings_next_extra(s, &p, &text);)
            if (rank(p) == turn) at = put_set_config(out, at, space, p, text, NULL);
    return at;
}

/* The same in one SELECT, for a set and a server without extras. */
uint32_t settings_select(const struct settings_store *store, const struct settings *s, char *out,
                         uint32_t space) {
    uint32_t at = sql_put(out, 0, space, "SELECT ");
    const char *value = s->values, *encoding = encoding_of(store, s), *comma = "";
    for (int i = 0; i < store->tracked.count; i++, value += strlen(value) + 1) {
        const char *name = store->tracked.names[i];
        if (*value == '\0' && strcasecmp(name, "application_name") != 0) continue;
        at = sql_put(out, sql_put(out, at, space, comma), space, "pg_catalog.set_config(");
        at = sql_put(out, sql_put_literal(out, at, space, name), space, ",");
        at = sql_put(out, sql_put_encoded(out, at, space, value, encoding), space, ",false)");
        comma = ",";
    }
    return at;
}

/* Appends what gives all settings the values that they have in this set; RESET ALL does not touch who the
 * session is. */
uint32_t settings_assign_all(const struct settings_store *store, const struct settings *s, char *out,
                             uint32_t space) {
    uint32_t at = 0;
    const char *value = s->values, *encoding = encoding_of(store, s);
    for (int i = 0; i < store->tracked.count; i++, value += strlen(value) + 1)
        at = put_tracked(out, at, space, store->tracked.names[i], value, encoding);
    for (const char *p = NULL, *text; settings_next_extra(s, &p, &text);)
        if (!rank(p)) at = put_set_config(out, at, space, p, text, NULL);
    return at;
}

/* Appends what gives one setting the value it has in this set; nothing when it has none there. */
uint32_t settings_assign(const struct settings_store *store, const struct settings *s, const char *name,
                         char *out, uint32_t at, uint32_t space) {
    const char *value = settings_value(store, s, name);
    if (!value) return at;
    return settings_tracked(store, name) ? put_tracked(out, at, space, name, value, encoding_of(store, s))
                                         : put_set_config(out, at, space, name, value, NULL);
}

/* A condition: nothing of the session has set that setting.  PostgreSQL does not tell that of a setting that
 * no library has defined: there it is empty; nor of `role`. */
static uint32_t put_unset(char *out, uint32_t at, uint32_t space, const char *name) {
    static const char of[] = "EXISTS (SELECT FROM pg_catalog.pg_settings"
                             " WHERE pg_catalog.lower(name) OPERATOR(pg_catalog.=) pg_catalog.lower(";
    at = sql_put_literal(out, sql_put(out, sql_put(out, at, space, " WHERE NOT "), space, of), space, name);
    at = sql_put(out, at, space, ") AND source OPERATOR(pg_catalog.=) 'session')");
    if (strcmp(name, "role") == 0)
        return sql_put(out, at, space,
                       " AND pg_catalog.current_setting('role') OPERATOR(pg_catalog.=) 'none'");
    if (!strchr(name, '.')) return at;
    at = sql_put_literal(out, sql_put(out, sql_put(out, at, space, " AND ("), space, of), space, name);
    at = sql_put(out, at, space, ")) OR COALESCE(pg_catalog.current_setting(");
    at = sql_put_literal(out, at, space, name);
    return sql_put(out, at, space, ",true),'') OPERATOR(pg_catalog.=) '')");
}

/* The same as settings_assign(), where nothing of the session has set it. */
uint32_t settings_assign_unset(const struct settings_store *store, const struct settings *s, const char *name,
                               char *out, uint32_t at, uint32_t space) {
    const char *value = settings_value(store, s, name);
    /* what is not reported by the server, or has no value */
    if (!value || (!*value && strcasecmp(name, "application_name") != 0)) return at;
    const char *encoding = settings_tracked(store, name) ? encoding_of(store, s) : NULL;
    return put_unset(out, put_set_config(out, at, space, name, value, encoding), space, name);
}
