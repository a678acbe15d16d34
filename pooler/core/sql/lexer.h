/* The words of an SQL text, cut exactly as PostgreSQL's scan.l cuts them: comments are skipped; strings,
 * quoted names, operators and numbers are one token each.  Nothing else of SQL is understood, but what CREATE
 * makes. */
#ifndef POOLER_SQL_LEXER_H
#define POOLER_SQL_LEXER_H

#include <stdbool.h>
#include <stdint.h>

#define NAME_BYTES_MAX 63 /* the server cuts longer names (NAMEDATALEN) */

enum token_kind { T_END, T_WORD, T_QUOTED, T_STRING, T_OPERATOR, T_OTHER };

struct token {
    enum token_kind kind;
    unsigned char c;            /* of others, and of operators of one character: that; '0' for numbers */
    bool escaped;               /* a string or name in which escapes count: it does not say what it means */
    bool open;                  /* its closing quote is missing */
    bool foreign;               /* a name with characters beyond ASCII */
    const unsigned char *start; /* where it begins, with its quotes; it ends where the lexer stands */
    /* of words, strings, quoted names, operators: without quotes; a doubled quote is doubled there */
    const unsigned char *text;
    uint32_t bytes; /* of `text` */
    uint64_t hash;  /* of names as the server reads them (folded, cut, quotes undoubled) and of operators */
};

struct lexer {
    const unsigned char *at, *end;
    const unsigned char *signs; /* up to here each + and - is an operator of its own */
    uint64_t key;               /* of the hash of words */
    bool backslash;             /* standard_conforming_strings is off */
    bool escaped_name;          /* U&".." was met: it may be any name */
    bool incomplete;            /* the end of the text was met within a string, a name or a comment */
    bool backslashes;           /* a plain string with one was met: with the other
                                    standard_conforming_strings it may end elsewhere */
    uint64_t *work; /* counts tokens and bytes that were read, again for each look ahead; may be NULL */
};

/* Letters as the server folds those of names that are not quoted (ASCII only); digits, _ $ and everything
 * beyond ASCII as they are; 0: not part of a word. */
extern const unsigned char lexer_word_letters[256];
uint64_t lexer_hash(uint64_t key, const unsigned char *text, uint32_t bytes);

/* Characters of operators; 2: with one of these an operator may end in + or -. */
extern const uint8_t lexer_operator_letters[256];
void lexer_next(struct lexer *l, struct token *t);
void lexer_peek(const struct lexer *l, struct token *t);
unsigned char lexer_next_char(const struct lexer *l);
bool lexer_stands_before(const struct lexer *l, char c);
bool lexer_string_stands_before(const struct lexer *l);
bool token_is_char(const struct token *t, char c);
bool token_is_word(const struct token *t, const char *word); /* not quoted; in lower case */
bool lexer_makes_temporary(const struct lexer *behind_create);

static inline bool in_operator(unsigned char c) { return lexer_operator_letters[c]; }

static inline bool in_word(unsigned char c) { return lexer_word_letters[c]; }

static inline unsigned char lower(unsigned char c) { return (unsigned)(c - 'A') < 26 ? c | 0x20 : c; }

#endif
