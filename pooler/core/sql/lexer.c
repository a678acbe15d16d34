/* Cuts an SQL text into words, for all who look into one: what it may leave behind (effects.c), and the names
 * of prepared statements in it (statement_names.c). */
#include "sql/lexer.h"

#include <string.h>
#include <strings.h>

#include "sql/siphash.h"

#define OCTET(n) n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 7

const unsigned char lexer_word_letters[256] = {
    ['$'] = '$',          ['_'] = '_', ['0'] = OCTET('0'), '8',         '9',
    ['A'] = OCTET('a'),   OCTET('i'),  OCTET('q'),         'y',         'z',
    ['a'] = OCTET('a'),   OCTET('i'),  OCTET('q'),         'y',         'z',
    [0x80] = OCTET(0x80), OCTET(0x88), OCTET(0x90),        OCTET(0x98), OCTET(0xa0),
    OCTET(0xa8),          OCTET(0xb0), OCTET(0xb8),        OCTET(0xc0), OCTET(0xc8),
    OCTET(0xd0),          OCTET(0xd8), OCTET(0xe0),        OCTET(0xe8), OCTET(0xf0),
    OCTET(0xf8),
};

/* SipHash-1-3: a client that knows no key cannot make its name pass for another's. */
uint64_t lexer_hash(uint64_t key, const unsigned char *text, uint32_t bytes) {
    uint64_t second = ROTATE(key, 29) * 0x9e3779b97f4a7c15ull, m, tail = (uint64_t)bytes << 56;
    uint64_t v0 = key ^ 0x736f6d6570736575ull, v1 = second ^ 0x646f72616e646f6dull;
    uint64_t v2 = key ^ 0x6c7967656e657261ull, v3 = second ^ 0x7465646279746573ull;
    for (; bytes >= 8; text += 8, bytes -= 8) {
        memcpy(&m, text, 8);
        v3 ^= m;
        SIP_ROUND;
        v0 ^= m;
    }
    for (uint32_t i = 0; i < bytes; i++) tail |= (uint64_t)text[i] << (8 * i);
    v3 ^= tail;
    SIP_ROUND;
    v0 ^= tail;
    v2 ^= 0xff;
    SIP_ROUND;
    SIP_ROUND;
    SIP_ROUND;
    return (v0 ^ v1 ^ v2 ^ v3) | 1; /* 0: an empty place in a set of words */
}

static bool is_space(unsigned char c) { return c == ' ' || (unsigned)(c - '\t') < 5; }

static bool starts_line_comment(const unsigned char *at, const unsigned char *end) {
    return at + 1 < end && at[0] == '-' && at[1] == '-';
}

static bool starts_block_comment(const unsigned char *at, const unsigned char *end) {
    return at + 1 < end && at[0] == '/' && at[1] == '*';
}

static const unsigned char *line_end(const unsigned char *at, const unsigned char *end) {
    while (at < end && *at != '\n' && *at != '\r') at++;
    return at;
}

static void skip_block_comment(struct lexer *l) {
    uint32_t depth = 0;
    for (; l->at + 1 < l->end; l->at++) {
        if (l->at[0] == '/' && l->at[1] == '*') {
            depth++;
            l->at++;
        } else if (l->at[0] == '*' && l->at[1] == '/') {
            l->at++;
            if (--depth == 0) {
                l->at++;
                return;
            }
        }
    }
    l->at = l->end;
    l->incomplete = true;
}

/* True while there was something to skip. */
static bool skip_space(struct lexer *l) {
    if (l->at >= l->end) return false;
    if (is_space(*l->at)) {
        l->at++;
        return true;
    }
    if (starts_line_comment(l->at, l->end)) {
        l->at = line_end(l->at, l->end);
        return true;
    }
    if (starts_block_comment(l->at, l->end)) {
        skip_block_comment(l);
        return true;
    }
    return false;
}

/* Where a string goes on that seemed to end before `at`: behind blanks with a newline in them (comments of
 * one line count as blanks) and another quote.  NULL: it has ended. */
static const unsigned char *continued(const unsigned char *at, const unsigned char *end,
                                      unsigned char quote) {
    bool newline = false;
    for (; at < end; at++) {
        if (*at == quote) return newline ? at + 1 : NULL;
        if (*at == '\n' || *at == '\r') {
            newline = true;
        } else if (starts_line_comment(at, end)) {
            at = line_end(at, end);
            if (at == end) return NULL;
            newline = true;
        } else if (!is_space(*at)) {
            return NULL;
        }
    }
    return NULL;
}

/* To behind the closing quote, or to the end of the text.  True: a doubled quote or an escape was met. */
static bool skip_quoted(struct lexer *l, struct token *t, unsigned char quote, bool backslash) {
    bool doubled = false;
    while (l->at < l->end) {
        if (*l->at == '\\' && backslash) {
            l->at++;
        } else if (*l->at == quote) {
            if (l->at + 1 >= l->end || l->at[1] != quote) {
                l->at++;
                return doubled;
            }
            l->at++;
            doubled = true;
        }
        l->at++;
    }
    l->at = l->end;
    t->open = l->incomplete = true;
    return doubled;
}

/* True: there is a backslash in it. */
static bool take_string(struct lexer *l, struct token *t, bool backslash) {
    t->kind = T_STRING;
    t->text = ++l->at;
    skip_quoted(l, t, '\'', backslash);
    for (const unsigned char *more; !t->open && (more = continued(l->at, l->end, '\''));) {
        t->escaped = true; /* it is not what stands between its first and its last quote */
        l->at = more;
        skip_quoted(l, t, '\'', backslash);
    }
    t->bytes = (uint32_t)(l->at - t->text) - !t->open;
    bool found = memchr(t->text, '\\', t->bytes);
    t->escaped |= backslash && found;
    return found;
}

/* One without a prefix: standard_conforming_strings says what a backslash is. */
static void take_plain_string(struct lexer *l, struct token *t) {
    l->backslashes |= take_string(l, t, l->backslash);
}

static void name_is(const struct lexer *l, struct token *t, const unsigned char *name, uint32_t bytes) {
    if (bytes > NAME_BYTES_MAX) {
        bytes = NAME_BYTES_MAX; /* as the server does; it leaves no part of a character */
        while (bytes && t->foreign && (name[bytes] & 0xc0) == 0x80) bytes--;
    }
    t->hash = lexer_hash(l->key, name, bytes);
}

static void take_name(struct lexer *l, struct token *t) {
    unsigned char name[NAME_BYTES_MAX + 8];
    t->kind = T_QUOTED;
    t->text = ++l->at;
    bool doubled = skip_quoted(l, t, '"', false);
    t->bytes = (uint32_t)(l->at - t->text) - !t->open;
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->bytes && n < sizeof name; i++) {
        name[n++] = t->text[i];
        t->foreign |= t->text[i] >= 0x80;
        if (doubled && t->text[i] == '"') i++;
    }
    name_is(l, t, name, n);
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
    t->open = l->incomplete = true;
    return true;
}

/* E'..', B'..', X'..', N'..', U&'..', U&"..": what looks like a word of one letter.  False: it is one. */
static bool take_prefixed(struct lexer *l, struct token *t) {
    unsigned char letter = lower(t->text[0]);
    if (letter == 'u' && l->end - l->at >= 2 && l->at[0] == '&' && (l->at[1] == '\'' || l->at[1] == '"')) {
        if (*++l->at == '"') {
            take_name(l, t);
            l->escaped_name = true; /* UESCAPE may stand behind it: any character is one that escapes */
        } else {
            take_string(l, t, false);
        }
        t->escaped = true;
        return true;
    }
    if (l->at >= l->end || *l->at != '\'') return false;
    if (letter == 'e') take_string(l, t, true);
    else if (letter == 'n') take_plain_string(l, t);
    else if (letter == 'b' || letter == 'x') take_string(l, t, false);
    else return false;
    return true;
}

static void take_word(struct lexer *l, struct token *t) {
    unsigned char name[NAME_BYTES_MAX + 8], foreign = 0;
    uint32_t n = 0;
    t->kind = T_WORD;
    t->text = l->at;
    const unsigned char *at = l->at, *end = l->end;
    for (unsigned char c; at < end && (c = lexer_word_letters[*at]); at++) {
        if (n < sizeof name) name[n++] = c;
        foreign |= c;
    }
    l->at = at;
    t->bytes = (uint32_t)(at - t->text);
    t->foreign = foreign >= 0x80;
    if (t->bytes == 1 && take_prefixed(l, t)) return;
    name_is(l, t, name, n);
}

/* Digits with a point and an exponent.  What stands behind them is a token of its own (before release 15 also
 * a word). */
static void take_number(struct lexer *l, struct token *t) {
    const unsigned char *at = l->at, *end = l->end;
    while (at < end && (unsigned)(*at - '0') < 10) at++;
    if (at < end && *at == '.' && !(at + 1 < end && at[1] == '.'))
        for (at++; at < end && (unsigned)(*at - '0') < 10;) at++;
    if (at < end && lower(*at) == 'e') {
        const unsigned char *p = at + 1;
        if (p < end && (*p == '+' || *p == '-')) p++;
        if (p < end && (unsigned)(*p - '0') < 10)
            for (at = p; at < end && (unsigned)(*at - '0') < 10;) at++;
    }
    l->at = at;
    t->kind = T_OTHER;
    t->c = '0';
}

const uint8_t lexer_operator_letters[256] = {
    ['~'] = 2, ['!'] = 2, ['@'] = 2, ['#'] = 2, ['^'] = 2, ['&'] = 2, ['|'] = 2, ['`'] = 2, ['?'] = 2,
    ['%'] = 2, ['+'] = 1, ['-'] = 1, ['*'] = 1, ['/'] = 1, ['<'] = 1, ['>'] = 1, ['='] = 1,
};

/* Behind one operator: up to a comment, and no + or - at the end of what others could begin.  Those are
 * operators of one character each, and are not looked at again for each of them. */
static const unsigned char *behind_operator(struct lexer *l) {
    const unsigned char *at = l->at, *end = l->end;
    unsigned kinds = 0;
    if (at < l->signs) return at + 1;
    while (at < end && lexer_operator_letters[*at] && !starts_line_comment(at, end)
           && !starts_block_comment(at, end))
        kinds |= lexer_operator_letters[*at++];
    if (l->work) *l->work += (uint64_t)(at - l->at);
    if (kinds & 2) return at;
    l->signs = at;
    while (at > l->at + 1 && (at[-1] == '+' || at[-1] == '-')) at--;
    return at;
}

static void take_operator(struct lexer *l, struct token *t) {
    const unsigned char *at = behind_operator(l);
    t->kind = T_OPERATOR;
    t->text = l->at;
    t->bytes = (uint32_t)(at - l->at);
    t->c = t->bytes == 1 ? *l->at : 0;
    if (t->bytes == 2 && memcmp(t->text, "!=", 2) == 0)
        t->hash = lexer_hash(l->key, (const unsigned char *)"<>", 2);
    else t->hash = lexer_hash(l->key, t->text, t->bytes);
    l->at = at;
}

static void take_token(struct lexer *l, struct token *t) {
    while (l->at < l->end && !in_word(*l->at) && skip_space(l)) {}
    *t = (struct token){.kind = T_END, .start = l->at};
    if (l->at >= l->end) return;
    unsigned char c = *l->at;
    bool digit_behind = l->at + 1 < l->end && (unsigned)(l->at[1] - '0') < 10;
    if ((unsigned)(c - '0') < 10 || (c == '.' && digit_behind)) {
        take_number(l, t);
    } else if (c == '$' && take_dollar(l, t)) {
        return;
    } else if (in_word(c) && c != '$') {
        take_word(l, t);
    } else if (c == '\'') {
        take_plain_string(l, t);
    } else if (c == '"') {
        take_name(l, t);
    } else if (lexer_operator_letters[c]) {
        take_operator(l, t);
    } else {
        t->kind = T_OTHER;
        t->c = c;
        l->at++;
    }
}

void lexer_next(struct lexer *l, struct token *t) {
    const unsigned char *from = l->at;
    take_token(l, t);
    if (l->work) *l->work += (uint32_t)(l->at - from) + 1;
}

void lexer_peek(const struct lexer *l, struct token *t) {
    struct lexer copy = *l;
    lexer_next(&copy, t);
}

static struct lexer behind_space(const struct lexer *l) {
    struct lexer copy = *l;
    while (skip_space(&copy)) {}
    return copy;
}

/* The first character of the next token; 0 at the end. */
unsigned char lexer_next_char(const struct lexer *l) {
    struct lexer copy = behind_space(l);
    return copy.at < copy.end ? *copy.at : 0;
}

/* Whether the next token is this character. */
bool lexer_stands_before(const struct lexer *l, char c) { return lexer_next_char(l) == (unsigned char)c; }

/* Whether it is a string. */
bool lexer_string_stands_before(const struct lexer *l) {
    struct lexer copy = behind_space(l);
    if (copy.at >= copy.end) return false;
    size_t left = (size_t)(copy.end - copy.at);
    unsigned char c = lower(*copy.at), second = left > 1 ? copy.at[1] : 0;
    if (c == '$') return second == '$' || (in_word(second) && (unsigned)(second - '0') >= 10);
    if (c == 'u' && second == '&') return left > 2 && copy.at[2] == '\'';
    return c == '\'' || ((c == 'e' || c == 'n') && second == '\'');
}

bool token_is_char(const struct token *t, char c) {
    return (t->kind == T_OTHER || t->kind == T_OPERATOR) && t->c == (unsigned char)c;
}

bool token_is_word(const struct token *t, const char *word) {
    return t->kind == T_WORD && t->bytes == strlen(word)
        && strncasecmp((const char *)t->text, word, t->bytes) == 0;
}

/* Whether TEMP stands behind CREATE, perhaps with OR REPLACE, GLOBAL or LOCAL between.  Such an object is its
 * session's alone, of which everything is asked as long as it has one. */
bool lexer_makes_temporary(const struct lexer *behind_create) {
    struct lexer ahead = *behind_create;
    struct token t;
    for (int words = 0; words < 4; words++) {
        lexer_next(&ahead, &t);
        if (token_is_word(&t, "temp") || token_is_word(&t, "temporary")) return true;
        if (!token_is_word(&t, "or") && !token_is_word(&t, "replace") && !token_is_word(&t, "global")
            && !token_is_word(&t, "local"))
            break;
    }
    return false;
}
