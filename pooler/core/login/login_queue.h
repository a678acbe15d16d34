/* The login queue: how many clients may be in their login at once, and who makes space when that many are.
 *
 * More wait their turn, so that a storm of logins takes its time and no client is refused for it.  Three
 * rules see to it that connections which say nothing do not keep the others out:
 *
 * - A connection that has not sent its first byte takes no place: it is outside until that byte is there.  A
 *   login that has waited for its client for STALL_US in all takes no place any more, and is sent away after
 *   a silence of SILENT_US while others wait, those of the origin that has most of them and the newest first.
 * - Turns go round by origin (an address, a network of IPv6, an account of this machine), and first come,
 *   first served within each: a flood from one address delays that address.
 * - Each origin may have `max_silent_per_address` connections that are silent for so long; the newest beyond
 *   that are sent away, and so is the newest one outside when the rows of clients run out.
 */
#ifndef POOLER_LOGIN_LOGIN_QUEUE_H
#define POOLER_LOGIN_LOGIN_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "tables/layout.h"

struct login;
struct relay;

#define ORIGIN_BUCKETS 1024

/* Where connections come from. */
struct origin {
    struct origin *next_in_bucket, *next_turn;
    struct login *first, *last; /* that wait for their turn */
    uint32_t connections, waiting, counted;
    char name[ADDRESS_BYTES];
};

struct login_queue {
    struct origin *buckets[ORIGIN_BUCKETS];
    struct origin *first_turn, *last_turn; /* of those with logins that wait */
    uint32_t inside, stalled, waiting;
    uint64_t said_at, silent_said_at, tick_at;
    uint64_t searched_at; /* turn of the loop in which rows were looked for, */
    uint32_t searches;    /* and how often */
};

/* The network of an address: what one stranger can have many addresses of counts as one. */
void login_queue_network(const char *address, char out[ADDRESS_BYTES]);
/* A connection has come; false: no memory. */
bool login_queue_enter(struct relay *r, struct login *l, const char *address);
/* Its first byte is there, or its end. */
void login_queue_join(struct relay *r, struct login *l);
/* It is in no line and takes no place any more; others may have their turn. */
void login_queue_leave(struct relay *r, struct login *l);
/* It waits for somebody else's answer, which must not keep others out; and goes on. */
void login_queue_suspend(struct relay *r, struct login *l);
void login_queue_resume(struct relay *r, struct login *l);
/* Its connection is gone. */
void login_queue_gone(struct relay *r, struct login *l);
/* No row is left for a newcomer: another gives up its own.  False: none does. */
bool login_queue_make_space(struct relay *r, struct login *newcomer);
/* Lets in, and sends away. */
void login_queue_tick(struct relay *r);

#endif
