/* Tracked parameters: interning, change of one value, the SET statements that put a whole set in force. */
#include "settings.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static uint64_t hash_bytes(const char *p, uint32_t n) {   /* FNV-1a: equal sets, equal hash in every worker */
    uint64_t h = 14695981039346656037ull;
    for (uint32_t i = 0; i < n; i++) h = (h ^ (unsigned char)p[i]) * 1099511628211ull;
    return h ? h : 1;                                     /* 0 in a slot means: unknown */
}

void settings_open(struct settings_store *store, const char *const *names, int count) {
    memset(store, 0, sizeof *store);
    for (int i = 0; i < count && i < TRACKED_MAX; i++) store->tracked.names[store->tracked.count++] = strdup(names[i]);
}

/* A reference to the set with these values (one NUL-terminated text per tracked name); NULL without memory. */
struct settings *settings_intern(struct settings_store *store, const char *values, uint32_t bytes, bool verified) {
    uint64_t hash = hash_bytes(values, bytes);
    struct settings **bucket = &store->buckets[hash & 255];
    for (struct settings *s = *bucket; s; s = s->next)
        if (s->hash == hash && s->bytes == bytes && memcmp(s->values, values, bytes) == 0) {
            s->references++;
            s->verified |= verified;
            return s;
        }
    struct settings *s = malloc(sizeof *s + bytes);
    if (!s) return NULL;
    *s = (struct settings){.next = *bucket, .hash = hash, .references = 1, .verified = verified, .bytes = (uint16_t)bytes};
    memcpy(s->values, values, bytes);
    return *bucket = s;
}

void settings_drop(struct settings_store *store, struct settings *s) {
    if (!s || --s->references) return;
    struct settings **at = &store->buckets[s->hash & 255];
    while (*at != s) at = &(*at)->next;
    *at = s->next;
    free(s);
}

/* A reference to `from` with one value changed; NULL when the name is not tracked or the set grew too large. */
struct settings *settings_change(struct settings_store *store, const struct settings *from, const char *name,
                                 const char *value) {
    char values[SETTINGS_BYTES];
    uint32_t at = 0;
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
    return found ? settings_intern(store, values, at, true) : NULL;
}

bool settings_tracked(const struct settings_store *store, const char *name) {
    for (int i = 0; i < store->tracked.count; i++)
        if (strcasecmp(store->tracked.names[i], name) == 0) return true;
    return false;
}

static uint32_t put(char *out, uint32_t at, uint32_t room, const char *text) {
    for (; *text && at < room; text++) out[at++] = *text;
    return at;
}

/* A literal that means the same whatever standard_conforming_strings is. */
static uint32_t put_literal(char *out, uint32_t at, uint32_t room, const char *value) {
    if (strchr(value, '\\')) at = put(out, at, room, "E");
    at = put(out, at, room, "'");
    for (char c[2] = {0}; *value; value++) {
        c[0] = *value;
        if (c[0] == '\'' || c[0] == '\\') at = put(out, at, room, c);
        at = put(out, at, room, c);
    }
    return put(out, at, room, "'");
}

/* `SET a='x';SET b='y'`: brings a server from any state to this set.  Returns the bytes, `room` or more when it
 * does not fit.  search_path is a list, and quoting it as one value would make it one name: set_config() takes
 * the text as it was given and leaves nothing to inject. */
uint32_t settings_statement(const struct settings_store *store, const struct settings *s, char *out, uint32_t room) {
    uint32_t at = 0;
    const char *value = s->values;
    for (int i = 0; i < store->tracked.count; i++, value += strlen(value) + 1) {
        const char *name = store->tracked.names[i];
        if (*value == '\0' && strcasecmp(name, "application_name") != 0) continue;   /* not reported by the server */
        bool list = strcasecmp(name, "search_path") == 0;
        if (at) at = put(out, at, room, ";");
        at = put(out, at, room, list ? "SELECT pg_catalog.set_config('" : "SET ");
        at = put(out, put(out, at, room, name), room, list ? "'," : "=");
        at = put_literal(out, at, room, value);
        if (list) at = put(out, at, room, ",false)");
    }
    return at;
}
