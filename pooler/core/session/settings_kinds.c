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
#include "session/settings_kinds.h"

#include <stdio.h>
#include <string.h>

#include "session/settings.h"
#include "sql/builder.h"
#include "sql/digest.h"
#include "sql/setting_names.h"

static bool counts_when_run(const char *name) { return !setting_is_harmless(name, (uint32_t)strlen(name)); }

static bool is_literal(const char *name) { return setting_is_literal(name, (uint32_t)strlen(name)); }

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
static uint32_t put_kept(char *out, uint32_t at, uint32_t space, int number) {
    char name[32];
    snprintf(name, sizeof name, "'pooler.kept_%d'", number);
    return sql_put(out, at, space, name);
}

static uint32_t put_current(char *out, uint32_t at, uint32_t space, const char *name) {
    at = sql_put(out, at, space, "pg_catalog.current_setting(");
    return sql_put(out, sql_put_literal(out, at, space, name), space, ",true)");
}

struct change_text {
    char *out;
    uint32_t at, space;
    enum switching how;
    int count;
};

static void put(struct change_text *t, const char *text) { t->at = sql_put(t->out, t->at, t->space, text); }

/* One more setting; value NULL: what it is without having been set. */
static void put_local(struct change_text *t, const char *name, const char *value, const char *encoding) {
    int number = t->count++;
    put(t, number ? ",pg_catalog.set_config(" : "SELECT pg_catalog.set_config(");
    if (t->how == SWITCH_KEEPING) {
        t->at = put_kept(t->out, t->at, t->space, number);
        put(t, ",");
        t->at = put_current(t->out, t->at, t->space, name);
        put(t, ",true),pg_catalog.set_config(");
    }
    t->at = sql_put_literal(t->out, t->at, t->space, name);
    put(t, ",");
    if (t->how == SWITCH_BACK) {
        put(t, "pg_catalog.current_setting(");
        t->at = put_kept(t->out, t->at, t->space, number);
        put(t, ",true)");
    } else if (value) {
        t->at = sql_put_encoded(t->out, t->at, t->space, value, encoding);
    } else {
        put(t, "(SELECT reset_val FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) ");
        t->at = sql_put_literal(t->out, t->at, t->space, name);
        put(t, ")");
    }
    put(t, ",true)");
}

/* Writes the query that puts in force, until the transaction ends, what literals are read under in `to`,
 * where `from` is in force (SWITCH_KNOWN), or may be, or something else (SWITCH_KEEPING); and the one that
 * brings that back (SWITCH_BACK, of the same two).  Returns its bytes; `space` or more when it does not
 * fit. */
uint32_t settings_switch(const struct settings_store *store, const struct settings *from,
                         const struct settings *to, enum switching how, char *out, uint32_t space) {
    struct change_text t = {.out = out, .space = space, .how = how};
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
