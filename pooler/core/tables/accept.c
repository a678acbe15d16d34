/* Accepting clients, and giving each to the worker that has the fewest. */
#define _GNU_SOURCE
#include "tables/accept.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tables/datagrams.h"
#include "tables/layout.h"

/* "Not now": the inbox is full, memory is short, or this user has too many descriptors under way. */
static bool means_full(int error) {
    return error == EAGAIN || error == ENOBUFS || error == ENOMEM || error == ETOOMANYREFS;
}

static bool means_short(int error) {
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

/* Clients that it has, and those on their way to it. */
static int64_t load_of(const struct tables *t, int worker) {
    const struct worker_row *w = &t->workers[worker];
    return w->clients + (int64_t)(w->sent - w->taken);
}

/* The best of `left`; -1: there is none. */
static int best(const struct tables *t, const struct accept_targets *to, uint64_t left) {
    int found = -1;
    int64_t fewest = 0;
    for (int i = 0; i < to->count; i++) {
        int worker = (to->turn + i) % to->count;
        if (!(left >> worker & 1)) continue;
        int64_t load = load_of(t, worker);
        if (found >= 0 && load >= fewest) continue;
        found = worker;
        fewest = load;
    }
    return found;
}

/* 0 or an errno. */
static int send_client(int outbox, int fd, bool is_unix) {
    int32_t datagram[3] = {INBOX_CLIENT, is_unix, 0};
    union {
        struct cmsghdr h;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {datagram, sizeof datagram};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.space,
                       .msg_controllen = sizeof control.space};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(h), &fd, sizeof fd);
    ssize_t sent;
    do sent = sendmsg(outbox, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? errno : 0;
}

struct accept_result accept_give(struct tables *t, int fd, bool is_unix, struct accept_targets *to) {
    uint64_t left = to->eligible;
    int failed = 0;
    for (int worker; (worker = best(t, to, left)) >= 0; left &= ~(UINT64_C(1) << worker)) {
        int error = send_client(to->outboxes[worker], fd, is_unix);
        if (!error) {
            atomic_fetch_add(&t->workers[worker].sent, 1);
            to->turn = (worker + 1) % to->count;
            close(fd);
            return (struct accept_result){.end = ACCEPT_MORE, .fd = -1};
        }
        if (!means_full(error)) failed = error;
    }
    return (struct accept_result){.end = ACCEPT_KEPT, .fd = fd, .error = failed};
}

struct accept_result accept_batch(struct tables *t, int listener, bool is_unix, struct accept_targets *to,
                                  int most) {
    struct accept_result result = {.end = ACCEPT_MORE, .fd = -1};
    for (int i = 0; i < most && result.end == ACCEPT_MORE; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) result = accept_give(t, fd, is_unix, to);
        else if (errno == EAGAIN) result.end = ACCEPT_EMPTY;
        else if (means_short(errno)) {
            result.end = ACCEPT_SHORT;
            result.error = errno;
        }
        /* else this connection broke before it was accepted; the next may be fine */
    }
    return result;
}
