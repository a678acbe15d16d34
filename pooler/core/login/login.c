/* A login's life: it comes, is read, and ends. */
#define _GNU_SOURCE
#include "login/login.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/buffer.h"
#include "io/connection.h"
#include "io/sqlstate.h"
#include "login/admission.h"
#include "login/jobs.h"
#include "login/login_queue.h"
#include "login/policy.h"
#include "login/questions.h"
#include "login/scram.h"
#include "relay/internal.h"
#include "tables/clients.h"
#include "tables/layout.h"
#include "tables/outcome.h"
#include "tables/pool.h"
#include "tables/states.h"
#include "tables/tables.h"
#include "tls/tls_session.h"

STATE_MACHINE(login_machine, "login", LOGIN_STATES, LOGIN_TRANSITIONS);

void login_move(struct login *l, enum login_state to) { state_move(&login_machine, &l->state, (uint8_t)to); }

/* ---- what the log says of it ------------------------------------------------------------------- */

const char *login_user(const struct login *l) { return l->renamed ? l->renamed : l->packet.user; }

void login_log(struct relay *r, const struct login *l, int level, const char *format, ...) {
    char who[LOG_WHO_BYTES];
    va_list arguments;
    log_who(who, 'C', l->id, l->attempted ? l->packet.database : "(nodb)",
            l->attempted ? login_user(l) : "(nouser)", l->where);
    va_start(arguments, format);
    log_of(r, (enum log_level)level, who, format, arguments);
    va_end(arguments);
}

void login_closing(struct relay *r, const struct login *l, const char *reason) {
    const struct policy *p = l->policy ? l->policy : r->logins->policy;
    if (p && !p->settings.log_disconnections) return;
    login_log(r, l, LEVEL_LOG, "closing because: %s (age=%llds)", reason,
              (long long)((r->loop.now - l->started_at) / 1000000));
}

/* Now it is known who wants in, and not yet whether it is true: logged once. */
void login_attempt(struct relay *r, struct login *l) {
    static const char *const replications[] = {"no", "database", "yes"};
    char tls[TLS_TEXT_BYTES] = "";
    if (l->attempted) return;
    l->attempted = true;
    if (l->client->io.tls) {
        struct client_row *row = &r->t->clients[l->row];
        tls_describe(l->client->io.tls, tls);
        snprintf(row->tls, sizeof row->tls, "%.*s", (int)sizeof row->tls - 1, tls);
    }
    if (l->policy->settings.log_connections)
        login_log(r, l, LEVEL_LOG, "login attempt: db=%s user=%s tls=%s replication=%s", l->packet.database,
                  l->packet.user, tls[0] ? tls : "no", replications[l->packet.replication]);
}

/* ---- coming ------------------------------------------------------------------------------------ */

/* An address and a port as text. */
static void name_of(const struct sockaddr_storage *s, char *address, int32_t *port) {
    const struct sockaddr_in *four = (const struct sockaddr_in *)s;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)s;
    if (s->ss_family == AF_INET) {
        inet_ntop(AF_INET, &four->sin_addr, address, ADDRESS_BYTES);
        *port = ntohs(four->sin_port);
    } else if (s->ss_family == AF_INET6) {
        char zone[IF_NAMESIZE];
        inet_ntop(AF_INET6, &six->sin6_addr, address, ADDRESS_BYTES);
        *port = ntohs(six->sin6_port);
        size_t n = strlen(address);
        if (six->sin6_scope_id && if_indextoname(six->sin6_scope_id, zone))
            snprintf(address + n, ADDRESS_BYTES - n, "%%%s", zone);
    }
}

/* Where it comes from; nothing, if it is gone already. */
static struct endpoint endpoint_of(struct login *l, int32_t listen_port) {
    struct endpoint e = {.addr = ""};
    if (l->is_unix) {
        struct ucred peer = {0};
        socklen_t n = sizeof peer;
        getsockopt(l->client->io.fd, SOL_SOCKET, SO_PEERCRED, &peer, &n);
        l->peer_pid = (uint32_t)peer.pid;
        l->peer_uid = peer.uid;
        snprintf(e.addr, sizeof e.addr, "unix(%d)", (int)peer.pid);
        snprintf(e.local_addr, sizeof e.local_addr, "unix");
        e.port = e.local_port = listen_port;
        return e;
    }
    struct sockaddr_storage peer = {0}, own = {0};
    socklen_t n = sizeof peer, m = sizeof own;
    if (getpeername(l->client->io.fd, (struct sockaddr *)&peer, &n) != 0
        || getsockname(l->client->io.fd, (struct sockaddr *)&own, &m) != 0)
        return e;
    name_of(&peer, e.addr, &e.port);
    name_of(&own, e.local_addr, &e.local_port);
    return e;
}

static struct login *login_new(int fd, bool is_unix) {
    struct login *l = calloc(1, sizeof *l);
    struct client *c = calloc(1, sizeof *c);
    if (!l || !c) {
        free(l);
        free(c);
        return NULL;
    }
    c->io.kind = KIND_LOGIN;
    c->io.fd = fd;
    c->io.readable = true; /* most have said something by now */
    c->row = NO_ROW;
    c->login = l;
    l->client = c;
    l->is_unix = is_unix;
    l->row = NO_ROW;
    return l;
}

/* Takes a row, which makes it count and be seen; another may have to give up its own. */
static void take_row(struct relay *r, struct login *l, const struct endpoint *where) {
    do l->row = client_new(r->t, r->worker, r->loop.now);
    while (l->row == NO_ROW && login_queue_make_space(r, l));
    if (l->row == NO_ROW) return;
    struct client_row *row = &r->t->clients[l->row];
    l->client->row = l->row;
    l->id = row->id;
    row->where = *where;
    r->logins->by_row[l->row] = l;
    if (l->is_unix) client_flag(r->t, l->row, CF_UNIX);
    log_place(l->where, row);
}

/* There is no memory to tell it. */
static void close_unheard(struct relay *r, int fd) {
    relay_log(r, LEVEL_WARNING, "a client was closed: out of memory");
    close(fd);
}

/* A client has come: the descriptor is ours. */
void login_accept(struct relay *r, int fd, bool is_unix) {
    struct logins *all = r->logins;
    struct login *l = login_new(fd, is_unix);
    if (!l) {
        close_unheard(r, fd);
        return;
    }
    struct endpoint where = endpoint_of(l, all->policy ? all->policy->settings.listen_port : 0);
    l->started_at = l->heard_at = r->loop.now;
    if (!login_queue_enter(r, l, where.addr)) {
        close_unheard(r, fd);
        free(l->client);
        free(l);
        return;
    }
    l->previous = all->last;
    if (all->last) all->last->next = l;
    else all->first = l;
    all->last = l;
    take_row(r, l, &where);
    bool watched = conn_arm(&r->loop, &l->client->io);
    if (!watched) login_refuse(r, l, OUT_OF_MEMORY, "out of memory", "it cannot be watched");
    else if (l->row == NO_ROW) {
        l->refusal = REFUSAL_LIMIT;
        login_refuse(r, l, PROTOCOL_VIOLATION, "no more connections allowed (max_client_conn)", NULL);
    } else conn_ready(&r->loop, &l->client->io);
}

/* ---- going ------------------------------------------------------------------------------------- */

/* Its end; or it is about to be sent away while it says nothing, and another needs its row now. */
void login_give_up_row(struct relay *r, struct login *l) {
    struct outcome out;
    if (l->row == NO_ROW) return;
    r->logins->by_row[l->row] = NULL;
    client_free(r->t, l->row, NO_ROW, r->loop.now, &out);
    l->row = NO_ROW;
    relay_apply(r, &out);
}

/* Forgets everything but the client and its connection, which are somebody else's now, or at their end. */
void login_free(struct relay *r, struct login *l) {
    struct logins *all = r->logins;
    login_queue_leave(r, l);
    login_queue_gone(r, l);
    if (l->job) job_abandon(l->job);
    job_free(l->handshake);
    if (l->row != NO_ROW) all->by_row[l->row] = NULL;
    if (l->next) l->next->previous = l->previous;
    else all->last = l->previous;
    if (l->previous) l->previous->next = l->next;
    else all->first = l->next;
    if (l->client) l->client->login = NULL;
    packet_free(&l->packet);
    wanted_free(&l->wanted);
    free(l->packet_bytes);
    free(l->renamed);
    if (l->secret_is_own) secret_free(l->secret);
    if (l->scram) crypto_wipe(l->scram, sizeof *l->scram);
    free(l->scram);
    if (l->password) crypto_wipe(l->password, l->password_bytes);
    free(l->password);
    free(l->note);
    free(l->detail);
    crypto_wipe(&l->keys, sizeof l->keys);
    policy_drop(l->policy);
    free(l);
}

/* The connection ends, without a word. */
void login_over(struct relay *r, struct login *l) {
    struct client *c = l->client;
    question_left(r, l);
    login_move(l, LOGIN_OVER);
    conn_uncork(&r->loop, &c->io);
    conn_disarm(&r->loop, &c->io);
    if (c->io.tls && !bytes_pending(&c->io.out)) tls_close(c->io.tls);
    close(c->io.fd);
    c->io.fd = -1;
    conn_bury(&r->loop, &c->io);
    login_give_up_row(r, l);
    login_free(r, l);
}

/* It has left in the middle of its login. */
void login_hang_up(struct relay *r, struct login *l) {
    if (l->state != LOGIN_TOLD) login_closing(r, l, "client unexpected eof");
    login_over(r, l);
}

/* An order from the tables; false: there is no such login.  `detail` may be NULL; only a client that has
 * proven who it is is told it. */
bool login_ordered(struct relay *r, int32_t row, uint64_t id, uint8_t orders, const char *text,
                   const char *detail) {
    struct login *l = r->logins->by_row[row];
    if (!l || l->id != id) return false;
    if (orders & ORDER_KILL && l->state == LOGIN_WELCOME && detail && !l->detail) l->detail = strdup(detail);
    if (orders & ORDER_KILL) login_refuse(r, l, PROTOCOL_VIOLATION, text, NULL);
    else if (orders & ORDER_FAIL && l->state == LOGIN_WELCOME) {
        char code[SQLSTATE_BYTES], said[ERROR_TEXT_BYTES];
        pool_error_of(r->t, r->t->clients[row].pool, code, said);
        l->refusal = REFUSAL_SERVER;
        login_refuse(r, l, code, said, NULL);
    } else if (orders & ORDER_WELCOME && l->state == LOGIN_WELCOME) admission_enter(r, l);
    return true;
}

/* ---- reading ----------------------------------------------------------------------------------- */

bool login_spoke(const struct login *l) {
    char byte;
    const struct conn *io = &l->client->io;
    return bytes_pending(&io->stash) || recv(io->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0;
}

static bool reads(const struct login *l) {
    switch (l->state) {
    case LOGIN_OUTSIDE:
    case LOGIN_OPENING:
    case LOGIN_PASSWORD:
    case LOGIN_SASL_FIRST:
    case LOGIN_SASL_FINAL:
    case LOGIN_TOLD: return true;
    case LOGIN_HANDSHAKE: return !l->job;
    default: return false;
    }
}

/* One message of what is there, if it is whole.  False: more bytes are needed, or nothing more is read. */
static bool take_message(struct relay *r, struct login *l) {
    struct bytes *there = &l->client->io.stash;
    const unsigned char *p = there->data + there->start;
    uint32_t n = bytes_pending(there), most = proof_longest(l);
    if (n < 5) return false;
    uint32_t length = load_be32(p + 1);
    if (length < 4 || length > most + 4) {
        char text[64];
        snprintf(text, sizeof text, "bad packet header: '%02x%08x'", p[0], length);
        login_refuse(r, l, PROTOCOL_VIOLATION, text, NULL);
        return true;
    }
    if (n < length + 1) return false;
    unsigned char *body = malloc(length - 4 + 1); /* what is asked next may read on into the stash */
    if (!body) {
        login_without_memory(r, l);
        return true;
    }
    memcpy(body, p + 5, length - 4);
    there->start += length + 1;
    proof_message(r, l, p[0], body, length - 4);
    crypto_wipe(body, length - 4);
    free(body);
    return true;
}

/* True: something was used. */
static bool use(struct relay *r, struct login *l) {
    struct bytes *there = &l->client->io.stash;
    if (!bytes_pending(there)) {
        bytes_free(there);
        return false;
    }
    switch (l->state) {
    case LOGIN_OUTSIDE: login_queue_join(r, l); return true;
    case LOGIN_OPENING: return opening_packet(r, l);
    case LOGIN_HANDSHAKE: opening_handshake(r, l); return true;
    case LOGIN_TOLD: bytes_free(there); return true;
    default: return take_message(r, l);
    }
}

/* False: nothing more is there. */
static bool read_on(struct relay *r, struct login *l) {
    struct conn *io = &l->client->io;
    uint32_t before = bytes_pending(&io->stash);
    if (!io->readable || io->eof) return false;
    uint32_t most = l->state == LOGIN_OUTSIDE ? LOGIN_FIRST_BYTES : LOGIN_READ_BYTES;
    if (!conn_read_on(&r->loop, io, most)) {
        login_without_memory(r, l);
        return false;
    }
    if (bytes_pending(&io->stash) == before) return io->readable && !io->eof;
    if (l->waits_since) l->waited_us += r->loop.now - l->waits_since;
    l->waits_since = 0;
    l->heard_at = r->loop.now;
    return true;
}

/* It may do so for long: whether it is there still is looked at. */
static bool waits_for_server(const struct login *l) {
    return l->state == LOGIN_WELCOME || (l->state == LOGIN_ASKING && l->question == ASKS_SECRET);
}

static void run(struct relay *r, struct login *l) {
    struct client *c = l->client;
    for (int round = 0; round < 2 * ROUNDS; round++) {
        if (c->login != l || !reads(l)) break;
        if (use(r, l)) continue;
        if (c->login != l || !reads(l)) break;
        if (read_on(r, l)) continue;
        if (c->login != l || !reads(l)) break;
        bool ends = c->io.eof || c->io.broken;
        if (ends && l->state == LOGIN_OUTSIDE) { /* it has its turn, and ends then */
            login_queue_join(r, l);
            return;
        }
        if (ends) {
            if (l->state == LOGIN_HANDSHAKE) opening_failed(r, l, "unexpected eof");
            else login_hang_up(r, l);
            return;
        }
        if (!l->waits_since) l->waits_since = r->loop.now;
        return;
    }
    if (c->login != l) return;
    if (reads(l)) conn_ready(&r->loop, &c->io);
    else if (c->io.hangup && waits_for_server(l)) login_hang_up(r, l);
}

/* A connection of a login is ready: it may be read.  What it is told in one turn goes out in one piece. */
void login_run(struct relay *r, struct login *l) {
    struct client *c = l->client;
    conn_flush(&r->loop, &c->io);
    if (l->state == LOGIN_OUTSIDE && (r->t->h->suspended || !r->logins->policy)) {
        r->logins->suspended = true; /* logins_tick() looks again */
        return;
    }
    if (c->io.gap) { /* nothing reaches it any more */
        login_hang_up(r, l);
        return;
    }
    c->io.corked = true;
    run(r, l);
    if (c->login == l) conn_uncork(&r->loop, &c->io);
}

/* It has its turn. */
void login_begin(struct relay *r, struct login *l) {
    l->policy = policy_keep(r->logins->policy);
    login_move(l, LOGIN_OPENING);
    opening_begin(r, l);
    conn_ready(&r->loop, &l->client->io);
}
