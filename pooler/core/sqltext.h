/* Building SQL texts of our own in a buffer: each call appends and returns where it ended, `room` or more when it does
 * not fit. */
#ifndef POOLER_SQLTEXT_H
#define POOLER_SQLTEXT_H

#include <stdbool.h>
#include <stdint.h>

bool sql_plain(const char *value);
uint32_t sql_put(char *out, uint32_t at, uint32_t room, const char *text);
uint32_t sql_put_literal(char *out, uint32_t at, uint32_t room, const char *value);
uint32_t sql_put_encoded(char *out, uint32_t at, uint32_t room, const char *value, const char *encoding);

#endif
