/* What the features (catalog, statements, session, notify) may use of the relay.
 *
 * They lie below the relay and include no other header of it.  The structures are there to be read; of the
 * functions of the relay they call those that are declared here, and no others (tests/test_tidy.py).
 */
#ifndef POOLER_RELAY_INTERNAL_H
#define POOLER_RELAY_INTERNAL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "relay/client.h"
#include "relay/commands.h"
#include "relay/events.h"
#include "relay/inbox.h"
#include "relay/internal_table.h"
#include "relay/log.h"
#include "relay/relay.h"
#include "relay/server.h"
#include "session/settings.h"

struct counters;
struct outcome;

#define INTERNAL_QUERY_BYTES (SETTINGS_BYTES * 2 + 32768)

/* cancel_guard.c */
bool guard_take(struct relay *r, struct server *s);

/* client_enter.c */
void client_enter(struct relay *r, const struct newcomer *n);

/* client.c */
void client_settings(struct relay *r, struct client *c, struct settings *s);
void client_ready(struct relay *r, struct client *c, uint8_t status);
void client_close(struct relay *r, struct client *c, const char *sqlstate, const char *text,
                  const char *reason);
void client_close_telling(struct relay *r, struct client *c, const char *sqlstate, const char *text,
                          const char *detail, const char *reason);

/* client_framing.c */
uint32_t client_feed(struct relay *r, struct client *c, const unsigned char *p, uint32_t n);

/* client_state.c */
void client_move(struct client *c, enum client_relay_state to);
void client_hold(struct client *c, enum held_for why);
void client_parted(struct client *c);

/* client_memory.c */
uint64_t memory_count(struct relay *r, struct client *c);
bool memory_within(struct relay *r, struct client *c, uint64_t more);
void client_without_memory(struct relay *r, struct client *c);
void server_without_memory(struct relay *r, struct server *s);
void memory_refuse(struct relay *r, struct client *c);

/* counters.c */
struct counters *counters_of(struct relay *r, int32_t pool);

/* events.c */
void relay_emit(struct relay *r, const struct event *e);

/* internal_requests.c */
void internal_begin(struct relay *r, struct server *s, enum internal_request what);
void internal_send(struct relay *r, struct server *s, enum internal_request what, const char *text);

/* log.c */
void relay_log(struct relay *r, enum log_level level, const char *format, ...);
void log_of(struct relay *r, enum log_level level, const char *who, const char *format, va_list arguments);
void log_place(char out[LOG_PLACE_BYTES], const struct client_row *row);
void log_who(char out[LOG_WHO_BYTES], char kind, uint64_t id, const char *database, const char *user,
             const char *place);

/* orders.c */
void relay_apply(struct relay *r, struct outcome *out);

/* server.c */
struct server *server_of(struct relay *r, int32_t slot);

/* server_close.c */
void server_close(struct relay *r, struct server *s, bool busy, const char *reason);

/* server_ready.c */
bool server_skip(struct relay *r, struct server *s);

/* server_state.c */
void server_state_requested(struct server *s);
void server_state_used(struct server *s);
void server_state_sent(struct server *s);
void server_state_asked(struct server *s);
void server_state_greeted(struct server *s);
void server_state_ready(struct server *s, bool over);

/* server_release.c */
bool server_in_step(const struct server *s);
bool server_in_message(const struct server *s);

#endif
