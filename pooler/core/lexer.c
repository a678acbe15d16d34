/* Cuts an SQL text into words, for all who look into one: what it may leave behind (words.c), and the names of prepared
 * statements in it (sqlnames.c). */
#include "lexer.h"

#include <string.h>

#define OCTET(n) n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 7

const unsigned char word_letters[256] = {
    ['$'] = '$', ['_'] = '_', ['0'] = OCTET('0'), '8', '9',
    ['A'] = OCTET('a'), OCTET('i'), OCTET('q'), 'y', 'z', ['a'] = OCTET('a'), OCTET('i'), OCTET('q'), 'y', 'z',
    [0x80] = OCTET(0x80), OCTET(0x88), OCTET(0x90), OCTET(0x98), OCTET(0xa0), OCTET(0xa8), OCTET(0xb0), OCTET(0xb8),
    OCTET(0xc0), OCTET(0xc8), OCTET(0xd0), OCTET(0xd8), OCTET(0xe0), OCTET(0xe8), OCTET(0xf0), OCTET(0xf8),
};

static uint64_t hash_byte(uint64_t h, unsigned char c) { return (h ^ c) * 1099511628211ull; }   /* FNV-1a */

uint64_t hash_of_word(uint64_t key, const unsigned char *text, uint32_t bytes) {
    uint64_t h = key;
    for (uint32_t i = 0; i < bytes; i++) h = hash_byte(h, text[i]);
    return h | 1;   /* 0: an empty place in a set of words */
}

static void skip_block_comment(struct lexer *l) {
    int depth = 0;
    for (; l->at + 1 < l->end; l->at++) {
        if (l->at[0] == '/' && l->at[1] == '*') { depth++; l->at++; }
        else if (l->at[0] == '*' && l->at[1] == '/') {
            l->at++;
            if (--depth == 0) { l->at++; return; }
        }
    }
    l->at = l->end;
}

/* True while there was something to skip. */
static bool skip_space(struct lexer *l) {
    if (l->at >= l->end) return false;
    unsigned char c = *l->at;
    if (c == ' ' || (unsigned)(c - '\t') < 5) { l->at++; return true; }
    if (l->at + 1 >= l->end) return false;
    if (c == '-' && l->at[1] == '-') {
        while (l->at < l->end && *l->at != '\n' && *l->at != '\r') l->at++;
        return true;
    }
    if (c == '/' && l->at[1] == '*') {
        skip_block_comment(l);
        return true;
    }
    return false;
}

static void take_quoted(struct lexer *l, struct token *t, enum token_kind kind, unsigned char quote, bool backslash) {
    t->kind = kind;
    t->text = ++l->at;
    while (l->at < l->end) {
        if (*l->at == '\\' && backslash) l->at++;
        else if (*l->at == quote) {
            if (l->at + 1 >= l->end || l->at[1] != quote) break;
            l->at++;
        }
        l->at++;
    }
    if (l->at > l->end) l->at = l->end;
    t->bytes = (uint32_t)(l->at - t->text);
    t->open = l->at >= l->end;
    if (!t->open) l->at++;
    t->escaped = backslash && memchr(t->text, '\\', t->bytes);
    if (kind == T_QUOTED) t->hash = hash_of_word(l->key, t->text, t->bytes);
}

/* $tag$ ... $tag$; false: it is none (a parameter like $1, or an operator). */
static bool take_dollar(struct lexer *l, struct token *t) {
    const unsigned char *tag = l->at, *p = tag + 1;
    while (p < l->end && in_word(*p) && *p != '$') p++;
    if (p >= l->end || *p != '$' || (p > tag + 1 && (unsigned)(tag[1] - '0') < 10)) return false;
    size_t tag_bytes = (size_t)(p + 1 - tag);
    t->kind = T_STRING;
    t->text = p + 1;
    for (p = t->text; p + tag_bytes <= l->end; p++) {
        p = memchr(p, '$', (size_t)(l->end - p));
        if (!p || p + tag_bytes > l->end) break;
        if (memcmp(p, tag, tag_bytes) == 0) {
            t->bytes = (uint32_t)(p - t->text);
            l->at = p + tag_bytes;
            return true;
        }
    }
    t->bytes = (uint32_t)(l->end - t->text);
    l->at = l->end;
    return true;
}

/* A word, or what looks like one in front of a string: E'..', B'..', X'..', N'..', U&'..', U&"..". */
static void take_word(struct lexer *l, struct token *t) {
    uint64_t h = l->key;
    t->kind = T_WORD;
    t->text = l->at;
    const unsigned char *at = l->at, *end = l->end;
    for (unsigned char c; at < end && (c = word_letters[*at]); at++) h = hash_byte(h, c);
    l->at = at;
    t->bytes = (uint32_t)(l->at - t->text);
    t->hash = h | 1;
    if (t->bytes != 1 || l->at >= l->end) return;
    unsigned char letter = lower(t->text[0]);
    if (*l->at == '\'') {
        take_quoted(l, t, T_STRING, '\'', l->backslash || letter == 'e');
    } else if (letter == 'u' && l->end - l->at >= 2 && l->at[0] == '&' && (l->at[1] == '\'' || l->at[1] == '"')) {
        unsigned char quote = *++l->at;
        take_quoted(l, t, quote == '"' ? T_QUOTED : T_STRING, quote, false);
        t->escaped = true;
        l->escaped_name |= quote == '"' && memchr(t->text, '\\', t->bytes);
    }
}

void next_token(struct lexer *l, struct token *t) {
    while (l->at < l->end && !in_word(*l->at) && skip_space(l)) {}
    *t = (struct token){.kind = T_END, .start = l->at};
    if (l->at >= l->end) return;
    unsigned char c = *l->at;
    if ((unsigned)(c - '0') < 10) {
        while (l->at < l->end && (in_word(*l->at) || *l->at == '.')) l->at++;
        t->kind = T_OTHER;
        t->c = '0';
    } else if (c == '$' && take_dollar(l, t)) {
        return;
    } else if (in_word(c) && c != '$') {
        take_word(l, t);
    } else if (c == '\'') {
        take_quoted(l, t, T_STRING, '\'', l->backslash);
    } else if (c == '"') {
        take_quoted(l, t, T_QUOTED, '"', false);
    } else {
        t->kind = T_OTHER;
        t->c = c;
        l->at++;
    }
}

void peek_token(const struct lexer *l, struct token *t) {
    struct lexer copy = *l;
    next_token(&copy, t);
}

/* Whether the next token is this character. */
bool stands_before(const struct lexer *l, char c) {
    struct lexer copy = *l;
    while (skip_space(&copy)) {}
    return copy.at < copy.end && *copy.at == (unsigned char)c;
}

bool is_char(const struct token *t, char c) { return t->kind == T_OTHER && t->c == (unsigned char)c; }
