/* Names of settings with a dot that bodies and expressions mention. */
#include "catalog/customs.h"

#include <string.h>

#include "sql/lexer.h"
#include "sql/scan.h"

void customs_forget(struct customs *customs, uint64_t key) {
    customs->bytes = customs->count = 0;
    customs->key = key;
    memset(customs->places, 0, sizeof customs->places);
}

bool customs_add(struct customs *customs, const unsigned char *name, uint32_t bytes, bool set) {
    char folded[64];
    if (!scan_names_a_setting(name, bytes)) return false;
    for (uint32_t i = 0; i < bytes; i++) folded[i] = (char)lower(name[i]);
    folded[bytes] = '\0';
    uint64_t at = lexer_hash(customs->key, (const unsigned char *)folded, bytes) >> 32;
    for (; customs->places[at % BODY_CUSTOMS_PLACES]; at++)
        if (strcmp(customs->names + customs->places[at % BODY_CUSTOMS_PLACES] - 1, folded) == 0) return true;
    bool full = customs->count >= (set ? BODY_CUSTOMS_MAX : BODY_CUSTOMS_MENTIONED_MAX);
    if (full || customs->bytes + bytes + 1 > sizeof customs->names) return false;
    customs->places[at % BODY_CUSTOMS_PLACES] = (uint16_t)(customs->bytes + 1);
    memcpy(customs->names + customs->bytes, folded, bytes + 1);
    customs->bytes += bytes + 1;
    customs->count++;
    return true;
}
