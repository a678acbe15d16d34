/* Lines of the log that the relay's thread makes, in the format of pooler/log.py, which writes them.
 *
 * They wait in a batch of bounded size.  The hub is woken at once for a warning or an error, for others when
 * the oldest has waited LOG_WAIT_US or there are many; whatever else wakes it, it takes them before it looks
 * at events.  Where the batch is full, lines are lost, and counted.
 */
#ifndef POOLER_RELAY_LOG_H
#define POOLER_RELAY_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "tables/layout.h"

struct relay;

#define LOG_LINE_BYTES 4096    /* LINE_BYTES of pooler/log.py */
#define LOG_BATCH_BYTES 262144 /* unread lines: so many bytes, */
#define LOG_BATCH_LINES 4096   /* and so many of them */

#define LOG_PLACE_BYTES (ADDRESS_BYTES + 16)
#define LOG_NAME_BYTES 256 /* of each name in a line, at most */
#define LOG_WHO_BYTES (2 * LOG_NAME_BYTES + LOG_PLACE_BYTES + 32)

/* LEVELS of pooler/log.py. */
enum log_level { LEVEL_ERROR, LEVEL_WARNING, LEVEL_LOG, LEVEL_DEBUG };

/* One line: its bytes with the newline, those before its text, its level (RECORD of pooler/log.py). */
struct log_record { uint16_t bytes, head_bytes, level; };

struct log_batch {
    uint32_t bytes, count;
    uint32_t lost; /* lines behind the last one there */
    struct log_record records[LOG_BATCH_LINES];
    char lines[LOG_BATCH_BYTES];
};

/* NULL: no memory. */
struct relay_log *log_new(void);
/* Any thread: a text as it is shown on its line, as far as there is space; how many bytes. */
uint32_t log_escape(char *out, uint32_t space, const char *text);

/* The relay's thread alone. */
void relay_log(struct relay *r, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same; `who` (may be NULL) stands before the text: a client or server, by log_who(). */
void log_of(struct relay *r, enum log_level level, const char *who, const char *format, va_list arguments);
/* An address as the log writes it; of a client's unix socket it has the process: unix(4711):6432. */
void log_place(char out[LOG_PLACE_BYTES], const struct client_row *row);
/* `C-17: database/user@place`. */
void log_who(char out[LOG_WHO_BYTES], char kind, uint64_t id, const char *database, const char *user,
             const char *place);
void log_client_closing(struct relay *r, const struct client_row *row, const char *reason, bool told);
void log_server_closing(struct relay *r, const struct slot_row *row, const char *reason);
/* How long the loop may sleep, of `pause_ms`; and what is due behind it. */
int log_pause(const struct relay *r, int pause_ms);
void log_look(struct relay *r);

/* The hub alone: what there is since, good until the next call. */
const struct log_batch *log_take(struct relay *r);
/* Under r->lock: the bell has to stay as it is, for lines that were not taken yet. */
bool log_has_rung(const struct relay *r);

#endif
