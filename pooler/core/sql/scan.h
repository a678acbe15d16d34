/* What the files of the scanner share: effects.c has the table, phrases.c the grammar of what says names of
 * settings, channels and databases, scan.c statements, scan_names.c the names in them. */
#ifndef POOLER_SQL_SCAN_H
#define POOLER_SQL_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "sql/catalog_names.h"
#include "sql/lexer.h"

struct scan;
struct words;

#define NAMES_WITH_MAX 16 /* common table expressions of one statement that count as its own */
#define DEPTH_MAX 63      /* of parentheses that are told apart */

enum where { LEADING = 1, ANYWHERE = 2, CALLED = 4, AFTER_CREATE = 8, AFTER_WITH = 16 };
enum id {
    W_NONE,
    W_SET,
    W_RESET,
    W_DISCARD,
    W_PREPARE,
    W_DEALLOCATE,
    W_DO,
    W_LISTEN,
    W_UNLISTEN,
    W_SET_CONFIG,
    W_DDL,
    W_BODY,
    W_EXECUTE,
    W_CREATE,
    W_CREATE_OR_INTO,
    W_WITH,
    W_SESSION,
    W_ALL,
    W_TRUE,
    W_DEFAULT,
    W_NULL,
    W_TO,
    W_TRANSACTION,
    W_IGNORED_SET,
    W_CHARACTERISTICS,
    W_AUTHORIZATION,
    W_NAMES,
    W_TIME,
    W_SCHEMA,
    W_SEED,
    W_XML,
    W_SHOW,
    W_CURRENT_SETTING,
    W_EXPLAIN,
    W_ANALYZED,
    W_QUIET,
    W_MAINTAIN,
    W_COMMIT,
    W_PG_SETTINGS,
};

/* What stands before a token. */
enum before {
    BEFORE_START,
    BEFORE_NAME,
    BEFORE_CLOSE,
    BEFORE_VALUE,
    BEFORE_WORD,
    BEFORE_DOT,
    BEFORE_AS,
    BEFORE_WITH,
    BEFORE_OTHER
};

/* Which kind of relation a name would be. */
enum relation { RELATION_NONE, RELATION_READ, RELATION_WITH_COLUMNS };

/* Where the scanner stands in a statement.  The masks have a bit for each depth of parentheses. */
struct position {
    enum before before;
    enum relation relation; /* the next name is one of a relation */
    uint8_t place;          /* of the keyword before (keywords.h) */
    bool type;              /* the next name is one of a type */
    bool juxtaposed; /* an expression may begin right behind a parenthesis: DISTINCT ON (..), OPERATOR(..) */
    bool recursive;
    bool quiet;    /* FROM outside of parentheses names no relation: COPY, FETCH, MOVE */
    bool ddl, set; /* the statement is one: DEFAULT draws from no sequence */
    uint32_t depth;
    uint64_t from, cast, fromless, with;
    uint32_t with_count;
    struct {
        uint64_t hash;
        uint32_t depth;
        bool open;
    } names[NAMES_WITH_MAX]; /* open: not yet to be seen */
};

struct scanner {
    struct lexer lexer;
    const struct words *builtin;
    const struct catalog *catalog;
    bool body;
    bool update;                 /* the word was met */
    int depth;                   /* of DO bodies in DO bodies */
    const unsigned char *looked; /* where the last look ahead ended: no other one begins before it */
    struct scan *out;
    struct position at;
};

uint8_t scan_word_id(const struct scanner *s, const struct token *t);
void scan_note_name(struct scanner *s, char kind, const char *name, uint32_t bytes, bool fold);
void scan_set(struct scanner *s);
void scan_reset(struct scanner *s);
void scan_discard(struct scanner *s);
bool scan_names_a_setting(const unsigned char *text, uint32_t bytes);
void scan_show(struct scanner *s);
void scan_current_setting(struct scanner *s);
void scan_function_body(struct scanner *s, const struct token *body);
void scan_channel(struct scanner *s, char kind);
void scan_set_config(struct scanner *s);
void scan_database(struct scanner *s, const struct token *verb);
void scan_use(struct scanner *s, enum catalog_kind kind, const struct token *t);
uint8_t scan_word(struct scanner *s, const struct token *t, uint8_t previous);

static inline uint64_t scan_here(const struct scanner *s) { return 1ull << s->at.depth; }

#endif
