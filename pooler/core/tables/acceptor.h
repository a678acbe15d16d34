/* The thread that accepts: clients of all listeners, in batches, without the interpreter.
 *
 * It accepts from acceptor_go() to acceptor_halt(), or until a batch ends with a client that nobody can take,
 * or short of descriptors or memory.  Then it stops by itself and rings `bell`; what is to be done is the
 * master's, which takes the reason (acceptor_take) and calls acceptor_go() again when it has done it.
 *
 * The lock is held for each batch, and by every function here that is not about one atomic word: no
 * accept is in progress after acceptor_halt(), and a listener is not touched after acceptor_forget().
 * A mutex is not fair, and a thread in a storm would take it again and again, hence `wanted`: the
 * master waits for the end of one batch at most.
 *
 * A client that is accepted and not yet given away is a descriptor of the master, which a fork would
 * copy: that connection would not end with its worker. So the lock is held at a fork (acceptor_hold),
 * when there is no such descriptor but that of a client that was kept. A child has neither the thread
 * nor the lock: acceptor_close_in_child() is all that it may call. */
#ifndef POOLER_TABLES_ACCEPTOR_H
#define POOLER_TABLES_ACCEPTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "tables/accept.h"

struct acceptor;
struct tables;

/* Why the thread has stopped: ACCEPT_KEPT or ACCEPT_SHORT, and at which listener. */
struct acceptor_stop {
    struct accept_result result;
    int listener;
    bool is_unix;
};

/* `most`: clients in a batch.  Nobody is eligible yet.  NULL: errno says why. */
struct acceptor *acceptor_open(struct tables *t, const int *outboxes, int count, int most);
/* The thread has ended, and the client that was kept and not taken is closed. */
void acceptor_close(struct acceptor *a);
/* Closes the descriptors that a child has inherited, and that client's; the rest is left as it is. */
void acceptor_close_in_child(struct acceptor *a);

/* Readable: acceptor_take() has something. */
int acceptor_bell(const struct acceptor *a);
/* A bit for each worker that may get clients. */
void acceptor_eligible(struct acceptor *a, uint64_t workers);
/* A listener, which does not block, is accepted from; 0 or an errno. */
int acceptor_watch(struct acceptor *a, int listener, bool is_unix);
void acceptor_forget(struct acceptor *a, int listener);
void acceptor_go(struct acceptor *a);
void acceptor_halt(struct acceptor *a);
/* Why it has stopped; false: it has not. It goes on by acceptor_go() alone. */
bool acceptor_take(struct acceptor *a, struct acceptor_stop *stop);
/* Gives away a client that was kept: accept_give(). */
struct accept_result acceptor_give(struct acceptor *a, int fd, bool is_unix);
/* Between the two the thread has no client's descriptor. */
void acceptor_hold(struct acceptor *a);
void acceptor_release(struct acceptor *a);

#endif
