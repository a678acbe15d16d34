/* Notifications of the listening connections, on their way to clients. */
#include "notify/deliver.h"

#include <stdlib.h>
#include <string.h>

#include "io/buffer.h"
#include "io/connection.h"
#include "io/request_queue.h"
#include "io/server_messages.h"
#include "io/sqlstate.h"
#include "notify/subscribe.h"
#include "relay/internal.h"
#include "tables/layout.h"

/* ---- when a client may be told --------------------------------------------------------------- */

/* Whether its server is yet to say what its client still listens on. */
static bool in_doubt(const struct client *c) {
    return c->server && c->server->session.listen && c->server->session.listen->again;
}

static bool quiet(const struct client *c) {
    const struct server *s = c->server;
    if (client_waits(c) || client_ungreeted(c)) return false;
    if (!s) return true;
    if (in_doubt(c)) return false;
    if (s->transaction != 'I' || server_in_message(s) || s->session.held
        || (s->session.listen && s->session.listen->ready))
        return false;
    return !s->requests.count
        || (s->requests.count == 1 && requests_head(&s->requests) & INTERNAL && !server_is_fresh(s));
}

/* What has come meanwhile, between messages. */
void listen_flush(struct relay *r, struct client *c) {
    uint32_t n = bytes_pending(&c->notifications);
    if (!n || in_doubt(c)) return;
    struct bytes notifications = c->notifications;
    c->notifications = (struct bytes){0};
    conn_send(&r->loop, &c->io, notifications.data, n);
    free(notifications.data);
}

/* ---- datagrams ------------------------------------------------------------------------------- */

struct datagram_head {
    int32_t kind, a, b;
    uint32_t bytes;
};

/* A datagram from a listening connection: kept until nobody up the stack works on a client. */
void listen_take(struct relay *r, const int32_t datagram[3], const unsigned char *data, uint32_t n) {
    bool whole = n >= 10 && data[0] == 'A' && load_be32(data + 1) == n - 1
        && server_message_length_fits('A', n - 1) && server_message_well_formed('A', data + 5, n - 5, true);
    if (datagram[0] == INBOX_NOTIFICATION && !whole) return;
    struct datagram_head head = {datagram[0], datagram[1], datagram[2], n};
    if (bytes_add(&r->undelivered, &head, sizeof head)) {
        if (bytes_add(&r->undelivered, data, n)) return;
        r->undelivered.end -= sizeof head;
    }
    r->undelivered_lost = true;
}

/* Whether more is waiting for a client then than may. */
static bool too_much(const struct client *c, uint32_t n) {
    return bytes_pending(&c->notifications) + bytes_pending(&c->io.out) + n > NOTIFICATIONS_BYTES_MAX;
}

/* False: the client is to be closed, for there is too much for it, or no memory. */
static bool tell(struct relay *r, struct client *c, const unsigned char *message, uint32_t n) {
    bool waits = bytes_pending(&c->notifications) || bytes_pending(&c->io.out);
    if (too_much(c, n) || (waits && !memory_within(r, c, n))) return false;
    if (quiet(c) && !bytes_pending(&c->notifications)) {
        conn_send(&r->loop, &c->io, message, n);
        return true;
    }
    r->listen_work = true;
    return bytes_add(&c->notifications, message, n);
}

/* Tells all clients that are subscribed.  Those that cannot be told are closed when all others have been:
 * the end of one may be that of others, whose subscriptions are gone then, too. */
static void deliver(struct relay *r, const struct datagram_head *head, const unsigned char *message) {
    static const char text[] = "too many notifications are waiting for the client";
    struct subscription *const *list = &r->heard_by[head->a], *one;
    for (one = *list; one; one = one->next)
        one->missed = one->channel.id == (uint32_t)head->b && !tell(r, one->client, message, head->bytes);
    for (one = *list; one;) {
        if (!one->missed) {
            one = one->next;
            continue;
        }
        if (too_much(one->client, head->bytes)) client_close(r, one->client, OUT_OF_MEMORY, text, text);
        else memory_refuse(r, one->client);
        one = *list;
    }
}

static void marker_returned(struct relay *r, const struct datagram_head *head) {
    if (head->a < 0 || head->a >= r->t->h->sizes.clients) return;
    struct client *c = r->clients[head->a];
    struct listening *l = c && c->server ? c->server->session.listen : NULL;
    /* an older one, that nobody waits for any more */
    if (!l || l->wait != WAIT_MARKER || l->marker != (uint32_t)head->b) return;
    l->marker_seen = true;
    if (l->late) listen_subscribe_all(r, c->server);
    conn_ready(&r->loop, &c->server->io);
}

static bool awaits_note(const struct server *s) {
    const struct listening *l = s && s->client ? s->session.listen : NULL;
    return l && l->wait == WAIT_MARKER && !l->marker_seen;
}

/* There was no memory for what somebody may have listened for, or waits for: better no connection than one
 * that has missed it. */
static void close_listening(struct relay *r) {
    r->undelivered_lost = false;
    for (int32_t i = 0; i < r->t->h->slots_high; i++)
        if (awaits_note(r->servers[i])) memory_refuse(r, r->servers[i]->client);
    for (int32_t i = 0; i < CHANNELS_MAX; i++)
        while (r->heard_by[i]) memory_refuse(r, r->heard_by[i]->client);
}

void listen_deliver(struct relay *r) {
    if (r->undelivered_lost) close_listening(r);
    struct bytes undelivered = r->undelivered;
    r->undelivered = (struct bytes){0};
    for (uint32_t at = 0; at < undelivered.end;) {
        struct datagram_head head;
        memcpy(&head, undelivered.data + at, sizeof head);
        at += sizeof head;
        if (head.kind == INBOX_MARKER) marker_returned(r, &head);
        if (head.kind == INBOX_NOTIFICATION && head.a >= 0 && head.a < CHANNELS_MAX)
            deliver(r, &head, undelivered.data + at);
        at += head.bytes;
    }
    free(undelivered.data);
}

/* Somebody else's step, or time, may have brought what servers wait for. */
void listen_look(struct relay *r) {
    if (!r->listen_work) return;
    r->listen_work = false;
    for (int32_t i = 0; i < r->t->h->slots_high; i++) {
        struct server *s = r->servers[i];
        if (s && s->client && s->session.listen && s->session.listen->wait != WAIT_NOT) {
            conn_ready(&r->loop, &s->io);
            r->listen_work = true;
        }
    }
    for (int32_t i = 0; i < r->t->h->channels_high; i++)
        for (struct subscription *one = r->heard_by[i]; one; one = one->next)
            if (bytes_pending(&one->client->notifications)) {
                if (quiet(one->client)) listen_flush(r, one->client);
                else r->listen_work = true;
            }
}
