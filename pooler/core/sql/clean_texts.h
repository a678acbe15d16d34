/* Texts that were scanned before and leave nothing behind: they need not be scanned again. */
#ifndef POOLER_SQL_CLEAN_TEXTS_H
#define POOLER_SQL_CLEAN_TEXTS_H

#include <stdbool.h>
#include <stdint.h>

struct scan;

#define CLEAN_TEXTS 1024           /* places: a power of two */
#define CLEAN_TEXT_BYTES_MAX 2048u /* longer texts are scanned each time */

struct clean_text {
    uint64_t hash;
    unsigned char *text; /* NULL: seen once, not kept */
    uint32_t bytes, serial;
    bool masked; /* its literals are left out */
    bool backslash, calls, used;
};

/* At most CLEAN_TEXTS * CLEAN_TEXT_BYTES_MAX bytes of texts. */
struct clean_texts { struct clean_text places[CLEAN_TEXTS]; };

/* What a scan depends on, but for the names of the database: the serial of its profile stands for those. */
struct readable {
    const unsigned char *text;
    uint32_t bytes, serial;
    bool backslash; /* standard_conforming_strings is off */
};

/* Whether such a text was kept.  True: `out` is its scan. */
bool clean_texts_find(struct clean_texts *c, uint64_t key, const struct readable *in, struct scan *out);

/* Keeps a text whose scan says that it leaves nothing behind, when it comes for the second time. */
void clean_texts_keep(struct clean_texts *c, uint64_t key, const struct readable *in,
                      const struct scan *scan);

/* The text without what stands in its literals; `out` has space for all of it.  Returns its bytes.  0: there
 * are no literals, or it is not told for certain where they end. */
uint32_t clean_texts_mask(const unsigned char *text, uint32_t bytes, unsigned char *out);

#endif
