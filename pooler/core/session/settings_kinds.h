/* Settings by kind: what literals are read under, and what a text means. */
#ifndef POOLER_SESSION_SETTINGS_KINDS_H
#define POOLER_SESSION_SETTINGS_KINDS_H

#include <stdint.h>

struct settings;
struct settings_store;

enum switching { SWITCH_KNOWN, SWITCH_KEEPING, SWITCH_BACK };

void settings_classify(const struct settings_store *store, struct settings *s);
uint32_t settings_switch(const struct settings_store *store, const struct settings *from,
                         const struct settings *to, enum switching how, char *out, uint32_t space);

#endif
