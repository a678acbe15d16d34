/* The thread that accepts: see acceptor.h. */
#define _GNU_SOURCE
#include "tables/acceptor.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tables/layout.h"

#define LISTENERS 16 /* in one turn; the others are in the next */

struct acceptor {
    struct tables *t;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;    /* what is below `lock`, or `wanted` */
    _Atomic uint64_t eligible; /* a bit for each worker */
    _Atomic bool wanted;       /* the master waits for `lock` */
    int epoll;                 /* the listeners, and `wake` */
    int wake;                  /* rung at the end */
    int bell;                  /* rung when `stopped` */
    int most;
    /* guarded by `lock` */
    bool accepting; /* as the master wishes */
    bool stopped;   /* by the thread itself; `stop` has not been taken */
    bool ending;
    uint64_t changes; /* of the set of listeners */
    struct acceptor_stop stop;
    struct accept_targets to;
    int outboxes[MAX_WORKERS];
};

/* ---- the thread -------------------------------------------------------------------------------- */

static bool may_accept(struct acceptor *a) {
    return a->accepting && !a->stopped && !a->ending && !atomic_load(&a->wanted);
}

/* What epoll carries of a listener. */
static uint64_t packed(int listener, bool is_unix) { return (uint64_t)is_unix << 32 | (uint32_t)listener; }

static void serve(struct acceptor *a, uint64_t found) {
    struct acceptor_stop stop = {.listener = (int)(uint32_t)found, .is_unix = found >> 32};
    a->to.eligible = atomic_load(&a->eligible);
    stop.result = accept_batch(a->t, stop.listener, stop.is_unix, &a->to, a->most);
    if (stop.result.end == ACCEPT_EMPTY || stop.result.end == ACCEPT_MORE) return;
    a->stopped = true;
    a->stop = stop;
    (void)!write(a->bell, &(uint64_t){1}, sizeof(uint64_t));
}

static void *run(void *argument) {
    struct acceptor *a = argument;
    struct epoll_event found[LISTENERS];
    pthread_setname_np(pthread_self(), "accept");
    pthread_mutex_lock(&a->lock);
    for (;;) {
        while (!a->ending && !may_accept(a)) pthread_cond_wait(&a->changed, &a->lock);
        if (a->ending) break;
        uint64_t changes = a->changes;
        pthread_mutex_unlock(&a->lock);
        int n = epoll_wait(a->epoll, found, LISTENERS, -1);
        pthread_mutex_lock(&a->lock);
        if (changes != a->changes) continue; /* a number may be another descriptor's by now */
        for (int i = 0; i < n && may_accept(a); i++) serve(a, found[i].data.u64);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* 0 or an errno. */
static int begin(struct acceptor *a) {
    sigset_t every, old;
    sigfillset(&every);
    pthread_sigmask(SIG_BLOCK, &every, &old); /* signals stay with the main thread */
    int error = pthread_create(&a->thread, NULL, run, a);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return error;
}

/* ---- its life ---------------------------------------------------------------------------------- */

static void close_descriptors(struct acceptor *a) {
    if (a->epoll >= 0) close(a->epoll);
    if (a->wake >= 0) close(a->wake);
    if (a->bell >= 0) close(a->bell);
    if (a->stopped && a->stop.result.fd >= 0) close(a->stop.result.fd);
}

static void release_memory(struct acceptor *a) {
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

struct acceptor *acceptor_open(struct tables *t, const int *outboxes, int count, int most) {
    struct acceptor *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    a->t = t;
    a->most = most;
    memcpy(a->outboxes, outboxes, (size_t)count * sizeof *outboxes);
    a->to = (struct accept_targets){.outboxes = a->outboxes, .count = count};
    a->epoll = epoll_create1(EPOLL_CLOEXEC);
    a->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    a->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int error = a->epoll < 0 || a->wake < 0 || a->bell < 0 ? errno : acceptor_watch(a, a->wake, false);
    if (!error) error = begin(a);
    if (!error) return a;
    close_descriptors(a);
    release_memory(a);
    errno = error;
    return NULL;
}

void acceptor_close(struct acceptor *a) {
    acceptor_hold(a);
    a->ending = true;
    (void)!write(a->wake, &(uint64_t){1}, sizeof(uint64_t));
    acceptor_release(a);
    pthread_join(a->thread, NULL);
    close_descriptors(a);
    release_memory(a);
}

void acceptor_close_in_child(struct acceptor *a) { close_descriptors(a); }

/* ---- what the master says ---------------------------------------------------------------------- */

void acceptor_hold(struct acceptor *a) {
    atomic_store(&a->wanted, true);
    pthread_mutex_lock(&a->lock);
    atomic_store(&a->wanted, false);
}

void acceptor_release(struct acceptor *a) {
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

int acceptor_bell(const struct acceptor *a) { return a->bell; }

void acceptor_eligible(struct acceptor *a, uint64_t workers) { atomic_store(&a->eligible, workers); }

int acceptor_watch(struct acceptor *a, int listener, bool is_unix) {
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = packed(listener, is_unix)};
    acceptor_hold(a);
    a->changes++;
    int error = epoll_ctl(a->epoll, EPOLL_CTL_ADD, listener, &e) < 0 ? errno : 0;
    acceptor_release(a);
    return error;
}

void acceptor_forget(struct acceptor *a, int listener) {
    acceptor_hold(a);
    a->changes++;
    epoll_ctl(a->epoll, EPOLL_CTL_DEL, listener,
              NULL); /* a child may hold a duplicate: closing is not enough */
    acceptor_release(a);
}

void acceptor_go(struct acceptor *a) {
    acceptor_hold(a);
    a->accepting = true;
    acceptor_release(a);
}

void acceptor_halt(struct acceptor *a) {
    acceptor_hold(a);
    a->accepting = false;
    acceptor_release(a);
}

bool acceptor_take(struct acceptor *a, struct acceptor_stop *stop) {
    uint64_t drained;
    acceptor_hold(a);
    bool found = a->stopped;
    if (found) {
        (void)!read(a->bell, &drained, sizeof drained);
        *stop = a->stop;
        a->stopped = a->accepting = false;
    }
    acceptor_release(a);
    return found;
}

struct accept_result acceptor_give(struct acceptor *a, int fd, bool is_unix) {
    acceptor_hold(a);
    a->to.eligible = atomic_load(&a->eligible);
    struct accept_result result = accept_give(a->t, fd, is_unix, &a->to);
    acceptor_release(a);
    return result;
}
