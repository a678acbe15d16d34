/* The requests that a server has been sent and not yet answered: a queue of one byte each.
 *
 * The letters are those of the messages (Q P B D E C S F), 'U' for a Parse that changes no name of the
 * client, and 'c' for a CopyDone or CopyFail that was sent before the server said CopyInResponse.  'p' and
 * 'x' are a Parse and a Close that no server was asked: ParseComplete and CloseComplete are due when they
 * come to the head.  INTERNAL marks a request that pooler itself made: its replies are not for the client.
 * Steady traffic fits the inline ring; only deep pipelines allocate.
 *
 * A request that is not in the queue has an answer that is taken for another's.  So a push that fails ends
 * the connection: server_expects() in relay/server.h is the way to push.
 */
#ifndef POOLER_IO_REQUEST_QUEUE_H
#define POOLER_IO_REQUEST_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define INTERNAL 0x80
#define REQUESTS_INLINE 32
/* requests in flight on one server: AHEAD_MAX, and what one more message leads to */
#define REQUESTS_MAX (1u << 15)

struct requests {
    uint8_t *ring; /* `small` or allocated; capacity is a power of two */
    uint32_t capacity, head, count;
    uint32_t pushed; /* numbers them: the oldest is `pushed - count` */
    uint8_t small[REQUESTS_INLINE];
};

static inline void requests_clear(struct requests *q) {
    q->ring = q->small;
    q->capacity = REQUESTS_INLINE;
    q->head = q->count = 0;
}

static inline void requests_init(struct requests *q) {
    requests_clear(q);
    q->pushed = 0;
}

static inline void requests_free(struct requests *q) {
    if (q->ring != q->small) free(q->ring);
    requests_clear(q);
}

static inline uint8_t requests_at(const struct requests *q, uint32_t i) {
    return q->ring[(q->head + i) & (q->capacity - 1)];
}

static inline bool requests_grow(struct requests *q) {
    uint32_t capacity = q->capacity * 2;
    if (capacity > REQUESTS_MAX) return false;
    uint8_t *ring = malloc(capacity);
    if (!ring) return false;
    for (uint32_t i = 0; i < q->count; i++) ring[i] = requests_at(q, i);
    if (q->ring != q->small) free(q->ring);
    q->ring = ring;
    q->capacity = capacity;
    q->head = 0;
    return true;
}

__attribute__((warn_unused_result)) static inline bool requests_push(struct requests *q, uint8_t request) {
    if (q->count == q->capacity && !requests_grow(q)) return false;
    q->ring[(q->head + q->count++) & (q->capacity - 1)] = request;
    q->pushed++;
    return true;
}

/* Takes the oldest off, with the 'c' behind it: CopyDone and CopyFail that were sent in case it begins a
 * COPY.  Now it is answered, PostgreSQL ignores them. */
static inline void requests_pop(struct requests *q) {
    do q->head = (q->head + 1) & (q->capacity - 1);
    while (--q->count && q->ring[q->head] == 'c');
    if (!q->count) requests_free(q);
}

/* Number of the oldest request, as `pushed` counts them. */
static inline uint32_t requests_number(const struct requests *q) { return q->pushed - q->count; }

/* Whether the oldest request is the one of this number, or came behind it: all before it are answered. */
static inline bool requests_reached(const struct requests *q, uint32_t number) {
    return (int32_t)(requests_number(q) - number) >= 0;
}

/* The oldest request, 0 when there is none. */
static inline uint8_t requests_head(const struct requests *q) { return q->count ? q->ring[q->head] : 0; }

/* The oldest request becomes one of ours. */
static inline void requests_internal_head(struct requests *q) { q->ring[q->head] |= INTERNAL; }

/* Takes the `n` requests behind the oldest out of the queue (only CopyInResponse needs this). */
static inline void requests_take_behind_head(struct requests *q, uint32_t n) {
    q->ring[(q->head + n) & (q->capacity - 1)] = q->ring[q->head];
    q->head = (q->head + n) & (q->capacity - 1);
    q->count -= n;
}

#endif
