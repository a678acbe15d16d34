/* How long the turns of a relay's loop are, in CPU time of its thread: no query waits longer for pooler's own
 * work, whatever else the machine does. */
#ifndef POOLER_RELAY_TURNS_H
#define POOLER_RELAY_TURNS_H

struct relay;

/* A turn is over.  Reading the clock of a thread is a system call: it is read while somebody asks for it. */
void turns_measure(struct relay *r);

#endif
