/* The turns of a relay's loop: how much one connection may do in its own, and how long they are.
 *
 * Theory.  Some messages are five bytes long and cost microseconds: a Sync that is answered here, a Query
 * that changes a setting, a ParameterStatus.  A buffer of them takes tens of milliseconds, and whoever sends
 * them without end would have the others wait for as long as all its connections have turns.  So what a
 * connection does in one turn is bounded by what its messages cost, not by their bytes alone; the rest of
 * them stays in its stash, and it comes again behind the others. */
#ifndef POOLER_RELAY_TURNS_H
#define POOLER_RELAY_TURNS_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/relay.h"

/* Of one connection in one turn.  What is passed on as it is costs next to nothing: as much of it as a buffer
 * has is one turn. */
#define TURN_WORK 4096
#define WORK_DATA 1        /* a row, CopyData: passed on */
#define WORK_MESSAGE 16    /* what is looked into */
#define WORK_PARAMETER 256 /* what changes a whole set of settings */

/* A connection begins its turn. */
static inline void turns_begin(struct relay *r) { r->turn_work = 0; }

/* Whether it has done enough in this one. */
static inline bool turns_over(const struct relay *r) { return r->turn_work >= TURN_WORK; }

/* Whether it may do so much more; one thing is always allowed. */
static inline bool turns_take(struct relay *r, uint32_t work) {
    if (turns_over(r)) return false;
    r->turn_work += work;
    return true;
}

/* A turn of the loop is over; SHOW TURNS has the longest, in CPU time of the thread: no query waits longer
 * for pooler's own work, whatever else the machine does.  Reading the clock of a thread is a system call: it
 * is read while somebody asks for it. */
void turns_measure(struct relay *r);

#endif
