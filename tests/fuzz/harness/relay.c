/* The relay between clients and servers that the input plays: framing, the queue of requests, prepared
 * statements, who gets which server.  Clients speak well or send any bytes; servers answer as PostgreSQL
 * does, as late as the input likes, or lie. While no server has lied, a client that speaks well hears its own
 * rows alone, and no more ReadyForQuery than it is owed. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "claim.h"
#include "io/buffer.h"
#include "relay/events.h"
#include "relay/relay.h"
#include "small_postgres.h"
#include "tables/clients.h"
#include "tables/clock.h"
#include "tables/layout.h"
#include "tables/slots.h"
#include "tables/states.h"
#include "world.h"

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
static struct player players[CLIENTS];
static struct small_postgres servers[SERVERS];
static bool lied;

static void open_world(void) {
    const struct world_shape shape = {
        .clients = CLIENTS + 1,
        .slots = SERVERS,
        .pool_size = 2,
        .user = "u",
        .tracked = {"client_encoding", "TimeZone", "standard_conforming_strings"}};
    relay = world_open(&shape);
    relay->options.max_prepared_statements = 4;
    for (int i = 0; i < CLIENTS; i++) players[i].fd = -1;
    for (int i = 0; i < SERVERS; i++) servers[i].fd = -1;
}

static const char VALUES[] = "UTF8\0UTC\0on";

/* With the values of its session. */
static void hand_over(enum command_type type, int32_t row, int fd, uint32_t generation, uint64_t id) {
    struct command *k = world_command(type, row, fd, sizeof VALUES);
    k->generation = generation;
    k->id = id;
    memcpy(k->data, VALUES, sizeof VALUES);
    world_tell(relay, k);
}

static void join(struct player *me, bool wild) {
    int ends[2];
    int32_t row = client_new(relay->t, 0, relay->loop.now);
    if (row == NO_ROW) return;
    int32_t database = relay->t->pools[0].database;
    claim(client_login(relay->t, row, database, 0, 0, 0, false) == LOGIN_OK, "no login");
    world_pair(ends);
    *me = (struct player){.fd = ends[0], .row = row, .wild = wild, .owed = 1};
    hand_over(COMMAND_CLIENT, row, ends[1], 0, 1);
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
        world_refuse_dial(relay, slot);
        return;
    }
    world_pair(ends);
    struct slot_row *row = &relay->t->slots[slot];
    small_postgres_open(p, ends[0], slot, row->generation);
    slot_flag(relay->t, slot, SF_DIALED);
    row->connected_at = row->used_at = relay->loop.now;
    hand_over(COMMAND_SERVER, slot, ends[1], p->generation, 0);
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
    world_turn(relay, clock_us());
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
    for (int i = 0; i < TURNS_MAX && !world_is_empty(relay); i++) {
        rest(1);
        for (int s = 0; s < SERVERS; s++) small_postgres_close(&servers[s]);
        relay->t->pools[0].retry_at = 0;
    }
    claim(world_is_empty(relay), "a client or a server is left");
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
