/* Rows of SHOW CLIENTS, SHOW SOCKETS and SHOW ACTIVE_SOCKETS: one per client, of all workers.
 *
 * The columns are those of admin/show_sockets.py, in its order.  Nothing is locked: each row is copied, and
 * left out when it is another client's by then.
 */
#define _GNU_SOURCE
#include "relay/shown_clients.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io/buffer.h"
#include "io/utf8.h"
#include "session/pin.h"
#include "tables/clock.h"
#include "tables/layout.h"
#include "tables/states.h"
#include "tables/waiting.h"

#define ROW_BYTES 4096 /* of one row at most: its texts with each byte escaped, and 30 numbers */
#define MINUTES 256    /* whose texts are kept */
#define MINUTE_BYTES 64

/* What is listed, and by what it is sorted. */
struct entry {
    uint64_t id;
    int32_t row, database, user;
    uint8_t rank;
};

/* Times are printed in local time; what a minute looks like is found out once. */
struct minute {
    int64_t number;
    char head[MINUTE_BYTES], zone[MINUTE_BYTES];
};

struct writer {
    const struct tables *t;
    uint64_t now;
    double wall;
    unsigned char *at; /* in the row being written */
    uint16_t cells;
    struct minute minutes[MINUTES];
};

/* ---- which, in which order ------------------------------------------------------------------- */

static int by_name(const char *a, const char *b) {
    int order = strcmp(a, b);
    return order < 0 ? -1 : order > 0;
}

static const char *database_of(const struct tables *t, int32_t row) {
    return row >= 0 ? t->databases[row].name : "";
}

static const char *user_of(const struct tables *t, int32_t row) { return row >= 0 ? t->users[row].name : ""; }

/* By pool, then by state, then by age, as PgBouncer keeps its lists. */
static int by_pool(const void *left, const void *right, void *context) {
    const struct entry *a = left, *b = right;
    const struct tables *t = context;
    int order = 0;
    if (a->database != b->database) order = by_name(database_of(t, a->database), database_of(t, b->database));
    if (!order && a->user != b->user) order = by_name(user_of(t, a->user), user_of(t, b->user));
    if (!order) order = (a->rank > b->rank) - (a->rank < b->rank);
    return order ? order : (a->id > b->id) - (a->id < b->id);
}

static bool is_listed(const struct client_row *c, enum shown_as as) {
    if (c->flags & CF_INTERNAL) return false;
    switch (c->state) {
    case CL_LOGIN: return as != SHOWN_CLIENTS;
    case CL_IDLE: return as != SHOWN_ACTIVE_SOCKETS;
    case CL_WAITING:
    case CL_ACTIVE: return true;
    default: return false;
    }
}

static uint8_t rank_of(uint8_t state, enum shown_as as) {
    static const uint8_t ranks[CL_STATES] = {
        [CL_IDLE] = 0, [CL_ACTIVE] = 1, [CL_WAITING] = 2, [CL_LOGIN] = 3};
    return as != SHOWN_CLIENTS && state == CL_IDLE ? ranks[CL_ACTIVE] : ranks[state];
}

/* NULL: no memory. */
static struct entry *listed(const struct tables *t, enum shown_as as, int32_t *count) {
    int32_t high = t->h->clients_high;
    struct entry *entries = malloc(((size_t)high + 1) * sizeof *entries);
    *count = 0;
    for (int32_t i = 0; entries && i < high; i++) {
        const struct client_row *c = &t->clients[i];
        if (!is_listed(c, as)) continue;
        entries[(*count)++] = (struct entry){c->id, i, c->database, c->user, rank_of(c->state, as)};
    }
    if (entries) qsort_r(entries, (size_t)*count, sizeof *entries, by_pool, (void *)t);
    return entries;
}

/* ---- cells ----------------------------------------------------------------------------------- */

static void put_cell(struct writer *w, const char *text, uint32_t n) {
    store_be32(w->at, n);
    memcpy(w->at + 4, text, n);
    w->at += 4 + n;
    w->cells++;
}

static void put_word(struct writer *w, const char *text) { put_cell(w, text, (uint32_t)strlen(text)); }

static void put_null(struct writer *w) {
    store_be32(w->at, UINT32_MAX);
    w->at += 4;
    w->cells++;
}

static void put_number(struct writer *w, uint64_t number) {
    char digits[20], *first = digits + sizeof digits;
    do *--first = (char)('0' + number % 10);
    while (number /= 10);
    put_cell(w, first, (uint32_t)(digits + sizeof digits - first));
}

/* A column of four bytes shows what has outgrown it as the largest. */
static void put_int4(struct writer *w, uint64_t number) {
    put_number(w, number < INT32_MAX ? number : INT32_MAX);
}

/* A reference into a table of ours; -1 refers to nothing. */
static void put_reference(struct writer *w, int32_t number) {
    if (number < 0) put_null(w);
    else put_number(w, (uint64_t)number);
}

/* PgBouncer prints addresses, which tools only compare. */
static void put_pointer(struct writer *w, uint64_t id) {
    char text[24] = "";
    if (id) snprintf(text, sizeof text, "0x%llx", (unsigned long long)id);
    put_word(w, text);
}

/* Clients are told that this is UTF-8, whatever names others came with: other bytes are escaped. */
static void put_text(struct writer *w, const char *text, size_t space) {
    const unsigned char *p = (const unsigned char *)text;
    uint32_t n = (uint32_t)strnlen(text, space);
    unsigned char *out = w->at + 4;
    for (uint32_t i = 0, size, code; i < n; i += size) {
        size = utf8_character(p + i, n - i, &code);
        if (size) {
            memcpy(out, p + i, size);
            out += size;
        } else {
            static const char digits[] = "0123456789abcdef";
            memcpy(out, (char[]){'\\', 'x', digits[p[i] >> 4], digits[p[i] & 15]}, 4);
            out += 4;
            size = 1;
        }
    }
    store_be32(w->at, (uint32_t)(out - w->at - 4));
    w->at = out;
    w->cells++;
}

/* A moment as PgBouncer prints it: local time with the zone's name. */
static void put_time(struct writer *w, double seconds) {
    char text[2 * MINUTE_BYTES + 4];
    int64_t whole = (int64_t)seconds, number = whole / 60;
    struct minute *m = &w->minutes[number % MINUTES];
    if (m->number != number) {
        time_t moment = (time_t)(number * 60);
        struct tm tm;
        localtime_r(&moment, &tm);
        strftime(m->head, sizeof m->head, "%Y-%m-%d %H:%M", &tm);
        strftime(m->zone, sizeof m->zone, "%Z", &tm);
        m->number = number;
    }
    int n = snprintf(text, sizeof text, "%s:%02d %s", m->head, (int)(whole % 60), m->zone);
    put_cell(w, text, (uint32_t)n);
}

/* A stamp of the monotonic clock by the one on the wall. */
static double wall_of(const struct writer *w, uint64_t stamp) {
    return w->now > stamp ? w->wall - (double)(w->now - stamp) / 1e6 : w->wall;
}

/* ---- a row ------------------------------------------------------------------------------------ */

static const char *state_of(const struct client_row *c, enum shown_as as) {
    bool served = c->state == CL_ACTIVE && c->slot != NO_ROW;
    if (as == SHOWN_CLIENTS) /* a console session has no server, so it is never more than idle */
        return c->state == CL_WAITING ? "waiting" : served ? "active" : "idle";
    return c->state == CL_WAITING ? "cl_waiting" : c->state == CL_LOGIN ? "cl_login" : "cl_active";
}

static void put_place(struct writer *w, const struct client_row *c) {
    bool is_unix = c->flags & CF_UNIX;
    if (is_unix) put_word(w, "unix");
    else put_text(w, c->where.addr, sizeof c->where.addr);
    put_int4(w, (uint64_t)c->where.port);
    if (is_unix) put_word(w, "unix");
    else put_text(w, c->where.local_addr, sizeof c->where.local_addr);
    put_int4(w, (uint64_t)c->where.local_port);
}

/* The process behind a client on a unix socket, whose address is `unix(4711)`. */
static void put_process(struct writer *w, const struct client_row *c) {
    int pid = 0;
    if (c->flags & CF_UNIX && sscanf(c->where.addr, "unix(%d)", &pid) != 1) pid = 0;
    put_int4(w, pid > 0 ? (uint64_t)pid : 0);
}

static void put_times(struct writer *w, const struct client_row *c) {
    uint64_t request = c->state == CL_WAITING ? c->wait_start : c->request_start;
    uint64_t waits = c->state == CL_WAITING && w->now > c->wait_start ? w->now - c->wait_start : 0;
    put_time(w, c->connect_time);
    put_time(w, request ? wall_of(w, request) : c->connect_time);
    put_int4(w, waits / 1000000);
    put_number(w, waits % 1000000);
}

static void put_pin(struct writer *w, const struct client_row *c) {
    char reasons[128];
    if (c->pinned) {
        put_word(w, pin_reasons(c->pinned, reasons, sizeof reasons));
        put_time(w, wall_of(w, c->pinned_at));
    } else {
        put_null(w);
        put_null(w);
    }
}

static void put_moment(struct writer *w, uint64_t stamp) {
    if (stamp) put_time(w, wall_of(w, stamp));
    else put_null(w);
}

/* What it does, finer than PgBouncer's states, and since when; its transaction and its query. */
static void put_activity(struct writer *w, const struct client_row *c) {
    uint64_t since;
    bool served = c->state == CL_ACTIVE;
    put_word(w, waiting_activity_name(waiting_activity(c, &since)));
    put_moment(w, since);
    put_moment(w, served ? c->xact_start : 0);
    put_moment(w, served ? c->request_start : 0);
}

/* The cells of a row, up to `id` PgBouncer's. */
static void put_client(struct writer *w, const struct client_row *c, enum shown_as as, bool ours) {
    static const char *const replications[] = {"none", "logical", "physical"};
    const struct tables *t = w->t;
    const char *user = user_of(t, c->user), *database = database_of(t, c->database);
    int32_t slot = c->state == CL_ACTIVE ? c->slot : NO_ROW;
    put_word(w, "C");
    put_text(w, *user ? user : "(nouser)", USER_NAME_BYTES);
    put_text(w, *database ? database : "(nodb)", DATABASE_NAME_BYTES);
    put_word(w, replications[c->replication]);
    put_word(w, state_of(c, as));
    put_place(w, c);
    put_times(w, c);
    put_number(w, c->orders & ORDER_KILL ? 1 : 0);
    put_pointer(w, c->id);
    put_pointer(w, slot >= 0 ? t->slots[slot].id : 0);
    put_process(w, c);
    put_text(w, c->tls, sizeof c->tls);
    put_text(w, c->application_name, sizeof c->application_name);
    put_int4(w, (uint64_t)c->prepared_statements);
    put_int4(w, c->id);
    for (int i = 0; i < 7 && as != SHOWN_CLIENTS; i++)
        put_number(w, 0); /* there are no buffers to speak of */
    if (!ours) return;
    put_reference(w, c->worker);
    put_reference(w, slot);
    if (as != SHOWN_CLIENTS) return;
    put_pin(w, c);
    put_number(w, c->memory);
    put_activity(w, c);
}

static bool space_for_row(struct shown *out) {
    if (out->space - out->count >= ROW_BYTES) return true;
    uint64_t space = 2 * out->space + 64 * ROW_BYTES;
    unsigned char *more = realloc(out->bytes, space);
    if (!more) {
        out->starved = true;
        return false;
    }
    out->bytes = more;
    out->space = space;
    return true;
}

void shown_clients(const struct tables *t, enum shown_as as, bool ours, uint64_t now, struct shown *out) {
    int32_t count;
    *out = (struct shown){0};
    struct entry *entries = listed(t, as, &count);
    struct writer *w = calloc(1, sizeof *w);
    out->starved = !entries || !w;
    if (w) {
        w->t = t;
        w->now = now;
        w->wall = clock_wall();
    }
    for (int32_t i = 0; !out->starved && i < count && space_for_row(out); i++) {
        struct client_row c;
        unsigned char *row = out->bytes + out->count;
        memcpy(&c, &t->clients[entries[i].row], sizeof c);
        if (c.id != entries[i].id || !is_listed(&c, as)) continue;
        row[0] = 'D';
        w->at = row + 7;
        w->cells = 0;
        put_client(w, &c, as, ours);
        store_be32(row + 1, (uint32_t)(w->at - row - 1));
        row[5] = (unsigned char)(w->cells >> 8);
        row[6] = (unsigned char)w->cells;
        out->count = (uint64_t)(w->at - out->bytes);
        out->rows++;
    }
    free(entries);
    free(w);
}
