/* Names of settings with a dot that bodies and expressions mention. */
#ifndef POOLER_CATALOG_CUSTOMS_H
#define POOLER_CATALOG_CUSTOMS_H

#include <stdint.h>

#define BODY_CUSTOMS_BYTES 16384
/* more than twice as many as there can be names, which have four bytes at least */
#define BODY_CUSTOMS_PLACES 8192

/* Names of settings with a dot, each with a NUL behind it; those for which there is no space are not asked
 * for. */
struct customs {
    uint32_t bytes;
    uint64_t key; /* of the hashes */
    /* where a name begins, counted from 1; a place is that of its hash, or behind it */
    uint16_t places[BODY_CUSTOMS_PLACES];
    char names[BODY_CUSTOMS_BYTES];
};

void customs_forget(struct customs *customs, uint64_t key);
void customs_add(struct customs *customs, const unsigned char *name, uint32_t bytes);

#endif
