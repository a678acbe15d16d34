/* Accepting: the master's way of a client, from the backlog of a listener to the inbox of a worker.
 *
 * Each goes to the worker that has the fewest, among equals to the one after the last; if its inbox is full,
 * to the next best.  One that nobody can take is the caller's, who keeps it and comes again.
 */
#ifndef POOLER_TABLES_ACCEPT_H
#define POOLER_TABLES_ACCEPT_H

#include <stdbool.h>
#include <stdint.h>

struct tables;

/* How a batch ended. */
enum accept_end {
    ACCEPT_EMPTY, /* nobody is left in the backlog */
    ACCEPT_MORE,  /* somebody may be */
    ACCEPT_KEPT,  /* no worker could take `fd`; `error` of one that was not just full, or 0 */
    ACCEPT_SHORT  /* of descriptors or memory: `error` */
};

struct accept_targets {
    const int *outboxes; /* by worker */
    int count;
    uint64_t eligible; /* a bit for each worker that may get clients */
    int turn;          /* among equals, the first; moves on */
};

struct accept_result {
    enum accept_end end;
    int fd, error;
};

/* Accepts at most `most` clients of a listener that does not block, and gives them away. */
struct accept_result accept_batch(struct tables *t, int listener, bool is_unix, struct accept_targets *to,
                                  int most);
/* Gives one away: ACCEPT_MORE, and closed here, or ACCEPT_KEPT. */
struct accept_result accept_give(struct tables *t, int fd, bool is_unix, struct accept_targets *to);

#endif
