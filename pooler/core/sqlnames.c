/* Finds the names of prepared statements in a text: a statement is looked at where it begins. */
#include "sqlnames.h"

#include <string.h>

#include "lexer.h"

static struct token next(struct lexer *l) {
    struct token t;
    next_token(l, &t);
    return t;
}

static bool is_name(const struct token *t) {
    return (t->kind == T_WORD || t->kind == T_QUOTED) && !t->escaped && !t->open;
}

/* DEALLOCATE [PREPARE] name */
static bool take_deallocate(struct lexer *l, struct token *name) {
    *name = next(l);
    struct token behind;
    peek_token(l, &behind);
    if (is_word(name, "prepare") && is_name(&behind)) *name = next(l);
    return !is_word(name, "all");
}

/* PREPARE name [(types)] AS; PREPARE TRANSACTION is something else */
static bool take_prepare(struct lexer *l, struct token *name) {
    *name = next(l);
    struct token behind;
    peek_token(l, &behind);
    return is_char(&behind, '(') || is_word(&behind, "as");
}

/* EXPLAIN [(options)] [ANALYZE] [VERBOSE] leads to the statement itself. */
static struct token behind_explain(struct lexer *l) {
    struct token t = next(l);
    while (is_word(&t, "analyze") || is_word(&t, "analyse") || is_word(&t, "verbose")) t = next(l);
    if (is_char(&t, '(')) {
        for (int depth = 1; depth && t.kind != T_END;) {
            t = next(l);
            depth += is_char(&t, '(') - is_char(&t, ')');
        }
        t = next(l);
    }
    return t;
}

/* At the first word of a statement, or behind CREATE ... AS. */
static bool take_use(struct lexer *l, const struct token *t, enum sql_verb *verb, struct token *name) {
    if (is_word(t, "execute")) {
        *verb = SQL_EXECUTE;
        *name = next(l);
        return true;
    }
    if (is_word(t, "deallocate")) {
        *verb = SQL_DEALLOCATE;
        return take_deallocate(l, name);
    }
    *verb = SQL_PREPARE;
    return is_word(t, "prepare") && take_prepare(l, name);
}

/* False: it is no name, or one that is too long to be compared. */
static bool note_name(const char *text, const struct token *t, struct sql_use *use) {
    bool quoted = t->kind == T_QUOTED;
    if (!is_name(t) || !t->bytes || t->bytes >= NAME_MAX_BYTES) return false;
    use->at = (uint32_t)((const char *)t->start - text);
    use->bytes = t->bytes + 2 * quoted;
    for (uint32_t i = 0; i < t->bytes; i++) {
        use->name[use->name_bytes++] = (char)(quoted ? t->text[i] : lower(t->text[i]));
        if (quoted && t->text[i] == '"') i++;   /* doubled */
    }
    return true;
}

/* The names that a text uses; how many, or -1 when they are too many.  `statements`: how many it has.  `forgets`: one of them
 * may be DEALLOCATE ALL or DISCARD ALL. */
int sql_uses(const char *text, uint32_t n, struct sql_use uses[SQL_USES_MAX], uint32_t *statements, bool *forgets) {
    struct lexer l = {.at = (const unsigned char *)text, .end = (const unsigned char *)text + n};
    bool first = true, creates = false, as = false;
    int count = 0;
    *statements = 0;
    *forgets = false;
    for (struct token t = next(&l), name; t.kind != T_END; t = next(&l)) {
        if (is_char(&t, ';')) {
            first = true;
            continue;
        }
        if (first) {
            if (is_word(&t, "explain")) t = behind_explain(&l);
            creates = is_word(&t, "create");
            ++*statements;
            *forgets |= is_word(&t, "deallocate") || is_word(&t, "discard");
        }
        struct sql_use use = {.statement = *statements - 1};
        bool may_use = first || (creates && as && is_word(&t, "execute"));
        if (may_use && take_use(&l, &t, &use.verb, &name) && note_name(text, &name, &use)) {
            if (count == SQL_USES_MAX) return -1;
            struct token behind;
            peek_token(&l, &behind);
            use.bare = behind.kind == T_END || is_char(&behind, ';');
            uses[count++] = use;
        }
        first = false;
        as = is_word(&t, "as");
    }
    return count;
}
