/* Characters of UTF-8: as PostgreSQL and Python take them, without overlong forms and surrogates. */
#include "io/utf8.h"

#include <stdbool.h>

uint32_t utf8_character(const unsigned char *p, size_t left, uint32_t *code) {
    if (!left) return 0;
    uint32_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (n > left) return 0;
    *code = n == 1 ? p[0] : n ? p[0] & (0x7fu >> n) : 0;
    for (uint32_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        *code = *code << 6 | (p[i] & 0x3fu);
    }
    bool overlong = (n == 3 && *code < 0x800) || (n == 4 && *code < 0x10000);
    bool surrogate = *code >= 0xd800 && *code < 0xe000;
    return overlong || surrogate || *code > 0x10ffff ? 0 : n;
}
