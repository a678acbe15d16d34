/* The scanner of bodies and of expressions.  The theory stands in catalog_body.h. */
#include "catalog_body.h"

#include <string.h>
#include <strings.h>

#include "lexer.h"
#include "words.h"

#define LOOKAHEAD 64             /* tokens between set_config( and its closing parenthesis */
#define ANYTHING (ASK_ALL | PIN_OPAQUE | TRAIT_UNSURE)
#define NEXTVAL 1574             /* nextval(regclass) */

/* The length first: nearly all words are none of these. */
#define WORD(word) word, sizeof(word) - 1
#define IS(token, word) ((token)->bytes == sizeof(word) - 1 && is_word(token, word))

struct body {
    struct lexer lexer;
    struct graph *g;
    struct draft *d;
    struct customs *customs;
    const unsigned char *looked; /* where the last look ahead ended: no other one begins before it */
    bool utf8;
};

/* ---- names --------------------------------------------------------------------------------------- */

void customs_forget(struct customs *customs, uint64_t key) {
    customs->bytes = 0;
    customs->key = key;
    memset(customs->places, 0, sizeof customs->places);
}

void customs_add(struct customs *customs, const unsigned char *name, uint32_t bytes) {
    char folded[64];
    if (!names_a_setting(name, bytes)) return;
    for (uint32_t i = 0; i < bytes; i++) folded[i] = (char)lower(name[i]);
    folded[bytes] = '\0';
    uint64_t at = hash_of_word(customs->key, (const unsigned char *)folded, bytes) >> 32;
    for (; customs->places[at % BODY_CUSTOMS_PLACES]; at++)
        if (strcmp(customs->names + customs->places[at % BODY_CUSTOMS_PLACES] - 1, folded) == 0) return;
    if (customs->bytes + bytes + 1 > sizeof customs->names) return;
    customs->places[at % BODY_CUSTOMS_PLACES] = (uint16_t)(customs->bytes + 1);
    memcpy(customs->names + customs->bytes, folded, bytes + 1);
    customs->bytes += bytes + 1;
}

static bool beyond_ascii(const unsigned char *p, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (p[i] & 0x80) return true;
    return false;
}

/* A name: the hash of a token is that of what the catalogs have. */
static void refer(struct body *b, const struct token *t) {
    if (t->kind == T_QUOTED && (*t->start == 'u' || *t->start == 'U')) b->d->traits |= CATALOG_UNKNOWN;   /* escapes */
    if (!b->utf8 && t->foreign) b->d->traits |= CATALOG_UNKNOWN;
    draft_reference(b->g, b->d, symbol_of_any(t->hash));
}

/* Two readings of an operator: with + or - at its end, and without. */
static void refer_operator(struct body *b, const struct token *first) {
    const unsigned char *from = first->start, *at = b->lexer.at;
    while (at < b->lexer.end && strchr("+-*/<>=~!@#%^&|`?", *at)) {
        if (at + 1 < b->lexer.end && ((at[0] == '-' && at[1] == '-') || (at[0] == '/' && at[1] == '*'))) break;
        at++;
    }
    b->lexer.at = at;
    if (at - from > NAME_BYTES_MAX) {
        b->d->traits |= CATALOG_UNKNOWN;
        return;
    }
    for (; at > from; at--) {
        uint64_t hash = hash_of_word(b->g->key, from, (uint32_t)(at - from));
        draft_reference(b->g, b->d, symbol_of_name(CATALOG_OPERATOR, hash));
        if (at[-1] != '+' && at[-1] != '-') return;
    }
}

/* ---- statements ---------------------------------------------------------------------------------- */

/* SET: for the transaction only, or for the session. */
static void scan_set(struct body *b) {
    struct lexer ahead = b->lexer;
    struct token t;
    next_token(&ahead, &t);
    if (is_word(&t, "local") || is_word(&t, "transaction") || is_word(&t, "constraints")) return;
    b->d->traits |= ANYTHING;
    if (is_word(&t, "session")) next_token(&ahead, &t);
    const unsigned char *name = t.text;
    while (t.kind == T_WORD && ahead.at < ahead.end && *ahead.at == '.') {
        next_token(&ahead, &t);
        next_token(&ahead, &t);
    }
    if (t.kind == T_WORD && name) customs_add(b->customs, name, (uint32_t)(t.text + t.bytes - name));
}

/* set_config of a name in the text: for the transaction only, or a setting that can be asked for.  True: that was it. */
static bool scan_set_config(struct body *b) {
    struct lexer ahead = b->lexer;
    struct token t, name, before = {.kind = T_END};
    if (b->looked && ahead.at < b->looked) return false;
    b->looked = ahead.end;   /* unless its parenthesis is found */
    next_token(&ahead, &t);
    next_token(&ahead, &name);
    if (!is_char(&t, '(') || name.kind != T_STRING || name.escaped) return false;
    next_token(&ahead, &t);
    if (!is_char(&t, ',')) return false;
    for (int depth = 1, tokens = 0; tokens < LOOKAHEAD && t.kind != T_END; tokens++) {
        before = t;
        next_token(&ahead, &t);
        if (is_char(&t, '(')) depth++;
        if (!is_char(&t, ')') || --depth) continue;
        b->looked = ahead.at;
        if (is_word(&before, "true")) return true;
        customs_add(b->customs, name.text, name.bytes);
        b->d->traits |= ASK_SETTINGS;
        return true;
    }
    return false;
}

/* The first word of a statement. */
static void scan_leading(struct body *b, const struct token *t) {
    static const struct { const char word[12]; uint32_t bytes, traits; } STATEMENTS[] = {
        {WORD("reset"), ANYTHING}, {WORD("discard"), ANYTHING}, {WORD("listen"), ASK_CHANNELS}, {WORD("unlisten"), ASK_CHANNELS},
        {WORD("prepare"), ANYTHING}, {WORD("deallocate"), ASK_PREPARED}, {WORD("load"), PIN_LOADED}, {WORD("do"), ANYTHING},
        {WORD("create"), ASK_TEMP}, {WORD("alter"), TRAIT_SCHEMA}, {WORD("drop"), ASK_TEMP},
        {WORD("notify"), TRAIT_NOTIFY}, {WORD("import"), TRAIT_SCHEMA},
    };
    if (IS(t, "set")) scan_set(b);
    if (IS(t, "create") && !makes_temporary(&b->lexer)) b->d->traits |= TRAIT_SCHEMA;
    for (size_t i = 0; i < sizeof STATEMENTS / sizeof *STATEMENTS; i++)
        if (t->bytes == STATEMENTS[i].bytes && is_word(t, STATEMENTS[i].word)) b->d->traits |= STATEMENTS[i].traits;
}

static bool begins_statement(const struct token *t) {
    return IS(t, "begin") || IS(t, "then") || IS(t, "else") || IS(t, "loop");
}

/* Any word.  True: it says by itself all that there is to know. */
static bool scan_word(struct body *b, const struct token *t, const struct token *before) {
    if (IS(t, "execute")) b->d->traits |= ANYTHING;
    if (IS(t, "insert") || IS(t, "merge")) b->d->traits |= TRAIT_INSERT;
    if (IS(t, "default") && (is_char(before, '=') || is_char(before, ',') || is_char(before, '('))) b->d->traits |= TRAIT_INSERT;
    if (IS(t, "temp") || IS(t, "temporary")) b->d->traits |= ASK_TEMP;
    if (t->bytes >= 7 && strncasecmp((const char *)t->text, "pg_temp", 7) == 0) b->d->traits |= ASK_TEMP;
    if (IS(t, "hold") && IS(before, "with")) b->d->traits |= ASK_CURSORS;
    if (IS(t, "set_config")) return scan_set_config(b);
    return false;
}

static void scan(struct body *b) {
    struct token t, before = {.kind = T_END};
    bool first = true;
    for (next_token(&b->lexer, &t); t.kind != T_END; next_token(&b->lexer, &t)) {
        if (t.open) b->d->traits |= CATALOG_UNKNOWN;
        if (t.kind == T_WORD || t.kind == T_QUOTED) {
            if (first && t.kind == T_WORD) scan_leading(b, &t);
            if (!scan_word(b, &t, &before)) refer(b, &t);
            first = begins_statement(&t);
        } else if (t.kind == T_STRING) {
            customs_add(b->customs, t.text, t.bytes);
            first = false;
        } else {
            first = t.c == ';' || (t.c == '>' && is_char(&before, '>'));   /* behind a label */
            if (strchr("+-*/<>=~!@#%^&|`?", t.c)) refer_operator(b, &t);
        }
        before = t;
    }
}

void body_scan(struct graph *g, struct draft *d, const unsigned char *text, uint32_t n, bool utf8, struct customs *customs) {
    if (!n) return;
    struct body b = {.lexer = {.at = text, .end = text + n, .key = g->key}, .g = g, .d = d, .customs = customs, .utf8 = utf8};
    if (!utf8 && beyond_ascii(text, n)) d->traits |= CATALOG_UNKNOWN;   /* its second bytes may be quotes */
    scan(&b);
    if (!memchr(text, '\\', n)) return;
    b.lexer = (struct lexer){.at = text, .end = text + n, .key = g->key, .backslash = true};
    scan(&b);
}

/* ---- expressions --------------------------------------------------------------------------------- */

static uint32_t number_at(const unsigned char **at, const unsigned char *end) {
    uint64_t n = 0;
    while (*at < end && (unsigned)(**at - '0') < 10) n = n > UINT32_MAX ? n : n * 10 + (uint64_t)(*(*at)++ - '0');
    return n > UINT32_MAX ? 0 : (uint32_t)n;
}

void oids_scan(struct graph *g, struct draft *d, const unsigned char *text, uint32_t n) {
    for (const unsigned char *at = text, *end = n ? text + n : text; at < end; at++) {
        uint32_t oid = number_at(&at, end);
        if (oid >= USER_OID) draft_reference(g, d, symbol_of_oid(oid));
    }
}

static bool ends_with(const unsigned char *field, uint32_t n, const char *tail) {
    uint32_t bytes = (uint32_t)strlen(tail);
    return n >= bytes && memcmp(field + n - bytes, tail, bytes) == 0;
}

/* [ 28 0 0 0 97 112 112 ... ]: a text, of which the first four bytes are its length. */
static void scan_constant(const unsigned char *at, const unsigned char *end, struct customs *customs) {
    unsigned char value[80];
    uint32_t n = 0;
    if (at >= end || *at != '[') return;
    for (at++; at < end && *at != ']' && n < sizeof value; at++)
        if ((unsigned)(*at - '0') < 10) value[n++] = (unsigned char)number_at(&at, end);
    if (n > 4 && n < sizeof value) customs_add(customs, value + 4, n - 4);
}

/* Every field whose value is an oid of something that a user made; of PostgreSQL's own only functions matter. */
void tree_scan(struct graph *g, struct draft *d, const unsigned char *text, uint32_t n, bool is_default,
               struct customs *customs) {
    static const char COMMAND[] = "commandType", WRITES[] = "235";   /* nodes.h: UPDATE, which may say DEFAULT, INSERT, MERGE */
    if (!n) return;
    const unsigned char *end = text + n;
    for (const unsigned char *at = text; (at = memchr(at, ':', (size_t)(end - at)));) {
        const unsigned char *field = ++at;
        while (at < end && *at != ' ' && *at != ':') at++;
        uint32_t bytes = (uint32_t)(at - field);
        if (at >= end) return;
        if (*at == ':') continue;
        at++;
        if (ends_with(field, bytes, "location") || ends_with(field, bytes, "len")) continue;
        const unsigned char *value = at;
        uint32_t oid = number_at(&value, end);
        bool calls = ends_with(field, bytes, "funcid") || ends_with(field, bytes, "fnoid");
        if (is_default && oid == NEXTVAL) continue;   /* who writes says so itself (TRAIT_INSERT) */
        if (bytes == sizeof COMMAND - 1 && memcmp(field, COMMAND, bytes) == 0 && strchr(WRITES, *at)) d->traits |= TRAIT_INSERT;
        if (oid >= USER_OID || (oid && calls)) draft_reference(g, d, symbol_of_oid(oid));
        if (end - at > 3 && at[0] == '(' && at[1] == 'o') {   /* a list of oids */
            const unsigned char *close = memchr(at, ')', (size_t)(end - at));
            oids_scan(g, d, at, (uint32_t)((close ? close : end) - at));
        }
        if (ends_with(field, bytes, "constvalue")) {
            number_at(&at, end);
            if (at < end) scan_constant(at + 1, end, customs);
        }
    }
}
