/* LISTEN, where it meets servers and clients: the theory stands in subscribe.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "io/server_messages.h"
#include "notify/origin.h"
#include "relay/relay.h"
#include "statements/store.h"

static struct listener *listener_of(struct relay *r, const struct client *c) {
    return &r->t->databases[r->t->pools[r->t->clients[c->row].pool].database].listener;
}

/* NULL: no memory; the server is closed when it has its turn. */
static struct listening *need(struct relay *r, struct server *s) {
    struct session *x = &s->session;
    if (!x->listen && !(x->listen = calloc(1, sizeof *x->listen))) server_without_memory(r, s);
    return x->listen;
}

static struct subscription *find(const struct client *c, const char *name) {
    struct subscription *one = c->subscriptions;
    while (one && strcmp(one->name, name) != 0) one = one->next_of_client;
    return one;
}

/* ---- before a statement ------------------------------------------------------------------------ */

/* What a message is about to run, or to prepare in order to run it; NULL: nothing new. */
static const char *text_of(const struct client *c, const unsigned char *p, uint32_t total, uint32_t *bytes) {
    const unsigned char *at = p + 5, *end = p + total,
                        *zero = at < end ? memchr(at, 0, (size_t)(end - at)) : NULL;
    if (!zero) return NULL;
    if (p[0] == 'P' || p[0] == 'B') {
        at = zero + 1;
        zero = at < end ? memchr(at, 0, (size_t)(end - at)) : NULL;
        if (!zero) return NULL;
    }
    if (p[0] == 'B') {
        if (!c->names) return NULL;
        if (zero == at) {
            *bytes = c->names->unnamed_kept
                ? (uint32_t)strnlen((const char *)c->names->unnamed, c->names->unnamed_bytes)
                : 0;
            return (const char *)c->names->unnamed;
        }
        const struct name *name = names_find(c->names, (const char *)at, (uint32_t)(zero - at));
        if (!name) return NULL;
        *bytes = (uint32_t)strnlen((const char *)name->statement->body, name->statement->bytes);
        return (const char *)name->statement->body;
    }
    *bytes = (uint32_t)(zero - at);
    return (const char *)at;
}

/* A statement that may notify by what it does to tables: only for clients that would hear it themselves. */
static bool changes(const char *text, uint32_t bytes) {
    static const char *const words[] = {"insert", "update", "delete",  "merge",  "call", "do",
                                        "with",   "copy",   "execute", "commit", "end"};
    while (bytes && strchr(" \t\r\n(;", *text)) text++, bytes--;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (bytes >= strlen(words[i]) && strncasecmp(text, words[i], strlen(words[i])) == 0) return true;
    return false;
}

static uint32_t add_name(char *out, uint32_t n, const char *verb, const char *name) {
    n += (uint32_t)sprintf(out + n, "%s \"", verb);
    for (; *name; name++) {
        if (*name == '"') out[n++] = '"';
        out[n++] = *name;
    }
    out[n++] = '"';
    out[n] = '\0';
    return n;
}

#define ADDED_MARKER_BYTES (MARKER_BYTES + MARKER_CHANNEL_BYTES + 16)

static uint32_t add_marker(const struct relay *r, const struct server *s, char *out, uint32_t n,
                           const char *text) {
    char channel[MARKER_CHANNEL_BYTES], marker[MARKER_BYTES];
    marker_channel(r->t, channel);
    marker_sealed(r->t, &r->t->slots[s->slot], text, marker);
    return n + (uint32_t)sprintf(out + n, "NOTIFY %s, '%s'", channel, marker);
}

/* Makes the server ready for a statement that has to do with channels. */
static void prepare(struct relay *r, struct client *c, bool again, bool notifies) {
    char query[CLIENT_CHANNELS_MAX * (2 * CHANNEL_NAME_BYTES + 16) + ADDED_MARKER_BYTES], marker[32];
    struct server *s = c->server;
    struct slot_row *row = &r->t->slots[s->slot];
    struct listening *l = need(r, s);
    uint32_t n = 0;
    if (!l) return;
    if (again) {
        for (const struct subscription *one = c->subscriptions; one; one = one->next_of_client) {
            n = add_name(query, n, "LISTEN", one->name);
            query[n++] = ';';
        }
        l->again = true;
        l->outside = s->transaction == 'I';
        s->session.effect_flags |= ASK_CHANNELS;
    }
    query[n] = '\0';
    if (notifies) {
        snprintf(marker, sizeof marker, "c %u", r->t->clients[c->row].cancel_pid);
        n = add_marker(r, s, query, n, marker);
        l->notified = true;
        row->notifier = r->t->clients[c->row].cancel_pid;
        row->notifier_of = listener_of(r, c)->generation;
    }
    server_own(r, s, INTERNAL_LISTEN, query, true);
}

/* Called before a message is passed on while nothing is outstanding.  True: it has to wait. */
bool listen_first(struct relay *r, struct client *c, const unsigned char *p, uint32_t here, uint32_t total) {
    struct server *s = c->server;
    bool open = listener_of(r, c)->state == LISTENER_OPEN;
    if ((!open && !c->subscriptions) || !memchr("QPB", p[0], 3) || !session_on(r, c)) return false;
    if (s->transaction == 'E' || s->copy == COPY_READING || s->skip || total > WHOLE_MESSAGE_BYTES)
        return false;
    if (statements_due(s)) statements_answer(r, s);
    for (uint32_t i = 0; i < s->requests.count; i++)
        if (s->internal == INTERNAL_NONE || !(requests_at(&s->requests, i) & INTERNAL)) return false;
    if (here < total) {
        c->whole_bytes = total;
        return true;
    }
    struct scan scan;
    uint32_t bytes = 0;
    const char *text = text_of(c, p, total, &bytes);
    if (!text || !bytes) return false;
    session_scan(r, c, text, bytes, &scan);
    const struct listening *l = s->session.listen;
    bool channels = scan.effect_flags & EFFECT_UNLISTEN
        || (scan.effect_flags & ASK_CHANNELS && !(scan.effect_flags & EFFECT_LISTEN));
    bool may_notify = scan.effect_flags & EFFECT_NOTIFY
        || (c->subscriptions
            && (scan.effect_flags & (ASK_CHANNELS | EFFECT_INSERT | EFFECT_UNKNOWN | EFFECT_EXECUTE)
                || changes(text, bytes)));
    bool again = channels && c->subscriptions && !(l && l->again);
    bool notifies = open && may_notify && !(l && l->notified);
    if (!again && !notifies) return false;
    if (s->internal != INTERNAL_NONE) { /* its settings go first */
        s->internal_blocks = true;
        conn_flush(r, &s->io);
        return true;
    }
    if (guard_take(r, s)) prepare(r, c, again, notifies);
    return true;
}

/* ---- replies ------------------------------------------------------------------------------------ */

/* A notification that a server sent, whole.  True: its client does not get it from there. */
bool listen_message(struct relay *r, struct server *s, unsigned char *p) {
    struct client *c = s->client;
    if (!c || !session_on(r, c)) return false;
    const struct listening *l = s->session.listen;
    if (!(l && l->doubles) && find(c, (const char *)p + 9)) return true;
    if ((int32_t)read_u32(p + 5) == r->t->slots[s->slot].backend_pid) {
        write_u32(p + 5, r->t->clients[c->row].cancel_pid);
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
    struct listening *needed = need(r, s);
    if (!needed) return true; /* better no answer than one before its channels are heard */
    needed->ready = status;
    s->internal_blocks = true;
    return true;
}

/* Whether its server is yet to say what its client still listens on. */
static bool in_doubt(const struct client *c) {
    return c->server && c->server->session.listen && c->server->session.listen->again;
}

static bool quiet(const struct client *c) {
    const struct server *s = c->server;
    if (c->waiting || c->greeting) return false;
    if (!s) return true;
    if (in_doubt(c)) return false;
    if (s->transaction != 'I' || server_in_message(s) || s->session.held
        || (s->session.listen && s->session.listen->ready))
        return false;
    return !s->requests.count
        || (s->requests.count == 1 && requests_head(&s->requests) & INTERNAL && !s->fresh);
}

/* What has come meanwhile, between messages. */
void listen_flush(struct relay *r, struct client *c) {
    uint32_t n = bytes_pending(&c->notifications);
    if (!n || in_doubt(c)) return;
    struct bytes notifications = c->notifications;
    c->notifications = (struct bytes){0};
    conn_send(r, &c->io, notifications.data, n);
    free(notifications.data);
}

static void release(struct relay *r, struct server *s) {
    struct listening *l = s->session.listen;
    if (!l->ready) return;
    uint8_t status = l->ready;
    l->ready = 0;
    s->internal_blocks = false;
    client_ready(r, s->client, status);
    conn_ready(r, &s->client->io);
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
    for (uint32_t at = 0; next_name(x->notes->names, x->notes->bytes, &at, &kind, &given);) {
        if (kind == 'u' && (strcmp(given, "*") == 0 || strcmp(given, name) == 0)) return true;
    }
    return false;
}

/* What came for a name before its UNLISTEN was committed is not told any more, as PostgreSQL has it. */
static void forget_news(struct client *c, const char *name) {
    struct bytes *b = &c->notifications;
    uint32_t kept = b->start;
    for (uint32_t at = b->start, n; at < b->end; at += n) {
        n = read_u32(b->data + at + 1) + 1;
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
    int32_t owner = NOBODY, have = count_subscriptions(c);
    if (l->overflow || !encoding_of(r, c, encoding)) return false;
    for (int32_t i = 0; i < l->count; i++) {
        if (find(c, l->names[i])) continue;
        if (strcmp(l->names[i], notes) == 0) { /* the listener's own: the client keeps its server for that */
            leave_joined(r, l);
            return false;
        }
        owner = have + l->joined_count >= CLIENT_CHANNELS_MAX
            ? NOBODY
            : channel_join(r->t, c->row, l->names[i], encoding, r->worker, r->now,
                           &l->joined[l->joined_count]);
        if (owner == NOBODY) {
            leave_joined(r, l);
            return false;
        }
        l->joined_count++;
    }
    if (owner != NOBODY) wake_listener(r, c, owner);
    return true;
}

/* One channel of the server's answer. */
void listen_row(struct relay *r, struct server *s, const unsigned char *name, uint32_t bytes) {
    struct listening *l = need(r, s);
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
    struct listening *l = need(r, s);
    if (!l) return;
    drop_subscriptions(r, c, &s->session);
    if (!l->count && !l->overflow) {
        channels_heard(r->t, c->row, NULL, 0, count_subscriptions(c));
    } else if (join(r, c, l)) {
        l->wait = WAIT_CHANNELS;
        r->listen_work = true;
        l->since = r->now;
    }
    l->again = l->outside = false;
}

static void subscribe_all(struct relay *r, struct server *s) {
    struct listening *l = s->session.listen;
    for (int32_t i = 0, next = 0; i < l->count; i++)
        if (!find(s->client, l->names[i])) subscribe(r, s->client, &l->joined[next++], l->names[i]);
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
    l->since = r->now;
    r->listen_work = true;
    add_marker(r, s, query, (uint32_t)sprintf(query, "%s", before), marker);
    server_own(r, s, what, query, true);
}

/* Its channels are heard for it from now on: the server need not. */
static bool heard(struct relay *r, struct server *s) {
    struct client *c = s->client;
    struct listening *l = s->session.listen;
    enum hearing hearing = channels_heard(r->t, c->row, l->joined, l->joined_count,
                                          count_subscriptions(c) + l->joined_count);
    if (hearing == HEARING_SOON && r->now < l->since + HEAR_PATIENCE_US) return false;
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
    subscribe_all(r, s);
    l->doubles = !l->ready;
    server_own(r, s, INTERNAL_UNLISTEN, "UNLISTEN *", true);
    return true;
}

/* A server that might be given back has something to wait for. */
bool listen_waits(struct relay *r, struct server *s) {
    struct listening *l = s->session.listen;
    if (!l || l->wait == WAIT_NOT) return false;
    if (l->wait == WAIT_CHANNELS) return !heard(r, s) || s->internal != INTERNAL_NONE;
    if (s->internal != INTERNAL_NONE) return true;
    if (!l->marker_seen && r->now < l->since + MARKER_PATIENCE_US
        && listener_of(r, s->client)->state == LISTENER_OPEN)
        return true;
    l->wait = WAIT_NOT;
    if (l->late) subscribe_all(r, s);
    return false;
}

/* The note that is waited for was not sent; with it the server would have stopped to listen. */
static void no_note(struct relay *r, struct listening *l) {
    l->wait = WAIT_NOT;
    leave_joined(r, l);
    l->count = 0;
    l->late = false;
}

/* The server was to LISTEN again, and does not: what it says of channels is not what its client listens on.  A
 * transaction has failed with it, and its client goes on as behind any other error. */
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

/* ---- news --------------------------------------------------------------------------------------- */

struct datagram_head {
    int32_t kind, a, b;
    uint32_t bytes;
};

/* A datagram from a listening connection: kept until nobody up the stack works on a client. */
void listen_take(struct relay *r, const int32_t datagram[3], const unsigned char *data, uint32_t n) {
    bool whole = n >= 10 && data[0] == 'A' && read_u32(data + 1) == n - 1
        && server_message_length_fits('A', n - 1) && server_message_well_formed('A', data + 5, n - 5, true);
    if (datagram[0] == INBOX_NOTIFICATION && !whole) return;
    struct datagram_head head = {datagram[0], datagram[1], datagram[2], n};
    if (bytes_add(&r->undelivered, &head, sizeof head)) {
        if (bytes_add(&r->undelivered, data, n)) return;
        r->undelivered.end -= sizeof head;
    }
    r->undelivered_lost = true;
}

static void tell(struct relay *r, struct client *c, const unsigned char *message, uint32_t n) {
    static const char text[] = "too many notifications are waiting for the client";
    uint32_t waiting = bytes_pending(&c->notifications) + bytes_pending(&c->io.out);
    if (waiting + n > NOTIFICATIONS_BYTES_MAX) client_close(r, c, "53200", text, text);
    else if (waiting && !memory_within(r, c, n)) memory_refuse(r, c);
    else if (quiet(c) && !bytes_pending(&c->notifications)) conn_send(r, &c->io, message, n);
    else if (!bytes_add(&c->notifications, message, n)) memory_refuse(r, c);
    else r->listen_work = true;
}

static void marker_returned(struct relay *r, const struct datagram_head *head) {
    if (head->a < 0 || head->a >= r->t->h->sizes.clients) return;
    struct client *c = r->clients[head->a];
    struct listening *l = c && c->server ? c->server->session.listen : NULL;
    /* an older one, that nobody waits for any more */
    if (!l || l->wait != WAIT_MARKER || l->marker != (uint32_t)head->b) return;
    l->marker_seen = true;
    if (l->late) subscribe_all(r, c->server);
    conn_ready(r, &c->server->io);
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
        struct subscription *one = head.kind == INBOX_NOTIFICATION && head.a >= 0 && head.a < CHANNELS_MAX
            ? r->heard_by[head.a]
            : NULL;
        for (struct subscription *next; one; one = next) {
            next = one->next;
            if (one->channel.id == (uint32_t)head.b) tell(r, one->client, undelivered.data + at, head.bytes);
        }
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
            conn_ready(r, &s->io);
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
