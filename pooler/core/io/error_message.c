/* ErrorResponse messages of pooler's own. */
#include "io/error_message.h"

#include <stdio.h>

#include "io/buffer.h"

/* An ErrorResponse; `out` must have space for the texts and 64 bytes.  `detail`: NULL or empty: none. */
uint32_t error_message(char *out, const char *severity, const char *sqlstate, const char *text,
                       const char *detail) {
    uint32_t n = 5;
    n += (uint32_t)sprintf(out + n, "S%s", severity) + 1;
    n += (uint32_t)sprintf(out + n, "V%s", severity) + 1;
    n += (uint32_t)sprintf(out + n, "C%s", sqlstate) + 1;
    n += (uint32_t)sprintf(out + n, "M%s", text) + 1;
    if (detail && *detail) n += (uint32_t)sprintf(out + n, "D%s", detail) + 1;
    out[n++] = 0;
    uint32_t length = n - 1;
    out[0] = 'E';
    store_be32(out + 1, length);
    return n;
}
