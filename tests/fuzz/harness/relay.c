/* The relay between clients and servers that the input plays: framing, the queue of requests, prepared
 * statements, who gets which server.  Clients speak well or send any bytes; servers answer as PostgreSQL
 * does, as late as the input likes, or lie. While no server has lied, a client that speaks well hears its own
 * rows alone, and no more ReadyForQuery than it is owed. */
#define _GNU_SOURCE
#include "../../../pooler/core/relay/loop.c" /* for its static functions: the loop's turn is played here */

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "catalog/read.h"
#include "io/buffer.h"
#include "relay/commands.h"
#include "relay/events.h"
#include "relay/loop.h"
#include "relay/relay.h"
#include "session/probe.h"
#include "small_postgres.h"
#include "tables/clients.h"
#include "tables/clock.h"
#include "tables/layout.h"
#include "tables/pool.h"
#include "tables/registry.h"
#include "tables/slots.h"
#include "tables/states.h"
#include "tables/tables.h"
#include "tables/workers.h"

#define CLIENTS 3
#define SERVERS 3
#define TURNS_MAX 64

struct player {
    int fd;
    int32_t row;
    bool wild;
    uint32_t owed, got, have;
    unsigned char input[1 << 16];
};

static struct relay *relay;
static struct tables *tables;
static int32_t pool;
static struct player players[CLIENTS];
static struct small_postgres servers[SERVERS];
static bool lied;

static void claim(bool right, const char *what) {
    if (right) return;
    fprintf(stderr, "broken: %s\n", what);
    abort();
}

static void open_world(void) {
    static const char *const tracked[] = {"client_encoding", "TimeZone", "standard_conforming_strings"};
    static const char *questions[QUESTIONS + CATALOG_TEXTS];
    const struct sizes sizes = {.workers = 1,
                                .slots = SERVERS,
                                .clients = CLIENTS + 1,
                                .databases = 2,
                                .users = 2,
                                .pools = 2,
                                .instances = 2};
    int box[2];
    for (int i = 0; i < QUESTIONS + CATALOG_TEXTS; i++) questions[i] = "SELECT 1";
    claim((tables = tables_create(&sizes)) != NULL, "no tables");
    memset(tables->h->statement_key, 7, sizeof tables->h->statement_key);
    claim(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, box) == 0, "no sockets");
    tables_lock(tables);
    int32_t database = tables_database(tables, "d", true), user = tables_user(tables, "u", true);
    pool = tables_pool_of_kind(tables, database, user, tables_instance(tables, "i", true), POOL_CLIENTS,
                               true);
    tables->pools[pool].limits = (struct pool_limits){
        .mode = MODE_TRANSACTION, .size = 2, .session_state = SESSION_OFF};
    tables_unlock(tables);
    worker_starting(tables, 0, getpid());
    const int boxes[2] = {box[1], box[1]};
    relay = relay_open(tables, 0, box[0], boxes, 2, tracked, 3, questions);
    claim(relay != NULL, "no relay");
    relay->options.max_prepared_statements = 4;
    for (int i = 0; i < CLIENTS; i++) players[i].fd = -1;
    for (int i = 0; i < SERVERS; i++) servers[i].fd = -1;
}

static void command(enum command_type type, int32_t a, int32_t b, uint32_t generation, uint64_t id,
                    const void *data, uint32_t bytes, uint32_t extra) {
    struct command *k = calloc(1, sizeof *k + bytes + extra);
    claim(k != NULL, "no memory");
    k->type = (uint8_t)type;
    k->a = a;
    k->b = b;
    k->generation = generation;
    k->id = id;
    k->data_bytes = bytes;
    k->extra_bytes = extra;
    if (bytes) memcpy(k->data, data, bytes);
    relay_command(relay, k);
}

static const char VALUES[] = "UTF8\0UTC\0on";

static void pair(int ends[2]) {
    claim(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0, "no pair");
}

static void join(struct player *me, bool wild) {
    int ends[2];
    int32_t row = client_new(tables, 0, relay->loop.now);
    if (row == NO_ROW) return;
    claim(client_login(tables, row, tables->pools[pool].database, 0, pool, 0, false) == LOGIN_OK, "no login");
    pair(ends);
    *me = (struct player){.fd = ends[0], .row = row, .wild = wild, .owed = 1};
    command(COMMAND_CLIENT, row, ends[1], 0, 1, VALUES, sizeof VALUES, 0);
}

static void leave(struct player *me) {
    if (me->fd >= 0) close(me->fd);
    me->fd = -1;
}

static void dial(int32_t slot) {
    int ends[2];
    struct small_postgres *p = NULL;
    for (int i = 0; i < SERVERS && !p; i++)
        if (servers[i].fd < 0) p = &servers[i];
    if (!p) { /* one that is closed here and not yet there */
        pool_begin_close(tables, slot, 0, false);
        command(COMMAND_FREED_SLOT, slot, 0, tables->slots[slot].generation, 0, NULL, 0, 0);
        return;
    }
    pair(ends);
    small_postgres_open(p, ends[0], slot, tables->slots[slot].generation);
    slot_flag(tables, slot, SF_DIALED);
    tables->slots[slot].connected_at = tables->slots[slot].used_at = relay->loop.now;
    command(COMMAND_SERVER, slot, ends[1], p->generation, 0, VALUES, sizeof VALUES, 0);
}

static void hear(struct player *me) {
    if (me->fd < 0) return;
    ssize_t n = recv(me->fd, me->input + me->have, sizeof me->input - me->have, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN)) leave(me);
    if (n <= 0) return;
    me->have += (uint32_t)n;
    uint32_t at = 0;
    while (me->have - at >= 5) {
        uint32_t length = load_be32(me->input + at + 1);
        bool judged = !lied && !me->wild;
        if (judged) claim(length >= 4 && length < sizeof me->input, "a length that no server has sent");
        if (length < 4 || length >= sizeof me->input) {
            me->have = 0;
            return;
        }
        if (me->have - at < length + 1) break;
        const unsigned char *p = me->input + at;
        if (p[0] == 'Z') me->got++;
        if (judged && p[0] == 'Z') claim(me->got <= me->owed, "an answer that was not asked for");
        if (judged && p[0] == 'D')
            claim(length > 14 && p[13] == (unsigned char)('a' + (me - players)), "the row of another client");
        at += length + 1;
    }
    memmove(me->input, me->input + at, me->have - at);
    me->have -= at;
}

static void events(void) {
    struct event found[16];
    int n = relay_events(relay, found, 16);
    for (int i = 0; i < n; i++)
        if (found[i].type == EVENT_DIAL) dial(found[i].a);
}

/* One round of the relay's loop, and what others do about it. */
static void turn(void) {
    struct epoll_event ready[EVENTS_PER_WAIT];
    int n = epoll_wait(relay->loop.epoll, ready, EVENTS_PER_WAIT, 0);
    relay->loop.now = clock_us();
    for (int i = 0; i < n; i++) note_events(relay, ready[i].data.ptr, ready[i].events);
    run_ready(relay);
    free_closed(relay);
    events();
    for (int i = 0; i < CLIENTS; i++) hear(&players[i]);
}

static void rest(int turns) {
    for (int i = 0; i < turns; i++) {
        turn();
        for (int s = 0; s < SERVERS; s++) small_postgres_read(&servers[s]);
    }
}

static void tell(struct player *me, char kind, const void *body, uint32_t n) {
    unsigned char message[256] = {(unsigned char)kind};
    store_be32(message + 1, n + 4);
    memcpy(message + 5, body, n);
    if (kind == 'Q' || kind == 'S' || kind == 'F') me->owed++;
    if (send(me->fd, message, n + 5, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)n + 5) leave(me);
}

/* A message of a client that speaks well; its rows are known by its letter. */
static void speak(struct player *me, uint8_t what) {
    static const char *const verbs[] = {"select", "begin",      "commit",   "fail",
                                        "copyin", "unparsable", "rollback", "select 2"};
    static const char *const names[] = {"", "s", "t", "u"};
    const char *verb = verbs[what >> 4 & 7], *name = names[what >> 4 & 3];
    char text[64], body[128];
    int n = snprintf(text, sizeof text, "/*%c*/ %s", (char)('a' + (me - players)), verb) + 1;
    switch (what & 15) {
    case 0:
    case 1: tell(me, 'Q', text, (uint32_t)n); return;
    case 2:
    case 3:
        n = snprintf(body, sizeof body, "%s%c%s%c%c%c", names[what >> 5 & 3], 0, text, 0, 0, 0);
        tell(me, 'P', body, (uint32_t)n);
        return;
    case 4:
    case 5:
        n = snprintf(body, sizeof body, "%c%s%c%c%c%c%c%c%c", 0, name, 0, 0, 0, 0, 0, 0, 0);
        tell(me, 'B', body, (uint32_t)n);
        return;
    case 6:
        n = snprintf(body, sizeof body, "S%s", name) + 1;
        tell(me, 'D', body, (uint32_t)n);
        return;
    case 7: tell(me, 'D', "P", 2); return;
    case 8:
    case 9: tell(me, 'E', "\0\0\0\0", 5); return;
    case 10:
        n = snprintf(body, sizeof body, "S%s", name) + 1;
        tell(me, 'C', body, (uint32_t)n);
        return;
    case 11:
    case 12: tell(me, 'S', "", 0); return;
    case 13: tell(me, 'H', "", 0); return;
    case 14: tell(me, what & 16 ? 'c' : 'd', "x", what & 16 ? 0 : 1); return;
    default: tell(me, what & 16 ? 'f' : 'X', "no", what & 16 ? 3 : 0); return;
    }
}

/* One step of the input; how many bytes of it were used. */
static size_t step(const unsigned char *p, size_t n) {
    struct player *me = &players[p[0] % CLIENTS];
    struct small_postgres *server = &servers[p[0] % SERVERS];
    uint8_t what = n > 1 ? p[1] : 0;
    size_t raw = n > 2 ? (p[1] < n - 2 ? p[1] : n - 2) : 0;
    switch (p[0] >> 4) {
    default:
        if (me->fd >= 0 && !me->wild) speak(me, what);
        return 2;
    case 8:
        for (int i = 0; i <= what % 8; i++) small_postgres_answer(server);
        return 2;
    case 9: rest(1 + what % 4); return 2;
    case 10:
        while (small_postgres_answer(server)) {}
        rest(2);
        return 1;
    case 11:
        if (me->fd < 0) join(me, what & 1);
        rest(2);
        return 2;
    case 12:
        if (what & 1) leave(me);
        else if (me->fd >= 0) shutdown(me->fd, SHUT_WR);
        return 2;
    case 13:
        if (what < 32) small_postgres_close(server);
        return 2;
    case 14:
        if (me->fd >= 0 && me->wild) (void)!send(me->fd, p + 2, raw, MSG_NOSIGNAL | MSG_DONTWAIT);
        return 2 + raw;
    case 15:
        if (server->fd >= 0) (void)!send(server->fd, p + 2, raw, MSG_NOSIGNAL | MSG_DONTWAIT);
        lied |= server->fd >= 0 && raw;
        return 2 + raw;
    }
}

static bool all_gone(void) {
    for (int i = 0; i <= CLIENTS; i++)
        if (tables->clients[i].state != CL_FREE) return false;
    for (int i = 0; i < SERVERS; i++)
        if (tables->slots[i].state != SL_FREE) return false;
    return true;
}

/* What is under way is answered, all leave, and nothing may be left. */
static void close_world(void) {
    for (int i = 0; i < 4; i++) {
        rest(2);
        for (int s = 0; s < SERVERS; s++)
            while (small_postgres_answer(&servers[s])) {}
    }
    rest(2);
    for (int i = 0; i < CLIENTS; i++) leave(&players[i]);
    for (int i = 0; i < 4; i++) rest(1);
    for (int i = 0; i < SERVERS; i++) small_postgres_close(&servers[i]);
    for (int i = 0; i < TURNS_MAX && !all_gone(); i++) {
        rest(1);
        for (int s = 0; s < SERVERS; s++) small_postgres_close(&servers[s]);
        tables->pools[pool].retry_at = 0;
    }
    claim(all_gone(), "a client or a server is left");
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    if (!relay) open_world();
    lied = false;
    for (size_t at = 0, used; at < size; at += used) {
        used = step(data + at, size - at);
        rest(1);
    }
    close_world();
    return 0;
}
