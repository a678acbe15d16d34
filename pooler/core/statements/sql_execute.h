/* EXECUTE, DEALLOCATE and PREPARE in texts: the theory stands in sql_execute.c. */
#ifndef POOLER_STATEMENTS_SQL_EXECUTE_H
#define POOLER_STATEMENTS_SQL_EXECUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "io/rewritten.h"

struct client;
struct name;
struct relay;

enum rewritten execute_query(struct relay *r, struct client *c, const unsigned char *p, uint32_t here,
                             uint32_t total);
bool execute_waits(struct client *c, const unsigned char *text, uint32_t bytes);
struct name *execute_target(struct client *c, const unsigned char *body, uint32_t bytes);
enum rewritten execute_parse(struct relay *r, struct client *c, const unsigned char *p, uint32_t total);

#endif
