/* SUSPEND: nothing more is read from clients and servers, what was read goes out, then all stand still.
 *
 * Theory.  One flag in the header holds for all workers; whoever sets it rings every doorbell, and each relay
 * looks at the flag in every round of its loop.  While it is set, a connection that has its turn only writes
 * what is pending; the edge that woke it stays noted (`readable`), and `held` says that its turn is owed.  A
 * worker whose connections have nothing pending says so in its row (`flushed`).  SUSPEND_FORCED ends the clients
 * for whom something is pending still.  A server that is being closed goes on: nobody's data is lost with it,
 * and its slot becomes free.
 *
 * The header also has the id of the console session that asked: with it the suspension ends (suspended_by).
 */
#include <stdatomic.h>

#include "relay.h"

#define SUSPEND_TEXT "suspend_timeout"

/* Instead of its turn. */
bool suspend_holds(struct relay *r, struct conn *c) {
    if (!r->suspended || (c->kind == KIND_SERVER && ((struct server *)c)->closing)) return false;
    if (bytes_pending(&c->out)) conn_flush(r, c);
    c->held = true;
    return true;
}

static bool server_is_ours(const struct relay *r, const struct server *s) {
    return s && s->io.fd >= 0 && r->t->slots[s->slot].owner == r->worker;
}

static void resume(struct relay *r) {
    r->suspended = false;
    atomic_store(&r->t->workers[r->worker].flushed, 0);
    for (int32_t i = 0; i < r->t->h->clients_high; i++) {
        struct client *c = r->clients[i];
        if (!c || !c->io.held) continue;
        c->io.held = false;
        conn_ready(r, &c->io);
    }
    for (int32_t i = 0; i < r->t->h->slots_high; i++) {
        struct server *s = r->servers[i];
        if (!s) continue;
        if (s->own) s->own_since = r->now;   /* its answer was not read: PostgreSQL is not late */
        if (!s->io.held) continue;
        s->io.held = false;
        conn_ready(r, &s->io);
    }
}

/* In every round of the loop: follows the flag, and says whether all is flushed. */
void suspend_look(struct relay *r) {
    uint8_t wanted = atomic_load(&r->t->h->suspended);
    if (!wanted) {
        if (r->suspended) resume(r);
        return;
    }
    r->suspended = true;
    bool flushed = true;
    for (int32_t i = 0; i < r->t->h->clients_high; i++) {
        struct client *c = r->clients[i];
        if (!c || c->io.dead) continue;
        bool towards = server_is_ours(r, c->server) && bytes_pending(&c->server->io.out);
        if (!towards && !bytes_pending(&c->io.out)) continue;
        if (wanted == SUSPEND_FORCED) client_close(r, c, "08P01", SUSPEND_TEXT, SUSPEND_TEXT);
        else flushed = false;
    }
    atomic_store(&r->t->workers[r->worker].flushed, flushed);
}
