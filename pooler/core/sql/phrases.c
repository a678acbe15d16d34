/* Phrases of SQL that say names: of settings, of channels, of databases. */
#include "sql/scan.h"

#include <string.h>
#include <strings.h>

#include "sql/effects.h"
#include "sql/lexer.h"
#include "sql/setting_names.h"

#define AHEAD_TOKENS_MAX 64 /* that are looked at behind set_config( */

uint8_t scan_word_id(const struct scanner *s, const struct token *t) {
    if (t->kind != T_WORD) return W_NONE;
    const struct word *w = words_find(s->builtin, t->hash);
    return w ? w->id : W_NONE;
}

/* The word that a token is in the grammar of SET: none, if it is the beginning of a name like
 * session.user_id. */
static uint8_t set_word(const struct scanner *s, const struct token *t) {
    return lexer_stands_before(&s->lexer, '.') ? W_NONE : scan_word_id(s, t);
}

/* A setting of this name is set, or reset.  That of the seed of random() is undone by nothing, LOCAL or
 * not. */
static void note_meaning(struct scanner *s, const char *name, uint32_t bytes) {
    if (bytes == 4 && strncasecmp(name, "seed", 4) == 0) s->out->effect_flags |= PIN_LOADED;
    if (!setting_is_harmless(name, bytes)) s->out->effect_flags |= EFFECT_MEANING;
    if (setting_is_literal(name, bytes)) s->out->effect_flags |= EFFECT_LITERAL;
}

/* Without space the names are lost, and everything is asked for instead. */
void scan_note_name(struct scanner *s, char kind, const char *name, uint32_t bytes, bool fold) {
    struct scan *out = s->out;
    if (kind == 's' || kind == 'r') note_meaning(s, name, bytes);
    if (out->names_bytes + bytes + 2 > sizeof out->names || bytes > 127) {
        if (strchr("ckdD", kind)) return;
        out->effect_flags |= ASK_ALL | (kind == 's' && memchr(name, '.', bytes) ? PIN_OPAQUE : 0);
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
        /* it has another name there */
        if (t.bytes > NAME_BYTES_MAX || n + t.bytes > 127) s->out->effect_flags |= ASK_SETTINGS | PIN_OPAQUE;
        for (uint32_t i = 0; i < t.bytes && n < 127; i++) {
            name[n++] = (char)(t.kind == T_WORD || fold_quoted ? lower(t.text[i]) : t.text[i]);
            if (t.kind == T_QUOTED && t.text[i] == '"') i++; /* doubled */
        }
        struct token dot;
        lexer_peek(&s->lexer, &dot);
        if (!token_is_char(&dot, '.')) return n;
        lexer_next(&s->lexer, &dot);
        if (n < 127) name[n++] = '.';
        lexer_next(&s->lexer, &t);
    }
}

/* Whether texts that are sent behind this one may be in another encoding. */
static void note_encoding(struct scanner *s, const char *name, uint32_t bytes) {
    static const char ENCODING[] = "client_encoding";
    if (bytes == sizeof ENCODING - 1 && strncasecmp(name, ENCODING, bytes) == 0)
        s->out->effect_flags |= EFFECT_ENCODING;
}

static void note_set(struct scanner *s, const struct token *first) {
    char name[128];
    uint32_t n = take_name(s, first, name, true);
    struct token to, value;
    if (!n) {
        s->out->effect_flags |= ASK_SETTINGS;
        return;
    }
    struct lexer copy = s->lexer;
    lexer_next(&copy, &to);
    lexer_next(&copy, &value);
    bool operator = (token_is_char(&to, '=')) || scan_word_id(s, &to) == W_TO;
    bool reset = operator && scan_word_id(s, &value) == W_DEFAULT;
    s->out->effect_flags |= reset ? ASK_SETTINGS | EFFECT_RESET : EFFECT_NAMED;
    note_encoding(s, name, n);
    scan_note_name(s, reset ? 'r' : 's', name, n, false);
}

static void note_literal_name(struct scanner *s, const char *name) {
    s->out->effect_flags |= EFFECT_NAMED;
    note_encoding(s, name, (uint32_t)strlen(name));
    scan_note_name(s, 's', name, (uint32_t)strlen(name), false);
}

static void note_reset(struct scanner *s, const char *name) {
    s->out->effect_flags |= EFFECT_RESET;
    note_encoding(s, name, (uint32_t)strlen(name));
    scan_note_name(s, 'r', name, (uint32_t)strlen(name), false);
}

/* SET TIME ZONE LOCAL, SET NAMES and their like have no value: they reset. */
static void note_words(struct scanner *s, const char *name, bool zone) {
    struct lexer copy = s->lexer;
    struct token value;
    if (zone) lexer_next(&copy, &value);
    lexer_next(&copy, &value);
    bool ends = !zone && (value.kind == T_END || token_is_char(&value, ';'));
    if (ends || scan_word_id(s, &value) == W_DEFAULT || (zone && token_is_word(&value, "local")))
        note_reset(s, name);
    else note_literal_name(s, name);
}

/* SET LOCAL: it matters only to how the next texts are read, and what they mean. */
static void scan_set_local(struct scanner *s) {
    char name[128];
    struct token t;
    lexer_next(&s->lexer, &t);
    if (set_word(s, &t) == W_NAMES) {
        s->out->effect_flags |= EFFECT_ENCODING | EFFECT_MEANING;
        return;
    }
    uint32_t n = take_name(s, &t, name, true);
    note_encoding(s, name, n);
    note_meaning(s, name, n);
}

void scan_set(struct scanner *s) {
    struct token t;
    lexer_next(&s->lexer, &t);
    uint8_t id = set_word(s, &t);
    if (id == W_SESSION) {
        lexer_next(&s->lexer, &t);
        id = set_word(s, &t);
        if (id == W_CHARACTERISTICS) {
            note_literal_name(s, "default_transaction_isolation");
            note_literal_name(s, "default_transaction_read_only");
            note_literal_name(s, "default_transaction_deferrable");
            return;
        }
        if (id == W_AUTHORIZATION) {
            note_literal_name(s, "session_authorization");
            note_literal_name(s, "role");
            lexer_next(&s->lexer, &t);
            if (scan_word_id(s, &t) == W_DEFAULT) note_reset(s, "session_authorization");
            return;
        }
    }
    switch (id) {
    case W_CREATE_OR_INTO: scan_set_local(s); return; /* LOCAL */
    case W_TRANSACTION:
    case W_IGNORED_SET: return;
    case W_NAMES: note_words(s, "client_encoding", false); return;
    case W_TIME: note_words(s, "timezone", true); return;
    case W_SCHEMA: note_literal_name(s, "search_path"); return;
    case W_XML: note_literal_name(s, "xmloption"); return;
    case W_SEED: s->out->effect_flags |= PIN_LOADED; return;
    default: note_set(s, &t);
    }
}

void scan_reset(struct scanner *s) {
    char name[128];
    struct token t;
    lexer_next(&s->lexer, &t);
    if (set_word(s, &t) == W_ALL) {
        s->out->effect_flags |= EFFECT_RESET_ALL;
        s->out->ends |= PIN_NAMELESS;
    } else if (set_word(s, &t) == W_TIME) {
        note_reset(s, "timezone");
    } else if (set_word(s, &t) == W_SESSION) { /* AUTHORIZATION */
        note_reset(s, "session_authorization");
    } else {
        s->out->effect_flags |= EFFECT_RESET;
        scan_note_name(s, 'r', name, take_name(s, &t, name, true), false);
    }
}

void scan_discard(struct scanner *s) {
    struct token t;
    lexer_next(&s->lexer, &t);
    if (scan_word_id(s, &t) == W_ALL) {
        s->out->effect_flags |= EFFECT_RESET_ALL | EFFECT_UNLISTEN | ASK_SETTINGS;
        s->out->ends |= ASK_ALL | PIN_NAMELESS | PIN_SEQUENCE;
        scan_note_name(s, 'r', "session_authorization", 21, false);
        scan_note_name(s, 'u', "*", 1, false);
    } else {
        s->out->ends |= ASK_TEMP | PIN_SEQUENCE; /* TEMP, SEQUENCES, PLANS */
    }
}

/* Whether this may be a setting's name with a dot, like app.tenant. */
bool scan_names_a_setting(const unsigned char *text, uint32_t bytes) {
    uint32_t dots = 0;
    if (bytes < 3 || bytes > 63 || (unsigned)(text[0] - '0') < 10) return false;
    for (uint32_t i = 0; i < bytes; i++) {
        if (text[i] == '.' && i > 0 && i + 1 < bytes) dots++;
        else if (!in_word(text[i])) return false;
    }
    return dots > 0;
}

/* SHOW name: nobody else tells the names of settings with a dot. */
void scan_show(struct scanner *s) {
    char name[128];
    struct token t;
    lexer_next(&s->lexer, &t);
    uint32_t n = take_name(s, &t, name, true);
    if (scan_names_a_setting((const unsigned char *)name, n)) scan_note_name(s, 'k', name, n, false);
}

/* current_setting('name' */
void scan_current_setting(struct scanner *s) {
    struct lexer ahead = s->lexer;
    struct token t;
    s->out->reads_literals = true;
    lexer_next(&ahead, &t); /* the parenthesis */
    lexer_next(&ahead, &t);
    if (t.kind == T_STRING && scan_names_a_setting(t.text, t.bytes))
        scan_note_name(s, 'k', (const char *)t.text, t.bytes, true);
}

/* The body of a function that is made here, and may be gone before the catalogs are read: the names in it. */
void scan_function_body(struct scanner *s, const struct token *body) {
    struct scanner inner = *s;
    struct token t;
    const struct word *word;
    s->out->reads_literals = true;
    inner.lexer.at = body->text;
    inner.lexer.end = body->text + body->bytes;
    for (lexer_next(&inner.lexer, &t); t.kind != T_END; lexer_next(&inner.lexer, &t)) {
        if (t.kind == T_STRING && scan_names_a_setting(t.text, t.bytes))
            scan_note_name(s, 'k', (const char *)t.text, t.bytes, true);
        else if (t.kind == T_WORD && (word = words_find(s->builtin, words_leading(t.hash)))
                 && word->id == W_SET)
            scan_show(&inner);
    }
}

void scan_channel(struct scanner *s, char kind) {
    char name[128];
    struct token t;
    lexer_next(&s->lexer, &t);
    if (token_is_char(&t, '*')) scan_note_name(s, kind, "*", 1, false);
    else scan_note_name(s, kind, name, take_name(s, &t, name, false), false);
}

/* Behind set_config: local to the transaction, by a name in the text, or by one that is not there.  Of one
 * among the arguments of another nothing is read: work is linear in the bytes of a text. */
void scan_set_config(struct scanner *s) {
    struct lexer ahead = s->lexer;
    s->out->reads_literals = true;
    struct token t, name, before = {.kind = T_END};
    if (s->looked && ahead.at < s->looked) {
        s->out->effect_flags |= EFFECT_ENCODING | EFFECT_MEANING | ASK_SETTINGS | PIN_OPAQUE;
        return;
    }
    lexer_next(&ahead, &t); /* the parenthesis */
    lexer_next(&ahead, &name);
    t = name;
    bool comma = false, local = false, null = false, first = true,
         literal = name.kind == T_STRING && !name.escaped;
    int depth = 1;
    for (int left = AHEAD_TOKENS_MAX; left && depth > 0 && t.kind != T_END; left--, lexer_next(&ahead, &t)) {
        if (token_is_char(&t, '(')) depth++;
        if (token_is_char(&t, ')') && --depth == 0) break;
        bool here_comma = token_is_char(&t, ',') && depth == 1;
        if (here_comma && first) {
            first = false;
            literal = literal && before.start == name.start; /* nothing but the literal before the comma */
        }
        local = comma && scan_word_id(s, &t) == W_TRUE;
        null |= comma && scan_word_id(s, &t) == W_NULL; /* as RESET */
        comma = here_comma;
        before = t;
    }
    s->looked = ahead.at;
    bool whole = depth == 0; /* all arguments were seen */
    if (literal && !first) {
        note_encoding(s, (const char *)name.text, name.bytes);
        note_meaning(s, (const char *)name.text, name.bytes);
    } else {
        s->out->effect_flags |= EFFECT_ENCODING | EFFECT_MEANING;
    }
    if (whole && local && scan_word_id(s, &before) == W_TRUE) return;
    null &= whole;
    if (literal && !first) {
        s->out->effect_flags |= null ? ASK_SETTINGS | EFFECT_RESET : EFFECT_NAMED;
        scan_note_name(s, null ? 'r' : 's', (const char *)name.text, name.bytes, true);
    } else {
        s->out->effect_flags |= ASK_SETTINGS | PIN_OPAQUE;
    }
}
/* CREATE, ALTER, DROP ROLE (USER, GROUP): servers of that name belong to another role afterwards, or begin
 * otherwise. `ahead` is behind ROLE; ALL names all of them. */
static void scan_role(struct scanner *s, struct scanner *ahead, const struct token *verb) {
    struct token t, exists;
    char name[128];
    lexer_next(&ahead->lexer, &t);
    if (token_is_word(&t, "mapping")) return; /* USER MAPPING is another object */
    lexer_peek(&ahead->lexer, &exists);
    if (token_is_word(&t, "if") && token_is_word(&exists, "exists")) {
        lexer_next(&ahead->lexer, &exists);
        lexer_next(&ahead->lexer, &t);
    }
    s->out->effect_flags |= EFFECT_DATABASE;
    while (t.kind == T_WORD || t.kind == T_QUOTED) {
        bool all = token_is_word(&t, "all") && token_is_word(verb, "alter");
        uint32_t n = take_name(ahead, &t, name, false);
        scan_note_name(s, token_is_word(verb, "drop") ? 'X' : 'R', name, all ? 0 : n, false);
        lexer_peek(&ahead->lexer, &t);
        if (!token_is_char(&t, ',')) return;
        lexer_next(&ahead->lexer, &t);
        lexer_next(&ahead->lexer, &t);
    }
}

/* What concerns servers that are there.  CREATE, ALTER, DROP DATABASE: PostgreSQL refuses what is done to a
 * database, or copies one, that others are connected to: its name, perhaps behind IF EXISTS, and that of the
 * template ('d').  ALTER DATABASE: what new sessions begin with ('D').  Roles: see scan_role ('R', 'X').
 * Memberships (GRANT role), tablespaces and ALTER DEFAULT PRIVILEGES concern none: PostgreSQL looks them up
 * whenever it needs them, in sessions that are there. */
void scan_database(struct scanner *s, const struct token *verb) {
    struct scanner ahead = *s;
    struct token t;
    char name[128];
    lexer_next(&ahead.lexer, &t);
    bool alter = token_is_word(verb, "alter"), create = token_is_word(verb, "create"), copied = false;
    int words = 0;
    if (token_is_word(&t, "role") || token_is_word(&t, "user") || token_is_word(&t, "group"))
        scan_role(s, &ahead, verb);
    if (!token_is_word(&t, "database")) return;
    for (lexer_next(&ahead.lexer, &t); t.kind != T_END && !token_is_char(&t, ';');
         lexer_next(&ahead.lexer, &t)) {
        if (t.kind != T_WORD && t.kind != T_QUOTED) continue;
        bool template = token_is_word(&t, "template");
        if (copied || words < (alter ? 1 : 3)) {
            uint32_t n = take_name(&ahead, &t, name, false);
            s->out->effect_flags |= EFFECT_DATABASE;
            scan_note_name(s, 'd', name, n, false);
            if (alter || (create && !words)) scan_note_name(s, 'D', name, n, false);
        }
        copied = template;
        words++;
    }
}
