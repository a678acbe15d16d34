/* Appending to an SQL text. */
#include "sql/builder.h"

#include <stddef.h>

uint32_t sql_put(char *out, uint32_t at, uint32_t space, const char *text) {
    for (; *text && at < space; text++) out[at++] = *text;
    return at;
}

/* Whether a value can stand between quotes as it is.  Our texts are lexed under the client_encoding, the
 * standard_conforming_strings and the backslash_quote of whatever client the server had before: only letters
 * of ASCII mean the same under all of them, and only without quotes and backslashes need nothing be
 * escaped. */
bool sql_plain(const char *value) {
    for (; *value; value++)
        if ((unsigned char)*value < ' ' || (unsigned char)*value > '~' || *value == '\'' || *value == '\\')
            return false;
    return true;
}

/* An expression for a value whose bytes are in the encoding of that name; NULL: in the database's own. */
uint32_t sql_put_encoded(char *out, uint32_t at, uint32_t space, const char *value, const char *encoding) {
    static const char digits[] = "0123456789abcdef";
    if (sql_plain(value)) {
        at = sql_put(out, sql_put(out, at, space, "'"), space, value);
        return sql_put(out, at, space, "'");
    }
    at = sql_put(out, at, space, "pg_catalog.convert_from(pg_catalog.decode('");
    for (char pair[3] = {0}; *value; value++) {
        pair[0] = digits[(unsigned char)*value >> 4];
        pair[1] = digits[(unsigned char)*value & 15];
        at = sql_put(out, at, space, pair);
    }
    at = sql_put(out, at, space, "','hex'),");
    if (!encoding || !sql_plain(encoding))
        return sql_put(out, at, space, "pg_catalog.getdatabaseencoding())");
    at = sql_put(out, sql_put(out, at, space, "'"), space, encoding);
    return sql_put(out, at, space, "')");
}

/* An expression for a value in the encoding of the database. */
uint32_t sql_put_literal(char *out, uint32_t at, uint32_t space, const char *value) {
    return sql_put_encoded(out, at, space, value, NULL);
}
