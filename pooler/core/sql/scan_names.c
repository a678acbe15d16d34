/* The scanner of statement texts: names, and the positions in which they stand. */
#include "sql/scan.h"

#include <string.h>

#include "sql/catalog_names.h"
#include "sql/effects.h"
#include "sql/keywords.h"
#include "sql/lexer.h"

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
void scan_use(struct scanner *s, enum catalog_kind kind, const struct token *t) {
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
    scan_use(s, CATALOG_RELATION, t);
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
    unsigned char behind = lexer_next_char(&s->lexer);
    bool qualified = at->before == BEFORE_DOT;
    if (behind == '.') {
        at->before = BEFORE_NAME;
        return;
    }
    if (at->type) {
        scan_use(s, CATALOG_TYPE, t);
    } else if (behind == '(') {
        name_before_parenthesis(s, t, w, qualified);
    } else if (at->relation) {
        read_relation(s, t, qualified);
    } else if (at->before == BEFORE_WITH) {
        define(s, t);
    } else if (lexer_string_stands_before(&s->lexer) && !(w && w->keyword)) {
        scan_use(s, CATALOG_TYPE, t);
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
    s->at.from |= scan_here(s);
}

static void end_relations(struct scanner *s) {
    s->at.relation = RELATION_NONE;
    s->at.from &= ~scan_here(s);
}

/* What a keyword says about what stands behind it. */
static void scan_place(struct scanner *s, enum place place) {
    struct position *at = &s->at;
    switch (place) {
    case PLACE_FROM:
        at->relation = RELATION_NONE;
        if (at->place == PLACE_DISTINCT || at->fromless & scan_here(s) || (at->quiet && !at->depth)) break;
        list_relations(s, RELATION_READ);
        break;
    case PLACE_JOIN: list_relations(s, RELATION_READ); break;
    case PLACE_RELATION: list_relations(s, RELATION_READ); break;
    case PLACE_UPDATE:
        if (at->place != PLACE_FOR && at->place != PLACE_DO) at->relation = RELATION_READ;
        s->update = true;
        break;
    case PLACE_USING: at->relation = lexer_next_char(&s->lexer) == '(' ? RELATION_NONE : RELATION_READ; break;
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
        at->with &= ~scan_here(s);
        break;
    case PLACE_ON: at->juxtaposed |= at->place == PLACE_DISTINCT; break;
    case PLACE_OPERATOR: at->juxtaposed |= lexer_next_char(&s->lexer) == '('; break;
    case PLACE_AS: at->type = at->cast & scan_here(s); break;
    case PLACE_WITH:
        at->with |= scan_here(s);
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
    if (w->keyword < KEYWORD_COLUMN || lexer_next_char(&s->lexer) == '(') mention(s, t);
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
uint8_t scan_word(struct scanner *s, const struct token *t, uint8_t previous) {
    const struct word *w = words_find(s->builtin, t->hash);
    bool plain = t->kind == T_WORD && s->at.before != BEFORE_DOT;
    if (w && w->where) {
        bool counts = (w->where & ANYWHERE) || ((w->where & AFTER_CREATE) && previous == W_CREATE_OR_INTO)
            || ((w->where & AFTER_WITH) && previous == W_WITH)
            || ((w->where & CALLED) && lexer_stands_before(&s->lexer, '('));
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
