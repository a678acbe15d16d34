/* Names of prepared statements in SQL: EXECUTE, DEALLOCATE and PREPARE share one namespace with the
 * protocol. */
#ifndef POOLER_SQL_STATEMENT_NAMES_H
#define POOLER_SQL_STATEMENT_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#define SERVER_NAME_PREFIX "pooler_" /* of the names by which servers know statements */
#define SERVER_NAME_BYTES 24         /* pooler_4294967295 */
#define NAME_MAX_BYTES 64            /* of an SQL identifier: NAMEDATALEN */

#define SQL_USES_MAX 8 /* names in one text; beyond them it passes as it is */

enum sql_verb { SQL_EXECUTE, SQL_DEALLOCATE, SQL_PREPARE };

struct sql_use {
    enum sql_verb verb;
    uint32_t statement;  /* which one of the text, from 0 */
    uint32_t deallocate; /* which DEALLOCATE of names, from 0 */
    bool bare;           /* the statement ends behind the name */
    uint32_t at, bytes;  /* of the name in the text, with its quotes */
    uint32_t name_bytes;
    char name[NAME_MAX_BYTES]; /* folded and unquoted as the server does */
};

/* What the statement of a Parse may be, by its first word. */
enum sql_deeds {
    MAY_COPY = 1,  /* COPY; or EXECUTE of one that was prepared by Parse */
    MAY_CLEAR = 2, /* DEALLOCATE ALL or DISCARD ALL, or another of these verbs */
};

int sql_uses(const char *text, uint32_t n, struct sql_use uses[SQL_USES_MAX], uint32_t *statements,
             bool *clears);
uint8_t sql_deeds(const char *text, uint32_t n, bool whole);

#endif
