/* Finds the names of prepared statements in a text.  Nothing else of SQL is understood: comments, strings and quoted
 * names are skipped, and a statement is looked at where it begins. */
#define _GNU_SOURCE
#include "sqlnames.h"

#include <string.h>
#include <strings.h>

enum kind { T_END, T_WORD, T_QUOTED, T_OTHER };

struct token { enum kind kind; uint32_t at, bytes; };
struct scanner { const char *text; uint32_t n, at; };

static bool in_word(unsigned char c) {
    return (unsigned)((c | 0x20) - 'a') < 26 || (unsigned)(c - '0') < 10 || c == '_' || c == '$' || c >= 0x80;
}

static bool here(const struct scanner *s, const char *two) {
    return s->n - s->at >= 2 && s->text[s->at] == two[0] && s->text[s->at + 1] == two[1];
}

static void skip_comment(struct scanner *s) {
    int depth = 0;
    do {
        if (here(s, "/*")) { depth++; s->at += 2; }
        else if (here(s, "*/")) { depth--; s->at += 2; }
        else s->at++;
    } while (depth && s->at < s->n);
}

static void skip_space(struct scanner *s) {
    while (s->at < s->n) {
        unsigned char c = (unsigned char)s->text[s->at];
        if (c == ' ' || (unsigned)(c - '\t') < 5) s->at++;
        else if (here(s, "--")) while (s->at < s->n && s->text[s->at] != '\n' && s->text[s->at] != '\r') s->at++;
        else if (here(s, "/*")) skip_comment(s);
        else return;
    }
}

/* Behind the closing quote; a doubled one does not close. */
static void skip_quoted(struct scanner *s, char quote, bool backslash) {
    for (s->at++; s->at < s->n; s->at++) {
        if (backslash && s->text[s->at] == '\\') s->at++;
        else if (s->text[s->at] == quote && (++s->at >= s->n || s->text[s->at] != quote)) return;
    }
    s->at = s->n;
}

/* $tag$ ... $tag$, or a lonely dollar. */
static void skip_dollar(struct scanner *s) {
    uint32_t end = s->at + 1;
    while (end < s->n && in_word((unsigned char)s->text[end]) && s->text[end] != '$') end++;
    if (end >= s->n || s->text[end] != '$') {
        s->at++;
        return;
    }
    uint32_t tag = end + 1 - s->at;
    const char *close = memmem(s->text + end + 1, s->n - end - 1, s->text + s->at, tag);
    s->at = close ? (uint32_t)(close - s->text) + tag : s->n;
}

static struct token next(struct scanner *s) {
    skip_space(s);
    struct token t = {.kind = T_END, .at = s->at};
    if (s->at >= s->n) return t;
    unsigned char c = (unsigned char)s->text[s->at];
    t.kind = T_OTHER;
    if (c == '"') {
        skip_quoted(s, '"', false);
        if (s->at - t.at >= 2 && s->text[s->at - 1] == '"') t.kind = T_QUOTED;
    } else if (c == '\'') {
        skip_quoted(s, '\'', false);
    } else if (c == '$') {
        skip_dollar(s);
    } else if (in_word(c)) {
        while (s->at < s->n && in_word((unsigned char)s->text[s->at])) s->at++;
        t.kind = (unsigned)(c - '0') < 10 ? T_OTHER : T_WORD;
        if (s->at - t.at == 1 && s->at < s->n && s->text[s->at] == '\'') {   /* E'..', B'..', X'..', N'..' */
            skip_quoted(s, '\'', (c | 0x20) == 'e');
            t.kind = T_OTHER;
        }
    } else {
        s->at++;
    }
    t.bytes = s->at - t.at;
    return t;
}

static bool is(const struct scanner *s, const struct token *t, const char *word) {
    return t->kind == T_WORD && t->bytes == strlen(word) && strncasecmp(s->text + t->at, word, t->bytes) == 0;
}

static bool is_char(const struct scanner *s, const struct token *t, char c) {
    return t->kind == T_OTHER && t->bytes == 1 && s->text[t->at] == c;
}

/* False: it is no name, or one that is too long to be compared. */
static bool take_name(const struct scanner *s, const struct token *t, struct sql_use *use) {
    if (t->kind != T_WORD && t->kind != T_QUOTED) return false;
    uint32_t quote = t->kind == T_QUOTED;
    if (t->bytes >= NAME_MAX_BYTES + 2 * quote || t->bytes <= 2 * quote) return false;
    use->at = t->at;
    use->bytes = t->bytes;
    use->name_bytes = 0;
    for (uint32_t i = t->at + quote; i < t->at + t->bytes - quote; i++) {
        char c = s->text[i];
        if (!quote && (unsigned)(c - 'A') < 26) c |= 0x20;
        use->name[use->name_bytes++] = c;
        if (quote && c == '"') i++;   /* doubled */
    }
    return true;
}

/* DEALLOCATE [PREPARE] name */
static bool take_deallocate(struct scanner *s, struct sql_use *use) {
    struct token t = next(s);
    struct scanner ahead = *s;
    struct token behind = next(&ahead);
    if (is(s, &t, "prepare") && (behind.kind == T_WORD || behind.kind == T_QUOTED)) {
        *s = ahead;
        t = behind;
    }
    return !is(s, &t, "all") && take_name(s, &t, use);
}

/* PREPARE name [(types)] AS; PREPARE TRANSACTION is something else */
static bool take_prepare(struct scanner *s, struct sql_use *use) {
    struct token name = next(s);
    struct scanner ahead = *s;
    struct token behind = next(&ahead);
    return (is_char(s, &behind, '(') || is(s, &behind, "as")) && take_name(s, &name, use);
}

/* EXPLAIN [(options)] [ANALYZE] [VERBOSE] leads to the statement itself. */
static struct token behind_explain(struct scanner *s) {
    struct token t = next(s);
    while (is(s, &t, "analyze") || is(s, &t, "analyse") || is(s, &t, "verbose")) t = next(s);
    if (is_char(s, &t, '(')) {
        for (int depth = 1; depth && t.kind != T_END;) {
            t = next(s);
            depth += is_char(s, &t, '(') - is_char(s, &t, ')');
        }
        t = next(s);
    }
    return t;
}

/* At the first word of a statement, or behind CREATE ... AS. */
static bool take_use(struct scanner *s, const struct token *t, struct sql_use *use) {
    if (is(s, t, "execute")) {
        struct token name = next(s);
        use->verb = SQL_EXECUTE;
        return take_name(s, &name, use);
    }
    if (is(s, t, "deallocate")) {
        use->verb = SQL_DEALLOCATE;
        return take_deallocate(s, use);
    }
    use->verb = SQL_PREPARE;
    return is(s, t, "prepare") && take_prepare(s, use);
}

/* The names that a text uses; how many, or -1 when they are too many.  `statements`: how many it has. */
int sql_uses(const char *text, uint32_t n, struct sql_use uses[SQL_USES_MAX], uint32_t *statements) {
    struct scanner s = {.text = text, .n = n};
    bool first = true, creates = false, as = false;
    int count = 0;
    *statements = 0;
    for (struct token t = next(&s); t.kind != T_END; t = next(&s)) {
        if (is_char(&s, &t, ';')) {
            first = true;
            continue;
        }
        if (first) {
            if (is(&s, &t, "explain")) t = behind_explain(&s);
            creates = is(&s, &t, "create");
            ++*statements;
        }
        struct sql_use use = {.statement = *statements - 1};
        if (first || (creates && as && is(&s, &t, "execute"))) {
            if (take_use(&s, &t, &use)) {
                if (count == SQL_USES_MAX) return -1;
                struct scanner ahead = s;
                struct token behind = next(&ahead);
                use.bare = behind.kind == T_END || is_char(&s, &behind, ';');
                uses[count++] = use;
            }
        }
        first = false;
        as = is(&s, &t, "as");
    }
    return count;
}
