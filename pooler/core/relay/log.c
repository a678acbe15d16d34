/* Lines of the log that the relay's thread makes. */
#define _GNU_SOURCE
#include "relay/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io/utf8.h"
#include "relay/internal.h"
#include "relay/relay.h"
#include "tables/layout.h"
#include "tables/states.h"

#define LOG_WAIT_US 10000    /* how long a line may wait that nobody has to act on */
#define LOG_WAKE_BYTES 32768 /* or that so much is there */
#define ZONE_BYTES 32
#define HEAD_BYTES 96 /* 2024-01-31 23:59:59.999 zone [pid] WARNING, at most */
#define LEVELS 4

static const char *const LEVEL_NAMES[LEVELS] = {
    [LEVEL_ERROR] = "ERROR", [LEVEL_WARNING] = "WARNING", [LEVEL_LOG] = "LOG", [LEVEL_DEBUG] = "DEBUG"};

struct relay_log {
    /* guarded by r->lock */
    struct log_batch *filling;
    bool rung; /* the hub was told of what is there */
    /* the hub's */
    struct log_batch *taken;
    /* the relay's thread's */
    uint64_t waiting_since; /* the hub may not have been told of lines since then; 0: it was */
    time_t second;
    char stamp[24];                  /* of that second, up to its milliseconds */
    char behind[LEVELS][HEAD_BYTES]; /* what follows those, by level */
};

struct relay_log *log_new(void) {
    struct relay_log *log = calloc(1, sizeof *log);
    if (!log) return NULL;
    log->filling = calloc(1, sizeof *log->filling);
    log->taken = calloc(1, sizeof *log->taken);
    log->second = -1;
    if (log->filling && log->taken) return log;
    free(log->filling);
    free(log->taken);
    free(log);
    return NULL;
}

/* ---- one line --------------------------------------------------------------------------------- */

/* As _shown() of pooler/log.py: nothing in a text looks like another line. */
uint32_t log_escape(char *out, uint32_t space, const char *text) {
    const unsigned char *p = (const unsigned char *)text;
    uint32_t used = 0;
    while (*p && used < space) {
        char shown[8];
        uint32_t code, n = utf8_character(p, UTF8_BYTES_MAX, &code), bytes = n;
        if (!n) bytes = (uint32_t)snprintf(shown, sizeof shown, "\\x%02x", *p);
        else if (code < 0x20 || (code >= 0x7f && code < 0xa0))
            bytes = (uint32_t)snprintf(shown, sizeof shown, "\\x%02x", code & 0xff);
        else if (code == 0x2028 || code == 0x2029)
            bytes = (uint32_t)snprintf(shown, sizeof shown, "\\u%04x", code & 0xffff);
        else memcpy(shown, p, n);
        p += n ? n : 1;
        if (bytes > space - used) bytes = space - used;
        memcpy(out + used, shown, bytes);
        used += bytes;
    }
    return used;
}

/* Whether a text is shown as it is: all of it is ASCII from the space to `~`, as nearly always.  Eight bytes
 * at a time: subtracting or adding brings about the high bit where a byte is not. */
static bool is_plain(const char *text, uint32_t n) {
    const uint64_t each = 0x0101010101010101u;
    uint64_t other = 0, eight = each * ' ';
    for (; n >= sizeof eight; text += sizeof eight, n -= (uint32_t)sizeof eight) {
        memcpy(&eight, text, sizeof eight);
        other |= eight | (eight - each * ' ') | (eight + each);
    }
    eight = each * ' ';
    memcpy(&eight, text, n);
    other |= eight | (eight - each * ' ') | (eight + each);
    return !(other & each * 0x80);
}

/* What all lines of a second have in common. */
static void begin_second(struct relay_log *log, time_t second) {
    struct tm local;
    char zone[ZONE_BYTES];
    localtime_r(&second, &local);
    if (!strftime(log->stamp, sizeof log->stamp, "%Y-%m-%d %H:%M:%S.", &local)) log->stamp[0] = 0;
    if (!strftime(zone, sizeof zone, "%Z", &local)) zone[0] = 0;
    for (int i = 0; i < LEVELS; i++)
        snprintf(log->behind[i], HEAD_BYTES, " %s [%d] %s ", zone, (int)getpid(), LEVEL_NAMES[i]);
    log->second = second;
}

/* The beginning of a line, without a NUL; `out` has HEAD_BYTES. */
static uint32_t put_head(struct relay_log *log, char *out, enum log_level level) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != log->second) begin_second(log, now.tv_sec);
    uint32_t ms = (uint32_t)(now.tv_nsec / 1000000);
    char *at = stpcpy(out, log->stamp);
    *at++ = (char)('0' + ms / 100);
    *at++ = (char)('0' + ms / 10 % 10);
    *at++ = (char)('0' + ms % 10);
    return (uint32_t)(stpcpy(at, log->behind[level]) - out);
}

/* ---- the batch -------------------------------------------------------------------------------- */

static void ring(struct relay *r) {
    const uint64_t one = 1;
    (void)!write(r->event_bell, &one, sizeof one);
}

/* Once a line is lost, so are all behind it, until the hub has taken those before it. */
static bool append(struct log_batch *batch, const char *line, const struct log_record *record) {
    bool full = batch->count == LOG_BATCH_LINES || record->bytes > LOG_BATCH_BYTES - batch->bytes;
    if (batch->lost || full) {
        batch->lost++;
        return false;
    }
    memcpy(batch->lines + batch->bytes, line, record->bytes);
    batch->bytes += record->bytes;
    batch->records[batch->count++] = *record;
    return true;
}

static void put_line(struct relay *r, enum log_level level, const char *line,
                     const struct log_record *record) {
    struct relay_log *log = r->log;
    pthread_mutex_lock(&r->lock);
    bool urgent = !append(log->filling, line, record) || level == LEVEL_ERROR || level == LEVEL_WARNING
        || log->filling->bytes >= LOG_WAKE_BYTES;
    bool wake = urgent && !log->rung;
    if (urgent) log->rung = true;
    pthread_mutex_unlock(&r->lock);
    if (urgent) log->waiting_since = 0;
    else if (!log->waiting_since) log->waiting_since = r->loop.now;
    if (wake) ring(r);
}

/* The text is formatted where it stands in its line, and again from a copy where something in it has to be
 * escaped. */
void log_of(struct relay *r, enum log_level level, const char *who, const char *format, va_list arguments) {
    char line[HEAD_BYTES + LOG_LINE_BYTES];
    if (level == LEVEL_DEBUG && !r->options.log_debug) return;
    uint32_t head = put_head(r->log, line, level), space = LOG_LINE_BYTES - 1 - head;
    char *text = line + head;
    uint32_t n = who ? (uint32_t)strnlen(who, LOG_WHO_BYTES) : 0;
    memcpy(text, who ? who : "", n);
    if (who) text[n++] = ' ';
    int more = vsnprintf(text + n, LOG_LINE_BYTES - n, format, arguments);
    if (more > 0) n = (uint32_t)more < LOG_LINE_BYTES - n ? n + (uint32_t)more : LOG_LINE_BYTES - 1;
    if (is_plain(text, n)) n = n < space ? n : space;
    else {
        char raw[LOG_LINE_BYTES];
        memcpy(raw, text, n);
        raw[n] = 0;
        n = log_escape(text, space, raw);
    }
    text[n] = '\n';
    put_line(r, level, line, &(struct log_record){(uint16_t)(head + n + 1), (uint16_t)head, (uint16_t)level});
}

void relay_log(struct relay *r, enum log_level level, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    log_of(r, level, NULL, format, arguments);
    va_end(arguments);
}

int log_pause(const struct relay *r, int pause_ms) {
    if (!r->log->waiting_since) return pause_ms;
    uint64_t due = r->log->waiting_since + LOG_WAIT_US;
    int left_ms = due > r->loop.now ? (int)((due - r->loop.now + 999) / 1000) : 0;
    return left_ms < pause_ms ? left_ms : pause_ms;
}

void log_look(struct relay *r) {
    struct relay_log *log = r->log;
    if (!log->waiting_since || r->loop.now < log->waiting_since + LOG_WAIT_US) return;
    pthread_mutex_lock(&r->lock);
    bool wake = log->filling->count && !log->rung; /* unless the hub has come by itself */
    if (wake) log->rung = true;
    pthread_mutex_unlock(&r->lock);
    log->waiting_since = 0;
    if (wake) ring(r);
}

const struct log_batch *log_take(struct relay *r) {
    struct relay_log *log = r->log;
    log->taken->bytes = log->taken->count = log->taken->lost = 0;
    pthread_mutex_lock(&r->lock);
    struct log_batch *full = log->filling;
    log->filling = log->taken;
    log->taken = full;
    log->rung = false;
    pthread_mutex_unlock(&r->lock);
    return full;
}

bool log_has_rung(const struct relay *r) { return r->log->rung; }

/* ---- what the relay says of its clients and servers -------------------------------------------- */

/* Both return the end of what they have written, where there is a NUL. */
static char *put_number(char *out, uint64_t number) {
    char digits[20], *first = digits + sizeof digits;
    do *--first = (char)('0' + number % 10);
    while (number /= 10);
    size_t n = (size_t)(digits + sizeof digits - first);
    memcpy(out, first, n);
    out[n] = 0;
    return out + n;
}

static char *put_text(char *out, const char *text, size_t space) {
    size_t n = strnlen(text, space - 1);
    memcpy(out, text, n);
    out[n] = 0;
    return out + n;
}

static void put_place(char out[LOG_PLACE_BYTES], const struct endpoint *where) {
    bool is_unix = strncmp(where->addr, "unix", 4) == 0;
    bool brackets = !is_unix && strchr(where->addr, ':');
    if (brackets) *out++ = '[';
    out = put_text(out, where->addr, sizeof where->addr);
    if (brackets) *out++ = ']';
    *out++ = ':';
    put_number(out, (uint32_t)where->port);
}

void log_place(char out[LOG_PLACE_BYTES], const struct client_row *row) { put_place(out, &row->where); }

void log_who(char out[LOG_WHO_BYTES], char kind, uint64_t id, const char *database, const char *user,
             const char *place) {
    *out++ = kind;
    *out++ = '-';
    out = put_text(put_number(out, id), ": ", 3);
    out = put_text(out, database, LOG_NAME_BYTES);
    *out++ = '/';
    out = put_text(out, user, LOG_NAME_BYTES);
    *out++ = '@';
    put_text(out, place, LOG_PLACE_BYTES);
}

/* Its name, its pool and where it is. */
struct who {
    char kind;
    uint64_t id, connected_at;
    int32_t pool;
    const struct endpoint *where;
};

static void say(struct relay *r, enum log_level level, const char *who, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void say(struct relay *r, enum log_level level, const char *who, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    log_of(r, level, who, format, arguments);
    va_end(arguments);
}

static void log_closing(struct relay *r, const struct who *who, const char *reason, bool told) {
    if (!r->options.log_disconnections && !(told && r->options.log_pooler_errors)) return;
    const struct pool_row *pool = &r->t->pools[who->pool];
    uint64_t age_us = r->loop.now > who->connected_at ? r->loop.now - who->connected_at : 0;
    char place[LOG_PLACE_BYTES], shown[LOG_WHO_BYTES];
    put_place(place, who->where);
    log_who(shown, who->kind, who->id, r->t->databases[pool->database].name, r->t->users[pool->user].name,
            place);
    if (r->options.log_disconnections)
        say(r, LEVEL_LOG, shown, "closing because: %s (age=%llus)", reason,
            (unsigned long long)(age_us / 1000000));
    if (told && r->options.log_pooler_errors) say(r, LEVEL_WARNING, shown, "pooler error: %s", reason);
}

/* Nobody hears of pooler's own clients. */
void log_client_closing(struct relay *r, const struct client_row *row, const char *reason, bool told) {
    const struct who who = {'C', row->id, row->connected_at, row->pool, &row->where};
    if (!(row->flags & CF_INTERNAL)) log_closing(r, &who, reason, told);
}

void log_server_closing(struct relay *r, const struct slot_row *row, const char *reason) {
    const struct who who = {'S', row->id, row->connected_at, row->pool, &row->where};
    log_closing(r, &who, reason, false);
}
