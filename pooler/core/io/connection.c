/* Input and output of one connection: nothing here knows what the bytes mean. */
#define _GNU_SOURCE
#include "io/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "io/buffer.h"
#include "tls/tls_session.h"

void conn_ready(struct conn_loop *l, struct conn *c) {
    if (c->queued || c->dead) return;
    c->queued = true;
    c->next_ready = NULL;
    if (l->ready_tail) l->ready_tail->next_ready = c;
    else l->ready_head = c;
    l->ready_tail = c;
}

static bool control(struct conn_loop *l, struct conn *c, int operation) {
    struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    if (c->wants_out) e.events |= EPOLLOUT;
    return epoll_ctl(l->epoll, operation, c->fd, &e) == 0;
}

/* Registers with our epoll; adding reports at once what is there already.  False: the caller gives up on
 * it. */
bool conn_arm(struct conn_loop *l, struct conn *c) {
    if (!c->armed) c->armed = control(l, c, EPOLL_CTL_ADD);
    return c->armed;
}

/* A registration lives as long as any process has a duplicate of the descriptor: it never goes by itself. */
void conn_disarm(struct conn_loop *l, struct conn *c) {
    if (c->armed) epoll_ctl(l->epoll, EPOLL_CTL_DEL, c->fd, NULL);
    c->armed = c->wants_out = false;
}

/* Writability is asked for only while something is stuck: on unix sockets every read of the peer would wake
 * us. */
static void want_out(struct conn_loop *l, struct conn *c, bool want) {
    if (want && !c->stuck) c->stuck_since = l->now;
    c->stuck = want;
    want |= c->read_wants_out;
    if (c->wants_out == want || !c->armed) return;
    c->wants_out = want;
    control(l, c, EPOLL_CTL_MOD);
}

/* Its next turn begins. */
void conn_turn(struct conn *c) {
    c->queued = false;
    if (c->paused) c->readable = true;
    c->paused = false;
}

/* Keeps what was read and cannot be used yet.  False: no memory; the caller ends the connection. */
bool conn_stash(struct conn *c, const unsigned char *p, uint32_t n) {
    return !n || bytes_add(&c->stash, p, n);
}

/* The same, but in front of what is kept already. */
bool conn_unread(struct conn *c, const unsigned char *p, uint32_t n) {
    if (!n) return true;
    struct bytes behind = c->stash;
    c->stash = (struct bytes){0};
    bool kept = bytes_add(&c->stash, p, n)
        && conn_stash(c, behind.data + behind.start, bytes_pending(&behind));
    bytes_free(&behind);
    return kept;
}

/* The same for TLS, where a record is read whole before any of it can be used. */
static uint32_t fill_from_tls(struct conn_loop *l, struct conn *c, uint32_t n, uint32_t limit,
                              bool *received) {
    uint32_t got;
    enum tls_result how = tls_read(c->tls, l->buffer + n, limit - n, &got);
    *received = got > 0;
    switch (how) {
    case TLS_DONE: break;
    case TLS_DRAINED:
        if (!c->hangup) c->readable = false;
        break;
    case TLS_PAUSED:
        c->readable = false;
        c->paused = true;
        conn_ready(l, c);
        break;
    case TLS_WANT_WRITE:
        c->read_wants_out = c->wants_out = true;
        control(l, c, EPOLL_CTL_MOD); /* fall through */
    case TLS_WANT_READ: c->readable = false; break;
    case TLS_END:
    case TLS_BROKEN: /* it comes again when what was received is used */
        if (got) break;
        c->readable = false;
        c->eof = c->hangup = true;
    }
    return n + got;
}

/* Puts the stash and what the socket has into the read buffer.  Returns the bytes there; `received` says
 * whether any are new.  A read shorter than asked for has emptied the socket (unless the peer hung up). */
uint32_t conn_fill(struct conn_loop *l, struct conn *c, uint32_t limit, bool *received) {
    uint32_t n = bytes_pending(&c->stash);
    if (n) memcpy(l->buffer, c->stash.data + c->stash.start, n);
    if (c->stash.data) bytes_free(&c->stash);
    *received = false;
    if (!c->readable || n >= limit) return n;
    if (c->tls) return fill_from_tls(l, c, n, limit, received);
    ssize_t got = recv(c->fd, l->buffer + n, limit - n, MSG_DONTWAIT);
    if (got > 0) {
        *received = true;
        if ((uint32_t)got < limit - n && !c->hangup) c->readable = false;
        return n + (uint32_t)got;
    }
    if (got < 0 && errno == EINTR) return n;
    c->readable = false;
    if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) c->eof = c->hangup = true;
    if (got < 0 && c->eof) c->broken = true; /* a reset, not an end */
    return n;
}

/* Reads at most n bytes, and one buffer, to behind the stash, which stays where it is.  False: no memory. */
bool conn_read_on(struct conn_loop *l, struct conn *c, uint32_t n) {
    struct bytes kept = c->stash;
    bool received;
    c->stash = (struct bytes){0};
    uint32_t got = conn_fill(l, c, n < BUFFER_BYTES ? n : BUFFER_BYTES, &received);
    c->stash = kept;
    if (!got) return true;
    return bytes_add(&c->stash, l->buffer, got);
}

static uint32_t put_into_tls(struct conn *c, const unsigned char *p, uint32_t n, bool *full) {
    uint32_t done = 0;
    while (done < n) {
        uint32_t sent;
        enum tls_result how = tls_write(c->tls, p + done, n - done, &sent);
        done += sent;
        if (how == TLS_WANT_WRITE) { /* the record is made; its bytes are given again when there is space */
            *full = true;
            break;
        }
        if (how != TLS_DONE) {
            c->readable = c->hangup = c->broken = true;
            return n;
        }
    }
    return done;
}

/* How many bytes the socket took; a broken connection takes them all and is noticed when it is read.  Nothing
 * goes out behind a gap. */
static uint32_t put_out(struct conn *c, const unsigned char *p, uint32_t n, bool *full) {
    uint32_t done = 0;
    if (c->gap) return n;
    if (c->tls) return put_into_tls(c, p, n, full);
    while (done < n) {
        ssize_t sent = send(c->fd, p + done, n - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) done += (uint32_t)sent;
        else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            *full = true;
            break;
        } else if (errno != EINTR) {
            c->readable = c->hangup = c->broken = true;
            return n;
        }
    }
    return done;
}

/* Without memory the stream has a gap: the connection is good for nothing, and is closed when it has its
 * turn. */
void conn_append(struct conn_loop *l, struct conn *c, const void *p, uint32_t n) {
    if (c->gap || bytes_add(&c->out, p, n)) return;
    c->gap = true;
    bytes_free(&c->out);
    conn_ready(l, c);
}

void conn_flush(struct conn_loop *l, struct conn *c) {
    bool full = false;
    uint32_t pending = bytes_pending(&c->out), done = 0;
    if (pending) done = put_out(c, c->out.data + c->out.start, pending, &full);
    c->out.start += done;
    if (c->out.data && !bytes_pending(&c->out)) bytes_free(&c->out);
    if (done) c->stuck_since = l->now;
    want_out(l, c, full);
}

void conn_send(struct conn_loop *l, struct conn *c, const void *p, uint32_t n) {
    if (c->corked || bytes_pending(&c->out)) {
        conn_append(l, c, p, n);
        if (!c->stuck && !c->corked) conn_flush(l, c);
        return;
    }
    bool full = false;
    uint32_t done = put_out(c, p, n, &full);
    if (done < n) conn_append(l, c, (const unsigned char *)p + done, n - done);
    if (full) want_out(l, c, true);
}

/* What was collected goes out in one piece: each piece wakes the other side. */
void conn_uncork(struct conn_loop *l, struct conn *c) {
    c->corked = false;
    if (bytes_pending(&c->out) && !c->stuck) conn_flush(l, c);
}

/* Ends a connection's memory after the current round: events for it may still be in the batch. */
void conn_bury(struct conn_loop *l, struct conn *c) {
    c->dead = true;
    bytes_free(&c->out);
    bytes_free(&c->stash);
    tls_free(c->tls);
    c->tls = NULL;
    if (c->queued) return; /* the ready list buries it when it comes to it */
    c->queued = true;
    c->next_ready = l->closed_list;
    l->closed_list = c;
}

/* Makes the read buffer large enough; only where nobody up the stack works on it.  False: no memory, it stays
 * as it is. */
bool conn_need_buffer(struct conn_loop *l, uint32_t bytes) {
    if (bytes <= l->buffer_bytes) return true;
    unsigned char *larger = realloc(l->buffer, bytes);
    if (!larger) return false;
    l->buffer = larger;
    l->buffer_bytes = bytes;
    return true;
}

/* A large message has been used: its space is not kept. */
void conn_trim_buffer(struct conn_loop *l) {
    if (l->buffer_bytes <= TRIM_BYTES) return;
    unsigned char *smaller = realloc(l->buffer, BUFFER_BYTES);
    if (!smaller) return;
    l->buffer = smaller;
    l->buffer_bytes = BUFFER_BYTES;
}
