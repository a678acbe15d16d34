/* The relay's thread: its loop, its doorbell and inbox, commands from Python and events to it. */
#define _GNU_SOURCE
#include "relay/relay.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_PER_WAIT 256
#define BEAT_MS 500          /* an idle relay still shows that it lives */
#define SUSPENDED_LOOK_MS 10 /* how often it tells what is not flushed yet */
#define LOOK_US 250000       /* how often it looks for what no event brings */
#define EVENTS_FIRST 64      /* room for so many is there from the beginning */
#define EVENTS_MAX 65536     /* unread events; beyond them log events are dropped, orders never are */

/* Why a client is closed by order of another process; the numbers are client_row.kill_text.  The last
 * one is a stand-in for what PostgreSQL said. */
static const char *const kill_texts[] = {
    "admin forced disconnect",
    "database removed",
    "server shutting down",
    "pooler is shutting down",
    "database configuration changed",
    "client_login_timeout",
    "the connection that listens for this client was lost: notifications may be missing",
    "server login failed",
};

/* Why a server is closed, by slot_row.close_reason. */
static const char *const close_texts[] = {
    "closed by order",
    "server idle timeout",
    "server lifetime over",
    "obsolete connection",
    "too many servers in the pool",
    "evicted",
    "pause mode",
    "its room goes to the instance that replaces this one",
    "database configuration changed",
    "no reset undoes what may have run there",
};

/* ---- commands and events: the border to Python's thread -------------------------------------- */

void relay_command(struct relay *r, struct command *c) {
    const uint64_t one = 1;
    c->next = NULL;
    pthread_mutex_lock(&r->lock);
    bool wake = r->commands_head == NULL;
    if (r->commands_tail) r->commands_tail->next = c;
    else r->commands_head = c;
    r->commands_tail = c;
    pthread_mutex_unlock(&r->lock);
    if (wake) (void)!write(r->command_bell.fd, &one, sizeof one);
}

static bool may_drop(const struct event *e) {
    return e->type == EVENT_CLIENT_CLOSED || e->type == EVENT_SERVER_CLOSED || e->type == EVENT_WARNING
        || e->type == EVENT_DATABASE;
}

static bool more_events(struct relay *r, uint32_t capacity) {
    struct event *events = malloc(capacity * sizeof *events);
    if (!events) return false;
    for (uint32_t i = 0; i < r->event_count; i++)
        events[i] = r->events[(r->event_head + i) % r->event_capacity];
    free(r->events);
    r->events = events;
    r->event_capacity = capacity;
    r->event_head = 0;
    return true;
}

void relay_emit(struct relay *r, const struct event *e) {
    const uint64_t one = 1;
    pthread_mutex_lock(&r->lock);
    if (r->event_count >= EVENTS_MAX && may_drop(e)) {
        pthread_mutex_unlock(&r->lock);
        return;
    }
    while (r->event_count == r->event_capacity && !more_events(r, r->event_capacity * 2)) {
        pthread_mutex_unlock(&r->lock);
        if (may_drop(e)) return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); /* until Python has taken some */
        pthread_mutex_lock(&r->lock);
    }
    r->events[(r->event_head + r->event_count) % r->event_capacity] = *e;
    bool wake = r->event_count++ == 0;
    pthread_mutex_unlock(&r->lock);
    if (wake) (void)!write(r->event_bell, &one, sizeof one);
}

/* Called by Python's thread: takes up to `max` events. */
int relay_events(struct relay *r, struct event *out, int max) {
    uint64_t drained;
    int n = 0;
    pthread_mutex_lock(&r->lock);
    while (n < max && r->event_count) {
        out[n++] = r->events[r->event_head];
        r->event_head = (r->event_head + 1) % r->event_capacity;
        r->event_count--;
    }
    if (!r->event_count) (void)!read(r->event_bell, &drained, sizeof drained);
    pthread_mutex_unlock(&r->lock);
    return n;
}

/* ---- what the tables ask for ----------------------------------------------------------------- */

static void close_slot(struct relay *r, int32_t slot, const char *reason) {
    struct server *s = server_of(r, slot);
    if (s) server_close(r, s, false, reason);
    else pool_abandon(r->t, slot);
}

/* Does what an operation on the tables left to do.  Doorbells ring first: others can start meanwhile. */
void relay_apply(struct relay *r, struct outcome *out) {
    tables_ring(r->t, out->ring);
    if (out->dial != NOBODY) relay_emit(r, &(struct event){.type = EVENT_DIAL, .a = out->dial});
    if (out->close != NOBODY) close_slot(r, out->close, close_texts[r->t->slots[out->close].close_reason]);
    if (out->client != NOBODY && r->clients[out->client])
        client_attached(r, r->clients[out->client], r->t->clients[out->client].slot);
}

/* The row may have another client by now: rows of logins are Python's to free. */
static void obey_client(struct relay *r, const struct order *o) {
    struct client *c = r->clients[o->row];
    struct client_row *there = &r->t->clients[o->row];
    if (there->state == CL_FREE || there->id != o->id) return;
    if (!c) {
        relay_emit(r, &(struct event){.type = EVENT_LOGIN, .a = o->row, .b = o->orders, .id = o->id});
        return;
    }
    if (o->orders & ORDER_HANDED && there->state == CL_ACTIVE && !c->server)
        client_attached(r, c, there->slot);
    if (o->orders & ORDER_CANCELED && !c->io.dead) client_canceled(r, c);
    if (o->orders & ORDER_UNCANCELED && !c->io.dead) guard_over(r, c);
    if (o->orders & ORDER_KILL && !c->io.dead) {
        char said[ERROR_TEXT_BYTES], code[6];
        const char *text = kill_texts[there->kill_text % (sizeof kill_texts / sizeof *kill_texts)];
        const char *sqlstate = there->kill_text == KILL_UNHEARD ? "57P01" : "08P01";
        if (there->kill_text == KILL_REFUSED) {
            const struct pool_row *pool = &r->t->pools[there->pool];
            tables_lock(r->t);
            text = memcpy(said, pool->error_text, sizeof said);
            sqlstate = memcpy(code, pool->error_sqlstate, sizeof code);
            tables_unlock(r->t);
        }
        client_close(r, c, sqlstate, text, text);
    }
}

static void obey_slot(struct relay *r, const struct order *o) {
    if (r->t->slots[o->row].id != o->id) return;
    if (o->orders & ORDER_DIAL) relay_emit(r, &(struct event){.type = EVENT_DIAL, .a = o->row});
    if (o->orders & ORDER_CLOSE) close_slot(r, o->row, close_texts[r->t->slots[o->row].close_reason]);
}

static void attention(struct relay *r) {
    uint64_t drained;
    (void)!read(r->doorbell.fd, &drained, sizeof drained);
    for (bool more = true; more;) {
        int clients, slots;
        more = pool_attention(r->t, r->worker, r->client_orders, &clients, r->slot_orders, &slots, 64);
        for (int i = 0; i < clients; i++) obey_client(r, &r->client_orders[i]);
        for (int i = 0; i < slots; i++) obey_slot(r, &r->slot_orders[i]);
    }
    listen_look(r);
}

/* ---- inbox ----------------------------------------------------------------------------------- */

static void take_datagram(struct relay *r, const int32_t datagram[3], int fd) {
    switch (datagram[0]) {
    case INBOX_CLIENT:
        atomic_fetch_add(&r->t->workers[r->worker].taken, 1);
        if (fd >= 0) relay_emit(r, &(struct event){.type = EVENT_ACCEPT, .a = fd, .b = datagram[1]});
        break;
    case INBOX_SERVER:
        if (fd >= 0 && datagram[1] >= 0 && datagram[1] < r->t->h->sizes.slots)
            server_learn(r, datagram[1], (uint32_t)datagram[2], fd, false);
        break;
    case INBOX_CLOSED:
        if (datagram[1] >= 0 && datagram[1] < r->t->h->sizes.slots)
            server_forget(r, datagram[1], (uint32_t)datagram[2]);
        break;
    case INBOX_LISTEN:
        relay_emit(r, &(struct event){.type = EVENT_LISTEN, .a = datagram[1], .b = NOBODY});
        break;
    default:
        if (fd >= 0) close(fd);
    }
}

void relay_drain_inbox(struct relay *r) {
    for (;;) {
        int32_t datagram[3] = {0};
        union {
            struct cmsghdr h;
            char room[CMSG_SPACE(sizeof(int))];
        } control;
        unsigned char notifications[NOTIFICATION_MESSAGE_MAX];
        struct iovec iov[2] = {{datagram, sizeof datagram}, {notifications, sizeof notifications}};
        struct msghdr m = {.msg_iov = iov,
                           .msg_iovlen = 2,
                           .msg_control = control.room,
                           .msg_controllen = sizeof control.room};
        ssize_t got = recvmsg(r->inbox.fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (got <= 0 && errno != EINTR) return;
        int fd = -1;
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        if (h && h->cmsg_type == SCM_RIGHTS) memcpy(&fd, CMSG_DATA(h), sizeof fd);
        bool is_notification = datagram[0] == INBOX_NOTIFICATION || datagram[0] == INBOX_MARKER;
        if (is_notification && got >= (ssize_t)sizeof datagram)
            listen_take(r, datagram, notifications, (uint32_t)got - (uint32_t)sizeof datagram);
        else if (got == (ssize_t)sizeof datagram) take_datagram(r, datagram, fd);
    }
}

/* Makes the read buffer large enough; only where nobody up the stack works on it.  False: no memory, it stays
 * as it is. */
bool relay_need_buffer(struct relay *r, uint32_t bytes) {
    if (bytes <= r->buffer_bytes) return true;
    unsigned char *larger = realloc(r->buffer, bytes);
    if (!larger) return false;
    r->buffer = larger;
    r->buffer_bytes = bytes;
    return true;
}

/* A large message has been used: its room is not kept. */
void relay_trim_buffer(struct relay *r) {
    if (r->buffer_bytes <= TRIM_BYTES) return;
    unsigned char *smaller = realloc(r->buffer, BUFFER_BYTES);
    if (!smaller) return;
    r->buffer = smaller;
    r->buffer_bytes = BUFFER_BYTES;
}

/* ---- commands -------------------------------------------------------------------------------- */

static void reclaim(struct relay *r) {
    relay_drain_inbox(r);
    for (int32_t i = 0; i < r->t->h->slots_high; i++) {
        struct slot_row *row = &r->t->slots[i];
        if (row->state != SL_RECLAIM || (bridge_is_lost(r->t, row) && row->bridge != r->worker)) continue;
        struct server *s = server_of(r, i);
        if (!s || !pool_take_reclaim(r->t, i, r->worker)) continue;
        server_close(r, s, (row->flags & SF_WAS_BUSY) != 0, "reclaimed");
    }
}

static void kill_client(struct relay *r, const struct command *k) {
    struct client *c = r->clients[k->a];
    struct client_row *row = &r->t->clients[k->a];
    if (!c || row->id != k->id) return;
    bool waits_for_it = c->waiting && k->token == row->wait_start;
    bool idle = !c->server || c->server->transaction != 'I' || (row->pinned && !row->request_start);
    bool quiet = !c->waiting && idle && k->token == row->idle_start;
    bool works = c->server && (k->token == row->request_start || k->token == row->xact_start);
    bool never_reads = c->io.stuck && k->token == row->stuck_start;
    /* what it was to be punished for is over */
    if (k->token && !waits_for_it && !quiet && !works && !never_reads) return;
    client_close(r, c, (const char *)k->data, (const char *)k->data + 6, (const char *)k->data + 6);
}

static void send_client(struct relay *r, const struct command *k) {
    struct client *c = r->clients[k->a];
    if (!c || r->t->clients[k->a].id != k->id || !c->waiting) return;
    if (c->greeting) client_let_in(r, c); /* nothing may stand before AuthenticationOk */
    conn_send(r, &c->io, k->data, k->data_bytes);
}

static void obey(struct relay *r, struct command *k) {
    struct outcome out;
    switch (k->type) {
    case COMMAND_CLIENT: client_add(r, k); break;
    case COMMAND_SERVER: server_add(r, k); break;
    case COMMAND_DEDICATED: dedicated_add(r, k); break;
    case COMMAND_CLOSE_SLOT: close_slot(r, k->a, close_texts[r->t->slots[k->a].close_reason]); break;
    case COMMAND_FREED_SLOT:
        server_forget(r, k->a, k->generation);
        pool_freed(r->t, k->a, r->worker, r->now, &out);
        server_tell_closed(r, k->a, k->generation);
        relay_apply(r, &out);
        break;
    case COMMAND_KILL: kill_client(r, k); break;
    case COMMAND_SEND: send_client(r, k); break;
    case COMMAND_RECLAIM: reclaim(r); break;
    case COMMAND_OPTIONS: memcpy(&r->options, k->data, sizeof r->options); break;
    case COMMAND_STOP: r->stop = true; break;
    }
}

static void commands(struct relay *r) {
    uint64_t drained;
    (void)!read(r->command_bell.fd, &drained, sizeof drained);
    pthread_mutex_lock(&r->lock);
    struct command *k = r->commands_head;
    r->commands_head = r->commands_tail = NULL;
    pthread_mutex_unlock(&r->lock);
    while (k) {
        struct command *next = k->next;
        obey(r, k);
        free(k);
        k = next;
    }
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void run_ready(struct relay *r) {
    struct conn *c = r->ready_head;
    r->ready_head = r->ready_tail = NULL; /* what becomes ready meanwhile has its turn after epoll_wait */
    while (c) {
        struct conn *next = c->next_ready;
        c->queued = false;
        if (c->dead) conn_bury(r, c);
        else if (c->kind == KIND_CLIENT) client_run(r, (struct client *)c);
        else server_run(r, (struct server *)c);
        c = next;
    }
}

static void bury_the_dead(struct relay *r) {
    while (r->closed_list) {
        struct conn *c = r->closed_list;
        r->closed_list = c->next_ready;
        free(c);
    }
}

static void note_events(struct relay *r, struct conn *c, uint32_t events) {
    switch (c->kind) {
    case KIND_DOORBELL: attention(r); break;
    case KIND_INBOX: relay_drain_inbox(r); break;
    case KIND_COMMAND: commands(r); break;
    default:
        if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) c->readable = true;
        if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) c->hangup = r->hangups = true;
        if (events & EPOLLERR) c->broken = true;
        if (events & EPOLLOUT && c->read_wants_out) {
            c->read_wants_out = false;
            c->readable = true;
        }
        conn_ready(r, c);
    }
}

static void look(struct relay *r) {
    r->look_at = r->now + LOOK_US;
    for (int32_t i = 0; i < r->t->h->slots_high; i++)
        if (r->servers[i] && !server_fast_closed(r, r->servers[i])) server_overdue(r, r->servers[i]);
    bool hangups = r->hangups;
    r->hangups = false;
    for (int32_t i = 0; hangups && i < r->t->h->clients_high; i++)
        if (r->clients[i]) client_leave_look(r, r->clients[i]);
    for (int32_t i = 0; r->t->h->retiring == RETIRING_ALL && i < r->t->h->clients_high; i++)
        if (r->clients[i]) conn_ready(r, &r->clients[i]->io);
    listen_look(r);
    catalog_look(r);
}

static void *loop(void *argument) {
    struct relay *r = argument;
    struct epoll_event events[EVENTS_PER_WAIT];
    pthread_setname_np(pthread_self(), "relay");
    while (!r->stop) {
        int pause = r->t->h->suspended ? SUSPENDED_LOOK_MS : r->weak_pins ? WEAK_PIN_LOOK_MS : BEAT_MS;
        int n = epoll_wait(r->epoll, events, EVENTS_PER_WAIT,
                           r->ready_head || r->undelivered.end || r->catalog_work ? 0 : pause);
        r->now = now_us();
        atomic_store_explicit(&r->t->workers[r->worker].relay_beat, r->now, memory_order_relaxed);
        for (int i = 0; i < n; i++) note_events(r, events[i].data.ptr, events[i].events);
        if (r->undelivered.end || r->undelivered_lost) listen_deliver(r);
        if (r->weak_pins) session_tick(r);
        if (r->catalog_work) catalog_work(r);
        if (r->t->h->suspended || r->suspended) suspend_look(r);
        if (r->now >= r->look_at) look(r);
        run_ready(r);
        bury_the_dead(r);
    }
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static bool watch(struct relay *r, struct conn *c, enum conn_kind kind, int fd) {
    *c = (struct conn){.kind = (uint8_t)kind, .fd = fd};
    /* level-triggered: read partly is seen again */
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    return fd >= 0 && epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &e) == 0;
}

/* NULL with errno on failure. */
struct relay *relay_open(struct tables *t, int worker, int inbox, const int *outboxes, int outbox_count,
                         const char *const *tracked, int tracked_count, const char *const *questions) {
    struct relay *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->t = t;
    r->worker = worker;
    r->now = now_us();
    r->clients = calloc((size_t)t->h->sizes.clients, sizeof *r->clients);
    r->servers = calloc((size_t)t->h->sizes.slots, sizeof *r->servers);
    int *copy = malloc(sizeof(int) * (size_t)outbox_count);
    r->profiles = calloc((size_t)t->h->sizes.databases, sizeof(struct profile *));
    r->readers = calloc((size_t)t->h->sizes.databases, sizeof(struct catalog_reader *));
    r->accepted = calloc((size_t)t->h->sizes.pools, sizeof(struct accepted *));
    r->heard_by = calloc(CHANNELS_MAX, sizeof *r->heard_by);
    bool room = r->heard_by && r->clients && r->servers && r->profiles && r->readers && r->accepted && copy;
    if (!room) return NULL;
    for (int i = 0; i < QUESTIONS; i++) r->questions[i] = strdup(questions[i]);
    for (int i = 0; i < CATALOG_TEXTS; i++) r->catalogs[i] = strdup(questions[QUESTIONS + i]);
    r->options.catalog_bytes = r->options.client_bytes = 64u << 20;
    if (!more_events(r, EVENTS_FIRST)) return NULL;
    if (!words_builtin(&r->builtin, t->h->statement_key[0])) return NULL;
    memcpy(copy, outboxes, sizeof(int) * (size_t)outbox_count);
    r->outboxes = copy;
    r->outbox_count = outbox_count;
    r->options.max_packet_bytes = 0x7fffffffu;
    pthread_mutex_init(&r->lock, NULL);
    settings_open(&r->store, t->h->statement_key, tracked, tracked_count);
    if (!relay_need_buffer(r, BUFFER_BYTES)) return NULL;
    memcpy(r->statements.key, t->h->statement_key, sizeof r->statements.key);
    r->statements.settings = &r->store;
    r->epoll = epoll_create1(EPOLL_CLOEXEC);
    r->event_bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (r->epoll < 0 || r->event_bell < 0 || !watch(r, &r->doorbell, KIND_DOORBELL, t->doorbells[worker])
        || !watch(r, &r->inbox, KIND_INBOX, inbox)
        || !watch(r, &r->command_bell, KIND_COMMAND, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)))
        return NULL;
    return r;
}

/* Watches the idle servers that this worker number used last, and starts the thread.  Signals stay with the
 * main thread.  Returns an errno, 0 for success. */
int relay_start(struct relay *r) {
    for (int32_t i = 0; i < r->t->h->slots_high; i++) {
        const struct slot_row *row = &r->t->slots[i];
        struct server *s = row->state == SL_IDLE && row->last_worker == r->worker ? server_of(r, i) : NULL;
        if (s) conn_arm(r, &s->io);
    }
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    int rc = pthread_create(&r->thread, NULL, loop, r);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

void relay_join(struct relay *r) { pthread_join(r->thread, NULL); }
