/* The words of an SQL text: comments are skipped; strings and quoted names are one token each.  Nothing else of SQL is
 * understood (PostgreSQL documentation, chapter "Lexical Structure"). */
#ifndef POOLER_LEXER_H
#define POOLER_LEXER_H

#include <stdbool.h>
#include <stdint.h>

enum token_kind { T_END, T_WORD, T_QUOTED, T_STRING, T_OTHER };

struct token {
    enum token_kind kind;
    unsigned char c;             /* of others: the character; '0' for numbers */
    bool escaped;                /* a string or name in which escapes count: it does not say what it means */
    bool open;                   /* its closing quote is missing */
    const unsigned char *start;  /* where it begins, with its quotes; it ends where the lexer stands */
    const unsigned char *text;   /* of words, strings, quoted names: without quotes; a doubled quote is doubled there */
    uint32_t bytes;              /* of `text` */
    uint64_t hash;               /* of words (folded to lower case) and quoted names, under the lexer's key */
};

struct lexer {
    const unsigned char *at, *end;
    uint64_t key;                /* of the hash of words */
    bool backslash;              /* standard_conforming_strings is off */
    bool escaped_name;           /* U&".." with a backslash was met: it may be any name */
};

void next_token(struct lexer *l, struct token *t);
void peek_token(const struct lexer *l, struct token *t);
bool stands_before(const struct lexer *l, char c);
bool is_char(const struct token *t, char c);
uint64_t hash_of_word(uint64_t key, const unsigned char *text, uint32_t bytes);

/* Letters as the server folds those of names that are not quoted (ASCII only); digits, _ $ and everything beyond ASCII as
 * they are; 0: not part of a word. */
extern const unsigned char word_letters[256];

static inline bool in_word(unsigned char c) { return word_letters[c]; }

static inline unsigned char lower(unsigned char c) { return (unsigned)(c - 'A') < 26 ? c | 0x20 : c; }

#endif
