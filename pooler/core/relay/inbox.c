/* The inbox: descriptors and notifications that other processes send to this worker. */
#define _GNU_SOURCE
#include "relay/inbox.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "login/login.h"
#include "notify/deliver.h"
#include "relay/events.h"
#include "relay/internal.h"
#include "relay/relay.h"
#include "relay/server.h"
#include "tables/layout.h"

/* An accepted client costs some ten microseconds, and queries wait for it. */
#define DATAGRAMS_PER_TURN 32

static void take_datagram(struct relay *r, const int32_t datagram[3], int fd) {
    switch (datagram[0]) {
    case INBOX_CLIENT:
        atomic_fetch_add(&r->t->workers[r->worker].taken, 1);
        logins_begin_their_time(r);
        if (fd >= 0) login_accept(r, fd, datagram[1] != 0);
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
        relay_emit(r, &(struct event){.type = EVENT_LISTEN, .a = datagram[1], .b = NO_ROW});
        break;
    default:
        if (fd >= 0) close(fd);
    }
}

/* At most so many datagrams; false: it is empty. */
static bool take(struct relay *r, int most) {
    for (int i = 0; i < most; i++) {
        int32_t datagram[3] = {0};
        union {
            struct cmsghdr h;
            char space[CMSG_SPACE(sizeof(int))];
        } control;
        unsigned char notifications[NOTIFICATION_MESSAGE_MAX];
        struct iovec iov[2] = {{datagram, sizeof datagram}, {notifications, sizeof notifications}};
        struct msghdr m = {.msg_iov = iov,
                           .msg_iovlen = 2,
                           .msg_control = control.space,
                           .msg_controllen = sizeof control.space};
        ssize_t got = recvmsg(r->inbox.fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (got <= 0 && errno != EINTR) return false;
        int fd = -1;
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        if (h && h->cmsg_type == SCM_RIGHTS) memcpy(&fd, CMSG_DATA(h), sizeof fd);
        bool is_notification = datagram[0] == INBOX_NOTIFICATION || datagram[0] == INBOX_MARKER;
        if (is_notification && got >= (ssize_t)sizeof datagram)
            listen_take(r, datagram, notifications, (uint32_t)got - (uint32_t)sizeof datagram);
        else if (got == (ssize_t)sizeof datagram) take_datagram(r, datagram, fd);
    }
    return true;
}

/* In a turn of the loop; the descriptor stays readable while there are more. */
void relay_look_into_inbox(struct relay *r) { take(r, DATAGRAMS_PER_TURN); }

/* All that is there: a descriptor is looked for that was sent before. */
void relay_drain_inbox(struct relay *r) {
    while (take(r, DATAGRAMS_PER_TURN)) continue;
}
