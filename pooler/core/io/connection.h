/* One connection, and what all connections of a thread share.
 *
 * What was read and cannot be used yet is `stash`; what could not be written is `out`.  Nothing here knows
 * what the bytes mean.
 */
#ifndef POOLER_IO_CONNECTION_H
#define POOLER_IO_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "io/buffer.h"

struct tls;

#define BUFFER_BYTES 65536    /* the one read buffer; also what a slow reader may have pending */
#define TRIM_BYTES (1u << 20) /* a read buffer that has grown beyond this is made small again */
#define ROUNDS 8              /* reads of one connection before the others get their turn */

enum conn_kind { KIND_CLIENT, KIND_SERVER, KIND_LOGIN, KIND_DOORBELL, KIND_INBOX, KIND_COMMAND, KIND_JOBS };

struct conn {
    uint8_t kind;
    bool readable, hangup, broken, eof, stuck, queued, dead, wants_out, armed;
    bool paused; /* it is not readable before its next turn, for there was much of which nothing has come */
    bool corked; /* what is sent is collected until conn_uncork() */
    bool gap;    /* there was no memory for something that is to be written: nothing is any more */
    int fd;
    uint32_t body_left;   /* of the message that is passing through */
    uint64_t stuck_since; /* nothing that is to be written went out since */
    struct bytes out, stash;
    struct tls *tls;     /* NULL: plain */
    bool read_wants_out; /* TLS has to write before it can be read on */
    struct conn *next_ready;
};

/* What all connections of a thread share: who is watched, who has work left, the one read buffer. */
struct conn_loop {
    int epoll;
    uint64_t now;
    struct conn *ready_head, *ready_tail, *closed_list;
    unsigned char *buffer; /* at least BUFFER_BYTES; larger after a larger message had to be read whole */
    uint32_t buffer_bytes;
};

void conn_ready(struct conn_loop *l, struct conn *c);
void conn_turn(struct conn *c);
bool conn_arm(struct conn_loop *l, struct conn *c);
void conn_disarm(struct conn_loop *l, struct conn *c);
bool conn_stash(struct conn *c, const unsigned char *p, uint32_t n);
bool conn_unread(struct conn *c, const unsigned char *p, uint32_t n);
uint32_t conn_fill(struct conn_loop *l, struct conn *c, uint32_t limit, bool *received);
bool conn_read_on(struct conn_loop *l, struct conn *c, uint32_t n);
void conn_append(struct conn_loop *l, struct conn *c, const void *p, uint32_t n);
void conn_flush(struct conn_loop *l, struct conn *c);
void conn_send(struct conn_loop *l, struct conn *c, const void *p, uint32_t n);
void conn_uncork(struct conn_loop *l, struct conn *c);
void conn_bury(struct conn_loop *l, struct conn *c);
bool conn_need_buffer(struct conn_loop *l, uint32_t bytes);
void conn_trim_buffer(struct conn_loop *l);

#endif
