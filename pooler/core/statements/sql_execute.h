/* EXECUTE, DEALLOCATE and PREPARE in texts: the theory stands in sql_execute.c. */
#ifndef POOLER_STATEMENTS_SQL_EXECUTE_H
#define POOLER_STATEMENTS_SQL_EXECUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "io/rewritten.h"
#include "sql/statement_names.h"

struct client;
struct name;
struct relay;
struct server;

/* A Query on its way with DEALLOCATE among several statements: which of them run is known by their tags. */
struct deallocating {
    uint32_t request;               /* its number */
    uint32_t run;                   /* DEALLOCATEs of it that have run */
    uint32_t count;                 /* those of the client's names that have not, */
    uint32_t numbers[SQL_USES_MAX]; /* and which of its DEALLOCATEs they are, the latest first */
};

enum rewritten execute_query(struct relay *r, struct client *c, const unsigned char *p, uint32_t here,
                             uint32_t total);
bool execute_waits(struct client *c, const unsigned char *text, uint32_t bytes);
struct name *execute_target(struct client *c, const unsigned char *body, uint32_t bytes);
enum rewritten execute_parse(struct relay *r, struct client *c, const unsigned char *p, uint32_t total);

void execute_tag(struct relay *r, struct server *s, const unsigned char *tag, uint32_t n);
bool execute_decides(struct client *c);
void execute_ended(struct relay *r, struct server *s);

#endif
