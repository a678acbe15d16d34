/* Keyed 128-bit hashes (SipHash): nobody can make one text pass for another. */
#ifndef POOLER_SQL_DIGEST_H
#define POOLER_SQL_DIGEST_H

#include <stdbool.h>
#include <stdint.h>

struct digest { uint64_t high, low; }; /* all zero: of nothing */

void digest_of(const uint64_t key[2], const unsigned char *p, uint32_t n, struct digest *out);

static inline bool digest_same(struct digest a, struct digest b) {
    return a.high == b.high && a.low == b.low;
}
static inline bool digest_none(struct digest d) { return !(d.high | d.low); }

static inline bool digest_is(const struct digest *a, const struct digest *b) { return digest_same(*a, *b); }

#endif
