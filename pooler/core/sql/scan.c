/* The scanner of statement texts: where statements begin, and in which position names stand.
 *
 * Theory.  What a name may do is known from the catalogs (catalog_names.h) and from the table of built-in
 * words.  It counts wherever it stands: to look at a name too often costs a question at most.  Its position
 * decides what the *lack* of it in the catalogs means.  Before a parenthesis, as a relation, as a type, or as
 * an operator it is something newer than the snapshot: unknown, so everything is asked for.  Elsewhere, also
 * behind a dot (t.f calls f), it is a column, an alias or the like.  A statement of an unknown kind may leave
 * anything.
 */
#include "sql/effects.h"

#include <string.h>
#include <strings.h>

#include "sql/catalog_names.h"
#include "sql/keywords.h"
#include "sql/lexer.h"
#include "sql/scan.h"
#include "sql/statement_names.h"

static void scan_statements(struct scanner *s);

static void scan_inner(struct scanner *s, const struct token *text) {
    if (s->depth >= 3) return;
    struct scanner inner = {.lexer = s->lexer,
                            .builtin = s->builtin,
                            .catalog = s->catalog,
                            .body = true,
                            .depth = s->depth + 1,
                            .out = s->out};
    inner.lexer.at = text->text;
    inner.lexer.end = text->text + text->bytes;
    scan_statements(&inner);
}

/* EXECUTE 'text' in a body; a text that is made when it runs may do anything. */
static void scan_dynamic(struct scanner *s) {
    struct lexer ahead = s->lexer;
    struct token t, behind;
    lexer_next(&ahead, &t);
    lexer_peek(&ahead, &behind);
    bool all = t.kind == T_STRING && !t.escaped && behind.kind != T_OPERATOR; /* not a part of it only */
    if (!all) s->out->effect_flags |= PIN_OPAQUE;
    if (t.kind != T_STRING) return;
    s->out->reads_literals = true;
    scan_inner(s, &t);
}

/* A name, quoted in either way or not. */
static bool is_plpgsql(const struct token *t) {
    bool named = t->kind == T_STRING || t->kind == T_QUOTED;
    return token_is_word(t, "plpgsql")
        || (named && !t->escaped && t->bytes == 7 && memcmp(t->text, "plpgsql", 7) == 0);
}

/* DO [LANGUAGE name] 'text' [LANGUAGE name].  What another language keeps no question finds. */
static void scan_do(struct scanner *s) {
    struct lexer ahead = s->lexer;
    struct token t, text = {.kind = T_END};
    for (int i = 0; i < 3; i++) {
        lexer_next(&ahead, &t);
        if (t.kind == T_STRING && text.kind == T_END) text = t;
        if (!token_is_word(&t, "language")) continue;
        lexer_next(&ahead, &t);
        if (!is_plpgsql(&t)) s->out->effect_flags |= PIN_OPAQUE | PIN_INTERPRETER;
        if (text.kind == T_END) s->lexer = ahead; /* else the name would be the type of a literal */
    }
    if (text.kind == T_END || text.escaped) s->out->effect_flags |= PIN_OPAQUE;
    if (text.kind == T_END) return;
    s->out->reads_literals = true;
    scan_inner(s, &text);
}

/* The name of a statement that somebody else may have had prepared.  U& may stand for any. */
static bool is_ours(const struct token *t) {
    static const char OURS[] = SERVER_NAME_PREFIX;
    if (t->kind == T_QUOTED && (*t->start == 'u' || *t->start == 'U')) return true;
    return (t->kind == T_WORD || t->kind == T_QUOTED) && t->bytes >= sizeof OURS
        && strncasecmp((const char *)t->text, OURS, sizeof OURS - 1) == 0;
}

/* EXECUTE runs what PREPARE said; under a name of ours what somebody else prepared. */
void scan_execute(struct scanner *s) {
    struct token t;
    lexer_peek(&s->lexer, &t);
    if (is_ours(&t)) s->out->effect_flags |= EVERYTHING;
}

/* Where a statement of ours is gone, nobody else is to look for it: the server is closed behind its
 * client. */
static void scan_deallocate(struct scanner *s) {
    struct lexer ahead = s->lexer;
    struct token t;
    lexer_next(&ahead, &t);
    if (scan_word_id(s, &t) == W_PREPARE) lexer_next(&ahead, &t);
    if (is_ours(&t)) s->out->effect_flags |= PIN_LOADED;
}
/* The first word of a statement.  True: it has been dealt with, the rest is scanned as any. */
static bool scan_leading(struct scanner *s, const struct token *t, const struct word *w, bool *ddl) {
    *ddl = false;
    if (!w) {
        if (!s->body) s->out->effect_flags |= EVERYTHING; /* what it does nobody knows */
        return false;
    }
    s->out->effect_flags |= w->effect_flags;
    s->out->ends |= w->ends;
    struct token next;
    switch (w->id) {
    case W_SET:
        s->at.set = true;
        scan_set(s);
        break;
    case W_RESET: scan_reset(s); break;
    case W_DISCARD: scan_discard(s); break;
    case W_LISTEN: scan_channel(s, 'l'); break;
    case W_UNLISTEN: scan_channel(s, 'u'); break;
    case W_SHOW: scan_show(s); break;
    case W_PREPARE:
        lexer_peek(&s->lexer, &next);
        if (scan_word_id(s, &next) != W_TRANSACTION) s->out->effect_flags |= ASK_PREPARED;
        break;
    case W_EXECUTE:
        if (s->body) scan_dynamic(s);
        else scan_execute(s);
        break;
    case W_DEALLOCATE: scan_deallocate(s); break;
    case W_DO: scan_do(s); break;
    case W_COMMIT: /* of what was prepared, perhaps long ago and by another session */
        lexer_peek(&s->lexer, &next);
        if (token_is_word(&next, "prepared")) s->out->effect_flags |= EFFECT_SCHEMA;
        break;
    case W_QUIET: s->at.quiet = true; return false;
    case W_ANALYZED: return false;
    case W_CREATE:
        if (!lexer_makes_temporary(&s->lexer)) s->out->effect_flags |= EFFECT_SCHEMA;
        /* fall through */
    case W_DDL: /* CREATE stands before TEMP, too */
        s->at.ddl = true;
        s->out->effect_flags |= catalog_ddl(s->catalog);
        scan_database(s, t);
        *ddl = true;
        return false;
    default: break;
    }
    return true;
}

static void begin_statement(struct scanner *s) {
    s->at.before = BEFORE_START;
    s->at.relation = RELATION_NONE;
    s->at.place = PLACE_NONE;
    s->at.type = s->at.juxtaposed = s->at.recursive = s->at.quiet = s->at.ddl = s->at.set = false;
    s->at.depth = s->at.with_count = 0;
    s->at.from = s->at.cast = s->at.fromless = s->at.with = 0;
}

static void open_parenthesis(struct scanner *s) {
    struct position *at = &s->at;
    bool cast = at->place == PLACE_CAST, fromless = at->place == PLACE_FROMLESS;
    if (at->depth < DEPTH_MAX) at->depth++;
    else s->out->effect_flags |= EVERYTHING; /* too deep to be told apart */
    at->from &= ~scan_here(s);
    at->with &= ~scan_here(s);
    at->cast = cast ? at->cast | scan_here(s) : at->cast & ~scan_here(s);
    at->fromless = fromless ? at->fromless | scan_here(s) : at->fromless & ~scan_here(s);
    if (at->relation == RELATION_WITH_COLUMNS) at->relation = RELATION_NONE;
    at->type = false;
    at->place = PLACE_NONE;
    at->before = BEFORE_OTHER;
}

/* Common table expressions of what ends here are not to be seen any more; those around it are, from their own
 * end on. */
static void close_parenthesis(struct scanner *s) {
    struct position *at = &s->at;
    if (at->depth) at->depth--;
    while (at->with_count && at->names[at->with_count - 1].depth > at->depth) at->with_count--;
    if (at->with_count && at->names[at->with_count - 1].depth == at->depth)
        at->names[at->with_count - 1].open = false;
    at->relation = RELATION_NONE;
    at->type = false;
    at->place = PLACE_NONE;
    at->before = BEFORE_CLOSE;
}

static void scan_other(struct scanner *s, const struct token *t) {
    struct position *at = &s->at;
    switch (t->c) {
    case ';': begin_statement(s); return;
    case '(': open_parenthesis(s); return;
    case ')': close_parenthesis(s); return;
    case '.': at->before = BEFORE_DOT; return;
    case ',':
        at->before = at->with & scan_here(s) ? BEFORE_WITH : BEFORE_OTHER;
        at->relation = at->from & scan_here(s) ? RELATION_READ : RELATION_NONE;
        at->type = false;
        break;
    case ':':
        at->before = BEFORE_OTHER;
        if (s->lexer.at < s->lexer.end && *s->lexer.at == ':') {
            s->lexer.at++;
            at->type = true;
        }
        break;
    case ']':
    case '0': at->before = BEFORE_VALUE; break;
    default: at->before = BEFORE_OTHER; break;
    }
    at->place = PLACE_NONE;
}

static void scan_operator(struct scanner *s, const struct token *t) {
    scan_use(s, CATALOG_OPERATOR, t);
    s->at.before = BEFORE_OTHER;
    s->at.relation = RELATION_NONE;
    s->at.type = false;
    s->at.place = PLACE_NONE;
}

static void scan_string(struct scanner *s, const struct token *t, bool ddl) {
    if (scan_names_a_setting(t->text, t->bytes))
        scan_note_name(s, 'c', (const char *)t->text, t->bytes, true);
    else if (ddl) scan_function_body(s, t);
    s->at.before = BEFORE_VALUE;
    s->at.relation = RELATION_NONE;
    s->at.type = false;
    s->at.place = PLACE_NONE;
}

static void scan_statements(struct scanner *s) {
    struct token t;
    bool first = true, ddl = false, explain = false;
    uint8_t previous = W_NONE;
    begin_statement(s);
    for (lexer_next(&s->lexer, &t); t.kind != T_END; lexer_next(&s->lexer, &t)) {
        if (t.kind == T_OTHER || t.kind == T_OPERATOR) {
            if (token_is_char(&t, ';')) first = true;
            if (t.kind == T_OTHER) scan_other(s, &t);
            else scan_operator(s, &t);
            previous = W_NONE;
            continue;
        }
        if (t.kind == T_STRING) {
            scan_string(s, &t, ddl);
            continue;
        }
        bool leads = first && t.kind == T_WORD;
        const struct word *lead = leads ? words_find(s->builtin, words_leading(t.hash)) : NULL;
        /* EXPLAIN ANALYZE, EXPLAIN (COSTS off) */
        bool option = explain && leads && (!lead || lead->id == W_MAINTAIN);
        explain = leads && ((lead && lead->id == W_EXPLAIN) || option);
        first = explain; /* behind its options another statement begins */
        if (option) continue;
        if (leads && scan_leading(s, &t, lead, &ddl)) {
            s->at.before = BEFORE_WORD;
            s->at.place = PLACE_STATEMENT;
            previous = W_NONE;
            first = s->body && lead->id == W_BODY;
            continue;
        }
        previous = scan_word(s, &t, previous);
        if (s->body && previous == W_BODY) first = true;
    }
    if (s->lexer.escaped_name) s->out->effect_flags |= EVERYTHING | PIN_OPAQUE; /* any name */
    if (s->lexer.incomplete) s->out->effect_flags |= EVERYTHING;
}

static void scan_once(const struct words *builtin, const struct catalog *catalog, const unsigned char *text,
                      uint32_t bytes, struct lexer *l, struct scan *out) {
    out->effect_flags = out->ends = out->names_bytes = out->unknown_count = 0;
    out->work = 0;
    out->foreign = out->calls = out->reads_literals = false;
    l->at = text;
    l->end = text + bytes;
    l->key = builtin->key;
    l->work = &out->work;
    struct scanner s;
    s.lexer = *l;
    s.builtin = builtin;
    s.catalog = catalog;
    s.body = s.update = false;
    s.depth = 0;
    s.looked = NULL;
    s.out = out;
    scan_statements(&s);
    *l = s.lexer;
}

/* PostgreSQL may read the text with the other standard_conforming_strings than was reported last: a statement
 * that stands before it may change that, and what it reads at Parse is used at Bind.  So both readings count:
 * this one in all that it says, the other in what it may leave behind.  A reading that ends within a string
 * is one that PostgreSQL refuses. */
void scan_text(const struct words *builtin, const struct catalog *catalog, const unsigned char *text,
               uint32_t bytes, bool backslash, struct scan *out) {
    struct lexer l = {.backslash = backslash}, other_lexer = {.backslash = !backslash};
    scan_once(builtin, catalog, text, bytes, &l, out);
    if (!l.backslashes) return;
    struct scan other;
    scan_once(builtin, catalog, text, bytes, &other_lexer, &other);
    out->work += other.work;
    if (other_lexer.incomplete) return;
    out->foreign |= other.foreign;
    out->calls |= other.calls;
    out->reads_literals |= other.reads_literals;
    bool same = other.effect_flags == out->effect_flags && other.ends == out->ends
        && other.names_bytes == out->names_bytes && memcmp(other.names, out->names, out->names_bytes) == 0;
    if (same || !(other.effect_flags | other.ends)) return;
    out->effect_flags |= EVERYTHING | (other.effect_flags & ~(uint32_t)SCAN_NAMED);
    char kind;
    const char *name;
    for (uint32_t at = 0; scan_next_name(other.names, other.names_bytes, &at, &kind, &name);)
        if (kind == 's' && strchr(name, '.'))
            scan_note_name(&(struct scanner){.out = out}, 'k', name, (uint32_t)strlen(name), false);
}
