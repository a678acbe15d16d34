/* Appending to an SQL text. */
#include "sqltext.h"

#include <string.h>

uint32_t sql_put(char *out, uint32_t at, uint32_t room, const char *text) {
    for (; *text && at < room; text++) out[at++] = *text;
    return at;
}

/* A literal that means the same whatever standard_conforming_strings is. */
uint32_t sql_put_literal(char *out, uint32_t at, uint32_t room, const char *value) {
    if (strchr(value, '\\')) at = sql_put(out, at, room, "E");
    at = sql_put(out, at, room, "'");
    for (char c[2] = {0}; *value; value++) {
        c[0] = *value;
        if (c[0] == '\'' || c[0] == '\\') at = sql_put(out, at, room, c);
        at = sql_put(out, at, room, c);
    }
    return sql_put(out, at, room, "'");
}
