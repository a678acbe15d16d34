/* Characters of UTF-8. */
#ifndef POOLER_IO_UTF8_H
#define POOLER_IO_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define UTF8_BYTES_MAX 4 /* of one character */

/* Bytes of the character that begins at `p`, which is `*code`; 0: these are none, or it is not whole.  At
 * most `left` are read, and UTF8_BYTES_MAX, and none behind a NUL. */
uint32_t utf8_character(const unsigned char *p, size_t left, uint32_t *code);

#endif
