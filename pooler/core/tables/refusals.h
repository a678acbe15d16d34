/* Why clients are refused at their login, as figures tell it; what each hears is login/refusal.c's. */
#ifndef POOLER_TABLES_REFUSALS_H
#define POOLER_TABLES_REFUSALS_H

#define REFUSALS(X)                                                                   \
    X(REFUSAL_OTHER, "other")                 /* a wrong packet, a setting, memory */ \
    X(REFUSAL_PASSWORD, "password")           /* it is wrong, or there is no user */  \
    X(REFUSAL_NOT_PERMITTED, "not permitted") /* by a rule, or without TLS */         \
    X(REFUSAL_DATABASE, "database")           /* there is none of that name */        \
    X(REFUSAL_DISABLED, "disabled")           /* the database is */                   \
    X(REFUSAL_LIMIT, "limit")                 /* of clients */                        \
    X(REFUSAL_QUEUE, "queue")                 /* too many in their login */           \
    X(REFUSAL_TIMEOUT, "timeout")             /* client_login_timeout */              \
    X(REFUSAL_SERVER, "server")               /* PostgreSQL lets its pool not in */   \
    X(REFUSAL_SHUTDOWN, "shutdown")

#define REFUSAL_ENUMERATOR(NAME, WORD) NAME,
enum refusal { REFUSALS(REFUSAL_ENUMERATOR) REFUSAL_COUNT };

extern const char *const refusal_words[REFUSAL_COUNT];

#endif
