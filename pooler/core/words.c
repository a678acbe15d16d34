/* The table of built-in words, and the scanner of statement texts.  The theory stands in words.h. */
#include "words.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lexer.h"

#define IDENTIFIER_BYTES 63   /* the server cuts longer ones (NAMEDATALEN) */

enum where { LEADING = 1, ANYWHERE = 2, CALLED = 4, AFTER_CREATE = 8, AFTER_WITH = 16 };
enum id {
    W_NONE, W_SET, W_RESET, W_DISCARD, W_PREPARE, W_DO, W_LISTEN, W_UNLISTEN, W_SET_CONFIG, W_DDL, W_BODY, W_EXECUTE,
    W_CREATE_OR_INTO, W_WITH, W_SESSION, W_ALL, W_TRUE, W_DEFAULT, W_NULL, W_TO, W_TRANSACTION, W_IGNORED_SET,
    W_CHARACTERISTICS, W_AUTHORIZATION, W_NAMES, W_TIME, W_SCHEMA, W_SEED, W_XML, W_SHOW, W_CURRENT_SETTING,
};

/* The one table of words that matter.  LEADING: first of a statement; CALLED: before a parenthesis. */
static const struct { const char *text; uint8_t id, where; uint32_t traits, ends; } BUILTIN[] = {
    {"set", W_SET, LEADING, 0, 0},
    {"reset", W_RESET, LEADING, ASK_SETTINGS, 0},
    {"discard", W_DISCARD, LEADING, 0, 0},
    {"prepare", W_PREPARE, LEADING, 0, 0},
    {"deallocate", W_NONE, LEADING, 0, ASK_PREPARED},
    {"execute", W_EXECUTE, LEADING, TRAIT_EXECUTE, 0},
    {"close", W_NONE, LEADING, 0, ASK_CURSORS},
    {"do", W_DO, LEADING, ASK_ALL, ASK_ALL | PIN_SEQUENCE},
    {"listen", W_LISTEN, LEADING, ASK_CHANNELS | TRAIT_LISTEN, 0},
    {"unlisten", W_UNLISTEN, LEADING, TRAIT_UNLISTEN, ASK_CHANNELS},
    {"notify", W_NONE, LEADING, TRAIT_NOTIFY, 0},
    {"load", W_NONE, LEADING, PIN_LOADED, 0},
    {"create", W_DDL, LEADING, TRAIT_SCHEMA, 0},
    {"alter", W_DDL, LEADING, TRAIT_SCHEMA, 0},
    {"drop", W_DDL, LEADING, TRAIT_SCHEMA, ASK_TEMP},
    {"comment", W_DDL, LEADING, 0, 0},
    {"grant", W_DDL, LEADING, 0, 0},
    {"revoke", W_DDL, LEADING, 0, 0},
    {"import", W_DDL, LEADING, TRAIT_SCHEMA, 0},
    {"insert", W_NONE, ANYWHERE, TRAIT_INSERT, 0},
    {"copy", W_NONE, LEADING, TRAIT_COPY, 0},
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
    {"pg_notify", W_NONE, ANYWHERE, TRAIT_NOTIFY, 0},
    {"pg_listening_channels", W_NONE, ANYWHERE, ASK_CHANNELS, 0},
    {"nextval", W_NONE, ANYWHERE, PIN_SEQUENCE, 0},
    {"pg_settings", W_NONE, ANYWHERE, ASK_SETTINGS, 0},   /* UPDATE pg_settings is a SET */
    {"setval", W_NONE, ANYWHERE, PIN_SEQUENCE, 0},
    {"currval", W_NONE, ANYWHERE, TRAIT_CURRVAL, 0},
    {"lastval", W_NONE, ANYWHERE, TRAIT_CURRVAL, 0},
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
    {"pg_create_physical_replication_slot", W_NONE, CALLED, PIN_LOADED, 0},   /* a temporary one is its session's */
    {"pg_create_logical_replication_slot", W_NONE, CALLED, PIN_LOADED, 0},
    /* words in a body of a DO block behind which a statement begins */
    {"begin", W_BODY, ANYWHERE, 0, 0},
    {"then", W_BODY, ANYWHERE, 0, 0},
    {"else", W_BODY, ANYWHERE, 0, 0},
    {"loop", W_BODY, ANYWHERE, 0, 0},
    /* grammar of SET */
    {"session", W_SESSION, 0, 0, 0},
    {"all", W_ALL, 0, 0, 0},
    {"true", W_TRUE, 0, 0, 0},
    {"default", W_DEFAULT, 0, 0, 0},
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

/* ---- sets of words ---------------------------------------------------------------------------- */

uint64_t word_hash(const struct words *w, const char *text, uint32_t bytes) {
    return hash_of_word(w->key, (const unsigned char *)text, bytes);
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

/* The word, unless it is harmless or not there; now and then a harmless one, too. */
static const struct word *find_telling(const struct words *w, uint64_t hash) {
    return w->filter[hash >> 59] >> (hash >> 53 & 63) & 1 ? words_find(w, hash) : NULL;
}

/* Adds a word, or adds to what is known of it. */
void words_add(struct words *w, const struct word *word) {
    if (word->traits || word->ends || word->id) w->filter[word->hash >> 59] |= 1ull << (word->hash >> 53 & 63);
    if (4 * (w->count + 1) > 3 * w->capacity) {
        struct words larger = {.key = w->key, .capacity = w->capacity ? w->capacity * 2 : 256};
        memcpy(larger.filter, w->filter, sizeof larger.filter);
        larger.words = calloc(larger.capacity, sizeof *larger.words);
        if (!larger.words) abort();   /* out of memory: the worker ends, the master starts another */
        for (uint32_t i = 0; i < w->capacity; i++)
            if (w->words[i].hash) larger.words[place_of(&larger, w->words[i].hash)] = w->words[i];
        larger.count = w->count;
        free(w->words);
        *w = larger;
    }
    struct word *there = &w->words[place_of(w, word->hash)];
    if (!there->hash) {
        *there = *word;
        w->count++;
    } else {
        there->traits |= word->traits;
        there->ends |= word->ends;
    }
}

void words_free(struct words *w) {
    free(w->words);
    *w = (struct words){.key = w->key};
}

/* A word that is there twice (CREATE leads, and stands before TEMP) is kept under two hashes. */
static uint64_t leading(uint64_t hash) { return hash ^ 0x9e3779b97f4a7c14ull; }

void words_builtin(struct words *w, uint64_t key) {
    *w = (struct words){.key = key};
    for (size_t i = 0; i < sizeof BUILTIN / sizeof *BUILTIN; i++) {
        uint64_t hash = word_hash(w, BUILTIN[i].text, (uint32_t)strlen(BUILTIN[i].text));
        words_add(w, &(struct word){.hash = BUILTIN[i].where == LEADING ? leading(hash) : hash, .id = BUILTIN[i].id,
                                    .where = BUILTIN[i].where, .traits = BUILTIN[i].traits, .ends = BUILTIN[i].ends});
    }
}

/* ---- statements -------------------------------------------------------------------------------- */

struct scanner {
    struct lexer lexer;
    const struct words *builtin, *known;
    bool body;
    int depth;                   /* of DO bodies in DO bodies */
    struct scan *out;
};

static uint8_t id_of(const struct scanner *s, const struct token *t) {
    if (t->kind != T_WORD) return W_NONE;
    const struct word *w = words_find(s->builtin, t->hash);
    return w ? w->id : W_NONE;
}

/* Without room the names are lost, and everything is asked for instead. */
static void note_name(struct scanner *s, char kind, const char *name, uint32_t bytes, bool fold) {
    struct scan *out = s->out;
    if (out->names_bytes + bytes + 2 > sizeof out->names || bytes > 127) {
        if (strchr("ckdD", kind)) return;
        out->traits |= ASK_ALL | (kind == 's' && memchr(name, '.', bytes) ? PIN_OPAQUE : 0);
        return;
    }
    out->names[out->names_bytes++] = kind;
    for (uint32_t i = 0; i < bytes; i++)
        out->names[out->names_bytes++] = fold ? (char)lower((unsigned char)name[i]) : name[i];
    out->names[out->names_bytes++] = '\0';
}

/* name, "name", a.b; behind it stands the scanner. */
static uint32_t take_name(struct scanner *s, const struct token *first, char name[128], bool fold_quoted) {
    struct token t = *first;
    uint32_t n = 0;
    for (;;) {
        if (t.kind != T_WORD && t.kind != T_QUOTED) return n;
        if (t.bytes > IDENTIFIER_BYTES || n + t.bytes > 127) s->out->traits |= ASK_SETTINGS | PIN_OPAQUE;   /* it has another name there */
        for (uint32_t i = 0; i < t.bytes && n < 127; i++) {
            name[n++] = (char)(t.kind == T_WORD || fold_quoted ? lower(t.text[i]) : t.text[i]);
            if (t.kind == T_QUOTED && t.text[i] == '"') i++;   /* doubled */
        }
        struct token dot;
        peek_token(&s->lexer, &dot);
        if (!is_char(&dot, '.')) return n;
        next_token(&s->lexer, &dot);
        if (n < 127) name[n++] = '.';
        next_token(&s->lexer, &t);
    }
}

static void note_set(struct scanner *s, const struct token *first) {
    char name[128];
    uint32_t n = take_name(s, first, name, true);
    struct token to, value;
    if (!n) {
        s->out->traits |= ASK_SETTINGS;
        return;
    }
    struct lexer copy = s->lexer;
    next_token(&copy, &to);
    next_token(&copy, &value);
    bool operator = (is_char(&to, '=')) || id_of(s, &to) == W_TO;
    bool reset = operator && id_of(s, &value) == W_DEFAULT;
    s->out->traits |= reset ? ASK_SETTINGS | TRAIT_RESET : TRAIT_NAMED;
    note_name(s, reset ? 'r' : 's', name, n, false);
}

static void note_literal_name(struct scanner *s, const char *name) {
    s->out->traits |= TRAIT_NAMED;
    note_name(s, 's', name, (uint32_t)strlen(name), false);
}

static void scan_set(struct scanner *s) {
    struct token t;
    next_token(&s->lexer, &t);
    uint8_t id = id_of(s, &t);
    if (id == W_SESSION) {
        next_token(&s->lexer, &t);
        id = id_of(s, &t);
        if (id == W_CHARACTERISTICS) {
            note_literal_name(s, "default_transaction_isolation");
            note_literal_name(s, "default_transaction_read_only");
            note_literal_name(s, "default_transaction_deferrable");
            return;
        }
        if (id == W_AUTHORIZATION) {
            note_literal_name(s, "session_authorization");
            note_literal_name(s, "role");
            return;
        }
    }
    switch (id) {
    case W_CREATE_OR_INTO:   /* LOCAL */
    case W_TRANSACTION: case W_IGNORED_SET: return;
    case W_NAMES: note_literal_name(s, "client_encoding"); return;
    case W_TIME: note_literal_name(s, "timezone"); return;
    case W_SCHEMA: note_literal_name(s, "search_path"); return;
    case W_XML: note_literal_name(s, "xmloption"); return;
    case W_SEED: s->out->traits |= PIN_LOADED; return;
    default: note_set(s, &t);
    }
}

static void scan_reset(struct scanner *s) {
    char name[128];
    struct token t;
    next_token(&s->lexer, &t);
    if (id_of(s, &t) == W_ALL) {
        s->out->traits |= TRAIT_RESET_ALL;
        s->out->ends |= PIN_OPAQUE;
    } else if (id_of(s, &t) == W_TIME) {
        s->out->traits |= TRAIT_RESET;
        note_name(s, 'r', "timezone", 8, false);
    } else {
        s->out->traits |= TRAIT_RESET;
        note_name(s, 'r', name, take_name(s, &t, name, true), false);
    }
}

static void scan_discard(struct scanner *s) {
    struct token t;
    next_token(&s->lexer, &t);
    if (id_of(s, &t) == W_ALL) {
        s->out->traits |= TRAIT_RESET_ALL | TRAIT_UNLISTEN | ASK_SETTINGS;
        s->out->ends |= ASK_ALL | PIN_OPAQUE | PIN_SEQUENCE;
        note_name(s, 'u', "*", 1, false);
    } else {
        s->out->ends |= ASK_TEMP | PIN_SEQUENCE;   /* TEMP, SEQUENCES, PLANS */
    }
}

/* Whether this may be a setting's name with a dot, like app.tenant. */
bool names_a_setting(const unsigned char *text, uint32_t bytes) {
    uint32_t dots = 0;
    if (bytes < 3 || bytes > 63 || (unsigned)(text[0] - '0') < 10) return false;
    for (uint32_t i = 0; i < bytes; i++) {
        if (text[i] == '.' && i > 0 && i + 1 < bytes) dots++;
        else if (!in_word(text[i])) return false;
    }
    return dots > 0;
}

/* SHOW name: nobody else tells the names of settings with a dot. */
static void scan_show(struct scanner *s) {
    char name[128];
    struct token t;
    next_token(&s->lexer, &t);
    uint32_t n = take_name(s, &t, name, true);
    if (names_a_setting((const unsigned char *)name, n)) note_name(s, 'k', name, n, false);
}

/* current_setting('name' */
static void scan_current_setting(struct scanner *s) {
    struct lexer ahead = s->lexer;
    struct token t;
    next_token(&ahead, &t);   /* the parenthesis */
    next_token(&ahead, &t);
    if (t.kind == T_STRING && names_a_setting(t.text, t.bytes)) note_name(s, 'k', (const char *)t.text, t.bytes, true);
}

/* The body of a function that is made here, and may be gone before the catalogs are read: the names in it. */
static void scan_function_body(struct scanner *s, const struct token *body) {
    struct scanner inner = *s;
    struct token t;
    const struct word *word;
    inner.lexer.at = body->text;
    inner.lexer.end = body->text + body->bytes;
    for (next_token(&inner.lexer, &t); t.kind != T_END; next_token(&inner.lexer, &t)) {
        if (t.kind == T_STRING && names_a_setting(t.text, t.bytes))
            note_name(s, 'k', (const char *)t.text, t.bytes, true);
        else if (t.kind == T_WORD && (word = words_find(s->builtin, leading(t.hash))) && word->id == W_SET)
            scan_show(&inner);
    }
}

static void scan_channel(struct scanner *s, char kind) {
    char name[128];
    struct token t;
    next_token(&s->lexer, &t);
    if (is_char(&t, '*')) note_name(s, kind, "*", 1, false);
    else note_name(s, kind, name, take_name(s, &t, name, false), false);
}

/* Behind set_config: local to the transaction, by a name in the text, or by one that is not there. */
static void scan_set_config(struct scanner *s) {
    struct lexer ahead = s->lexer;
    struct token t, name, before = {.kind = T_END};
    next_token(&ahead, &t);   /* the parenthesis */
    next_token(&ahead, &name);
    t = name;
    bool comma = false, local = false, null = false, first = true, literal = name.kind == T_STRING && !name.escaped;
    for (int depth = 1; depth > 0 && t.kind != T_END; next_token(&ahead, &t)) {
        if (is_char(&t, '(')) depth++;
        if (is_char(&t, ')') && --depth == 0) break;
        bool here_comma = is_char(&t, ',') && depth == 1;
        if (here_comma && first) {
            first = false;
            literal = literal && before.start == name.start;   /* nothing but the literal before the comma */
        }
        local = comma && id_of(s, &t) == W_TRUE;
        null |= comma && id_of(s, &t) == W_NULL;   /* as RESET */
        comma = here_comma;
        before = t;
    }
    if (local && id_of(s, &before) == W_TRUE) return;
    if (literal) {
        s->out->traits |= null ? ASK_SETTINGS | TRAIT_RESET : TRAIT_NAMED;
        note_name(s, null ? 'r' : 's', (const char *)name.text, name.bytes, true);
    } else {
        s->out->traits |= ASK_SETTINGS | PIN_OPAQUE;
    }
}

static void scan_statements(struct scanner *s);

static void scan_inner(struct scanner *s, const struct token *text) {
    if (s->depth >= 3) return;
    struct scanner inner = {.lexer = s->lexer, .builtin = s->builtin, .known = s->known, .body = true,
                            .depth = s->depth + 1, .out = s->out};
    inner.lexer.at = text->text;
    inner.lexer.end = text->text + text->bytes;
    scan_statements(&inner);
}

/* DO [LANGUAGE name] 'text' [LANGUAGE name]; EXECUTE 'text' in a body. */
static void scan_body(struct scanner *s) {
    struct lexer ahead = s->lexer;
    struct token t;
    for (int i = 0; i < (s->body ? 1 : 3); i++) {
        next_token(&ahead, &t);
        if (t.kind != T_STRING) continue;
        struct token behind;
        peek_token(&ahead, &behind);
        bool all = !t.escaped && !(is_char(&behind, '|'));   /* not one part of the text only */
        if (!all) s->out->traits |= PIN_OPAQUE;
        scan_inner(s, &t);
        return;
    }
    s->out->traits |= PIN_OPAQUE;   /* a text that is made when it runs */
}

static bool says(const struct token *t, const char *word) {
    return t->kind == T_WORD && t->bytes == strlen(word) && strncasecmp((const char *)t->text, word, t->bytes) == 0;
}

/* CREATE, ALTER, DROP DATABASE: PostgreSQL refuses what is done to a database, or copies one, that others are connected
 * to: its name, perhaps behind IF EXISTS, and that of the template.  ALTER DATABASE, ALTER ROLE ... SET: what new sessions
 * begin with. */
static void scan_database(struct scanner *s, const struct token *verb) {
    struct scanner ahead = *s;
    struct token t;
    char name[128];
    next_token(&ahead.lexer, &t);
    bool alter = says(verb, "alter"), database = says(&t, "database"), role = alter && (says(&t, "role") || says(&t, "user"));
    bool copied = false;
    int words = 0;
    if (!database && !role) return;
    for (next_token(&ahead.lexer, &t); t.kind != T_END && !is_char(&t, ';'); next_token(&ahead.lexer, &t)) {
        if (role && (says(&t, "set") || says(&t, "reset"))) {
            s->out->traits |= TRAIT_DATABASE;
            note_name(s, 'D', "", 0, false);
            return;
        }
        if (!database || (t.kind != T_WORD && t.kind != T_QUOTED)) continue;
        bool template = says(&t, "template");
        if (copied || words < (alter ? 1 : 3)) {
            uint32_t n = take_name(&ahead, &t, name, false);
            s->out->traits |= TRAIT_DATABASE;
            note_name(s, 'd', name, n, false);
            if (alter) note_name(s, 'D', name, n, false);
        }
        copied = template;
        words++;
    }
}

/* The first word of a statement.  True: it has been dealt with, the rest is scanned as any. */
static bool scan_leading(struct scanner *s, const struct token *t, bool *ddl) {
    const struct word *w = words_find(s->builtin, leading(t->hash));
    *ddl = false;
    if (!w) return false;
    s->out->traits |= w->traits;
    s->out->ends |= w->ends;
    struct token next;
    switch (w->id) {
    case W_SET: scan_set(s); break;
    case W_RESET: scan_reset(s); break;
    case W_DISCARD: scan_discard(s); break;
    case W_LISTEN: scan_channel(s, 'l'); break;
    case W_UNLISTEN: scan_channel(s, 'u'); break;
    case W_SHOW: scan_show(s); break;
    case W_PREPARE:
        peek_token(&s->lexer, &next);
        if (id_of(s, &next) != W_TRANSACTION) s->out->traits |= ASK_PREPARED;
        break;
    case W_EXECUTE:
        if (s->body) scan_body(s);
        break;
    case W_DO: scan_body(s); break;
    case W_DDL:   /* CREATE stands before TEMP, too */
        scan_database(s, t);
        *ddl = true;
        return false;
    default: break;
    }
    return true;
}

static void note_unknown(struct scanner *s, uint64_t hash) {
    s->out->traits |= TRAIT_UNKNOWN;
    if (s->out->unknown_count < SCAN_UNKNOWN_MAX) s->out->unknown[s->out->unknown_count++] = hash;
}

/* Any word but the first.  Returns the id of a built-in one. */
static uint8_t scan_word(struct scanner *s, const struct token *t, uint8_t previous, bool ddl) {
    const struct word *w = t->kind == T_WORD || t->bytes < 64 ? find_telling(s->builtin, t->hash) : NULL;
    const struct word *known = find_telling(s->known, t->hash);
    if (known) {
        s->out->traits |= known->traits;
        s->out->ends |= known->ends;
    }
    if (w) {
        bool counts = (w->where & ANYWHERE) || ((w->where & AFTER_CREATE) && previous == W_CREATE_OR_INTO)
            || ((w->where & AFTER_WITH) && previous == W_WITH) || ((w->where & CALLED) && stands_before(&s->lexer, '('));
        if (counts) {
            s->out->traits |= w->traits;
            s->out->ends |= w->ends;
            if (w->id == W_SET_CONFIG) scan_set_config(s);
            if (w->id == W_CURRENT_SETTING) scan_current_setting(s);
        }
        return w->id;
    }
    if (!ddl && stands_before(&s->lexer, '(') && !words_find(s->known, t->hash)) note_unknown(s, t->hash);
    if (t->bytes > 8 && t->kind == T_WORD && memcmp(t->text, "pg_temp_", 8) == 0) s->out->traits |= ASK_TEMP;
    return W_NONE;
}

static void scan_statements(struct scanner *s) {
    struct token t;
    bool first = true, ddl = false;
    uint8_t previous = W_NONE;
    for (next_token(&s->lexer, &t); t.kind != T_END; next_token(&s->lexer, &t)) {
        if (t.kind == T_OTHER) {
            if (t.c == ';') first = true;
            previous = W_NONE;
            continue;
        }
        if (t.kind == T_STRING) {
            if (names_a_setting(t.text, t.bytes)) note_name(s, 'c', (const char *)t.text, t.bytes, true);
            else if (ddl) scan_function_body(s, &t);
            continue;
        }
        bool leads = first && t.kind == T_WORD;
        first = false;
        if (leads && scan_leading(s, &t, &ddl)) {
            previous = W_NONE;
            continue;
        }
        previous = scan_word(s, &t, previous, ddl);
        if (s->body && previous == W_BODY) first = true;
    }
    if (s->lexer.escaped_name) s->out->traits |= ASK_ALL | PIN_OPAQUE;   /* any name */
}

void scan_text(const struct words *builtin, const struct words *known, const unsigned char *text, uint32_t bytes,
               bool backslash, struct scan *out) {
    out->traits = out->ends = out->names_bytes = out->unknown_count = 0;
    struct scanner s = {.lexer = {.at = text, .end = text + bytes, .key = builtin->key, .backslash = backslash},
                        .builtin = builtin, .known = known, .out = out};
    scan_statements(&s);
}

/* Goes through names kept as a letter and a NUL-terminated name each; `at` begins with 0. */
bool next_name(const char *names, uint32_t bytes, uint32_t *at, char *kind, const char **name) {
    if (*at >= bytes) return false;
    *kind = names[*at];
    *name = names + *at + 1;
    *at += (uint32_t)strlen(*name) + 2;
    return true;
}
