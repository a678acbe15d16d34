/* See login.h. */
#include "login.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

const char *const METHOD_NAMES[METHODS] = {"none", "password", "md5", "scram-sha-256", "scram-sha-256-plus"};

enum { AUTH_OK = 0, AUTH_PASSWORD = 3, AUTH_MD5 = 5, AUTH_SASL = 10, AUTH_CONTINUE = 11, AUTH_FINAL = 12 };

static const char PLUS[] = "SCRAM-SHA-256-PLUS", PLAIN[] = "SCRAM-SHA-256";
static const char SSL_REQUEST[] = {0, 0, 0, 8, 4, (char)210, 22, 47}; /* 1234 5679 */
static const char CLOSE_NOTIFY[] = {1, 0};
static const char TERMINATE[] = {'X', 0, 0, 0, 4};

uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void close_connection(struct login *l) {
    if (l->fd >= 0) close(l->fd);
    l->fd = -1;
}

static void fail(struct login *l, const char *what, const char *why) {
    snprintf(l->error, sizeof l->error, "%s%s%s", what, why ? ": " : "", why ? why : "");
    close_connection(l);
    l->state = LOGIN_FAILED;
}

/* A few hundred bytes: they fit into an empty socket, or something is wrong. */
static void put_plain(struct login *l, const void *data, size_t n) {
    if (l->state != LOGIN_FAILED && send(l->fd, data, n, MSG_NOSIGNAL) != (ssize_t)n)
        fail(l, "send", strerror(errno));
}

static void put_record(struct login *l, int type, const void *data, size_t n) {
    unsigned char record[2 * MESSAGE_BYTES];
    if (l->state != LOGIN_FAILED)
        put_plain(l, record, tls_put(&l->tls, type, data, n, record, sizeof record));
}

static void put(struct login *l, const struct target *t, const void *data, size_t n) {
    if (t->tls) put_record(l, TLS_DATA, data, n);
    else put_plain(l, data, n);
}

static void put_message(struct login *l, const struct target *t, char kind, const void *body, size_t n) {
    char message[MESSAGE_BYTES + 128] = {kind};
    uint32_t length = htonl((uint32_t)n + 4);
    memcpy(message + 1, &length, 4);
    memcpy(message + 5, body, n);
    put(l, t, message, n + 5);
}

/* ---- how it begins ---- */

static void send_startup(struct login *l, const struct target *t) {
    l->state = LOGIN_PROVING;
    put(l, t, t->startup, t->startup_bytes);
}

static void watch(struct login *l, const struct target *t, int order, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = l};
    if (epoll_ctl(t->epoll, order, l->fd, &event) < 0) fail(l, "epoll_ctl", strerror(errno));
}

static void connected(struct login *l, const struct target *t) {
    if (t->tls) {
        l->state = LOGIN_ASKING;
        put_plain(l, SSL_REQUEST, sizeof SSL_REQUEST);
    } else {
        send_startup(l, t);
    }
}

void login_begin(struct login *l, const struct target *t) {
    int family = t->address.ss_family, yes = 1;
    if (l->state != LOGIN_ABSENT) l->began_ns = now_ns(); /* the time in which it could not counts */
    l->row_ns = 0;
    l->input_bytes = 0;
    l->method = METHOD_NONE;
    l->verified = false;
    l->state = LOGIN_CONNECTING;
    l->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0) {
        fail(l, "socket", strerror(errno));
        return;
    }
    if (family == AF_INET) setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(l->fd, (const struct sockaddr *)&t->address, t->address_bytes) == 0) {
        watch(l, t, EPOLL_CTL_ADD, EPOLLIN);
        if (l->state != LOGIN_FAILED) connected(l, t);
    } else if (errno == EINPROGRESS) {
        watch(l, t, EPOLL_CTL_ADD, EPOLLOUT);
    } else if (errno == EAGAIN) { /* of a unix socket: its queue is full */
        close_connection(l);
        l->state = LOGIN_ABSENT;
    } else {
        fail(l, "connect", strerror(errno));
    }
}

static void finish_connect(struct login *l, const struct target *t) {
    int error = 0;
    socklen_t n = sizeof error;
    getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &n);
    if (error) {
        fail(l, "connect", strerror(error));
        return;
    }
    watch(l, t, EPOLL_CTL_MOD, EPOLLIN);
    if (l->state != LOGIN_FAILED) connected(l, t);
}

/* ---- TLS ---- */

static void take_ssl_answer(struct login *l) {
    char answer;
    ssize_t n = recv(l->fd, &answer, 1, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n != 1 || answer != 'S') {
        fail(l, "the server does not speak TLS", NULL);
        return;
    }
    const char *wrong = tls_begin(&l->tls);
    if (wrong) {
        fail(l, wrong, NULL);
        return;
    }
    l->state = LOGIN_HANDSHAKE;
    l->record_bytes = 0;
    put_plain(l, l->tls.flight, l->tls.flight_bytes);
    l->tls.flight_bytes = 0;
}

/* What the record says goes to the input. */
static void take_record(struct login *l, const struct target *t, unsigned char *record, size_t bytes) {
    unsigned char *text;
    size_t n;
    const char *wrong = tls_take(&l->tls, record, bytes, &text, &n);
    if (!wrong && n > sizeof l->input - l->input_bytes) wrong = "TLS: more than a login has";
    if (wrong) {
        fail(l, wrong, NULL);
        return;
    }
    memcpy(l->input + l->input_bytes, text, n);
    l->input_bytes += n;
    if (!l->tls.flight_bytes) return;
    put_plain(l, l->tls.flight, l->tls.flight_bytes);
    l->tls.flight_bytes = 0;
    if (l->state == LOGIN_FAILED) return;
    memcpy(l->scram.binding, l->tls.binding, l->tls.binding_bytes);
    l->scram.binding_bytes = l->tls.binding_bytes;
    send_startup(l, t);
}

/* ---- proof ---- */

static void answer_sasl(struct login *l, const struct target *t, const char *names, size_t n) {
    char message[MESSAGE_BYTES], body[MESSAGE_BYTES + 64];
    const char *chosen = t->bound ? PLUS : PLAIN, *end = names + n;
    while (names < end && strcmp(names, chosen) != 0) names += strlen(names) + 1;
    if (names >= end) {
        fail(l, "the server does not offer", chosen);
        return;
    }
    l->method = t->bound ? METHOD_SCRAM_PLUS : METHOD_SCRAM;
    l->scram.bound = t->bound;
    size_t bytes = proof_scram_first(&l->scram, message), name_bytes = strlen(chosen) + 1;
    uint32_t length = htonl((uint32_t)bytes);
    memcpy(body, chosen, name_bytes);
    memcpy(body + name_bytes, &length, 4);
    memcpy(body + name_bytes + 4, message, bytes);
    put_message(l, t, 'p', body, name_bytes + 4 + bytes);
}

static void answer_continue(struct login *l, const struct target *t, const char *data, size_t n) {
    char message[MESSAGE_BYTES];
    const char *wrong = l->method < METHOD_SCRAM
        ? "SASL that was not begun"
        : proof_scram_final(&l->scram, t->password, data, n, message);
    if (wrong) fail(l, wrong, NULL);
    else put_message(l, t, 'p', message, strlen(message));
}

static void answer(struct login *l, const struct target *t, const char *body, size_t n) {
    uint32_t what;
    char text[36];
    if (n < 4) {
        fail(l, "a malformed authentication request", NULL);
        return;
    }
    memcpy(&what, body, 4);
    what = ntohl(what);
    if (what == AUTH_OK) {
        if (l->method >= METHOD_SCRAM && !l->verified) fail(l, "the server has proven nothing", NULL);
        if (t->bound && l->method != METHOD_SCRAM_PLUS) fail(l, "the server did not ask for SCRAM", NULL);
    } else if (what == AUTH_PASSWORD) {
        l->method = METHOD_PASSWORD;
        put_message(l, t, 'p', t->password, strlen(t->password) + 1);
    } else if (what == AUTH_MD5 && n == 8) {
        l->method = METHOD_MD5;
        proof_md5(t->user, t->password, (const unsigned char *)body + 4, text);
        put_message(l, t, 'p', text, sizeof text);
    } else if (what == AUTH_SASL && body[n - 1] == 0) {
        answer_sasl(l, t, body + 4, n - 4);
    } else if (what == AUTH_CONTINUE) {
        answer_continue(l, t, body + 4, n - 4);
    } else if (what == AUTH_FINAL) {
        l->verified = proof_scram_verified(&l->scram, body + 4, n - 4);
        if (!l->verified) fail(l, "the server's proof is wrong", NULL);
    } else {
        fail(l, "an authentication request of an unknown kind", NULL);
    }
}

/* ---- messages ---- */

/* An ErrorResponse ends with a NUL, and so does each of its fields. */
static void take_error(struct login *l, const char *body, size_t n) {
    const char *end = body + n;
    if (n && end[-1] == 0) {
        for (const char *field = body; field < end && *field; field += strlen(field) + 1) {
            if (*field == 'M') {
                fail(l, "the server said", field + 1);
                return;
            }
        }
    }
    fail(l, "an error without a text", NULL);
}

static void take_ready(struct login *l, const struct target *t) {
    if (l->state == LOGIN_PROVING) {
        l->state = LOGIN_QUERYING;
        put(l, t, t->query, t->query_bytes);
        return;
    }
    if (!l->row_ns) {
        fail(l, "an answer without a row", NULL);
        return;
    }
    put(l, t, TERMINATE, sizeof TERMINATE);
    if (t->tls) put_record(l, TLS_ALERT, CLOSE_NOTIFY, sizeof CLOSE_NOTIFY);
    if (l->state == LOGIN_FAILED) return;
    close_connection(l);
    l->state = LOGIN_DONE;
}

static void take(struct login *l, const struct target *t, char kind, const char *body, size_t n) {
    switch (kind) {
    case 'R': answer(l, t, body, n); break;
    case 'E': take_error(l, body, n); break;
    case 'D':
        if (!l->row_ns) l->row_ns = now_ns();
        break;
    case 'Z': take_ready(l, t); break;
    case 'S':
    case 'K':
    case 'N':
    case 'v':
    case 'T':
    case 'C': break;
    default: fail(l, "a message of an unknown kind", NULL);
    }
}

static void take_all(struct login *l, const struct target *t) {
    size_t at = 0;
    while (l->state == LOGIN_PROVING || l->state == LOGIN_QUERYING) {
        uint32_t length;
        if (l->input_bytes - at < 5) break;
        memcpy(&length, l->input + at + 1, 4);
        length = ntohl(length);
        if (length < 4 || length >= INPUT_BYTES) {
            fail(l, "a message that is too long", NULL);
            return;
        }
        if (l->input_bytes - at < length + 1) break;
        take(l, t, l->input[at], l->input + at + 5, length - 4);
        at += length + 1;
    }
    memmove(l->input, l->input + at, l->input_bytes - at);
    l->input_bytes -= at;
}

/* Bytes, 0: none yet.  A connection that ended fails the login. */
static size_t receive(struct login *l, void *to, size_t room) {
    ssize_t n = recv(l->fd, to, room, 0);
    if (n > 0) return (size_t)n;
    if (n == 0 || errno != EAGAIN) fail(l, "recv", n ? strerror(errno) : "connection closed");
    return 0;
}

static bool goes_on(const struct login *l) {
    return l->state >= LOGIN_HANDSHAKE && l->state <= LOGIN_QUERYING;
}

static void take_records(struct login *l, const struct target *t) {
    size_t at = 0;
    l->record_bytes += receive(l, l->records + l->record_bytes, sizeof l->records - l->record_bytes);
    while (goes_on(l) && l->record_bytes - at >= 5) {
        size_t bytes = 5 + ((size_t)l->records[at + 3] << 8 | l->records[at + 4]);
        if (bytes > sizeof l->records) {
            fail(l, "TLS: a record that is too long", NULL);
            return;
        }
        if (l->record_bytes - at < bytes) break;
        take_record(l, t, l->records + at, bytes);
        take_all(l, t);
        at += bytes;
    }
    memmove(l->records, l->records + at, l->record_bytes - at);
    l->record_bytes -= at;
}

void login_go_on(struct login *l, const struct target *t) {
    if (l->state == LOGIN_CONNECTING) {
        finish_connect(l, t);
    } else if (l->state == LOGIN_ASKING) {
        take_ssl_answer(l);
    } else if (t->tls) {
        take_records(l, t);
    } else {
        l->input_bytes += receive(l, l->input + l->input_bytes, sizeof l->input - l->input_bytes);
        take_all(l, t);
    }
}
