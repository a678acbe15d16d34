/* The scanner of bodies.  The theory stands in body.h; of expressions see tree.c. */
#include "catalog/body.h"

#include <string.h>
#include <strings.h>

#include "catalog/customs.h"
#include "catalog/graph.h"
#include "sql/catalog_names.h"
#include "sql/effects.h"
#include "sql/lexer.h"

#define LOOKAHEAD 64 /* tokens between set_config( and its closing parenthesis */
#define ANYTHING (ASK_ALL | PIN_OPAQUE | EFFECT_UNSURE)

/* Words that say more than a name does.  WORD_PLAIN: none of them. */
enum body_word {
    WORD_PLAIN,
    WORD_READS,
    WORD_INTO,
    WORD_SET,
    WORD_CREATE,
    WORD_STATEMENT,
    WORD_BEGINS,
    WORD_EXECUTE,
    WORD_WRITES,
    WORD_DEFAULT,
    WORD_TEMPORARY,
    WORD_WITH,
    WORD_HOLD,
    WORD_SET_CONFIG,
};

/* `leading`: what it leaves behind as the first word of a statement. */
#define WORD(word) word, sizeof(word) - 1
static const struct {
    const char text[16];
    uint32_t bytes;
    enum body_word word;
    uint32_t leading;
} WORDS[] = {
    {WORD("into"), WORD_INTO, 0},
    {WORD("current_setting"), WORD_READS, 0},
    {WORD("pg_settings"), WORD_READS, 0},
    {WORD("show"), WORD_READS, 0},
    {WORD("current_user"), WORD_READS, 0},
    {WORD("current_role"), WORD_READS, 0},
    {WORD("session_user"), WORD_READS, 0},
    {WORD("user"), WORD_READS, 0},
    {WORD("getpgusername"), WORD_READS, 0},
    {WORD("current_schema"), WORD_READS, 0},
    {WORD("current_schemas"), WORD_READS, 0},
    {WORD("pg_backend_pid"), WORD_READS, 0},
    {WORD("set"), WORD_SET, 0},
    {WORD("create"), WORD_CREATE, EVERYTHING},
    {WORD("reset"), WORD_STATEMENT, ANYTHING},
    {WORD("discard"), WORD_STATEMENT, ANYTHING},
    {WORD("listen"), WORD_STATEMENT, ASK_CHANNELS},
    {WORD("unlisten"), WORD_STATEMENT, ASK_CHANNELS},
    {WORD("prepare"), WORD_STATEMENT, ANYTHING},
    {WORD("deallocate"), WORD_STATEMENT, ASK_PREPARED},
    {WORD("load"), WORD_STATEMENT, PIN_LOADED},
    {WORD("do"), WORD_STATEMENT, ANYTHING},
    {WORD("notify"), WORD_STATEMENT, EFFECT_NOTIFY},
    /* these run expressions and functions that stand in no text, as in sql/effects.c */
    {WORD("alter"), WORD_STATEMENT, EFFECT_SCHEMA | EVERYTHING},
    {WORD("drop"), WORD_STATEMENT, EVERYTHING},
    {WORD("import"), WORD_STATEMENT, EFFECT_SCHEMA | EVERYTHING},
    {WORD("comment"), WORD_STATEMENT, EVERYTHING},
    {WORD("grant"), WORD_STATEMENT, EVERYTHING},
    {WORD("revoke"), WORD_STATEMENT, EVERYTHING},
    {WORD("security"), WORD_STATEMENT, EVERYTHING},
    {WORD("reassign"), WORD_STATEMENT, EVERYTHING},
    {WORD("refresh"), WORD_STATEMENT, EVERYTHING},
    {WORD("vacuum"), WORD_STATEMENT, EVERYTHING},
    {WORD("analyze"), WORD_STATEMENT, EVERYTHING},
    {WORD("analyse"), WORD_STATEMENT, EVERYTHING},
    {WORD("cluster"), WORD_STATEMENT, EVERYTHING},
    {WORD("reindex"), WORD_STATEMENT, EVERYTHING},
    {WORD("begin"), WORD_BEGINS, 0},
    {WORD("then"), WORD_BEGINS, 0},
    {WORD("else"), WORD_BEGINS, 0},
    {WORD("loop"), WORD_BEGINS, 0},
    {WORD("execute"), WORD_EXECUTE, 0},
    {WORD("insert"), WORD_WRITES, 0},
    {WORD("merge"), WORD_WRITES, 0},
    {WORD("default"), WORD_DEFAULT, 0},
    {WORD("temp"), WORD_TEMPORARY, 0},
    {WORD("temporary"), WORD_TEMPORARY, 0},
    {WORD("with"), WORD_WITH, 0},
    {WORD("hold"), WORD_HOLD, 0},
    {WORD("set_config"), WORD_SET_CONFIG, 0},
};
#define WORD_COUNT (sizeof WORDS / sizeof *WORDS)

struct body {
    struct lexer lexer;
    struct graph *g;
    struct draft *d;
    struct customs *customs;
    const unsigned char *looked; /* where the last look ahead ended: no other one begins before it */
    bool utf8;
    bool sql;                  /* not PL/pgSQL, where INTO names a variable */
    bool first;                /* a statement may begin here */
    enum body_word before;     /* the token before: a word, */
    unsigned char before_char; /* or a character; 0 for all others */
};

/* ---- names --------------------------------------------------------------------------------------- */

static bool beyond_ascii(const unsigned char *p, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (p[i] & 0x80) return true;
    return false;
}

/* A name: the hash of a token is that of what the catalogs have. */
static void refer(struct body *b, const struct token *t) {
    /* escapes */
    if (t->kind == T_QUOTED && (*t->start == 'u' || *t->start == 'U'))
        b->d->effect_flags |= CATALOG_UNKNOWN | EFFECT_READS;
    if (!b->utf8 && t->foreign) b->d->effect_flags |= CATALOG_UNKNOWN;
    draft_reference(b->g, b->d, symbol_of_any(t->hash));
}

/* Two readings of an operator: with + or - at its end, and without. */
static void refer_operator(struct body *b, const struct token *first) {
    const unsigned char *from = first->start, *at = b->lexer.at;
    while (at < b->lexer.end && in_operator(*at)) {
        if (at + 1 < b->lexer.end && ((at[0] == '-' && at[1] == '-') || (at[0] == '/' && at[1] == '*')))
            break;
        at++;
    }
    b->lexer.at = at;
    if (at - from > NAME_BYTES_MAX) {
        b->d->effect_flags |= CATALOG_UNKNOWN;
        return;
    }
    for (; at > from; at--) {
        uint64_t hash = lexer_hash(b->g->key, from, (uint32_t)(at - from));
        draft_reference(b->g, b->d, symbol_of_name(CATALOG_OPERATOR, hash));
        if (at[-1] != '+' && at[-1] != '-') return;
    }
}

/* ---- plain words ----------------------------------------------------------------------------------
 *
 * Nearly all of a body is short words that were met before, operators of one character and punctuation.
 * Symbols of the first two are kept, so that they are neither hashed again nor compared with the words that
 * matter. */

#define PLAIN_BITS 10
#define PLAIN_BYTES 16

struct plain_word { uint64_t letters[PLAIN_BYTES / 8], symbol; }; /* folded, with zeros behind them */

/* Of the one thread that reads catalogs. */
static struct {
    uint64_t key, operators[256];
    struct plain_word words[1 << PLAIN_BITS];
} plain;

static struct plain_word *place_of_plain(const uint64_t *letters) {
    uint64_t mixed = (letters[0] ^ letters[1] * 0x9e3779b97f4a7c15ull) * 0xbf58476d1ce4e5b9ull;
    return &plain.words[mixed >> (64 - PLAIN_BITS)];
}

static void use_key(uint64_t key) {
    if (plain.key == key) return;
    memset(&plain, 0, sizeof plain);
    plain.key = key;
}

/* The letters of a word; how many there are, 0 if they are too many or not all of ASCII. */
static uint32_t fold(const unsigned char *at, const unsigned char *end, uint64_t *letters) {
    uint32_t n = 0;
    for (uint32_t half = 0; half < 2; half++) {
        uint64_t eight = 0; /* in a register: bytes that are stored alone cannot be read together at once */
        for (uint32_t bits = 0; bits < 64 && at + n < end && in_word(at[n]); bits += 8)
            eight |= (uint64_t)lexer_word_letters[at[n++]] << bits;
        letters[half] = eight;
    }
    bool foreign = (letters[0] | letters[1]) & 0x8080808080808080ull;
    return foreign || (at + n < end && in_word(at[n])) ? 0 : n;
}

static void keep_plain(const struct body *b, const struct token *t) {
    uint64_t letters[PLAIN_BYTES / 8];
    if (fold(t->text, b->lexer.end, letters) != t->bytes) return;
    struct plain_word *word = place_of_plain(letters);
    memcpy(word->letters, letters, sizeof letters);
    word->symbol = symbol_of_any(t->hash);
}

static void pass(struct body *b, uint32_t bytes, unsigned char c) {
    b->lexer.at += bytes;
    b->first = c == ';';
    b->before = WORD_PLAIN;
    b->before_char = c;
}

static bool pass_operator(struct body *b, unsigned char c, unsigned char next) {
    if (in_operator(next)) return false;
    uint64_t *symbol = &plain.operators[c];
    if (!*symbol) *symbol = symbol_of_name(CATALOG_OPERATOR, lexer_hash(b->g->key, &c, 1));
    draft_reference(b->g, b->d, *symbol);
    pass(b, 1, c);
    return true;
}

static bool pass_word(struct body *b, const unsigned char *at) {
    uint64_t letters[PLAIN_BYTES / 8];
    uint32_t n = fold(at, b->lexer.end, letters);
    /* E'', U&"" */
    if (!n || (n == 1 && at + 1 < b->lexer.end && (at[1] == '\'' || at[1] == '&'))) return false;
    const struct plain_word *word = place_of_plain(letters);
    if (!word->symbol || memcmp(word->letters, letters, sizeof letters) != 0) return false;
    draft_reference(b->g, b->d, word->symbol);
    pass(b, n, 0);
    return true;
}

/* True: the next token was one of those. */
static bool pass_plain(struct body *b) {
    const unsigned char *at = b->lexer.at, *end = b->lexer.end;
    while (at < end && (*at == ' ' || *at == '\n')) at++;
    b->lexer.at = at;
    if (at == end) return false;
    if (in_word(*at)) return pass_word(b, at);
    if (in_operator(*at)) return pass_operator(b, *at, at + 1 < end ? at[1] : ' ');
    if (*at != '(' && *at != ')' && *at != ',' && *at != ';') return false;
    pass(b, 1, *at);
    return true;
}

/* ---- statements ---------------------------------------------------------------------------------- */

/* The seed of random() stays, whatever becomes of its setting. */
static void note_seed(struct body *b, const struct token *t) {
    if (t->bytes == 4 && strncasecmp((const char *)t->text, "seed", 4) == 0) b->d->effect_flags |= PIN_LOADED;
}

/* SET: for the transaction only, or for the session. */
static void scan_set(struct body *b) {
    struct lexer ahead = b->lexer;
    struct token t;
    lexer_next(&ahead, &t);
    bool name_begins = lexer_stands_before(&ahead, '.'); /* as in session.user_id */
    bool local = !name_begins && token_is_word(&t, "local");
    if (!name_begins && (token_is_word(&t, "transaction") || token_is_word(&t, "constraints"))) return;
    if (local || (!name_begins && token_is_word(&t, "session"))) lexer_next(&ahead, &t);
    note_seed(b, &t);
    if (local) return;
    b->d->effect_flags |= ANYTHING;
    const unsigned char *name = t.text;
    while (t.kind == T_WORD && ahead.at < ahead.end && *ahead.at == '.') {
        lexer_next(&ahead, &t);
        lexer_next(&ahead, &t);
    }
    if (t.kind == T_WORD && name) customs_add(b->customs, name, (uint32_t)(t.text + t.bytes - name), true);
}

/* No catalog lists it. */
static bool is_custom(const struct token *name) { return memchr(name->text, '.', name->bytes); }

/* set_config of a name in the text: for the transaction only, or a setting that can be asked for.  True: that
 * was it. */
static bool scan_set_config(struct body *b) {
    struct lexer ahead = b->lexer;
    struct token t, name;
    bool local = false; /* the last argument is the word `true` and nothing else */
    if (b->looked && ahead.at < b->looked) return false;
    b->looked = ahead.end; /* unless its parenthesis is found */
    lexer_next(&ahead, &t);
    lexer_next(&ahead, &name);
    if (!token_is_char(&t, '(') || name.kind != T_STRING || name.escaped) return false;
    lexer_next(&ahead, &t);
    if (!token_is_char(&t, ',')) return false;
    note_seed(b, &name);
    for (int depth = 1, tokens = 0; tokens < LOOKAHEAD && t.kind != T_END; tokens++) {
        bool argument_begins = depth == 1 && token_is_char(&t, ',');
        lexer_next(&ahead, &t);
        if (token_is_char(&t, '(')) depth++;
        if (!token_is_char(&t, ')') || --depth) {
            local = argument_begins && token_is_word(&t, "true");
            continue;
        }
        b->looked = ahead.at;
        if (local) return true;
        /* else it is in the catalogs, or as one of a computed name */
        bool asked = customs_add(b->customs, name.text, name.bytes, true) || !is_custom(&name);
        b->d->effect_flags |= asked ? ASK_SETTINGS : ANYTHING;
        return true;
    }
    return false;
}

/* WORD_COUNT: a plain one.  The length first: nearly all words are none of these. */
static size_t find_word(const struct token *t) {
    size_t i = 0;
    while (i < WORD_COUNT && (t->bytes != WORDS[i].bytes || !token_is_word(t, WORDS[i].text))) i++;
    return i;
}

/* True: it says by itself all that there is to know. */
static bool scan_special(struct body *b, enum body_word word) {
    unsigned char c = b->before_char;
    switch (word) {
    case WORD_SET:
        if (b->first) scan_set(b);
        break;
    case WORD_CREATE: /* also behind EXPLAIN ANALYZE */
        b->d->effect_flags |= ASK_TEMP | (lexer_makes_temporary(&b->lexer) ? 0 : EFFECT_SCHEMA);
        break;
    case WORD_INTO:
        if (b->sql && b->before != WORD_WRITES) b->d->effect_flags |= ASK_TEMP | EFFECT_SCHEMA;
        break;
    case WORD_EXECUTE: b->d->effect_flags |= ANYTHING | EFFECT_READS; break;
    case WORD_READS: b->d->effect_flags |= EFFECT_READS; break;
    case WORD_WRITES: b->d->effect_flags |= EFFECT_INSERT; break;
    case WORD_DEFAULT:
        if (c == '=' || c == ',' || c == '(') b->d->effect_flags |= EFFECT_INSERT;
        break;
    case WORD_TEMPORARY: b->d->effect_flags |= ASK_TEMP; break;
    case WORD_HOLD:
        if (b->before == WORD_WITH) b->d->effect_flags |= ASK_CURSORS;
        break;
    case WORD_SET_CONFIG: return scan_set_config(b);
    case WORD_PLAIN:
    case WORD_STATEMENT:
    case WORD_BEGINS:
    case WORD_WITH: break;
    }
    return false;
}

static void scan_word(struct body *b, const struct token *t) {
    size_t i = find_word(t);
    enum body_word word = i < WORD_COUNT ? WORDS[i].word : WORD_PLAIN;
    bool temporary = t->bytes >= 7 && strncasecmp((const char *)t->text, "pg_temp", 7) == 0;
    if (temporary) b->d->effect_flags |= ASK_TEMP | EFFECT_READS;
    else if (word == WORD_PLAIN && t->kind == T_WORD) keep_plain(b, t);
    if (b->first && i < WORD_COUNT) b->d->effect_flags |= WORDS[i].leading;
    if (!scan_special(b, word)) refer(b, t);
    b->first = word == WORD_BEGINS;
    b->before = word;
    b->before_char = 0;
}

static void scan(struct body *b) {
    struct token t;
    b->first = true;
    b->before = WORD_PLAIN;
    b->before_char = 0;
    for (;;) {
        if (pass_plain(b)) continue;
        lexer_next(&b->lexer, &t);
        if (t.kind == T_END) return;
        if (t.open) b->d->effect_flags |= CATALOG_UNKNOWN;
        if (t.kind == T_WORD || t.kind == T_QUOTED) {
            scan_word(b, &t);
            continue;
        }
        if (t.kind == T_STRING) customs_add(b->customs, t.text, t.bytes, false);
        else if (t.kind == T_OPERATOR) refer_operator(b, &t);
        /* a label */
        b->first = t.c == ';' || (t.kind == T_OPERATOR && t.bytes == 2 && memcmp(t.text, ">>", 2) == 0);
        b->before = WORD_PLAIN;
        b->before_char = t.c;
    }
}

void body_scan(struct graph *g, struct draft *d, const unsigned char *text, uint32_t n, bool utf8, bool sql,
               struct customs *customs) {
    if (!n) return;
    use_key(g->key);
    struct body b = {.lexer = {.at = text, .end = text + n, .key = g->key},
                     .g = g,
                     .d = d,
                     .customs = customs,
                     .utf8 = utf8,
                     .sql = sql};
    /* its second bytes may be quotes */
    if (!utf8 && beyond_ascii(text, n)) d->effect_flags |= CATALOG_UNKNOWN;
    scan(&b);
    if (!memchr(text, '\\', n)) return;
    b.lexer = (struct lexer){.at = text, .end = text + n, .key = g->key, .backslash = true};
    scan(&b);
}
