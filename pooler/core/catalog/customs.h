/* Names of settings with a dot that bodies and expressions mention. */
#ifndef POOLER_CATALOG_CUSTOMS_H
#define POOLER_CATALOG_CUSTOMS_H

#include <stdbool.h>
#include <stdint.h>

#define BODY_CUSTOMS_BYTES 16384
/* A worker keeps fewer than this of all names (CUSTOM_NAMES_MAX), so that those of statements find a place
 * among them; what is only mentioned, by whatever looks like a name, leaves some to what is set. */
#define BODY_CUSTOMS_MAX 384
#define BODY_CUSTOMS_MENTIONED_MAX 256
/* more than twice as many as there can be names, which have four bytes at least */
#define BODY_CUSTOMS_PLACES 8192

/* Names of settings with a dot, each with a NUL behind it. */
struct customs {
    uint32_t bytes, count;
    uint64_t key; /* of the hashes */
    /* where a name begins, counted from 1; a place is that of its hash, or behind it */
    uint16_t places[BODY_CUSTOMS_PLACES];
    char names[BODY_CUSTOMS_BYTES];
};

void customs_forget(struct customs *customs, uint64_t key);

/* False: there is no space for it, or it is none.  Nobody will ask for it. */
bool customs_add(struct customs *customs, const unsigned char *name, uint32_t bytes, bool set);

#endif
