/* The table of built-in words, and sets of words.  The theory stands in effects.h. */
#include "sql/effects.h"

#include <stdlib.h>
#include <string.h>

#include "sql/keywords.h"
#include "sql/lexer.h"
#include "sql/scan.h"

/* The one table of words that matter.  LEADING: first of a statement; CALLED: before a parenthesis. */
static const struct {
    const char *text;
    uint8_t id, where;
    uint32_t effect_flags, ends;
} BUILTIN[] = {
    {"set", W_SET, LEADING, 0, 0},
    {"reset", W_RESET, LEADING, ASK_SETTINGS, 0},
    {"discard", W_DISCARD, LEADING, 0, 0},
    {"prepare", W_PREPARE, LEADING, 0, 0},
    {"deallocate", W_DEALLOCATE, LEADING, 0, ASK_PREPARED},
    {"execute", W_EXECUTE, LEADING, EFFECT_EXECUTE, 0},
    {"execute", W_EXECUTE, ANYWHERE, EFFECT_EXECUTE, 0}, /* CREATE TABLE AS EXECUTE */
    {"explain", W_EXPLAIN, LEADING, 0, 0},
    {"select", W_ANALYZED, LEADING, 0, 0},
    {"insert", W_ANALYZED, LEADING, EFFECT_INSERT, 0},
    {"update", W_ANALYZED, LEADING, 0, 0},
    {"delete", W_ANALYZED, LEADING, 0, 0},
    {"merge", W_ANALYZED, LEADING, EFFECT_INSERT, 0},
    {"values", W_ANALYZED, LEADING, 0, 0},
    {"with", W_ANALYZED, LEADING, 0, 0},
    {"table", W_ANALYZED, LEADING, 0, 0},
    {"declare", W_ANALYZED, LEADING, 0, 0},
    {"call", W_ANALYZED, LEADING, 0, 0},
    {"truncate", W_ANALYZED, LEADING, 0, 0},
    {"lock", W_ANALYZED, LEADING, 0, 0},
    {"fetch", W_QUIET, LEADING, 0, 0}, /* what the cursor runs was said by its DECLARE */
    {"move", W_QUIET, LEADING, 0, 0},
    {"begin", W_BODY, LEADING, 0, 0},
    {"start", W_NONE, LEADING, 0, 0},
    {"commit", W_COMMIT, LEADING, 0, 0},
    {"end", W_NONE, LEADING, 0, 0},
    {"rollback", W_NONE, LEADING, 0, 0},
    {"abort", W_NONE, LEADING, 0, 0},
    {"savepoint", W_NONE, LEADING, 0, 0},
    {"release", W_NONE, LEADING, 0, 0},
    {"checkpoint", W_NONE, LEADING, 0, 0},
    {"close", W_NONE, LEADING, 0, ASK_CURSORS},
    {"do", W_DO, LEADING, ASK_ALL, ASK_ALL | PIN_SEQUENCE},
    {"listen", W_LISTEN, LEADING, ASK_CHANNELS | EFFECT_LISTEN, 0},
    {"unlisten", W_UNLISTEN, LEADING, EFFECT_UNLISTEN, ASK_CHANNELS},
    {"notify", W_NONE, LEADING, EFFECT_NOTIFY, 0},
    {"load", W_NONE, LEADING, PIN_LOADED, 0},
    /* these run expressions, event triggers and functions of extensions that stand in no text */
    {"create", W_CREATE, LEADING, EVERYTHING, 0},
    {"alter", W_DDL, LEADING, EFFECT_SCHEMA | EVERYTHING, 0},
    {"drop", W_DDL, LEADING, EVERYTHING, ASK_TEMP}, /* what is known then is too much, not too little */
    {"import", W_DDL, LEADING, EFFECT_SCHEMA | EVERYTHING, 0},
    {"comment", W_DDL, LEADING, EVERYTHING, 0},
    {"grant", W_DDL, LEADING, EVERYTHING, 0},
    {"revoke", W_DDL, LEADING, EVERYTHING, 0},
    {"security", W_DDL, LEADING, EVERYTHING, 0},
    {"reassign", W_DDL, LEADING, EVERYTHING, 0},
    {"refresh", W_DDL, LEADING, EVERYTHING, 0},
    {"vacuum", W_MAINTAIN, LEADING, EVERYTHING, 0},
    {"analyze", W_MAINTAIN, LEADING, EVERYTHING, 0},
    {"analyse", W_MAINTAIN, LEADING, EVERYTHING, 0},
    {"cluster", W_MAINTAIN, LEADING, EVERYTHING, 0},
    {"reindex", W_MAINTAIN, LEADING, EVERYTHING, 0},
    {"insert", W_NONE, ANYWHERE, EFFECT_INSERT, 0},
    {"merge", W_NONE, ANYWHERE, EFFECT_INSERT, 0},
    {"copy", W_QUIET, LEADING, EFFECT_COPY, 0},
    {"create", W_CREATE_OR_INTO, ANYWHERE, 0, 0},
    {"replace", W_CREATE_OR_INTO, ANYWHERE, 0, 0},
    {"global", W_CREATE_OR_INTO, ANYWHERE, 0, 0},
    {"local", W_CREATE_OR_INTO, ANYWHERE, 0, 0},
    {"into", W_CREATE_OR_INTO, ANYWHERE, 0, 0},
    {"temp", W_NONE, AFTER_CREATE, ASK_TEMP, 0},
    {"temporary", W_NONE, AFTER_CREATE, ASK_TEMP, 0},
    {"pg_temp", W_NONE, ANYWHERE, ASK_TEMP, ASK_TEMP},
    {"with", W_WITH, ANYWHERE, 0, 0},
    {"hold", W_NONE, AFTER_WITH, ASK_CURSORS, 0},
    {"set_config", W_SET_CONFIG, CALLED, 0, 0},
    {"show", W_SHOW, LEADING, 0, 0},
    {"current_setting", W_CURRENT_SETTING, CALLED, 0, 0},
    {"pg_advisory_lock", W_NONE, ANYWHERE, ASK_LOCKS, 0},
    {"pg_advisory_lock_shared", W_NONE, ANYWHERE, ASK_LOCKS, 0},
    {"pg_try_advisory_lock", W_NONE, ANYWHERE, ASK_LOCKS, 0},
    {"pg_try_advisory_lock_shared", W_NONE, ANYWHERE, ASK_LOCKS, 0},
    {"pg_advisory_unlock", W_NONE, ANYWHERE, 0, ASK_LOCKS},
    {"pg_advisory_unlock_shared", W_NONE, ANYWHERE, 0, ASK_LOCKS},
    {"pg_advisory_unlock_all", W_NONE, ANYWHERE, 0, ASK_LOCKS},
    {"pg_notify", W_NONE, ANYWHERE, EFFECT_NOTIFY, 0},
    {"pg_listening_channels", W_NONE, ANYWHERE, ASK_CHANNELS, 0},
    {"nextval", W_NONE, ANYWHERE, PIN_SEQUENCE, 0},
    {"pg_settings", W_PG_SETTINGS, ANYWHERE, ASK_SETTINGS, 0}, /* UPDATE pg_settings is a SET */
    {"setval", W_NONE, ANYWHERE, PIN_SEQUENCE, 0},
    {"currval", W_NONE, ANYWHERE, EFFECT_CURRVAL, 0},
    {"lastval", W_NONE, ANYWHERE, EFFECT_CURRVAL, 0},
    {"pg_backup_start", W_NONE, ANYWHERE, PIN_LOADED, 0},
    {"pg_start_backup", W_NONE, ANYWHERE, PIN_LOADED, 0},
    {"pg_replication_origin_session_setup", W_NONE, ANYWHERE, PIN_LOADED, 0},
    {"dblink_connect", W_NONE, ANYWHERE, PIN_LOADED, 0},
    {"dblink_connect_u", W_NONE, ANYWHERE, PIN_LOADED, 0},
    {"setseed", W_NONE, CALLED, PIN_LOADED, 0},
    /* these run a text that is one of their arguments */
    {"query_to_xml", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"query_to_xmlschema", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"query_to_xml_and_xmlschema", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"ts_stat", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"ts_rewrite", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"crosstab", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"crosstab2", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"crosstab3", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"crosstab4", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"crosstab_hash", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"connectby", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"xpath_table", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    /* these read relations, or call input functions of types, that are arguments */
    {"table_to_xml", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"table_to_xmlschema", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"table_to_xml_and_xmlschema", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"schema_to_xml", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"schema_to_xmlschema", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"schema_to_xml_and_xmlschema", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"database_to_xml", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"database_to_xmlschema", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"database_to_xml_and_xmlschema", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"cursor_to_xml", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"cursor_to_xmlschema", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"pg_input_is_valid", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"pg_input_error_info", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"pg_restore_attribute_stats", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"satisfies_hash_partition", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"gin_clean_pending_list", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"brin_summarize_new_values", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    {"brin_summarize_range", W_NONE, CALLED, ASK_ALL | PIN_OPAQUE, ASK_ALL},
    /* a temporary one is its session's */
    {"pg_create_physical_replication_slot", W_NONE, CALLED, PIN_LOADED, 0},
    {"pg_create_logical_replication_slot", W_NONE, CALLED, PIN_LOADED, 0},
    {"pg_copy_physical_replication_slot", W_NONE, CALLED, PIN_LOADED, 0},
    {"pg_copy_logical_replication_slot", W_NONE, CALLED, PIN_LOADED, 0},
    {"pg_logical_slot_get_changes", W_NONE, CALLED, PIN_LOADED, 0}, /* these load a library by its name */
    {"pg_logical_slot_peek_changes", W_NONE, CALLED, PIN_LOADED, 0},
    {"pg_logical_slot_get_binary_changes", W_NONE, CALLED, PIN_LOADED, 0},
    {"pg_logical_slot_peek_binary_changes", W_NONE, CALLED, PIN_LOADED, 0},
    {"set_limit", W_NONE, CALLED, PIN_LOADED, 0}, /* of pg_trgm */
    /* words in a body of a DO block behind which a statement begins */
    {"begin", W_BODY, ANYWHERE, 0, 0},
    {"then", W_BODY, ANYWHERE, 0, 0},
    {"else", W_BODY, ANYWHERE, 0, 0},
    {"loop", W_BODY, ANYWHERE, 0, 0},
    /* grammar of SET */
    {"session", W_SESSION, 0, 0, 0},
    {"all", W_ALL, 0, 0, 0},
    {"true", W_TRUE, 0, 0, 0},
    {"default", W_DEFAULT, ANYWHERE, EFFECT_INSERT, 0}, /* UPDATE .. SET n = DEFAULT */
    {"to", W_TO, 0, 0, 0},
    {"null", W_NULL, 0, 0, 0},
    {"transaction", W_TRANSACTION, 0, 0, 0},
    {"constraints", W_IGNORED_SET, 0, 0, 0},
    {"characteristics", W_CHARACTERISTICS, 0, 0, 0},
    {"authorization", W_AUTHORIZATION, 0, 0, 0},
    {"names", W_NAMES, 0, 0, 0},
    {"time", W_TIME, 0, 0, 0},
    {"schema", W_SCHEMA, 0, 0, 0},
    {"seed", W_SEED, 0, 0, 0},
    {"xml", W_XML, 0, 0, 0},
};

uint64_t words_hash(const struct words *w, const char *text, uint32_t bytes) {
    return lexer_hash(w->key, (const unsigned char *)text, bytes);
}

static uint32_t place_of(const struct words *w, uint64_t hash) {
    uint32_t at = (uint32_t)(hash >> 32) & (w->capacity - 1);
    while (w->words[at].hash && w->words[at].hash != hash) at = (at + 1) & (w->capacity - 1);
    return at;
}

const struct word *words_find(const struct words *w, uint64_t hash) {
    if (!w->capacity) return NULL;
    const struct word *found = &w->words[place_of(w, hash)];
    return found->hash ? found : NULL;
}

/* Adds a word, or adds to what is known of it.  False: there was no memory for it. */
bool words_add(struct words *w, const struct word *word) {
    if (4 * (w->count + 1) > 3 * w->capacity) {
        struct words larger = {.key = w->key, .capacity = w->capacity ? w->capacity * 2 : 256};
        memcpy(larger.filter, w->filter, sizeof larger.filter);
        larger.words = calloc(larger.capacity, sizeof *larger.words);
        if (!larger.words) return false;
        for (uint32_t i = 0; i < w->capacity; i++)
            if (w->words[i].hash) larger.words[place_of(&larger, w->words[i].hash)] = w->words[i];
        larger.count = w->count;
        free(w->words);
        *w = larger;
    }
    if (word->effect_flags || word->ends || word->id)
        w->filter[word->hash >> 59] |= 1ull << (word->hash >> 53 & 63);
    struct word *there = &w->words[place_of(w, word->hash)];
    if (!there->hash) {
        *there = *word;
        w->count++;
    } else {
        there->effect_flags |= word->effect_flags;
        there->ends |= word->ends;
    }
    return true;
}

void words_free(struct words *w) {
    free(w->words);
    *w = (struct words){.key = w->key};
}

/* A word that is there twice (CREATE leads, and stands before TEMP) is kept under two hashes. */
uint64_t words_leading(uint64_t hash) { return hash ^ 0x9e3779b97f4a7c14ull; }

/* False: no memory. */
bool words_builtin(struct words *w, uint64_t key) {
    *w = (struct words){.key = key};
    for (size_t i = 0; i < sizeof BUILTIN / sizeof *BUILTIN; i++) {
        uint64_t hash = words_hash(w, BUILTIN[i].text, (uint32_t)strlen(BUILTIN[i].text));
        struct word word = {.hash = BUILTIN[i].where == LEADING ? words_leading(hash) : hash,
                            .id = BUILTIN[i].id,
                            .where = BUILTIN[i].where,
                            .effect_flags = BUILTIN[i].effect_flags,
                            .ends = BUILTIN[i].ends};
        if (!words_add(w, &word)) return false;
    }
    return keywords_add(w);
}

/* Adds to what is known of a word how PostgreSQL's grammar uses it.  False: no memory. */
bool words_keyword(struct words *w, const char *text, uint32_t bytes, uint8_t keyword, uint8_t place,
                   uint8_t flags) {
    uint64_t hash = words_hash(w, text, bytes);
    if (!words_add(w, &(struct word){.hash = hash})) return false;
    struct word *there = &w->words[place_of(w, hash)];
    if (keyword) there->keyword = keyword;
    if (place) there->place = place;
    there->flags |= flags;
    return true;
}

/* Goes through names kept as a letter and a NUL-terminated name each; `at` begins with 0. */
bool scan_next_name(const char *names, uint32_t bytes, uint32_t *at, char *kind, const char **name) {
    if (*at >= bytes) return false;
    *kind = names[*at];
    *name = names + *at + 1;
    *at += (uint32_t)strlen(*name) + 2;
    return true;
}
