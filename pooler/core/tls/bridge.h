/* TLS to PostgreSQL: one end of a socket pair is what all workers share, the other end is copied here.
 *
 * Theory.  A session of TLS lives in one process.  The worker that logged a server in keeps it, with the
 * encrypted connection, in its bridge (a thread of its own), and the connection that all use is a plain
 * socket pair.  Ends of stream pass through: a shutdown by whoever owns the slot reaches PostgreSQL behind
 * all bytes before it, and the end of stream of PostgreSQL, of the encrypted connection itself, is noted in
 * the slot's row (`over`) before the pair is closed.  So who reads an end of stream without that note knows
 * that the bridge's process died, and that PostgreSQL may not have noticed: the slot is then finished by the
 * successor of that worker, which inherits the encrypted descriptor from the master (bridge_is_lost,
 * server_lost).
 */
#ifndef POOLER_TLS_BRIDGE_H
#define POOLER_TLS_BRIDGE_H

#include "tables/tables.h"
#include "tls/session.h"

struct bridge;

/* NULL with errno on failure. */
struct bridge *bridge_open(struct tables *t);
/* Takes over both descriptors and the session; `early` was read behind the login.  False: no memory, nothing
 * was taken. */
bool bridge_add(struct bridge *p, int32_t slot, uint32_t generation, int raw, int inner, struct tls *session,
                const void *early, uint32_t n);

/* Whether the process that had the other end of this slot's pair has died. */
static inline bool bridge_is_lost(const struct tables *t, const struct slot_row *s) {
    return s->bridge_life && s->bridge_life != t->workers[s->bridge].restarts + 1;
}

#endif
