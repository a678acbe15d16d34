/* Building SQL texts of our own in a buffer: each call appends and returns where it ended, `space` or more
 * when it does not fit. */
#ifndef POOLER_SQL_BUILDER_H
#define POOLER_SQL_BUILDER_H

#include <stdbool.h>
#include <stdint.h>

/* A transaction_timeout (17 and later; older servers have none) ends a session: a client's is not in force
 * for the rest of a transaction of ours.  An expression; and a statement, which has no row. */
#define SQL_LIFT_TRANSACTION_TIMEOUT                                                               \
    "CASE WHEN pg_catalog.current_setting('transaction_timeout',true) OPERATOR(pg_catalog.<>) '0'" \
    " THEN pg_catalog.set_config('transaction_timeout','0',true) END"
#define SQL_NO_TRANSACTION_TIMEOUT \
    "SELECT NULL WHERE " SQL_LIFT_TRANSACTION_TIMEOUT " OPERATOR(pg_catalog.=) '';"

uint32_t sql_put(char *out, uint32_t at, uint32_t space, const char *text);
bool sql_plain(const char *value);
uint32_t sql_put_encoded(char *out, uint32_t at, uint32_t space, const char *value, const char *encoding);
uint32_t sql_put_literal(char *out, uint32_t at, uint32_t space, const char *value);

#endif
