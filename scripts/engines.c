/* Ways to wait, receive and send, beside each other: what the system calls of the relay cost, without the rest.
 *
 * One thread plays all parts in turn.  As peers it sends one message on each of `batch` connections; as the
 * relay, and this alone is measured, it finds them, receives them and sends each on to its partner; as peers
 * again it reads them.  So nothing sleeps or is woken, and what other work the machine has shows in few
 * rounds only: the medians are good to a percent.  The ways take turns round by round.
 *
 * What waking costs is no part of it: that is the same for all ways, and most of what a transaction costs.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/io_uring.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAIRS 64
#define MESSAGE 90 /* bytes, as a short query and its answer have */
#define ROUNDS 3000
#define ENTRIES 512
#define BUFFERS 256
#define BUFFER_BYTES 4096
#define SPACE 128 /* of one message that is collected */

enum way { DIRECT, COLLECTED, POLLED, RECEIVED, POSTED, WAYS };

static const char *const names[WAYS] = {
    [DIRECT] = "epoll, recv, send",
    [COLLECTED] = "epoll, recv; then all sends",
    [POLLED] = "ring: polls; recv; ring: sends",
    [RECEIVED] = "ring: polls; ring: receives; ring: sends",
    [POSTED] = "ring: posted receives, sends",
};

struct ring {
    int fd, number; /* itself registered as `number` */
    unsigned *sq_tail, *cq_head, *cq_tail, sq_mask, cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    unsigned tail, submitted;
    struct io_uring_buf_ring *provided;
    unsigned char *buffers;
    uint64_t empty_ns; /* what a call costs that finds nothing */
};

struct side {
    enum way way;
    int epoll;
    struct ring ring;
    int near[2 * PAIRS], far[2 * PAIRS]; /* a message for near[i] goes on to near[i ^ 1] */
    struct {
        int to;
        unsigned bytes;
    } collected[2 * PAIRS];
    unsigned char out[2 * PAIRS][SPACE];
    unsigned waiting; /* in `collected`, or in the ring */
    int moved;
    uint64_t ns[ROUNDS];
};

static void check(bool good, const char *what) {
    if (good) return;
    perror(what);
    exit(1);
}

static int rounds = ROUNDS, ways = WAYS;

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- the ring -------------------------------------------------------------------------------- */

static void provide(struct ring *r, unsigned id) {
    struct io_uring_buf *b = &r->provided->bufs[r->provided->tail & (BUFFERS - 1)];
    b->addr = (uintptr_t)(r->buffers + id * BUFFER_BYTES);
    b->len = BUFFER_BYTES;
    b->bid = (uint16_t)id;
    __atomic_store_n(&r->provided->tail, (uint16_t)(r->provided->tail + 1), __ATOMIC_RELEASE);
}

static void *shared(int fd, size_t bytes, off_t at) {
    int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED | MAP_POPULATE;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, at);
    check(p != MAP_FAILED, "mmap");
    return p;
}

/* With all that makes a ring cheap: one thread, its work deferred to its own calls; it and its
 * descriptors are registered. */
static void ring_open(struct ring *r) {
    struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    int fd = (int)syscall(__NR_io_uring_setup, ENTRIES, &p);
    check(fd >= 0, "io_uring_setup");
    size_t submissions = p.sq_off.array + p.sq_entries * sizeof(unsigned);
    size_t completions = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    char *base = shared(fd, submissions > completions ? submissions : completions, IORING_OFF_SQ_RING);
    r->sqes = shared(fd, p.sq_entries * sizeof *r->sqes, IORING_OFF_SQES);
    r->sq_tail = (unsigned *)(base + p.sq_off.tail);
    r->cq_head = (unsigned *)(base + p.cq_off.head);
    r->cq_tail = (unsigned *)(base + p.cq_off.tail);
    r->cqes = (struct io_uring_cqe *)(base + p.cq_off.cqes);
    r->sq_mask = p.sq_entries - 1;
    r->cq_mask = p.cq_entries - 1;
    unsigned *array = (unsigned *)(base + p.sq_off.array);
    for (unsigned i = 0; i < p.sq_entries; i++) array[i] = i;
    r->provided = shared(-1, BUFFERS * sizeof(struct io_uring_buf), 0);
    r->buffers = shared(-1, (size_t)BUFFERS * BUFFER_BYTES, 0);
    struct io_uring_buf_reg reg = {.ring_addr = (uintptr_t)r->provided, .ring_entries = BUFFERS};
    check(syscall(__NR_io_uring_register, fd, IORING_REGISTER_PBUF_RING, &reg, 1) == 0, "provided buffers");
    for (unsigned i = 0; i < BUFFERS; i++) provide(r, i);
    struct io_uring_rsrc_update own = {.offset = -1u, .data = (uint64_t)fd};
    check(syscall(__NR_io_uring_register, fd, IORING_REGISTER_RING_FDS, &own, 1) == 1, "registered ring");
    r->fd = fd;
    r->number = (int)own.offset;
}

/* For the descriptor that was registered as number `at`. */
static struct io_uring_sqe *submission(struct ring *r, uint8_t opcode, int at, uint64_t data) {
    struct io_uring_sqe *s = &r->sqes[r->tail++ & r->sq_mask];
    *s = (struct io_uring_sqe){.opcode = opcode, .flags = IOSQE_FIXED_FILE, .fd = at, .user_data = data};
    return s;
}

static void ring_enter(struct ring *r, unsigned wait) {
    unsigned count = r->tail - r->submitted, flags = IORING_ENTER_REGISTERED_RING | IORING_ENTER_GETEVENTS;
    __atomic_store_n(r->sq_tail, r->tail, __ATOMIC_RELEASE);
    r->submitted = r->tail;
    check(syscall(__NR_io_uring_enter, r->number, count, wait, flags, NULL, 0) == (long)count,
          "io_uring_enter");
}

/* MSG_DONTWAIT: it is over when the call returns, and the kernel has no buffer of ours any more.  A success
 * says nothing. */
static void ring_send(struct side *s, int to, const void *p, unsigned bytes) {
    memcpy(s->out[s->waiting], p, bytes);
    struct io_uring_sqe *e = submission(&s->ring, IORING_OP_SEND, to, UINT64_MAX);
    e->addr = (uintptr_t)s->out[s->waiting++];
    e->len = bytes;
    e->msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    e->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

/* ---- the relay ------------------------------------------------------------------------------- */

static void epoll_turn(struct side *s) {
    struct epoll_event events[2 * PAIRS];
    unsigned char buffer[BUFFER_BYTES];
    int n = epoll_wait(s->epoll, events, 2 * PAIRS, 1000);
    for (int i = 0; i < n; i++) {
        int at = events[i].data.fd, to = s->near[at ^ 1];
        ssize_t got = recv(s->near[at], buffer, sizeof buffer, MSG_DONTWAIT);
        check(got == MESSAGE, "recv");
        s->moved++;
        if (s->way == DIRECT) {
            check(send(to, buffer, (size_t)got, MSG_DONTWAIT | MSG_NOSIGNAL) == got, "send");
            continue;
        }
        memcpy(s->out[s->waiting], buffer, (size_t)got);
        s->collected[s->waiting].to = to;
        s->collected[s->waiting++].bytes = (unsigned)got;
    }
    for (unsigned i = 0; i < s->waiting; i++)
        check(send(s->collected[i].to, s->out[i], s->collected[i].bytes, MSG_DONTWAIT | MSG_NOSIGNAL) > 0,
              "send");
    s->waiting = 0;
}

#define IN_RING (UINT64_C(1) << 32) /* this receive was asked for because of a poll */

static void completed(struct side *s, const struct io_uring_cqe *c, unsigned char (*space)[SPACE]) {
    unsigned at = (uint32_t)c->user_data;
    int to = (int)(at ^ 1);
    check(c->res > 0 && c->user_data != UINT64_MAX, "completion");
    if (s->way == POSTED) {
        unsigned id = c->flags >> IORING_CQE_BUFFER_SHIFT;
        ring_send(s, to, s->ring.buffers + id * BUFFER_BYTES, (unsigned)c->res);
        provide(&s->ring, id);
    } else if (s->way == POLLED) {
        ssize_t got = recv(s->near[at], space[at], SPACE, MSG_DONTWAIT);
        check(got == MESSAGE, "recv");
        ring_send(s, to, space[at], (unsigned)got);
    } else if (c->user_data & IN_RING) {
        ring_send(s, to, space[at], (unsigned)c->res);
    } else {
        struct io_uring_sqe *e = submission(&s->ring, IORING_OP_RECV, (int)at, at | IN_RING);
        e->addr = (uintptr_t)space[at];
        e->len = SPACE;
        e->msg_flags = MSG_DONTWAIT;
        return;
    }
    s->moved++;
}

static void ring_turn(struct side *s) {
    static unsigned char space[2 * PAIRS][SPACE];
    struct ring *r = &s->ring;
    int before = s->moved;
    for (unsigned wait = 1; wait; wait = s->way == RECEIVED && s->moved == before) {
        ring_enter(r, 1);
        unsigned head = *r->cq_head, tail = __atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE);
        for (; head != tail; head++) completed(s, &r->cqes[head & r->cq_mask], space);
        __atomic_store_n(r->cq_head, head, __ATOMIC_RELEASE);
    }
}

/* What was collected goes out by the call that would also wait for what comes next: only what it costs beyond
 * a call that finds nothing is counted here. */
static uint64_t relay(struct side *s, int batch) {
    uint64_t began = now_ns(), extra = 0;
    for (s->moved = 0; s->moved < batch;) {
        if (s->way <= COLLECTED) epoll_turn(s);
        else ring_turn(s);
    }
    if (s->waiting) {
        ring_enter(&s->ring, 0);
        s->waiting = 0;
        extra = s->ring.empty_ns;
    }
    return now_ns() - began - extra;
}

/* ---- the peers ------------------------------------------------------------------------------- */

static void tcp_pair(int *near, int *far) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    check(bind(listener, (struct sockaddr *)&a, n) == 0 && listen(listener, 1) == 0, "listen");
    check(getsockname(listener, (struct sockaddr *)&a, &n) == 0, "getsockname");
    *far = socket(AF_INET, SOCK_STREAM, 0);
    check(connect(*far, (struct sockaddr *)&a, n) == 0, "connect");
    *near = accept(listener, NULL, NULL);
    check(*near >= 0, "accept");
    setsockopt(*near, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(*far, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    close(listener);
}

static void watch(struct side *s, int at) {
    if (s->way <= COLLECTED) {
        struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = at};
        check(epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->near[at], &e) == 0, "epoll_ctl");
    } else if (s->way == POSTED) {
        struct io_uring_sqe *e = submission(&s->ring, IORING_OP_RECV, at, (uint64_t)at);
        e->flags |= IOSQE_BUFFER_SELECT;
        e->ioprio = IORING_RECV_MULTISHOT;
    } else {
        struct io_uring_sqe *e = submission(&s->ring, IORING_OP_POLL_ADD, at, (uint64_t)at);
        e->len = IORING_POLL_ADD_MULTI;
        e->poll32_events = EPOLLIN | EPOLLRDHUP;
    }
}

static void side_open(struct side *s, enum way way, bool tcp) {
    s->way = way;
    if (way <= COLLECTED) check((s->epoll = epoll_create1(EPOLL_CLOEXEC)) >= 0, "epoll_create1");
    else ring_open(&s->ring);
    for (int i = 0; i < 2 * PAIRS; i++) {
        int pair[2];
        if (tcp) tcp_pair(&s->near[i], &s->far[i]);
        else {
            check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0, "socketpair");
            s->near[i] = pair[0];
            s->far[i] = pair[1];
        }
    }
    if (way > COLLECTED)
        check(syscall(__NR_io_uring_register, s->ring.fd, IORING_REGISTER_FILES, s->near, 2 * PAIRS) == 0,
              "files");
    for (int i = 0; i < 2 * PAIRS; i++) watch(s, i);
    if (way <= COLLECTED) return;
    ring_enter(&s->ring, 0);
    s->ring.empty_ns = UINT64_MAX;
    for (int i = 0; i < 1000; i++) {
        uint64_t began = now_ns();
        ring_enter(&s->ring, 0);
        uint64_t took = now_ns() - began;
        if (took < s->ring.empty_ns) s->ring.empty_ns = took;
    }
}

/* One message on each of `batch` connections.  Returns what the relay's part took. */
static uint64_t one_round(struct side *s, int number, int batch) {
    unsigned char message[MESSAGE] = {0};
    for (int i = 0; i < batch; i++) {
        int at = 2 * ((number / 2 * batch + i) % PAIRS) + number % 2;
        check(send(s->far[at], message, sizeof message, 0) == MESSAGE, "peer's send");
    }
    uint64_t took = relay(s, batch);
    for (int i = 0; i < batch; i++) {
        int at = 2 * ((number / 2 * batch + i) % PAIRS) + number % 2;
        check(recv(s->far[at ^ 1], message, sizeof message, 0) == MESSAGE, "peer's recv");
    }
    return took;
}

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void measure(struct side *sides, const char *transport, int batch) {
    double base = 0;
    for (int number = 0; number < rounds; number++)
        for (int way = 0; way < ways; way++) sides[way].ns[number] = one_round(&sides[way], number, batch);
    for (int way = 0; way < ways; way++) {
        qsort(sides[way].ns, (size_t)rounds, sizeof *sides[way].ns, compare);
        double ns = (double)sides[way].ns[rounds / 2] / batch;
        if (way == DIRECT) base = ns;
        printf("| %s, %d at a time | %s | %.0f (%.2fx) |\n", transport, batch, names[way], ns, ns / base);
    }
    fflush(stdout);
}

/* Containers often forbid rings. */
static bool rings_allowed(void) {
    struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    int fd = (int)syscall(__NR_io_uring_setup, 1, &p);
    if (fd < 0) perror("no io_uring");
    else close(fd);
    return fd >= 0;
}

/* The argument, if any, is the number of rounds. */
int main(int count, char **words) {
    static struct side sides[2][WAYS];
    static const int batches[] = {1, 4, 16, 64};
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (count > 1) rounds = atoi(words[1]);
    if (rounds < 1 || rounds > ROUNDS) {
        fprintf(stderr, "usage: scripts/engines [ROUNDS], at most %d\n", ROUNDS);
        return 2;
    }
    if (!rings_allowed()) ways = POLLED;
    printf("| messages | way | ns per message |\n| --- | --- | ---: |\n");
    for (int tcp = 1; tcp >= 0; tcp--) {
        for (int way = 0; way < ways; way++) side_open(&sides[tcp][way], (enum way)way, tcp);
        for (size_t i = 0; i < sizeof batches / sizeof *batches; i++)
            measure(sides[tcp], tcp ? "tcp" : "unix", batches[i]);
    }
    return 0;
}
