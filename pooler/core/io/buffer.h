/* Bytes that wait, and numbers in network order. */
#ifndef POOLER_IO_BUFFER_H
#define POOLER_IO_BUFFER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define WHOLE_MESSAGE_BYTES 16384 /* messages that are looked into are read whole up to this size */
#define BYTES_MAX (1u << 31)      /* the longest message, and what may be pending beside it */

struct bytes {
    unsigned char *data;
    uint32_t start, end, capacity;
};

bool bytes_add(struct bytes *b, const void *p, uint32_t n);

static inline uint32_t bytes_pending(const struct bytes *b) { return b->end - b->start; }
static inline uint32_t load_be32(const unsigned char *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline void store_be32(void *out, uint32_t value) {
    unsigned char *p = out;
    for (int i = 0; i < 4; i++) p[i] = (unsigned char)(value >> (24 - 8 * i));
}

static inline void bytes_free(struct bytes *b) {
    free(b->data);
    *b = (struct bytes){0};
}

#endif
