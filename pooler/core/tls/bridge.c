/* The thread that copies between the encrypted connections of a worker and their socket pairs: see
 * bridge.h. */
#define _GNU_SOURCE
#include "tls/bridge.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls/tls_session.h"

#define COPY_BYTES 65536 /* one read; also what may be held for a side that does not take it */
#define ROUNDS 8         /* reads of one connection before the others get their turn */
#define EVENTS_PER_WAIT 64

struct end {
    struct copied *of;
    int fd;
    bool readable, wants_out, ended; /* ended: it sends no more (raw: TLS is over) */
};

struct held {
    unsigned char *data;
    uint32_t start, end;
};

struct copied {
    struct end raw, inner;
    struct tls *session;
    struct held up, down; /* what the pair, or PostgreSQL, has not taken yet */
    struct bridged slot;
    bool said;               /* our end of stream went to PostgreSQL */
    bool up_dead, down_dead; /* nobody takes it any more */
    bool queued, gone;
    struct copied *next;
};

struct bridge {
    int epoll, bell;
    struct copied *ready, *closed_list;
    pthread_mutex_t lock; /* guards `new` */
    struct copied *new;
    unsigned char buffer[COPY_BYTES];
};

/* ---- events ----------------------------------------------------------------------------------- */

static void watch(struct bridge *p, struct end *e, int operation) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = e};
    if (e->wants_out) event.events |= EPOLLOUT;
    epoll_ctl(p->epoll, operation, e->fd, &event);
}

/* Space is asked for only while something waits for it. */
static void want_out(struct bridge *p, struct end *e, bool want) {
    if (e->wants_out == want) return;
    e->wants_out = want;
    watch(p, e, EPOLL_CTL_MOD);
}

static void make_ready(struct bridge *p, struct copied *c) {
    if (c->queued || c->gone) return;
    c->queued = true;
    c->next = p->ready;
    p->ready = c;
}

/* False: no memory. */
static bool hold(struct held *h, const unsigned char *bytes, uint32_t n) {
    if (!n) return true;
    h->data = malloc(n);
    if (!h->data) return false;
    memcpy(h->data, bytes, n);
    h->start = 0;
    h->end = n;
    return true;
}

static bool holds(const struct held *h) { return h->end > h->start; }

static void let_go(struct held *h) {
    free(h->data);
    *h = (struct held){0};
}

/* Bytes on their way are lost for want of memory: nothing more passes, and both sides see an end. */
static void lose(struct copied *c) {
    c->up_dead = c->down_dead = true;
    shutdown(c->inner.fd, SHUT_RDWR);
    if (!c->said) shutdown(c->raw.fd, SHUT_WR);
    c->said = true;
}

/* ---- up: from PostgreSQL ---------------------------------------------------------------------- */

/* How many bytes the pair took; all of them when nobody reads them any more. */
static uint32_t give_up(struct bridge *p, struct copied *c, const unsigned char *bytes, uint32_t n) {
    uint32_t done = 0;
    while (done < n && !c->up_dead) {
        ssize_t sent = send(c->inner.fd, bytes + done, n - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) done += (uint32_t)sent;
        else if (errno == EAGAIN || errno == EWOULDBLOCK) break;
        else if (errno != EINTR) c->up_dead = true;
    }
    want_out(p, &c->inner, done < n && !c->up_dead);
    return c->up_dead ? n : done;
}

/* Behind TLS's goodbye, or when TLS is broken, only the end of the connection itself counts. */
static uint32_t read_raw_to_its_end(struct bridge *p, struct copied *c) {
    ssize_t got = recv(c->raw.fd, p->buffer, sizeof p->buffer, MSG_DONTWAIT);
    if (got > 0 || (got < 0 && errno == EINTR)) return 0;
    c->raw.readable = false;
    if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) c->session->ended = true;
    return 0;
}

static uint32_t read_from_server(struct bridge *p, struct copied *c) {
    uint32_t got;
    if (c->raw.ended) return read_raw_to_its_end(p, c);
    switch (tls_read(c->session, p->buffer, sizeof p->buffer, &got)) {
    case TLS_DONE:
    case TLS_PAUSED: break;
    case TLS_WANT_WRITE: want_out(p, &c->raw, true); /* fall through */
    case TLS_DRAINED:
    case TLS_WANT_READ: c->raw.readable = false; break;
    case TLS_BROKEN:
        c->session->ended = false; /* the socket's end is still to come */
        c->down_dead = true;
        if (!c->said) shutdown(c->raw.fd, SHUT_WR);
        c->said = true; /* fall through */
    case TLS_END: c->raw.ended = true; break;
    }
    return got;
}

/* False: nothing can be done at this moment. */
static bool bridge_up(struct bridge *p, struct copied *c) {
    if (holds(&c->up)) {
        c->up.start += give_up(p, c, c->up.data + c->up.start, c->up.end - c->up.start);
        if (holds(&c->up)) return false;
        let_go(&c->up);
    }
    if (!c->raw.readable || (c->raw.ended && c->session->ended)) return false;
    uint32_t n = read_from_server(p, c), done = give_up(p, c, p->buffer, n);
    if (!hold(&c->up, p->buffer + done, n - done)) lose(c);
    return true;
}

/* ---- down: to PostgreSQL ---------------------------------------------------------------------- */

static uint32_t give_down(struct bridge *p, struct copied *c, const unsigned char *bytes, uint32_t n) {
    uint32_t done = 0;
    bool full = false;
    while (done < n && !c->down_dead && !full) {
        uint32_t sent;
        enum tls_result how = tls_write(c->session, bytes + done, n - done, &sent);
        done += sent;
        if (how == TLS_WANT_WRITE || how == TLS_WANT_READ) full = true;
        else if (how != TLS_DONE) {
            c->down_dead = c->raw.readable = true; /* reading tells what has become of it */
        }
    }
    if (!full && c->raw.wants_out) c->raw.readable = true; /* reading may have waited for space, too */
    want_out(p, &c->raw, full);
    return c->down_dead ? n : done;
}

static bool bridge_down(struct bridge *p, struct copied *c) {
    if (holds(&c->down)) {
        c->down.start += give_down(p, c, c->down.data + c->down.start, c->down.end - c->down.start);
        if (holds(&c->down)) return false;
        let_go(&c->down);
    }
    if (c->inner.ended && !c->said) {
        if (!c->down_dead) tls_close(c->session);
        shutdown(c->raw.fd, SHUT_WR);
        c->said = true;
    }
    if (!c->inner.readable || c->inner.ended) return false;
    ssize_t got = recv(c->inner.fd, p->buffer, sizeof p->buffer, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) return true;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        c->inner.readable = false;
        return false;
    }
    if (got <= 0) {
        c->inner.ended = true;
        return true;
    }
    uint32_t done = give_down(p, c, p->buffer, (uint32_t)got);
    if (!hold(&c->down, p->buffer + done, (uint32_t)got - done)) lose(c);
    return true;
}

/* ---- life ------------------------------------------------------------------------------------- */

/* PostgreSQL has closed: the note comes first, then the end of stream. */
static void finish(struct bridge *p, struct copied *c) {
    if (*c->slot.latest == c->slot.generation) atomic_store(c->slot.over, c->slot.generation);
    /* others have duplicates: it does not go by itself */
    epoll_ctl(p->epoll, EPOLL_CTL_DEL, c->raw.fd, NULL);
    epoll_ctl(p->epoll, EPOLL_CTL_DEL, c->inner.fd, NULL);
    close(c->raw.fd);
    close(c->inner.fd);
    let_go(&c->up);
    let_go(&c->down);
    tls_free(c->session);
    c->gone = true;
    c->next = p->closed_list;
    p->closed_list = c;
}

static void run(struct bridge *p, struct copied *c) {
    bool more = true;
    for (int round = 0; more && round < ROUNDS; round++) {
        more = bridge_down(p, c);
        more = bridge_up(p, c) || more;
        if (c->session->paused) break;
    }
    if (c->raw.ended && c->session->ended && !holds(&c->up)) finish(p, c);
    else if (more) make_ready(p, c);
}

static void take_new(struct bridge *p) {
    uint64_t drained;
    (void)!read(p->bell, &drained, sizeof drained);
    pthread_mutex_lock(&p->lock);
    struct copied *c = p->new;
    p->new = NULL;
    pthread_mutex_unlock(&p->lock);
    while (c) {
        struct copied *next = c->next;
        watch(p, &c->raw, EPOLL_CTL_ADD);
        watch(p, &c->inner, EPOLL_CTL_ADD);
        make_ready(p, c);
        c = next;
    }
}

static void note(struct bridge *p, struct end *e, uint32_t events) {
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) e->readable = true;
    if (events & EPOLLOUT) {
        want_out(p, e, false);
        if (e == &e->of->raw) e->readable = true; /* reading may have waited for space, too */
    }
    make_ready(p, e->of);
}

static void *loop(void *argument) {
    struct bridge *p = argument;
    struct epoll_event events[EVENTS_PER_WAIT];
    pthread_setname_np(pthread_self(), "pump");
    for (;;) {
        int n = epoll_wait(p->epoll, events, EVENTS_PER_WAIT, p->ready ? 0 : -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr) note(p, events[i].data.ptr, events[i].events);
            else take_new(p);
        }
        struct copied *c = p->ready;
        p->ready = NULL; /* what becomes ready meanwhile has its turn after epoll_wait */
        while (c) {
            struct copied *next = c->next;
            c->queued = false;
            run(p, c);
            c = next;
        }
        while (p->closed_list) {
            c = p->closed_list;
            p->closed_list = c->next;
            free(c);
        }
    }
    return NULL;
}

/* False: no memory, everything is still the caller's. */
bool bridge_add(struct bridge *p, const struct bridged *slot, int raw, int inner, struct tls *session,
                const void *early, uint32_t n) {
    const uint64_t one = 1;
    struct copied *c = calloc(1, sizeof *c);
    if (!c) return false;
    *c = (struct copied){.session = session, .slot = *slot};
    c->raw = (struct end){.of = c, .fd = raw, .readable = true};
    c->inner = (struct end){.of = c, .fd = inner, .readable = true};
    if (!hold(&c->up, early, n)) {
        free(c);
        return false;
    }
    pthread_mutex_lock(&p->lock);
    c->next = p->new;
    p->new = c;
    pthread_mutex_unlock(&p->lock);
    (void)!write(p->bell, &one, sizeof one);
    return true;
}

struct bridge *bridge_open(void) {
    struct bridge *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    p->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_mutex_init(&p->lock, NULL);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    if (p->epoll < 0 || p->bell < 0 || epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->bell, &e) != 0) return NULL;
    pthread_t thread;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old); /* signals stay with the main thread */
    int rc = pthread_create(&thread, NULL, loop, p);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc == 0) pthread_detach(thread);
    errno = rc;
    return rc == 0 ? p : NULL;
}
