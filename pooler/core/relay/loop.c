/* The relay's thread: its loop, its beginning and its end. */
#define _GNU_SOURCE
#include "relay/loop.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "catalog/database.h"
#include "catalog/publish.h"
#include "catalog/schedule.h"
#include "io/connection.h"
#include "login/jobs.h"
#include "login/login.h"
#include "notify/deliver.h"
#include "relay/client.h"
#include "relay/client_leave.h"
#include "relay/commands.h"
#include "relay/events.h"
#include "relay/inbox.h"
#include "relay/internal.h"
#include "relay/log.h"
#include "relay/orders.h"
#include "relay/relay.h"
#include "relay/server.h"
#include "relay/server_close.h"
#include "relay/server_release.h"
#include "relay/suspend.h"
#include "relay/turns.h"
#include "session/pin.h"
#include "session/probe.h"
#include "session/settings.h"
#include "sql/effects.h"
#include "tables/clock.h"
#include "tables/layout.h"
#include "tables/states.h"

#define EVENTS_PER_WAIT 256
#define BEAT_MS 500          /* an idle relay still shows that it lives */
#define SUSPENDED_LOOK_MS 10 /* how often it tells what is not flushed yet */
#define LOOK_US 250000       /* how often it looks for what no event brings */
#define EVENTS_FIRST 64      /* space for so many is there from the beginning */

/* ---- the loop -------------------------------------------------------------------------------- */

/* The others have their turn in the next, behind the queries that are ready then; one has its turn always. */
static void run_login(struct relay *r, struct client *c, bool first) {
    if (logins_had_their_time(r) && !first) conn_ready(&r->loop, &c->io);
    else login_run(r, c->login);
}

static void run_ready(struct relay *r) {
    struct conn *c = r->loop.ready_head;
    bool first_login = true;
    r->loop.ready_head = r->loop.ready_tail =
        NULL; /* what becomes ready meanwhile has its turn after epoll_wait */
    while (c) {
        struct conn *next = c->next_ready;
        conn_turn(c);
        if (c->dead) conn_bury(&r->loop, c);
        else if (c->kind == KIND_LOGIN) {
            run_login(r, (struct client *)c, first_login);
            first_login = false;
        } else if (c->kind == KIND_CLIENT) client_run(r, (struct client *)c);
        else server_run(r, (struct server *)c);
        c = next;
    }
}

static void free_closed(struct relay *r) {
    while (r->loop.closed_list) {
        struct conn *c = r->loop.closed_list;
        r->loop.closed_list = c->next_ready;
        free(c);
    }
}

static void note_events(struct relay *r, struct conn *c, uint32_t events) {
    switch (c->kind) {
    case KIND_DOORBELL: relay_attention(r); break;
    case KIND_INBOX: relay_look_into_inbox(r); break;
    case KIND_COMMAND: relay_obey_commands(r); break;
    case KIND_JOBS: jobs_take(r); break;
    default:
        if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) c->readable = true;
        if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
            if (!c->hangup && c->kind == KIND_CLIENT) client_hung_up(r, (struct client *)c);
            c->hangup = true;
        }
        if (events & EPOLLERR) c->broken = true;
        if (events & EPOLLOUT && c->read_wants_out) {
            c->read_wants_out = false;
            c->readable = true;
        }
        conn_ready(&r->loop, c);
    }
}

static void look(struct relay *r) {
    r->look_at = r->loop.now + LOOK_US;
    for (int32_t i = 0; i < r->t->h->slots_high; i++)
        if (r->servers[i] && !server_fast_closed(r, r->servers[i])) server_overdue(r, r->servers[i]);
    client_leave_look(r);
    for (int32_t i = 0; r->t->h->retiring == RETIRING_ALL && i < r->t->h->clients_high; i++)
        if (r->clients[i]) conn_ready(&r->loop, &r->clients[i]->io);
    listen_look(r);
    catalog_look(r);
}

static void *loop(void *argument) {
    struct relay *r = argument;
    struct epoll_event events[EVENTS_PER_WAIT];
    pthread_setname_np(pthread_self(), "relay");
    while (!r->stop) {
        int pause = r->t->h->suspended ? SUSPENDED_LOOK_MS : r->weak_pins ? WEAK_PIN_LOOK_MS : BEAT_MS;
        int logins = logins_pause(r);
        if (logins >= 0 && logins < pause) pause = logins;
        int n = epoll_wait(r->loop.epoll, events, EVENTS_PER_WAIT,
                           r->loop.ready_head || r->undelivered.end || r->catalog_work ? 0
                                                                                       : log_pause(r, pause));
        r->loop.now = clock_us();
        r->login_budget_at = 0;
        atomic_store_explicit(&r->t->workers[r->worker].relay_beat, r->loop.now, memory_order_relaxed);
        for (int i = 0; i < n; i++) note_events(r, events[i].data.ptr, events[i].events);
        if (r->undelivered.end || r->undelivered_lost) listen_deliver(r);
        if (r->weak_pins) session_tick(r);
        if (r->catalog_work) catalog_work(r);
        if (r->t->h->suspended || r->suspended) suspend_look(r);
        if (r->loop.now >= r->look_at) look(r);
        logins_tick(r);
        run_ready(r);
        free_closed(r);
        log_look(r);
        turns_measure(r);
    }
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static bool watch(struct relay *r, struct conn *c, enum conn_kind kind, int fd) {
    *c = (struct conn){.kind = (uint8_t)kind, .fd = fd};
    /* level-triggered: read partly is seen again */
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    return fd >= 0 && epoll_ctl(r->loop.epoll, EPOLL_CTL_ADD, fd, &e) == 0;
}

/* NULL with errno on failure. */
struct relay *relay_open(struct tables *t, int worker, int inbox, const int *outboxes, int outbox_count,
                         const char *const *tracked, int tracked_count, const char *const *questions) {
    struct relay *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->t = t;
    r->worker = worker;
    r->loop.now = clock_us();
    r->clients = calloc((size_t)t->h->sizes.clients, sizeof *r->clients);
    r->servers = calloc((size_t)t->h->sizes.slots, sizeof *r->servers);
    int *copy = malloc(sizeof(int) * (size_t)outbox_count);
    r->profiles = calloc((size_t)t->h->sizes.databases, sizeof(struct profile *));
    r->readers = calloc((size_t)t->h->sizes.databases, sizeof(struct catalog_reader *));
    r->accepted = calloc((size_t)t->h->sizes.pools, sizeof(struct accepted *));
    r->heard_by = calloc(CHANNELS_MAX, sizeof *r->heard_by);
    bool space = r->heard_by && r->clients && r->servers && r->profiles && r->readers && r->accepted && copy;
    if (!space) return NULL;
    for (int i = 0; i < QUESTIONS; i++) r->questions[i] = strdup(questions[i]);
    for (int i = 0; i < CATALOG_TEXTS; i++) r->catalogs[i] = strdup(questions[QUESTIONS + i]);
    r->options.catalog_bytes = r->options.client_bytes = 64u << 20;
    r->log = log_new();
    if (!r->log || !events_grow(r, EVENTS_FIRST)) return NULL;
    if (!words_builtin(&r->builtin, t->h->statement_key[0])) return NULL;
    memcpy(copy, outboxes, sizeof(int) * (size_t)outbox_count);
    r->outboxes = copy;
    r->outbox_count = outbox_count;
    r->options.max_packet_bytes = 0x7fffffffu;
    pthread_mutex_init(&r->lock, NULL);
    settings_open(&r->store, t->h->statement_key, tracked, tracked_count);
    if (!conn_need_buffer(&r->loop, BUFFER_BYTES) || !logins_open(r)) return NULL;
    memcpy(r->statements.key, t->h->statement_key, sizeof r->statements.key);
    r->statements.settings = &r->store;
    r->loop.epoll = epoll_create1(EPOLL_CLOEXEC);
    r->event_bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (r->loop.epoll < 0 || r->event_bell < 0 || !watch(r, &r->doorbell, KIND_DOORBELL, t->doorbells[worker])
        || !watch(r, &r->inbox, KIND_INBOX, inbox)
        || !watch(r, &r->command_bell, KIND_COMMAND, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC))
        || !watch(r, &r->job_bell, KIND_JOBS, r->logins->jobs->bell))
        return NULL;
    return r;
}

/* Watches the idle servers that this worker number used last, and starts the thread.  Signals stay with the
 * main thread.  Returns an errno, 0 for success. */
int relay_start(struct relay *r) {
    relay_obey_commands(r); /* the first configuration comes before the first client */
    for (int32_t i = 0; i < r->t->h->slots_high; i++) {
        const struct slot_row *row = &r->t->slots[i];
        struct server *s = row->state == SL_IDLE && row->last_worker == r->worker ? server_of(r, i) : NULL;
        if (s) conn_arm(&r->loop, &s->io);
    }
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    int rc = pthread_create(&r->thread, NULL, loop, r);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

/* What it watched stays open, and is not watched any more. */
void relay_join(struct relay *r) {
    pthread_join(r->thread, NULL);
    close(r->loop.epoll);
    close(r->command_bell.fd);
    close(r->event_bell);
}
