/* Bytes that wait: appended at the end, taken from the front. */
#include "io/buffer.h"

#include <stdlib.h>
#include <string.h>

/* Space for n more bytes behind what is pending; false without memory, and for more than any message and
 * buffer has. */
static bool bytes_space(struct bytes *b, uint32_t n) {
    if (b->start == b->end) b->start = b->end = 0;
    if ((size_t)b->end + n <= b->capacity) return true;
    size_t pending = bytes_pending(b), capacity = 512;
    if (pending + n > BYTES_MAX) return false;
    while (capacity < pending + n) capacity *= 2;
    unsigned char *data = malloc(capacity);
    if (!data) return false;
    if (pending) memcpy(data, b->data + b->start, pending);
    free(b->data);
    *b = (struct bytes){.data = data, .start = 0, .end = (uint32_t)pending, .capacity = (uint32_t)capacity};
    return true;
}

bool bytes_add(struct bytes *b, const void *p, uint32_t n) {
    if (!n) return true; /* there may be no buffer yet */
    if (!bytes_space(b, n)) return false;
    memcpy(b->data + b->end, p, n);
    b->end += n;
    return true;
}
