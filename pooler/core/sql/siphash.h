/* The round of SipHash (Aumasson, Bernstein), on four variables v0 to v3 of whoever uses it. */
#ifndef POOLER_SQL_SIPHASH_H
#define POOLER_SQL_SIPHASH_H

#define ROTATE(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#define SIP_ROUND            \
    do {                     \
        v0 += v1;            \
        v1 = ROTATE(v1, 13); \
        v1 ^= v0;            \
        v0 = ROTATE(v0, 32); \
        v2 += v3;            \
        v3 = ROTATE(v3, 16); \
        v3 ^= v2;            \
        v0 += v3;            \
        v3 = ROTATE(v3, 21); \
        v3 ^= v0;            \
        v2 += v1;            \
        v1 = ROTATE(v1, 17); \
        v1 ^= v2;            \
        v2 = ROTATE(v2, 32); \
    } while (0)

#endif
