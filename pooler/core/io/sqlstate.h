/* SQLSTATEs of pooler's own errors (PostgreSQL documentation, appendix A), by the names of
 * pooler/errors.py. */
#ifndef POOLER_IO_SQLSTATE_H
#define POOLER_IO_SQLSTATE_H

#define PROTOCOL_VIOLATION "08P01" /* what PgBouncer gives to every error of its own */
#define NOT_SUPPORTED "0A000"
#define NOT_PERMITTED "28000" /* what PostgreSQL's rules of logins refuse */
#define WRONG_PASSWORD "28P01"
#define NO_DATABASE "3D000"
#define ROLLED_BACK "40000"
#define NO_PRIVILEGE "42501"
#define OUT_OF_MEMORY "53200"
#define TOO_MANY_CONNECTIONS "53300"
#define LIMIT_EXCEEDED "53400" /* of the configuration */
#define TOO_LONG "54000"       /* for the program */
#define CANNOT_CHANGE_NOW "55P02"
#define QUERY_CANCELED "57014"
#define SHUTTING_DOWN "57P01"
#define INTERNAL_ERROR "XX000"

#endif
