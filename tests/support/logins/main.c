/* Logs in over and over, with many clients at a time in one thread, and prints how fast that was as a line of JSON.
 *
 *   logins [--user U] [--database D] [--password P] [--clients N] [--count N | --seconds S]
 *          [--tls] [--cert FILE --key FILE] [--bound] HOST|DIRECTORY PORT
 *
 * HOST is a numeric address; DIRECTORY has a unix socket.  Each client logs in anew as soon as it has left; at the end
 * those that have begun still end.  --tls is TLS 1.3, and does not look whose certificate it is.  --bound:
 * SCRAM-SHA-256-PLUS or nothing.  A login that fails ends the program.
 * tests/support/login_load.py compiles and runs it.
 */
#include "login.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <time.h>

enum { EVENTS = 256, AGAIN_MS = 1, SILENCE_MS = 30000, CLIENTS_MAX = 20000, LEFT_FOREVER = -1 };

struct run {
    int clients;
    long left;       /* logins that may begin, LEFT_FOREVER: until the time is over */
    uint64_t end_ns; /* 0: no end but by `left` */
    int alive, absent;
    size_t done, room;
    uint64_t *took_ns;
    size_t methods[METHODS];
};

static void die(const char *what, const char *why) {
    fprintf(stderr, "logins: %s%s%s\n", what, why ? ": " : "", why ? why : "");
    exit(1);
}

/* ---- what is asked for ---- */

static void set_address(struct target *t, const char *host, const char *port) {
    char *rest;
    long number = strtol(port, &rest, 10);
    if (*rest || number < 1 || number > 65535) die("no port", port);
    if (*host == '/') {
        struct sockaddr_un *a = (struct sockaddr_un *)&t->address;
        a->sun_family = AF_UNIX;
        int n = snprintf(a->sun_path, sizeof a->sun_path, "%s/.s.PGSQL.%ld", host, number);
        if (n >= (int)sizeof a->sun_path) die("too long for a unix socket", host);
        t->address_bytes = sizeof *a;
    } else {
        struct sockaddr_in *a = (struct sockaddr_in *)&t->address;
        a->sin_family = AF_INET;
        a->sin_port = htons((uint16_t)number);
        if (inet_pton(AF_INET, host, &a->sin_addr) != 1) die("no numeric address", host);
        t->address_bytes = sizeof *a;
    }
}

static void make_messages(struct target *t) {
    static const char text[] = "SELECT 1";
    char *p = t->startup;
    int n = snprintf(p + 8, sizeof t->startup - 8, "user%c%s%cdatabase%c%s%c", 0, t->user, 0, 0, t->database,
                     0);
    if (n >= (int)sizeof t->startup - 9) die("too long a name", t->user);
    t->startup_bytes = (size_t)n + 9; /* a NUL more ends it */
    uint32_t words[] = {htonl((uint32_t)t->startup_bytes), htonl(3 << 16)};
    memcpy(p, words, 8);
    uint32_t length = htonl(4 + sizeof text);
    t->query[0] = 'Q';
    memcpy(t->query + 1, &length, 4);
    memcpy(t->query + 5, text, sizeof text);
    t->query_bytes = 5 + sizeof text;
}

static void read_options(int argc, char **argv, struct target *t, struct run *r) {
    static const struct option OPTIONS[] = {
        {"user", 1, NULL, 'u'},    {"database", 1, NULL, 'd'}, {"password", 1, NULL, 'p'},
        {"clients", 1, NULL, 'c'}, {"count", 1, NULL, 'n'},    {"seconds", 1, NULL, 's'},
        {"tls", 0, NULL, 't'},     {"cert", 1, NULL, 'C'},     {"key", 1, NULL, 'K'},
        {"bound", 0, NULL, 'b'},   {NULL, 0, NULL, 0},
    };
    const char *cert = NULL, *key = NULL;
    double seconds = 0;
    for (int c; (c = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
        switch (c) {
        case 'u': t->user = optarg; break;
        case 'd': t->database = optarg; break;
        case 'p': t->password = optarg; break;
        case 'c': r->clients = atoi(optarg); break;
        case 'n': r->left = atol(optarg); break;
        case 's': seconds = atof(optarg); break;
        case 't': t->tls = true; break;
        case 'C': cert = optarg; break;
        case 'K': key = optarg; break;
        case 'b': t->bound = true; break;
        default: exit(2);
        }
    }
    if (argc - optind != 2) die("two arguments: HOST PORT", NULL);
    if (r->clients < 1 || r->clients > CLIENTS_MAX) die("--clients: from 1 to 20000", NULL);
    if ((r->left > 0) == (seconds > 0)) die("either --count or --seconds", NULL);
    if (!cert != !key) die("--cert and --key go together", NULL);
    if ((cert || t->bound) && !t->tls) die("--cert and --bound need --tls", NULL);
    if (seconds > 0) r->end_ns = now_ns() + (uint64_t)(seconds * 1e9);
    set_address(t, argv[optind], argv[optind + 1]);
    make_messages(t);
    const char *wrong = t->tls ? tls_prepare(cert, key) : NULL;
    if (wrong) die("TLS", wrong);
}

/* ---- the loop ---- */

static void begin(struct login *l, const struct target *t, struct run *r) {
    if (l->state != LOGIN_ABSENT) { /* else it has begun before */
        if (r->left == 0 || (r->end_ns && now_ns() >= r->end_ns)) {
            r->alive--;
            return;
        }
        if (r->left > 0) r->left--;
    }
    login_begin(l, t);
    if (l->state == LOGIN_FAILED) die("a login failed", l->error);
    r->absent += l->state == LOGIN_ABSENT;
}

static void count(const struct login *l, struct run *r) {
    if (r->done == r->room) {
        r->room = r->room ? 2 * r->room : 4096;
        r->took_ns = realloc(r->took_ns, r->room * sizeof *r->took_ns);
        if (!r->took_ns) die("no memory", NULL);
    }
    r->took_ns[r->done++] = l->row_ns - l->began_ns;
    r->methods[l->method]++;
}

static void run(struct login *logins, const struct target *t, struct run *r) {
    struct epoll_event events[EVENTS];
    uint64_t heard_ns = now_ns();
    r->alive = r->clients;
    for (int i = 0; i < r->clients; i++) begin(&logins[i], t, r);
    while (r->alive) {
        int n = epoll_wait(t->epoll, events, EVENTS, r->absent ? AGAIN_MS : SILENCE_MS);
        if (n < 0 && errno != EINTR) die("epoll_wait", strerror(errno));
        if (n > 0) heard_ns = now_ns();
        if (now_ns() - heard_ns > SILENCE_MS * UINT64_C(1000000)) die("no answer for 30 s", NULL);
        for (int i = 0; i < n; i++) {
            struct login *l = events[i].data.ptr;
            login_go_on(l, t);
            if (l->state == LOGIN_FAILED) die("a login failed", l->error);
            if (l->state == LOGIN_DONE) {
                count(l, r);
                begin(l, t, r);
            }
        }
        if (!r->absent) continue;
        r->absent = 0;
        for (int i = 0; i < r->clients; i++)
            if (logins[i].state == LOGIN_ABSENT) begin(&logins[i], t, r);
    }
}

/* ---- what comes out ---- */

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double at_ms(const struct run *r, double share) {
    size_t i = (size_t)((double)r->done * share);
    return (double)r->took_ns[i < r->done ? i : r->done - 1] / 1e6;
}

static double epoch_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void report(const struct run *r, double began_s, double ended_s) {
    qsort(r->took_ns, r->done, sizeof *r->took_ns, compare);
    printf("{\"logins\": %zu, \"began\": %.6f, \"ended\": %.6f, \"p50_ms\": %.4f, \"p99_ms\": %.4f, "
           "\"max_ms\": %.4f, \"derived\": %u, \"methods\": {",
           r->done, began_s, ended_s, at_ms(r, 0.5), at_ms(r, 0.99), at_ms(r, 1), proof_derived());
    const char *comma = "";
    for (int i = 0; i < METHODS; i++) {
        if (!r->methods[i]) continue;
        printf("%s\"%s\": %zu", comma, METHOD_NAMES[i], r->methods[i]);
        comma = ", ";
    }
    printf("}}\n");
}

int main(int argc, char **argv) {
    struct target t = {.user = "postgres", .database = "postgres", .password = ""};
    struct run r = {.clients = 1, .left = LEFT_FOREVER};
    read_options(argc, argv, &t, &r);
    t.epoll = epoll_create1(EPOLL_CLOEXEC);
    struct login *logins = calloc((size_t)r.clients, sizeof *logins);
    if (t.epoll < 0 || !logins) die("no memory", NULL);
    for (int i = 0; i < r.clients; i++) {
        logins[i].fd = -1;
        logins[i].state = LOGIN_DONE;
    }
    double began_s = epoch_s();
    run(logins, &t, &r);
    report(&r, began_s, epoch_s());
    return 0;
}
