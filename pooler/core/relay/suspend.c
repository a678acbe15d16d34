/* SUSPEND: what is on its way is passed on to the end of its message, then nothing is read, from clients or
 * from servers.
 *
 * The flag is in the header; each relay sees it in its loop, tells how many connections are still in the
 * middle of something, and closes those when that takes too long (suspend_timeout).  Afterwards everybody is
 * looked at again: the edges of epoll were remembered in `readable`.
 */
#include "relay/suspend.h"

#include "io/buffer.h"
#include "io/connection.h"
#include "io/sqlstate.h"
#include "relay/client.h"
#include "relay/internal.h"
#include "relay/relay.h"
#include "relay/server.h"
#include "tables/states.h"

bool suspended_at(const struct relay *r, const struct conn *c) {
    return r->t->h->suspended && !c->body_left && !bytes_pending(&c->out);
}

/* How much to read: to the end of the message and not into the next one. */
uint32_t suspended_limit(const struct relay *r, const struct conn *c, uint32_t limit) {
    return r->t->h->suspended && c->body_left && c->body_left < limit ? c->body_left : limit;
}

static void go_on(struct relay *r) {
    r->suspended = false;
    for (int32_t i = 0; i < r->t->h->clients_high; i++)
        if (r->clients[i]) conn_ready(&r->loop, &r->clients[i]->io);
    for (int32_t i = 0; i < r->t->h->slots_high; i++)
        if (r->servers[i] && r->servers[i]->io.armed) conn_ready(&r->loop, &r->servers[i]->io);
}

void suspend_look(struct relay *r) {
    uint8_t wanted = r->t->h->suspended;
    int32_t left = 0;
    if (!wanted) {
        go_on(r);
        return;
    }
    r->suspended = true;
    for (int32_t i = 0; i < r->t->h->slots_high; i++) {
        struct server *s = r->servers[i];
        if (!s || !s->client || suspended_at(r, &s->io)) continue;
        if (wanted == SUSPENDED_FORCED) server_close(r, s, true, "suspend_timeout");
        else left++;
    }
    for (int32_t i = 0; i < r->t->h->clients_high; i++) {
        struct client *c = r->clients[i];
        if (!c || c->state == CLIENT_CLOSED || suspended_at(r, &c->io)) continue;
        if (wanted == SUSPENDED_FORCED)
            client_close(r, c, PROTOCOL_VIOLATION, "suspend_timeout", "suspend_timeout");
        else left++;
    }
    r->t->workers[r->worker].unflushed = left;
}
