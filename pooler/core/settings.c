/* Tracked parameters: interning, change of one value, the SET statements that put a whole set in force. */
#include "settings.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sqltext.h"

static uint64_t hash_bytes(const char *p, uint32_t n) {   /* FNV-1a: equal sets, equal hash in every worker */
    uint64_t h = 14695981039346656037ull;
    for (uint32_t i = 0; i < n; i++) h = (h ^ (unsigned char)p[i]) * 1099511628211ull;
    return h ? h : 1;                                     /* 0 in a slot means: unknown */
}

void settings_open(struct settings_store *store, const char *const *names, int count) {
    memset(store, 0, sizeof *store);
    for (int i = 0; i < count && i < TRACKED_MAX; i++) store->tracked.names[store->tracked.count++] = strdup(names[i]);
}

static uint32_t tracked_bytes(const struct settings_store *store, const char *values, uint32_t bytes) {
    uint32_t at = 0;
    for (int i = 0; i < store->tracked.count && at < bytes; i++) at += (uint32_t)strlen(values + at) + 1;
    return at;
}

static bool matters_for_parsing(const char *name) {
    return !strchr(name, '.') && !strstr(name, "timeout") && strcmp(name, "work_mem") != 0;
}

/* Literals are read, and names are looked up, when a statement is parsed: one prepared under other settings (DateStyle,
 * TimeZone, search_path, role, ...) is another statement, whatever its text. */
static uint64_t meaning_of(const struct settings_store *store, const struct settings *s) {
    uint64_t h = 0;
    const char *value = s->values;
    for (int i = 0; i < store->tracked.count && value < s->values + s->tracked_bytes; i++, value += strlen(value) + 1)
        if (strcasecmp(store->tracked.names[i], "application_name") != 0)
            h = h * 31 + hash_bytes(value, (uint32_t)strlen(value) + 1);
    for (const char *p = NULL, *text; settings_next_extra(s, &p, &text);)
        if (matters_for_parsing(p)) h = h * 31 + hash_bytes(p, (uint32_t)(text + strlen(text) - p));
    return h;
}

/* Encodings in which a byte of a character can be a backslash or a letter: the scanner may see what is not there. */
static bool misleading_encoding(const char *name) {
    static const char *const names[] = {"SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB", "SHIFT_JIS_2004"};
    if (!name || strcmp(name, "UTF8") == 0) return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcasecmp(names[i], name) == 0) return true;
    return false;
}

/* A reference to the set with these values (one NUL-terminated text per tracked name, then the extras by name);
 * NULL without memory. */
struct settings *settings_intern(struct settings_store *store, const char *values, uint32_t bytes, bool verified) {
    uint64_t hash = hash_bytes(values, bytes);
    struct settings **bucket = &store->buckets[hash & 255];
    for (struct settings *s = *bucket; s; s = s->next)
        if (s->hash == hash && s->bytes == bytes && memcmp(s->values, values, bytes) == 0) {
            s->verified |= verified;
            return settings_keep(s);
        }
    struct settings *s = malloc(sizeof *s + bytes);
    if (!s) return NULL;
    *s = (struct settings){.next = *bucket, .hash = hash, .references = 1, .verified = verified, .bytes = bytes,
                           .tracked_bytes = tracked_bytes(store, values, bytes)};
    memcpy(s->values, values, bytes);
    s->meaning = meaning_of(store, s);
    const char *strings = settings_value(store, s, "standard_conforming_strings");
    s->backslash = strings && strcmp(strings, "off") == 0;
    s->misleading = misleading_encoding(settings_value(store, s, "client_encoding"));
    return *bucket = s;
}

struct settings *settings_keep(struct settings *s) {
    s->references++;
    return s;
}

void settings_drop(struct settings_store *store, struct settings *s) {
    if (!s || --s->references) return;
    struct settings **at = &store->buckets[s->hash & 255];
    while (*at != s) at = &(*at)->next;
    *at = s->next;
    store->remembered_count -= s->remembered;
    if (s->canonical) settings_drop(store, s->canonical);
    free(s->reports);
    free(s);
}

/* A reference to `from` with one tracked value changed; NULL when the name is not tracked or the set grew too large. */
struct settings *settings_change(struct settings_store *store, const struct settings *from, const char *name,
                                 const char *value) {
    char values[SETTINGS_BYTES];
    uint32_t at = 0, extras = from->bytes - from->tracked_bytes;
    const char *old = from->values;
    bool found = false;
    for (int i = 0; i < store->tracked.count; i++, old += strlen(old) + 1) {
        bool this = strcasecmp(store->tracked.names[i], name) == 0;
        const char *text = this ? value : old;
        size_t n = strlen(text) + 1;
        if (at + n > sizeof values) return NULL;
        memcpy(values + at, text, n);
        at += (uint32_t)n;
        found |= this;
    }
    if (!found || at + extras > sizeof values) return NULL;
    memcpy(values + at, from->values + from->tracked_bytes, extras);
    return settings_intern(store, values, at + extras, from->verified);
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* A reference to `from` with these extras (names and values, in any order) instead of its own; NULL: too many. */
struct settings *settings_with_extras(struct settings_store *store, const struct settings *from, const char *pairs,
                                      uint32_t bytes) {
    char values[SETTINGS_BYTES];
    const char *names[EXTRAS_MAX];
    size_t count = 0;
    uint32_t at = from->tracked_bytes;
    if (at + bytes > sizeof values) return NULL;
    for (const char *p = pairs; p < pairs + bytes;) {
        if (count == EXTRAS_MAX) return NULL;
        names[count++] = p;
        p += strlen(p) + 1;
        p += strlen(p) + 1;
    }
    qsort(names, count, sizeof *names, by_name);
    memcpy(values, from->values, at);
    for (size_t i = 0; i < count; i++) {
        uint32_t n = (uint32_t)strlen(names[i]) + 1;
        n += (uint32_t)strlen(names[i] + n) + 1;
        memcpy(values + at, names[i], n);
        at += n;
    }
    return settings_intern(store, values, at, true);
}

/* A reference to `from` with one extra set, or taken away (value NULL); NULL: too many. */
struct settings *settings_extra(struct settings_store *store, const struct settings *from, const char *name,
                                const char *value) {
    char pairs[SETTINGS_BYTES];
    uint32_t at = 0;
    for (const char *p = from->values + from->tracked_bytes, *end = from->values + from->bytes; p < end;) {
        uint32_t n = (uint32_t)strlen(p) + 1;
        n += (uint32_t)strlen(p + n) + 1;
        if (strcmp(p, name) != 0) {
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
    for (int i = 0; i < store->tracked.count; i++)
        if (strcasecmp(store->tracked.names[i], name) == 0) return true;
    return false;
}

/* A custom setting that is empty again.  When a library has defined it meanwhile, empty is no value of it. */
static uint32_t put_empty(char *out, uint32_t at, uint32_t room, const char *name) {
    at = sql_put(out, at, room, at ? ";SELECT pg_catalog.set_config(" : "SELECT pg_catalog.set_config(");
    at = sql_put(out, sql_put_literal(out, at, room, name), room, ",'',false) WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_settings "
             "WHERE name OPERATOR(pg_catalog.=) ");
    return sql_put(out, sql_put_literal(out, at, room, name), room, ")");
}

/* search_path and other lists: quoting them as one value would make them one name.  set_config() takes the text as it
 * was given and leaves nothing to inject. */
static uint32_t put_set_config(char *out, uint32_t at, uint32_t room, const char *name, const char *value) {
    if (!*value && strchr(name, '.')) return put_empty(out, at, room, name);
    at = sql_put(out, at, room, at ? ";SELECT pg_catalog.set_config(" : "SELECT pg_catalog.set_config(");
    at = sql_put(out, sql_put_literal(out, at, room, name), room, ",");
    return sql_put(out, sql_put_literal(out, at, room, value), room, ",false)");
}

static uint32_t put_tracked(char *out, uint32_t at, uint32_t room, const char *name, const char *value) {
    if (*value == '\0' && strcasecmp(name, "application_name") != 0) return at;   /* not reported by the server */
    if (strcasecmp(name, "search_path") == 0) return put_set_config(out, at, room, name, value);
    at = sql_put(out, at, room, at ? ";SET " : "SET ");
    at = sql_put(out, sql_put(out, at, room, name), room, "=");
    return sql_put_literal(out, at, room, value);
}

/* Who the session is decides what it may set: the role comes last, behind the session's user. */
static int rank(const char *name) {
    return strcmp(name, "role") == 0 ? 2 : strcmp(name, "session_authorization") == 0 ? 1 : 0;
}

/* `SET a='x';SET b='y'`: brings a server from any state to this set; `reset`: from one that may have extras, too.
 * Returns the bytes, `room` or more when it does not fit. */
uint32_t settings_statement(const struct settings_store *store, const struct settings *s, bool reset, char *out,
                            uint32_t room) {
    uint32_t at = reset ? sql_put(out, 0, room, "SET SESSION AUTHORIZATION DEFAULT;RESET ALL") : 0;
    const char *value = s->values;
    for (int i = 0; i < store->tracked.count; i++, value += strlen(value) + 1)
        at = put_tracked(out, at, room, store->tracked.names[i], value);
    for (int turn = 0; turn < 3; turn++)
        for (const char *p = NULL, *text; settings_next_extra(s, &p, &text);)
            if (rank(p) == turn) at = put_set_config(out, at, room, p, text);
    return at;
}

/* Appends what gives all settings the values that they have in this set; RESET ALL does not touch who the session is. */
uint32_t settings_assign_all(const struct settings_store *store, const struct settings *s, char *out, uint32_t room) {
    uint32_t at = 0;
    const char *value = s->values;
    for (int i = 0; i < store->tracked.count; i++, value += strlen(value) + 1)
        at = put_tracked(out, at, room, store->tracked.names[i], value);
    for (const char *p = NULL, *text; settings_next_extra(s, &p, &text);)
        if (!rank(p)) at = put_set_config(out, at, room, p, text);
    return at;
}

/* Appends what gives one setting the value it has in this set; nothing when it has none there. */
uint32_t settings_assign(const struct settings_store *store, const struct settings *s, const char *name, char *out,
                         uint32_t at, uint32_t room) {
    const char *value = settings_value(store, s, name);
    if (!value) return at;
    return settings_tracked(store, name) ? put_tracked(out, at, room, name, value)
                                         : put_set_config(out, at, room, name, value);
}
