/* SipHash-2-4 with 128 bits. */
#include "sql/digest.h"

#include <string.h>

#include "sql/siphash.h"

void digest_of(const uint64_t key[2], const unsigned char *p, uint32_t n, struct digest *out) {
    uint64_t v0 = key[0] ^ 0x736f6d6570736575ull, v1 = key[1] ^ 0x646f72616e646f6dull ^ 0xee;
    uint64_t v2 = key[0] ^ 0x6c7967656e657261ull, v3 = key[1] ^ 0x7465646279746573ull, m;
    uint64_t tail = (uint64_t)n << 56;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&m, p, 8);
        v3 ^= m;
        SIP_ROUND;
        SIP_ROUND;
        v0 ^= m;
    }
    for (uint32_t i = 0; i < n; i++) tail |= (uint64_t)p[i] << (8 * i);
    v3 ^= tail;
    SIP_ROUND;
    SIP_ROUND;
    v0 ^= tail;
    v2 ^= 0xee;
    for (int i = 0; i < 4; i++) SIP_ROUND;
    out->high = v0 ^ v1 ^ v2 ^ v3;
    v1 ^= 0xdd;
    for (int i = 0; i < 4; i++) SIP_ROUND;
    out->low = v0 ^ v1 ^ v2 ^ v3;
}
