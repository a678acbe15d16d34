/* TLS to PostgreSQL: one end of a socket pair is what all workers share, the other end is copied here.
 *
 * Theory.  A session of TLS lives in one process.  The worker that logged a server in keeps it, with the
 * encrypted connection, in its bridge (a thread of its own), and the connection that all use is a plain
 * socket pair.  Ends of stream pass through: a shutdown by whoever owns the slot reaches PostgreSQL behind
 * all bytes before it, and the end of stream of PostgreSQL, of the encrypted connection itself, is noted in
 * the slot's row (`over`) before the pair is closed.  So who reads an end of stream without that note knows
 * that the bridge's process died, and that PostgreSQL may not have noticed: the slot is then finished by the
 * successor of that worker, which inherits the encrypted descriptor from the master (slot_bridge_is_lost,
 * server_lost).
 */
#ifndef POOLER_TLS_BRIDGE_H
#define POOLER_TLS_BRIDGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct bridge;
struct tls;

/* The slot that a connection belongs to: what `over` is told when its stream has ended, unless the slot has
 * gone on to another generation. */
struct bridged {
    uint32_t generation;
    const uint32_t *latest;
    _Atomic uint32_t *over;
};

/* Takes over both descriptors and the session; `early` was read behind the login.  False: no memory, nothing
 * was taken. */
bool bridge_add(struct bridge *p, const struct bridged *slot, int raw, int inner, struct tls *session,
                const void *early, uint32_t n);

/* NULL with errno on failure. */
struct bridge *bridge_open(void);

#endif
