/* Input and output of one connection: nothing here knows what the bytes mean. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/relay.h"

void conn_ready(struct relay *r, struct conn *c) {
    if (c->queued || c->dead) return;
    c->queued = true;
    c->next_ready = NULL;
    if (r->ready_tail) r->ready_tail->next_ready = c;
    else r->ready_head = c;
    r->ready_tail = c;
}

static bool control(struct relay *r, struct conn *c, int operation) {
    struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    if (c->wants_out) e.events |= EPOLLOUT;
    return epoll_ctl(r->epoll, operation, c->fd, &e) == 0;
}

/* Registers with our epoll; adding reports at once what is there already.  False: the caller gives up on
 * it. */
bool conn_arm(struct relay *r, struct conn *c) {
    if (!c->armed) c->armed = control(r, c, EPOLL_CTL_ADD);
    return c->armed;
}

/* A registration lives as long as any process has a duplicate of the descriptor: it never goes by itself. */
void conn_disarm(struct relay *r, struct conn *c) {
    if (c->armed) epoll_ctl(r->epoll, EPOLL_CTL_DEL, c->fd, NULL);
    c->armed = c->wants_out = false;
}

/* Writability is asked for only while something is stuck: on unix sockets every read of the peer would wake
 * us. */
static void want_out(struct relay *r, struct conn *c, bool want) {
    if (want && !c->stuck) c->stuck_since = r->now;
    c->stuck = want;
    want |= c->read_wants_out;
    if (c->wants_out == want || !c->armed) return;
    c->wants_out = want;
    control(r, c, EPOLL_CTL_MOD);
}

/* Room for n more bytes behind what is pending; false without memory, and for more than any message and
 * buffer has. */
static bool bytes_room(struct bytes *b, uint32_t n) {
    if (b->start == b->end) b->start = b->end = 0;
    if ((size_t)b->end + n <= b->capacity) return true;
    size_t pending = bytes_pending(b), capacity = 512;
    if (pending + n > BYTES_MAX) return false;
    while (capacity < pending + n) capacity *= 2;
    unsigned char *data = malloc(capacity);
    if (!data) return false;
    if (pending) memcpy(data, b->data + b->start, pending);
    free(b->data);
    *b = (struct bytes){.data = data, .start = 0, .end = (uint32_t)pending, .capacity = (uint32_t)capacity};
    return true;
}

bool bytes_add(struct bytes *b, const void *p, uint32_t n) {
    if (!bytes_room(b, n)) return false;
    memcpy(b->data + b->end, p, n);
    b->end += n;
    return true;
}

static void bytes_free(struct bytes *b) {
    free(b->data);
    *b = (struct bytes){0};
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
static uint32_t fill_from_tls(struct relay *r, struct conn *c, uint32_t n, uint32_t limit, bool *received) {
    uint32_t got;
    enum tls_result how = tls_read(c->tls, r->buffer + n, limit - n, &got);
    *received = got > 0;
    switch (how) {
    case TLS_DONE: break;
    case TLS_DRAINED:
        if (!c->hangup) c->readable = false;
        break;
    case TLS_WANT_WRITE:
        c->read_wants_out = c->wants_out = true;
        control(r, c, EPOLL_CTL_MOD); /* fall through */
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
uint32_t conn_fill(struct relay *r, struct conn *c, uint32_t limit, bool *received) {
    uint32_t n = bytes_pending(&c->stash);
    if (n) memcpy(r->buffer, c->stash.data + c->stash.start, n);
    if (c->stash.data) bytes_free(&c->stash);
    *received = false;
    if (!c->readable || n >= limit) return n;
    if (c->tls) return fill_from_tls(r, c, n, limit, received);
    ssize_t got = recv(c->fd, r->buffer + n, limit - n, MSG_DONTWAIT);
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
bool conn_read_on(struct relay *r, struct conn *c, uint32_t n) {
    struct bytes kept = c->stash;
    bool received;
    c->stash = (struct bytes){0};
    uint32_t got = conn_fill(r, c, n < BUFFER_BYTES ? n : BUFFER_BYTES, &received);
    c->stash = kept;
    if (!got) return true;
    return bytes_add(&c->stash, r->buffer, got);
}

static uint32_t put_into_tls(struct conn *c, const unsigned char *p, uint32_t n, bool *full) {
    uint32_t done = 0;
    while (done < n) {
        uint32_t sent;
        enum tls_result how = tls_write(c->tls, p + done, n - done, &sent);
        done += sent;
        if (how == TLS_WANT_WRITE) { /* the record is made; its bytes are given again when there is room */
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
void conn_append(struct relay *r, struct conn *c, const void *p, uint32_t n) {
    if (c->gap || bytes_add(&c->out, p, n)) return;
    c->gap = true;
    bytes_free(&c->out);
    conn_ready(r, c);
}

void conn_flush(struct relay *r, struct conn *c) {
    bool full = false;
    uint32_t pending = bytes_pending(&c->out), done = 0;
    if (pending) done = put_out(c, c->out.data + c->out.start, pending, &full);
    c->out.start += done;
    if (c->out.data && !bytes_pending(&c->out)) bytes_free(&c->out);
    if (done) c->stuck_since = r->now;
    want_out(r, c, full);
}

void conn_send(struct relay *r, struct conn *c, const void *p, uint32_t n) {
    if (bytes_pending(&c->out)) {
        conn_append(r, c, p, n);
        if (!c->stuck) conn_flush(r, c);
        return;
    }
    bool full = false;
    uint32_t done = put_out(c, p, n, &full);
    if (done < n) conn_append(r, c, (const unsigned char *)p + done, n - done);
    if (full) want_out(r, c, true);
}

/* Ends a connection's memory after the current round: events for it may still be in the batch. */
void conn_bury(struct relay *r, struct conn *c) {
    c->dead = true;
    bytes_free(&c->out);
    bytes_free(&c->stash);
    tls_free(c->tls);
    c->tls = NULL;
    if (c->queued) return; /* the ready list buries it when it comes to it */
    c->queued = true;
    c->next_ready = r->closed_list;
    r->closed_list = c;
}

/* An ErrorResponse; `out` must have room for the texts and 64 bytes. */
uint32_t error_message(char *out, const char *severity, const char *sqlstate, const char *text) {
    uint32_t n = 5;
    n += (uint32_t)sprintf(out + n, "S%s", severity) + 1;
    n += (uint32_t)sprintf(out + n, "V%s", severity) + 1;
    n += (uint32_t)sprintf(out + n, "C%s", sqlstate) + 1;
    n += (uint32_t)sprintf(out + n, "M%s", text) + 1;
    out[n++] = 0;
    uint32_t length = n - 1;
    out[0] = 'E';
    write_u32(out + 1, length);
    return n;
}
