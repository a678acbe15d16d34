/* Finds the names of prepared statements in a text: a statement is looked at where it begins. */
#include "sql/statement_names.h"

#include "sql/lexer.h"

static struct token next(struct lexer *l) {
    struct token t;
    lexer_next(l, &t);
    return t;
}

static bool is_name(const struct token *t) { return (t->kind == T_WORD || t->kind == T_QUOTED) && !t->open; }

/* DEALLOCATE [PREPARE] name */
static bool take_deallocate(struct lexer *l, struct token *name) {
    *name = next(l);
    struct token behind;
    lexer_peek(l, &behind);
    if (token_is_word(name, "prepare") && is_name(&behind)) *name = next(l);
    return !token_is_word(name, "all");
}

/* PREPARE name [(types)] AS; PREPARE TRANSACTION is something else */
static bool take_prepare(struct lexer *l, struct token *name) {
    *name = next(l);
    struct token behind;
    lexer_peek(l, &behind);
    return token_is_char(&behind, '(') || token_is_word(&behind, "as");
}

/* EXPLAIN [(options)] [ANALYZE] [VERBOSE] leads to the statement itself. */
static struct token behind_explain(struct lexer *l) {
    struct token t = next(l);
    while (token_is_word(&t, "analyze") || token_is_word(&t, "analyse") || token_is_word(&t, "verbose"))
        t = next(l);
    if (token_is_char(&t, '(')) {
        for (int depth = 1; depth && t.kind != T_END;) {
            t = next(l);
            depth += token_is_char(&t, '(') - token_is_char(&t, ')');
        }
        t = next(l);
    }
    return t;
}

/* At the first word of a statement, or behind CREATE ... AS. */
static bool take_use(struct lexer *l, const struct token *t, enum sql_verb *verb, struct token *name) {
    if (token_is_word(t, "execute")) {
        *verb = SQL_EXECUTE;
        *name = next(l);
        return true;
    }
    if (token_is_word(t, "deallocate")) {
        *verb = SQL_DEALLOCATE;
        return take_deallocate(l, name);
    }
    *verb = SQL_PREPARE;
    return token_is_word(t, "prepare") && take_prepare(l, name);
}

static int digit(unsigned char c) {
    unsigned char letter = lower(c);
    return (unsigned)(c - '0') < 10 ? c - '0' : (unsigned)(letter - 'a') < 6 ? letter - 'a' + 10 : -1;
}

/* Behind a backslash of U&"..": \\, four digits, or six behind a plus.  Returns how many bytes; 0: another
 * than one of ASCII, whose bytes depend on client_encoding, or none at all. */
static uint32_t take_escape(const unsigned char *p, uint32_t n, char *out) {
    uint32_t plus = n && p[0] == '+', end = plus ? 7 : 4, code = 0;
    if (n && p[0] == '\\') {
        *out = '\\';
        return 1;
    }
    if (n < end) return 0;
    for (uint32_t i = plus; i < end; i++) {
        if (digit(p[i]) < 0) return 0;
        code = code << 4 | (uint32_t)digit(p[i]);
    }
    *out = (char)code;
    return code && code < 0x80 ? end : 0;
}

/* False: it is no name, one that is not read here, or one that is too long to be compared. */
static bool note_name(const char *text, const struct token *t, const struct token *behind,
                      struct sql_use *use) {
    bool quoted = t->kind == T_QUOTED;
    if (!is_name(t) || !t->bytes || t->bytes >= NAME_MAX_BYTES
        || (t->escaped && token_is_word(behind, "uescape")))
        return false;
    use->at = (uint32_t)((const char *)t->start - text);
    use->bytes = (uint32_t)(t->text - t->start) + t->bytes + quoted;
    for (uint32_t i = 0, taken; i < t->bytes; i++) {
        char *c = &use->name[use->name_bytes++];
        *c = (char)(quoted ? t->text[i] : lower(t->text[i]));
        if (quoted && *c == '"') i++; /* doubled */
        if (!t->escaped || *c != '\\') continue;
        if (!(taken = take_escape(t->text + i + 1, t->bytes - i - 1, c))) return false;
        i += taken;
    }
    return true;
}

static bool may_clear(const struct token *first) {
    return token_is_word(first, "discard") || token_is_word(first, "deallocate");
}

/* The names that a text uses; how many, or -1 when they are too many.  `statements`: how many it has;
 * `clears`: all names of the client may be gone behind it. */
int sql_uses(const char *text, uint32_t n, struct sql_use uses[SQL_USES_MAX], uint32_t *statements,
             bool *clears) {
    struct lexer l = {.at = (const unsigned char *)text, .end = (const unsigned char *)text + n};
    bool first = true, creates = false, as = false;
    uint32_t deallocates = 0;
    int count = 0;
    *statements = 0;
    *clears = false;
    for (struct token t = next(&l), name; t.kind != T_END; t = next(&l)) {
        if (token_is_char(&t, ';')) {
            first = true;
            continue;
        }
        if (first) {
            if (token_is_word(&t, "explain")) t = behind_explain(&l);
            creates = token_is_word(&t, "create");
            *clears |= may_clear(&t);
            ++*statements;
        }
        struct sql_use use = {.statement = *statements - 1};
        bool may_use = first || (creates && as && token_is_word(&t, "execute"));
        if (may_use && take_use(&l, &t, &use.verb, &name)) {
            struct token behind;
            lexer_peek(&l, &behind);
            if (use.verb == SQL_DEALLOCATE) use.deallocate = deallocates++;
            bool noted = note_name(text, &name, &behind, &use);
            if (noted && count == SQL_USES_MAX) return -1;
            use.bare = behind.kind == T_END || token_is_char(&behind, ';');
            if (noted) uses[count++] = use;
        }
        first = false;
        as = token_is_word(&t, "as");
    }
    return count;
}

/* Whether a text begins with a word whose first letter none of COPY, EXECUTE, DISCARD, DEALLOCATE has. */
static bool begins_otherwise(const char *text, uint32_t n) {
    while (n && *text == ' ') text++, n--;
    unsigned char first = n ? lower((unsigned char)*text) : ' ';
    return first >= 'a' && first <= 'z' && first != 'c' && first != 'd' && first != 'e';
}

/* What the one statement of a text may be; of which only the beginning may be there. */
uint8_t sql_deeds(const char *text, uint32_t n, bool whole) {
    if (begins_otherwise(text, n)) return 0;
    struct lexer l = {.at = (const unsigned char *)text, .end = (const unsigned char *)text + n};
    struct token t = next(&l);
    while (token_is_char(&t, ';')) t = next(&l);
    if (!whole && l.at == l.end) return MAY_COPY | MAY_CLEAR;
    return (token_is_word(&t, "copy") || token_is_word(&t, "execute") ? MAY_COPY : 0)
        | (may_clear(&t) ? MAY_CLEAR : 0);
}
