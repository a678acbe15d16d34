/* Settings by name: which have influence on what a text means. */
#ifndef POOLER_SQL_SETTING_NAMES_H
#define POOLER_SQL_SETTING_NAMES_H

#include <stdbool.h>
#include <stdint.h>

bool setting_is_harmless(const char *name, uint32_t bytes);
bool setting_is_literal(const char *name, uint32_t bytes);

#endif
