/* What the text of a statement says about what it may leave behind in its session.
 *
 * Theory.  No parser knows what SQL does: functions, triggers, DO blocks.  So a text only decides whether the
 * server is *asked* afterwards (session/session.h).  What is not known to be harmless is asked for.  A text
 * is cut into words once, comments and literals left out, and each word is looked up twice:
 *
 *   built in   words of PostgreSQL itself (the table in effects.c): SET, LISTEN, PREPARE, pg_advisory_lock,
 *              ...; and its grammar (keywords.c): which statements are harmless, and where names of
 *              functions, relations, types stand.
 *   catalogs   what all objects of a name may do (catalog_names.h).  A name that the catalogs lack where one
 *              of an object stands is newer than what was read of them: EFFECT_UNKNOWN, and everything is
 *              asked for.
 */
#ifndef POOLER_SQL_EFFECTS_H
#define POOLER_SQL_EFFECTS_H

#include <stdbool.h>
#include <stdint.h>

struct catalog;
struct scanner;

enum effect_flag {
    /* what the server is to be asked for at the end of the transaction; also the reasons of a pin */
    ASK_SETTINGS = 1 << 0,
    ASK_LOCKS = 1 << 1,    /* session level advisory locks */
    ASK_TEMP = 1 << 2,     /* anything in the temporary schema */
    ASK_PREPARED = 1 << 3, /* statements of SQL PREPARE */
    ASK_CURSORS = 1 << 4,  /* WITH HOLD */
    ASK_CHANNELS = 1 << 5, /* LISTEN */
    ASK_ALL = (1 << 6) - 1,
    /* what nobody can be asked for: reasons of a pin by the text alone */
    PIN_OPAQUE = 1 << 6, /* a setting whose name is not in the text */
    /* LOAD, a backup under way, ...: until the client leaves; then the server is closed */
    PIN_LOADED = 1 << 7,
    PIN_SEQUENCE = 1 << 8, /* nextval, setval: currval and lastval would tell */
    PIN_UNJUDGED = 1 << 9, /* as PIN_OPAQUE, by something that the catalogs, not read yet, may clear */
    /* code in a language whose interpreter keeps variables: its server is closed, not handed on */
    PIN_INTERPRETER = 1 << 10,
    PIN_NAMELESS = PIN_OPAQUE | PIN_UNJUDGED,
    PIN_ALL = PIN_NAMELESS | PIN_LOADED | PIN_SEQUENCE | PIN_INTERPRETER,
    /* given up for others that wait: it is never another client's */
    PIN_WEAK = PIN_NAMELESS | PIN_SEQUENCE | PIN_INTERPRETER,
    EFFECT_CURRVAL = 1 << 25,   /* reads what nextval left */
    EFFECT_INSERT = 1 << 26,    /* may call nextval for a default */
    EFFECT_NAMED = 1 << 11,     /* sets settings whose names are in `names` */
    EFFECT_RESET = 1 << 12,     /* RESET, SET ... TO DEFAULT: names with 'r' */
    EFFECT_RESET_ALL = 1 << 13, /* RESET ALL, DISCARD ALL */
    EFFECT_LISTEN = 1 << 14,    /* names with 'l' */
    EFFECT_UNLISTEN = 1 << 15,  /* names with 'u'; `*` for all */
    EFFECT_NOTIFY = 1 << 16,
    EFFECT_SCHEMA = 1 << 17, /* may change functions, triggers, views: the profile is to be looked at again */
    EFFECT_UNKNOWN = 1 << 18, /* calls something that is not known: hashes in `unknown` */
    EFFECT_COPY = 1 << 20,    /* as EFFECT_INSERT, by COPY */
    /* may set a setting whose name nobody knows: the server is reset before its next client */
    EFFECT_UNSURE = 1 << 21,
    EFFECT_EXECUTE = 1 << 19, /* SQL EXECUTE: does what its PREPARE said */
    EFFECT_MEANING = 1 << 24, /* sets, or sets for its transaction, what may decide what texts mean */
    /* what idle servers stand in the way of, or would not know of: names with 'd', 'D' */
    EFFECT_DATABASE = 1 << 22,
    EFFECT_ENCODING = 1 << 23, /* may change the encoding of the texts behind it */
    EFFECT_LITERAL = 1 << 27,  /* sets, or sets for its transaction, what literals are read under */
    EFFECT_FOLDS = 1 << 28, /* a plan of it may have the value of a setting of the client that ran it first */
    EFFECT_READS = 1 << 29, /* of objects in the catalogs: it reads a setting, or who the session is */
    /* what is not known to be harmless, or cannot be read */
    EVERYTHING = ASK_ALL | EFFECT_UNSURE,
    /* what goes by `names` */
    SCAN_NAMED = EFFECT_NAMED | EFFECT_RESET | EFFECT_RESET_ALL | EFFECT_LISTEN | EFFECT_UNLISTEN
        | EFFECT_DATABASE,
};

#define SCAN_NAMES_BYTES 4096
#define SCAN_UNKNOWN_MAX 8

struct scan {
    uint32_t effect_flags;
    uint32_t ends; /* ASK_ and PIN_ bits: what it may end */
    uint32_t names_bytes;
    uint32_t unknown_count;
    uint64_t work;       /* tokens and bytes that were read */
    bool calls;          /* a function or relation of which only the catalogs say what it does */
    bool reads_literals; /* what stands in a literal counts: the name of a setting, or a text of SQL */
    bool foreign;        /* a name with characters beyond ASCII counts, which was taken for UTF-8 */
    uint64_t unknown[SCAN_UNKNOWN_MAX];
    /* a letter (s r l u; c: a literal that may be the name of a setting; k: a setting with a dot that is read
     * here, or by a function made here; d: a database that nobody may be connected to, D: one, or all if
     * empty, whose new sessions will begin otherwise) and a NUL-terminated name each, folded to lower case as
     * the server does */
    char names[SCAN_NAMES_BYTES];
};

/* A set of words by keyed hash. `effect_flags` 0: known to be harmless.  The filter has a bit for each word
 * that is not: nearly all words of a text need no look-up. */
#define FILTER_WORDS 32
struct word {
    uint64_t hash;
    uint32_t effect_flags, ends;
    uint8_t id, where, keyword, place, flags;
};
struct words {
    uint64_t key;
    uint32_t count, capacity;
    struct word *words;
    uint64_t filter[FILTER_WORDS];
};

uint64_t words_hash(const struct words *w, const char *text, uint32_t bytes);
const struct word *words_find(const struct words *w, uint64_t hash);
bool words_add(struct words *w, const struct word *word);
void words_free(struct words *w);
uint64_t words_leading(uint64_t hash);
bool words_builtin(struct words *w, uint64_t key);
bool words_keyword(struct words *w, const char *text, uint32_t bytes, uint8_t keyword, uint8_t place,
                   uint8_t flags);
bool scan_next_name(const char *names, uint32_t bytes, uint32_t *at, char *kind, const char **name);
void scan_execute(struct scanner *s);

/* `backslash`: standard_conforming_strings is off, as far as is known. */
void scan_text(const struct words *builtin, const struct catalog *catalog, const unsigned char *text,
               uint32_t bytes, bool backslash, struct scan *out);

#endif
