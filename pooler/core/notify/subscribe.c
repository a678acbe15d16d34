/* LISTEN, where it meets servers and clients: the theory stands in subscribe.h. */
#include "notify/subscribe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "io/buffer.h"
#include "io/connection.h"
#include "notify/announce.h"
#include "notify/origin.h"
#include "relay/internal.h"
#include "session/probe.h"
#include "session/session.h"
#include "session/settings.h"
#include "sql/effects.h"
#include "tables/channels.h"
#include "tables/layout.h"
#include "tables/states.h"

struct listener *listen_connection(struct relay *r, const struct client *c) {
    return &r->t->databases[r->t->pools[r->t->clients[c->row].pool].database].listener;
}

/* NULL: no memory; the server is closed when it has its turn. */
struct listening *listen_need(struct relay *r, struct server *s) {
    struct session *x = &s->session;
    if (!x->listen && !(x->listen = calloc(1, sizeof *x->listen))) server_without_memory(r, s);
    return x->listen;
}

static struct subscription *listen_find(const struct client *c, const char *name) {
    struct subscription *one = c->subscriptions;
    while (one && strcmp(one->name, name) != 0) one = one->next_of_client;
    return one;
}

/* ---- replies ------------------------------------------------------------------------------------ */

/* A notification that a server sent, whole.  True: its client does not get it from there. */
bool listen_message(struct relay *r, struct server *s, unsigned char *p) {
    struct client *c = s->client;
    if (!c || !session_on(r, c)) return false;
    const struct listening *l = s->session.listen;
    if (!(l && l->doubles) && listen_find(c, (const char *)p + 9)) return true;
    if ((int32_t)load_be32(p + 5) == r->t->slots[s->slot].backend_pid) {
        store_be32(p + 5, r->t->clients[c->row].cancel_pid);
    }
    return false;
}

/* ReadyForQuery is about to be passed on.  True: the client gets it later. */
bool listen_hold(struct relay *r, struct server *s, uint8_t status) {
    struct client *c = s->client;
    if (status != 'I' || !c || s->requests.count != 1 || c->io.body_left || s->session.held
        || !session_on(r, c))
        return false;
    const struct listening *l = s->session.listen;
    bool listens = s->session.effect_flags & EFFECT_LISTEN && s->session.effect_flags & ASK_CHANNELS;
    bool tells = l && l->notified && c->subscriptions;
    if (!listens && !tells) return false;
    struct listening *needed = listen_need(r, s);
    if (!needed) return true; /* better no answer than one before its channels are heard */
    needed->ready = status;
    s->internal_blocks = true;
    return true;
}

static void release(struct relay *r, struct server *s) {
    struct listening *l = s->session.listen;
    if (!l->ready) return;
    uint8_t status = l->ready;
    l->ready = 0;
    s->internal_blocks = false;
    client_ready(r, s->client, status);
    conn_ready(&r->loop, &s->client->io);
}

/* ---- what a client listens on ------------------------------------------------------------------- */

static void subscribe(struct relay *r, struct client *c, const struct joined *channel, const char *name) {
    struct subscription *one = calloc(1, sizeof *one), **list = &r->heard_by[channel->row];
    if (!one) { /* better no connection than one that will miss something */
        channel_leave(r->t, channel, r->worker);
        client_without_memory(r, c);
        return;
    }
    *one = (struct subscription){
        .client = c, .channel = *channel, .next_of_client = c->subscriptions, .next = *list, .link = list};
    snprintf(one->name, sizeof one->name, "%s", name);
    if (one->next) one->next->link = &one->next;
    *list = one;
    c->subscriptions = one;
}

static void unsubscribe(struct relay *r, struct subscription **place) {
    struct subscription *one = *place;
    *place = one->next_of_client;
    *one->link = one->next;
    if (one->next) one->next->link = one->link;
    channel_leave(r->t, &one->channel, r->worker);
    free(one);
}

static int32_t count_subscriptions(const struct client *c) {
    int32_t n = 0;
    for (const struct subscription *one = c->subscriptions; one; one = one->next_of_client) n++;
    return n;
}

void listen_client_gone(struct relay *r, struct client *c) {
    while (c->subscriptions) unsubscribe(r, &c->subscriptions);
    free(c->notifications.data);
    c->notifications = (struct bytes){0};
}

static bool on_server(const struct listening *l, const char *name) {
    for (int32_t i = 0; i < l->count; i++)
        if (strcmp(l->names[i], name) == 0) return true;
    return false;
}

/* Whether the statements of the transaction named it in an UNLISTEN. */
static bool unlistened(const struct session *x, const char *name) {
    if (x->failed || !x->notes) return false;
    char kind;
    const char *given;
    for (uint32_t at = 0; scan_next_name(x->notes->names, x->notes->bytes, &at, &kind, &given);) {
        if (kind == 'u' && (strcmp(given, "*") == 0 || strcmp(given, name) == 0)) return true;
    }
    return false;
}

/* What came for a name before its UNLISTEN was committed is not told any more, as PostgreSQL has it. */
static void forget_news(struct client *c, const char *name) {
    struct bytes *b = &c->notifications;
    uint32_t kept = b->start;
    for (uint32_t at = b->start, n; at < b->end; at += n) {
        n = load_be32(b->data + at + 1) + 1;
        if (strcmp((const char *)b->data + at + 9, name) == 0) continue;
        memmove(b->data + kept, b->data + at, n);
        kept += n;
    }
    b->end = kept;
}

static void drop_subscriptions(struct relay *r, struct client *c, const struct session *x) {
    const struct listening *l = x->listen;
    bool exact = l->again && (l->outside || !x->failed) && !l->overflow;
    for (struct subscription **place = &c->subscriptions; *place;) {
        bool stays = on_server(l, (*place)->name) || (!exact && !unlistened(x, (*place)->name));
        if (stays) {
            place = &(*place)->next_of_client;
        } else {
            forget_news(c, (*place)->name);
            unsubscribe(r, place);
        }
    }
}

static void leave_joined(struct relay *r, struct listening *l) {
    while (l->joined_count) channel_leave(r->t, &l->joined[--l->joined_count], r->worker);
}

/* Tells whoever has the listening connection that it has work. */
static void wake_listener(struct relay *r, const struct client *c, int32_t owner) {
    int32_t pool = r->t->clients[c->row].pool, datagram[3] = {INBOX_LISTEN, r->t->pools[pool].database, 0};
    if (owner == r->worker) relay_emit(r, &(struct event){.type = EVENT_LISTEN, .a = datagram[1], .b = pool});
    else (void)!send(r->outboxes[owner], datagram, sizeof datagram, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* One spelling for utf-8, 'UTF8' and utf_8: PostgreSQL takes them for the same. */
static bool encoding_of(struct relay *r, const struct client *c, char out[CHANNEL_NAME_BYTES]) {
    const char *given = settings_value(&r->store, c->settings, "client_encoding");
    uint32_t n = 0;
    for (; given && *given && n + 1 < CHANNEL_NAME_BYTES; given++) {
        bool letter = (unsigned)((*given | 0x20) - 'a') < 26;
        if (letter || (unsigned)(*given - '0') < 10) out[n++] = (char)(letter ? *given | 0x20 : *given);
    }
    out[n] = '\0';
    return n > 0;
}

/* Wants to hear of what the server listens on and the client is not subscribed to.  False: that is not
 * possible. */
static bool join(struct relay *r, struct client *c, struct listening *l) {
    char encoding[CHANNEL_NAME_BYTES], notes[MARKER_CHANNEL_BYTES];
    marker_channel(r->t, notes);
    int32_t owner = NO_ROW, have = count_subscriptions(c);
    if (l->overflow || !encoding_of(r, c, encoding)) return false;
    for (int32_t i = 0; i < l->count; i++) {
        if (listen_find(c, l->names[i])) continue;
        if (strcmp(l->names[i], notes) == 0) { /* the listener's own: the client keeps its server for that */
            leave_joined(r, l);
            return false;
        }
        owner = have + l->joined_count >= CLIENT_CHANNELS_MAX
            ? NO_ROW
            : channel_join(r->t, c->row, l->names[i], encoding, r->worker, r->loop.now,
                           &l->joined[l->joined_count]);
        if (owner == NO_ROW) {
            leave_joined(r, l);
            return false;
        }
        l->joined_count++;
    }
    if (owner != NO_ROW) wake_listener(r, c, owner);
    return true;
}

/* One channel of the server's answer. */
void listen_row(struct relay *r, struct server *s, const unsigned char *name, uint32_t bytes) {
    struct listening *l = listen_need(r, s);
    if (!l) return;
    if (l->count >= CLIENT_CHANNELS_MAX || bytes >= CHANNEL_NAME_BYTES) {
        l->overflow = true;
        return;
    }
    memcpy(l->names[l->count], name, bytes);
    l->names[l->count++][bytes] = '\0';
}

/* The server has said what it listens on. */
void listen_answered(struct relay *r, struct server *s) {
    struct client *c = s->client;
    if (!s->session.listen && !c->subscriptions) return;
    if (!session_on(r, c)) return;
    struct listening *l = listen_need(r, s);
    if (!l) return;
    drop_subscriptions(r, c, &s->session);
    if (!l->count && !l->overflow) {
        channels_heard(r->t, c->row, NULL, 0, count_subscriptions(c));
    } else if (join(r, c, l)) {
        l->wait = WAIT_CHANNELS;
        r->listen_work = true;
        l->since = r->loop.now;
    }
    l->again = l->outside = false;
}

void listen_subscribe_all(struct relay *r, struct server *s) {
    struct listening *l = s->session.listen;
    for (int32_t i = 0, next = 0; i < l->count; i++)
        if (!listen_find(s->client, l->names[i])) subscribe(r, s->client, &l->joined[next++], l->names[i]);
    l->joined_count = l->count = 0;
    l->late = false;
}

/* The answer to a note has to come round before its client goes on. */
static void send_note(struct relay *r, struct server *s, enum internal_request what, const char *before,
                      bool comes_back) {
    char query[64 + ADDED_MARKER_BYTES], marker[64];
    struct listening *l = s->session.listen;
    int32_t row = s->client->row;
    l->marker = ++r->markers_sent;
    if (comes_back)
        snprintf(marker, sizeof marker, "b %d %d %d %u", r->t->pools[r->t->clients[row].pool].database,
                 r->worker, row, l->marker);
    else snprintf(marker, sizeof marker, "e");
    l->notified = false;
    r->t->slots[s->slot].notifier = 0;
    l->marker_seen = !comes_back;
    l->wait = WAIT_MARKER;
    l->since = r->loop.now;
    r->listen_work = true;
    listen_add_marker(r, s, query, (uint32_t)sprintf(query, "%s", before), marker);
    internal_send(r, s, what, query);
}

/* Its channels are heard for it from now on: the server need not. */
static bool heard(struct relay *r, struct server *s) {
    struct client *c = s->client;
    struct listening *l = s->session.listen;
    enum hearing hearing = channels_heard(r->t, c->row, l->joined, l->joined_count,
                                          count_subscriptions(c) + l->joined_count);
    if (hearing == HEARING_SOON && r->loop.now < l->since + HEAR_PATIENCE_US) return false;
    l->wait = WAIT_NOT;
    if (hearing != HEARING_YES) {
        leave_joined(r, l);
        l->count = 0;
        return true;
    }
    l->late = l->ready && l->joined_count;
    if (l->late) {
        send_note(r, s, INTERNAL_UNLISTEN, "UNLISTEN *;", true);
        return true;
    }
    listen_subscribe_all(r, s);
    l->doubles = !l->ready;
    internal_send(r, s, INTERNAL_UNLISTEN, "UNLISTEN *");
    return true;
}

/* A server that might be given back has something to wait for. */
bool listen_waits(struct relay *r, struct server *s) {
    struct listening *l = s->session.listen;
    if (!l || l->wait == WAIT_NOT) return false;
    if (l->wait == WAIT_CHANNELS) return !heard(r, s) || s->internal != INTERNAL_NONE;
    if (s->internal != INTERNAL_NONE) return true;
    if (!l->marker_seen && r->loop.now < l->since + MARKER_PATIENCE_US
        && listen_connection(r, s->client)->state == LISTENER_OPEN)
        return true;
    l->wait = WAIT_NOT;
    if (l->late) listen_subscribe_all(r, s);
    return false;
}

/* The note that is waited for was not sent; with it the server would have stopped to listen. */
static void no_note(struct relay *r, struct listening *l) {
    l->wait = WAIT_NOT;
    leave_joined(r, l);
    l->count = 0;
    l->late = false;
}

/* The server was to LISTEN again, and does not: what it says of channels is not what its client listens on.
 * A transaction has failed with it, and its client goes on as behind any other error. */
static void listens_not(struct relay *r, struct server *s) {
    struct listening *l = s->session.listen;
    l->again = l->outside = l->notified = false;
    if (s->transaction != 'I' || l->failures++ < ASK_TRIES) return;
    client_close(r, s->client, s->internal_sqlstate, s->internal_text, s->internal_text);
}

/* A request of ours about channels has been answered. */
void listen_done(struct relay *r, struct server *s, int what) {
    struct listening *l = s->session.listen;
    bool was_unlisten = what == INTERNAL_UNLISTEN, failed = s->internal_failed;
    if (was_unlisten && !failed) s->session.pinned &= ~(uint32_t)ASK_CHANNELS;
    if (!was_unlisten && failed) r->t->slots[s->slot].notifier = 0;
    if (l && was_unlisten) l->doubles = false;
    if (l && l->ready) s->internal_blocks = true;
    if (l && failed && what != INTERNAL_LISTEN && l->wait == WAIT_MARKER) no_note(r, l);
    if (l && failed && what == INTERNAL_LISTEN && l->again) listens_not(r, s);
}

/* The transaction is over, and the session looked after.  True: the server is not free yet. */
bool listen_after(struct relay *r, struct server *s, bool kept) {
    struct listening *l = s->session.listen;
    if (!l) return false;
    if (l->wait != WAIT_NOT) return true;
    if (l->notified) {
        send_note(r, s, INTERNAL_NOTIFY, "", l->ready && s->client->subscriptions);
        return true;
    }
    release(r, s);
    if (kept) return false;
    listen_forget(r, s);
    return false;
}

void listen_forget(struct relay *r, struct server *s) {
    struct listening *l = s->session.listen;
    if (!l) return;
    leave_joined(r, l);
    free(l);
    s->session.listen = NULL;
}
