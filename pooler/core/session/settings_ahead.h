/* Settings in the same write as the statement of their client: the theory stands in settings_ahead.c. */
#ifndef POOLER_SESSION_SETTINGS_AHEAD_H
#define POOLER_SESSION_SETTINGS_AHEAD_H

#include <stdbool.h>
#include <stdint.h>

struct relay;
struct server;

void settings_ahead(struct relay *r, struct server *s, const char *text, uint32_t bytes);
bool settings_ahead_failed(struct relay *r, struct server *s, const unsigned char *body, uint32_t n);

#endif
