/* The checks of server_messages.h. */
#include "io/server_messages.h"

#include <stdio.h>
#include <string.h>

#include "io/buffer.h"

#define ANY {4, SERVER_MESSAGE_MAX - 4}
#define EMPTY {4, 0}
#define REST(LOW, HIGH, WHAT) [LOW... HIGH] = WHAT
#define LONGEST_READ (WHOLE_MESSAGE_BYTES - 1) /* of the length word: with the letter it comes whole */

#pragma GCC diagnostic ignored "-Woverride-init"
const struct length_bounds server_message_lengths[256] = {
    /* no type of a message; or one that belongs to a login, and message_table.c forbids it */
    REST(0, 255, ANY),
    ['1'] = EMPTY,
    ['2'] = EMPTY,
    ['3'] = EMPTY,
    ['I'] = EMPTY,
    ['n'] = EMPTY,
    ['s'] = EMPTY,
    ['c'] = EMPTY,
    ['Z'] = {5, 0},
    ['A'] = {10, LONGEST_READ - 10}, /* a pid and two texts */
    ['C'] = {5, LONGEST_READ - 5},
    ['E'] = {5, SERVER_MESSAGE_MAX - 5},
    ['N'] = {5, SERVER_MESSAGE_MAX - 5},
    ['S'] = {7, SERVER_MESSAGE_MAX - 7}, /* a name is not empty */
    ['G'] = {7, SERVER_MESSAGE_MAX - 7},
    ['H'] = {7, SERVER_MESSAGE_MAX - 7},
    ['W'] = {7, SERVER_MESSAGE_MAX - 7},
    ['D'] = {6, SERVER_MESSAGE_MAX - 6},
    ['T'] = {6, SERVER_MESSAGE_MAX - 6},
    ['t'] = {6, SERVER_MESSAGE_MAX - 6},
    ['V'] = {8, SERVER_MESSAGE_MAX - 8},
};

static uint32_t load_be16(const unsigned char *p) { return (uint32_t)p[0] << 8 | p[1]; }

/* Goes behind the NUL of the text at *at.  False: it has none. */
static bool skip_text(const unsigned char *body, uint32_t n, uint32_t *at) {
    const unsigned char *end = *at < n ? memchr(body + *at, 0, n - *at) : NULL;
    if (!end) return false;
    *at = (uint32_t)(end - body) + 1;
    return true;
}

/* `count` texts from `at` to the end, and nothing else. */
static bool only_texts(const unsigned char *body, uint32_t n, uint32_t at, int count) {
    while (count--)
        if (!skip_text(body, n, &at)) return false;
    return at == n;
}

/* Fields of a letter and a text each, then one NUL. */
static bool fields_fit(const unsigned char *body, uint32_t n) {
    uint32_t at = 0;
    while (at < n && body[at])
        if (!skip_text(body, n, &at)) return false;
    return at + 1 == n;
}

static bool columns_fit(const unsigned char *body, uint32_t n) {
    uint32_t at = 2;
    for (uint32_t left = load_be16(body); left; left--) {
        if (!skip_text(body, n, &at) || n - at < 18) return false;
        at += 18; /* table, number, type, size, modifier, format */
    }
    return at == n;
}

/* Columns of an answer to a request of ours: all are texts, and no text of PostgreSQL has a NUL inside. */
static bool row_fits(const unsigned char *body, uint32_t n) {
    uint32_t at = 2;
    for (uint32_t left = load_be16(body); left; left--) {
        if (n - at < 4) return false;
        uint32_t bytes = load_be32(body + at);
        at += 4;
        if (bytes == UINT32_MAX) continue; /* NULL */
        if (bytes > n - at || memchr(body + at, 0, bytes)) return false;
        at += bytes;
    }
    return at == n;
}

/* Whether a message that is there whole, of a length that fits, may be read. */
bool server_message_well_formed(uint8_t type, const unsigned char *body, uint32_t n, bool internal) {
    switch (type) {
    case 'Z': return body[0] == 'I' || body[0] == 'T' || body[0] == 'E';
    case 'S': return body[0] && only_texts(body, n, 0, 2);
    case 'E': return fields_fit(body, n);
    case 'C': return only_texts(body, n, 0, 1);
    case 'A': return body[4] && only_texts(body, n, 4, 2);
    case 'T': return !internal || columns_fit(body, n);
    case 't': return !internal || n == 2 + 4 * load_be16(body);
    case 'D': return !internal || row_fits(body, n);
    default: return true;
    }
}

/* The columns of a row that is well formed, the first `max` of them.  How many it has. */
int server_message_columns(const unsigned char *body, struct column *out, int max) {
    int count = (int)load_be16(body);
    const unsigned char *at = body + 2;
    for (int i = 0; i < count && i < max; i++) {
        uint32_t bytes = load_be32(at);
        at += 4;
        bool none = bytes == UINT32_MAX;
        out[i] = (struct column){none ? NULL : at, none ? 0 : bytes};
        if (!none) at += bytes;
    }
    return count;
}

/* Copies a field of an ErrorResponse; `out` stays as it is where there is none. */
void server_message_field(const unsigned char *body, uint32_t n, char field, char *out, size_t space) {
    for (const unsigned char *p = body, *end = body + n; p < end && *p;) {
        const unsigned char *zero = memchr(p, 0, (size_t)(end - p));
        if (!zero) return;
        if (*p == (unsigned char)field) {
            snprintf(out, space, "%s", (const char *)p + 1);
            return;
        }
        p = zero + 1;
    }
}

/* Whether an error is one of the moment (a timeout, a lock), not about what was asked for. */
bool server_error_is_passing(const char *sqlstate) {
    static const char *const classes[] = {"57", "55P03", "40", "53", "58", "XX", "25", "08"};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (strncmp(sqlstate, classes[i], strlen(classes[i])) == 0) return true;
    return false;
}

bool server_message_tag_starts(const unsigned char *tag, uint32_t n, const char *with) {
    size_t bytes = strlen(with);
    return n >= bytes && memcmp(tag, with, bytes) == 0;
}
