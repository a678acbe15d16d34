/* The scanner of statement texts: where statements begin, and in which position names stand.
 *
 * Theory.  What a name may do is known from the catalogs (catalog_names.h) and from the table of built-in
 * words.  It counts wherever it stands: to look at a name too often costs a question at most.  Its position
 * decides what the *lack* of it in the catalogs means.  Before a parenthesis, as a relation, as a type, or as
 * an operator it is something newer than the snapshot: unknown, so everything is asked for.  Elsewhere, also
 * behind a dot (t.f calls f), it is a column, an alias or the like.  A statement of an unknown kind may leave
 * anything.
 */
#include "sql/scan.h"

#include <string.h>
#include <strings.h>

#include "sql/keywords.h"
#include "statements/store.h"

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

/* DO [LANGUAGE name] 'text' [LANGUAGE name]; EXECUTE 'text' in a body. */
static void scan_body(struct scanner *s) {
    struct lexer ahead = s->lexer;
    struct token t;
    for (int i = 0; i < (s->body ? 1 : 3); i++) {
        next_token(&ahead, &t);
        if (t.kind != T_STRING) continue;
        struct token behind;
        peek_token(&ahead, &behind);
        bool all = !t.escaped && behind.kind != T_OPERATOR; /* not one part of the text only */
        if (!all) s->out->effect_flags |= PIN_OPAQUE;
        scan_inner(s, &t);
        return;
    }
    s->out->effect_flags |= PIN_OPAQUE; /* a text that is made when it runs */
}
/* The name of a statement that somebody else may have had prepared.  U& may stand for any. */
static bool is_ours(const struct token *t) {
    static const char OURS[] = SERVER_NAME_PREFIX;
    if (t->kind == T_QUOTED && (*t->start == 'u' || *t->start == 'U')) return true;
    return (t->kind == T_WORD || t->kind == T_QUOTED) && t->bytes >= sizeof OURS
        && strncasecmp((const char *)t->text, OURS, sizeof OURS - 1) == 0;
}

/* EXECUTE runs what PREPARE said; under a name of ours what somebody else prepared. */
static void scan_execute(struct scanner *s) {
    struct token t;
    peek_token(&s->lexer, &t);
    if (is_ours(&t)) s->out->effect_flags |= EVERYTHING;
}

/* Where a statement of ours is gone, nobody else is to look for it: the server is closed behind its
 * client. */
static void scan_deallocate(struct scanner *s) {
    struct lexer ahead = s->lexer;
    struct token t;
    next_token(&ahead, &t);
    if (id_of(s, &t) == W_PREPARE) next_token(&ahead, &t);
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
        peek_token(&s->lexer, &next);
        if (id_of(s, &next) != W_TRANSACTION) s->out->effect_flags |= ASK_PREPARED;
        break;
    case W_EXECUTE:
        if (s->body) scan_body(s);
        else scan_execute(s);
        break;
    case W_DEALLOCATE: scan_deallocate(s); break;
    case W_DO: scan_body(s); break;
    case W_COMMIT: /* of what was prepared, perhaps long ago and by another session */
        peek_token(&s->lexer, &next);
        if (is_word(&next, "prepared")) s->out->effect_flags |= EFFECT_SCHEMA;
        break;
    case W_QUIET: s->at.quiet = true; return false;
    case W_ANALYZED: return false;
    case W_CREATE:
        if (!makes_temporary(&s->lexer)) s->out->effect_flags |= EFFECT_SCHEMA;
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

/* ---- names -------------------------------------------------------------------------------------- */

static uint64_t here(const struct scanner *s) { return 1ull << s->at.depth; }

/* A name in the position of an object of this kind.  False: there is none. */
static bool add_effects(struct scanner *s, enum catalog_kind kind, uint64_t hash) {
    if (!catalog_has(s->catalog, kind, hash)) return false;
    uint32_t effects = catalog_effects(s->catalog, kind, hash);
    s->out->effect_flags |= effects & ~CATALOG_UNKNOWN;
    s->out->ends |= effects & ASK_ALL;
    return true;
}

/* It is newer than the snapshot. */
static void add_unknown(struct scanner *s) { s->out->effect_flags |= EVERYTHING | EFFECT_UNKNOWN; }

/* What the table of words has is judged by that; what a user's object of the same name does counts
 * everywhere. */
static bool is_built_in(const struct scanner *s, uint64_t hash) {
    const struct word *w = words_find(s->builtin, hash);
    return w && w->where;
}

/* What is not there is nothing: a column, an alias, ... */
static void mention(struct scanner *s, const struct token *t) {
    if (is_built_in(s, t->hash)) return;
    for (int kind = CATALOG_FUNCTION; kind <= CATALOG_TYPE; kind++)
        add_effects(s, (enum catalog_kind)kind, t->hash);
}

/* A function, or a type in the form of one: f(x) casts x where f is a type. */
static void call(struct scanner *s, const struct token *t) {
    s->out->foreign |= t->foreign;
    const struct word *w = words_find(s->builtin, t->hash);
    if (w && w->where) return;
    bool well_known = w && w->flags & WELL_KNOWN_FUNCTION;
    s->out->calls |= !well_known;
    bool type = add_effects(s, CATALOG_TYPE, t->hash), function = add_effects(s, CATALOG_FUNCTION, t->hash);
    /* in DDL it may be what is made, and everything is asked for anyway */
    if (type || function || s->at.ddl) return;
    if (!s->catalog->capacity && well_known) return;
    add_unknown(s);
    if (s->out->unknown_count < SCAN_UNKNOWN_MAX) s->out->unknown[s->out->unknown_count++] = t->hash;
}

/* A relation, type or operator. */
static void use(struct scanner *s, enum catalog_kind kind, const struct token *t) {
    s->out->foreign |= t->foreign;
    s->out->calls |= kind == CATALOG_RELATION;
    if (!add_effects(s, kind, t->hash)) add_unknown(s);
}

/* Whether a common table expression of this statement has the name. */
static bool is_defined(const struct scanner *s, uint64_t hash) {
    for (uint32_t i = 0; i < s->at.with_count; i++)
        if (s->at.names[i].hash == hash && !s->at.names[i].open) return true;
    return false;
}

static void read_relation(struct scanner *s, const struct token *t, bool qualified) {
    if (!qualified && is_defined(s, t->hash)) {
        mention(s, t);
        return;
    }
    use(s, CATALOG_RELATION, t);
}

static void define(struct scanner *s, const struct token *t) {
    struct position *at = &s->at;
    if (at->with_count == NAMES_WITH_MAX) return; /* it will be unknown */
    at->names[at->with_count].hash = t->hash;
    at->names[at->with_count].depth = at->depth;
    at->names[at->with_count++].open = !at->recursive;
}

/* Before a parenthesis. */
static void name_before_parenthesis(struct scanner *s, const struct token *t, const struct word *w,
                                    bool qualified) {
    struct position *at = &s->at;
    bool alias = !qualified
        && (at->before == BEFORE_NAME || at->before == BEFORE_VALUE || at->before == BEFORE_AS
            || (at->before == BEFORE_CLOSE && !at->juxtaposed) || at->place == PLACE_STATEMENT
            || (w && w->flags & KEYWORD_NOT_CALLED));
    if (at->relation == RELATION_WITH_COLUMNS) read_relation(s, t, qualified);
    else if (at->before == BEFORE_WITH) define(s, t);
    else if (alias) mention(s, t);
    else call(s, t);
}

/* A name that is no keyword here. */
static void scan_name(struct scanner *s, const struct token *t, const struct word *w) {
    struct position *at = &s->at;
    unsigned char behind = next_char(&s->lexer);
    bool qualified = at->before == BEFORE_DOT;
    if (behind == '.') {
        at->before = BEFORE_NAME;
        return;
    }
    if (at->type) {
        use(s, CATALOG_TYPE, t);
    } else if (behind == '(') {
        name_before_parenthesis(s, t, w, qualified);
    } else if (at->relation) {
        read_relation(s, t, qualified);
    } else if (at->before == BEFORE_WITH) {
        define(s, t);
    } else if (string_stands_before(&s->lexer) && !(w && w->keyword)) {
        use(s, CATALOG_TYPE, t);
        mention(s, t);
    } else {
        s->out->foreign |= qualified && t->foreign;
        mention(s, t);
    }
    at->relation = RELATION_NONE;
    at->type = false;
    at->before = w && w->keyword && !qualified ? BEFORE_WORD : BEFORE_NAME;
}

static void list_relations(struct scanner *s, enum relation relation) {
    s->at.relation = relation;
    s->at.from |= here(s);
}

static void end_relations(struct scanner *s) {
    s->at.relation = RELATION_NONE;
    s->at.from &= ~here(s);
}

/* What a keyword says about what stands behind it. */
static void scan_place(struct scanner *s, enum place place) {
    struct position *at = &s->at;
    switch (place) {
    case PLACE_FROM:
        at->relation = RELATION_NONE;
        if (at->place == PLACE_DISTINCT || at->fromless & here(s) || (at->quiet && !at->depth)) break;
        list_relations(s, RELATION_READ);
        break;
    case PLACE_JOIN: list_relations(s, RELATION_READ); break;
    case PLACE_RELATION: list_relations(s, RELATION_READ); break;
    case PLACE_UPDATE:
        if (at->place != PLACE_FOR && at->place != PLACE_DO) at->relation = RELATION_READ;
        s->update = true;
        break;
    case PLACE_USING: at->relation = next_char(&s->lexer) == '(' ? RELATION_NONE : RELATION_READ; break;
    case PLACE_INTO:
        at->relation = RELATION_WITH_COLUMNS;
        /* a new table, which may be temporary by search_path */
        if (at->place != PLACE_INSERT) s->out->effect_flags |= ASK_TEMP;
        break;
    case PLACE_COPY: at->relation = RELATION_WITH_COLUMNS; break;
    case PLACE_FOR:
    case PLACE_END: end_relations(s); break;
    case PLACE_QUERY:
    case PLACE_INSERT:
        end_relations(s);
        at->with &= ~here(s);
        break;
    case PLACE_ON: at->juxtaposed |= at->place == PLACE_DISTINCT; break;
    case PLACE_OPERATOR: at->juxtaposed |= next_char(&s->lexer) == '('; break;
    case PLACE_AS: at->type = at->cast & here(s); break;
    case PLACE_WITH:
        at->with |= here(s);
        at->recursive = false;
        break;
    case PLACE_RECURSIVE: at->recursive = true; break;
    default: break;
    }
    at->before = place == PLACE_AS                        ? BEFORE_AS
        : place == PLACE_WITH || place == PLACE_RECURSIVE ? BEFORE_WITH
                                                          : BEFORE_WORD;
    at->place = (uint8_t)place;
}

/* Words of a statement that are no names of anything, or only may be. */
static void scan_keyword(struct scanner *s, const struct token *t, const struct word *w) {
    struct position *at = &s->at;
    bool modifier = w->place == PLACE_MODIFIER && at->relation;
    if (w->keyword < KEYWORD_COLUMN && (!w->place || (!modifier && at->relation && w->place != PLACE_END))) {
        scan_name(s, t, w);
        at->place = PLACE_NONE;
        return;
    }
    /* older releases know fewer */
    if (w->keyword < KEYWORD_COLUMN || next_char(&s->lexer) == '(') mention(s, t);
    if (w->place) {
        scan_place(s, (enum place)w->place);
        return;
    }
    at->relation = RELATION_NONE;
    at->type = false;
    at->place = PLACE_NONE;
    at->before = w->flags & KEYWORD_IS_VALUE ? BEFORE_VALUE : BEFORE_WORD;
}

/* Any word but the first.  Returns the id of a built-in one. */
static uint8_t scan_word(struct scanner *s, const struct token *t, uint8_t previous) {
    const struct word *w = words_find(s->builtin, t->hash);
    bool plain = t->kind == T_WORD && s->at.before != BEFORE_DOT;
    if (w && w->where) {
        bool counts = (w->where & ANYWHERE) || ((w->where & AFTER_CREATE) && previous == W_CREATE_OR_INTO)
            || ((w->where & AFTER_WITH) && previous == W_WITH)
            || ((w->where & CALLED) && stands_before(&s->lexer, '('));
        if (w->id == W_DEFAULT) counts = !s->at.set && !s->at.ddl;
        if (counts) {
            s->out->effect_flags |= w->effect_flags;
            s->out->ends |= w->ends;
            if (w->id == W_SET_CONFIG) scan_set_config(s);
            if (w->id == W_CURRENT_SETTING) scan_current_setting(s);
            if (w->id == W_EXECUTE) scan_execute(s);
            /* it may be the seed that is set */
            if (w->id == W_PG_SETTINGS && s->update) s->out->effect_flags |= PIN_LOADED;
        }
    }
    if (plain && w && (w->keyword || w->place)) {
        scan_keyword(s, t, w);
    } else {
        scan_name(s, t, w && w->where && !w->keyword ? w : NULL);
        s->at.place = PLACE_NONE;
    }
    if (t->bytes > 8 && memcmp(t->text, "pg_temp_", 8) == 0) s->out->effect_flags |= ASK_TEMP;
    return w ? w->id : W_NONE;
}

/* ---- all else ----------------------------------------------------------------------------------- */

static void begin_statement(struct scanner *s) {
    s->at.before = BEFORE_START;
    s->at.relation = RELATION_NONE;
    s->at.place = PLACE_NONE;
    s->at.type = s->at.juxtaposed = s->at.recursive = s->at.quiet = s->at.ddl = false;
    s->at.depth = s->at.with_count = 0;
    s->at.from = s->at.cast = s->at.fromless = s->at.with = 0;
}

static void open_parenthesis(struct scanner *s) {
    struct position *at = &s->at;
    bool cast = at->place == PLACE_CAST, fromless = at->place == PLACE_FROMLESS;
    if (at->depth < DEPTH_MAX) at->depth++;
    else s->out->effect_flags |= EVERYTHING; /* too deep to be told apart */
    at->from &= ~here(s);
    at->with &= ~here(s);
    at->cast = cast ? at->cast | here(s) : at->cast & ~here(s);
    at->fromless = fromless ? at->fromless | here(s) : at->fromless & ~here(s);
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
        at->before = at->with & here(s) ? BEFORE_WITH : BEFORE_OTHER;
        at->relation = at->from & here(s) ? RELATION_READ : RELATION_NONE;
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
    use(s, CATALOG_OPERATOR, t);
    s->at.before = BEFORE_OTHER;
    s->at.relation = RELATION_NONE;
    s->at.type = false;
    s->at.place = PLACE_NONE;
}

static void scan_string(struct scanner *s, const struct token *t, bool ddl) {
    if (names_a_setting(t->text, t->bytes)) note_name(s, 'c', (const char *)t->text, t->bytes, true);
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
    for (next_token(&s->lexer, &t); t.kind != T_END; next_token(&s->lexer, &t)) {
        if (t.kind == T_OTHER || t.kind == T_OPERATOR) {
            if (is_char(&t, ';')) first = true;
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
        const struct word *lead = leads ? words_find(s->builtin, word_leading(t.hash)) : NULL;
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
    out->foreign = out->calls = false;
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
    bool same = other.effect_flags == out->effect_flags && other.ends == out->ends
        && other.names_bytes == out->names_bytes && memcmp(other.names, out->names, out->names_bytes) == 0;
    if (same || !(other.effect_flags | other.ends)) return;
    out->effect_flags |= EVERYTHING | (other.effect_flags & ~(uint32_t)SCAN_NAMED);
    char kind;
    const char *name;
    for (uint32_t at = 0; next_name(other.names, other.names_bytes, &at, &kind, &name);)
        if (kind == 's' && strchr(name, '.'))
            note_name(&(struct scanner){.out = out}, 'k', name, (uint32_t)strlen(name), false);
}
