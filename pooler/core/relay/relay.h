/* The relay: moves the bytes of all queries of one worker, on a thread of its own, without Python.
 *
 * Theory.  Python logs clients and servers in and gives their descriptors to the relay (commands); the relay
 * tells Python what it cannot do itself (events: log in an accepted socket, open a server, send a cancel
 * request).  Everything in between happens here.  Commands and events cross between the two threads through
 * small locked lists with an eventfd each; every other structure belongs to the relay's thread alone.
 *
 * A client is read only when it has a server, or to find out that it wants one.  What was read and cannot be
 * used yet is its `stash` (a waiting client's first statement; a message cut in two).  What could not be
 * written is `out`, and while it is stuck its source is not read: nobody's memory grows by more than one
 * buffer because somebody else is slow.
 *
 * Edge-triggered epoll, one registration per descriptor for its life: `readable` remembers the edge until the
 * socket was read empty.  A connection with work left is on the ready list.
 */
#ifndef POOLER_RELAY_RELAY_H
#define POOLER_RELAY_RELAY_H

#include "catalog/read.h"
#include "io/request_queue.h"
#include "notify/subscribe.h"
#include "session/server_reset.h"
#include "session/session.h"
#include "session/settings.h"
#include "statements/replan.h"
#include "tables/tables.h"
#include "tls/bridge.h"

#define BUFFER_BYTES 65536        /* the one read buffer; also what a slow reader may have pending */
#define FIRST_READ_BYTES 8192     /* read from a client that has no server yet */
#define WHOLE_MESSAGE_BYTES 16384 /* messages that are looked into are read whole up to this size */
#define TRUSTED_BYTES 2048
#define TRIM_BYTES (1u << 20)       /* a read buffer that has grown beyond this is made small again */
#define WHOLE_BYTES_MAX (64u << 20) /* no message is kept whole beyond this */
#define AHEAD_MAX 16384    /* requests in flight on one server beyond which its client is not read on */
#define LOST_SERVERS_MAX 3 /* then the client is told, instead of trying for ever */
#define REFUSALS_MAX 32    /* the same for servers that others had before and that do not take its settings */
#define ROUNDS 8           /* reads of one connection before the others get their turn */
#define EVENT_TEXT_BYTES 200

/* Inbox datagrams: int32 kind, a, b and at most one descriptor (pooler/ipc/inbox.py). */
enum {
    INBOX_CLIENT = 1,
    INBOX_SERVER = 2,
    INBOX_CLOSED = 3,
    INBOX_NOTIFICATION = 4,
    INBOX_MARKER = 5,
    INBOX_LISTEN = 6
};
/* a notification of PostgreSQL has at most 8000 bytes of text and a channel name */
#define NOTIFICATION_MESSAGE_MAX 8192

enum conn_kind { KIND_CLIENT, KIND_SERVER, KIND_DOORBELL, KIND_INBOX, KIND_COMMAND };

struct bytes {
    unsigned char *data;
    uint32_t start, end, capacity;
};
#define BYTES_MAX (1u << 31) /* the longest message, and what may be pending beside it */

struct conn {
    uint8_t kind;
    bool readable, hangup, broken, eof, stuck, queued, dead, wants_out, armed;
    bool gap; /* there was no memory for something that is to be written: nothing is any more */
    int fd;
    uint32_t body_left;   /* of the message that is passing through */
    uint64_t stuck_since; /* nothing that is to be written went out since */
    struct bytes out, stash;
    struct tls *tls;     /* NULL: plain */
    bool read_wants_out; /* TLS has to write before it can be read on */
    struct conn *next_ready;
};

enum read_blocked {
    READ_BLOCKED_NOT,
    READ_BLOCKED_NAMES, /* it says a name that a pipeline on its way makes or closes */
    READ_BLOCKED_ALL,   /* what is to be sent first depends on the state of its transaction */
};

/* How a client that sends nothing more leaves, when all that it has sent is answered. */
/* FAULT: it has sent what is no message. */
enum leaving { LEAVING_NOT, LEAVING_TERMINATE, LEAVING_EOF, LEAVING_FAULT };

struct client {
    struct conn io;
    int32_t row;
    bool waiting;             /* on the pool's queue */
    bool dedicated;           /* its server is its own from login to end: nothing of theirs is looked after */
    uint32_t made_version;    /* of the schema, behind its last DDL; 0: it has made nothing */
    bool currval_later;       /* it asks for what its earlier transactions had from sequences */
    uint8_t sequence_lessons; /* pins for nextval so far that were of no use */
    uint64_t sequence_at;     /* slot and generation of the server where it last used sequences */
    uint8_t opaque_lessons;   /* pins for settings of unknown name */
    uint8_t lost_servers;     /* in a row that failed before they were sent anything of it, */
    uint8_t refusals;         /* and that did not take its settings */
    bool held;       /* it is too far ahead of its server, and is read again when that has caught up: */
    uint8_t leaving; /* enum leaving */
    unsigned char faulty[5]; /* the header of what it is closed for, LEAVING_FAULT */
    /* when the end of its stream was seen, while there was work for it; UINT64_MAX: long ago */
    uint64_t hangup_at;
    /* enum read_blocked: it is not read, for what it says depends on answers on their way */
    uint8_t read_blocked;
    bool drop_body; /* the message that is passing through is not for the server */
    /* what is left of a queued query that was canceled, or is behind an error */
    bool skip_to_sync, drop_next;
    /* enum sql_deeds: what its statements may be, where names are not looked after; the unnamed one */
    uint8_t named_deeds, unnamed_deeds;
    struct server *server;
    struct settings *settings, *startup; /* now; and those of its startup packet, to which RESET leads back */
    struct greeting *greeting; /* it waits for a server to accept the values of its startup packet, */
    /* bits of tracked parameters that are its own; that its startup packet has */
    uint32_t own_values, startup_values;
    uint32_t defaults_seen;             /* version of the pool's defaults that it was told of */
    struct greeting *unconfirmed;       /* or was let in before one has: the first that it gets is asked */
    struct names *names;                /* its prepared statements; NULL until the first */
    struct subscription *subscriptions; /* channels that are heard for it */
    struct bytes notifications;         /* notifications that came while it was not idle */
    uint32_t whole_bytes; /* of the message in the stash: not looked at before they are there; 0: none */
};

enum internal_request {
    INTERNAL_NONE,
    INTERNAL_SETTINGS,
    INTERNAL_SEQUENCES,
    INTERNAL_CHECK,
    INTERNAL_RESET,
    INTERNAL_ROLLBACK,
    INTERNAL_STEP,
    INTERNAL_RESTORE,
    INTERNAL_PROBE,
    INTERNAL_CATALOG,
    INTERNAL_LISTEN,
    INTERNAL_UNLISTEN,
    INTERNAL_NOTIFY,
    INTERNAL_DEFAULTS,
};
#define INTERNAL_QUERY_BYTES (SETTINGS_BYTES * 2 + 32768)

/* What a reset has told of the functions of its database. */
enum found { FOUND_NOTHING, FOUND_NO_ANSWER, FOUND_NEWS, FOUND_BEYOND };

/* What a client is greeted with: before and behind its ParameterStatus messages; then what it sent early. */
struct greeting {
    uint32_t head_bytes, tail_bytes, reports_bytes;
    unsigned char bytes[];
};

/* What a server is to be asked about a client's startup values; NULL: nothing any more. */
static inline struct greeting *greeting_asked(const struct client *c) {
    return c->greeting ? c->greeting : c->unconfirmed;
}

/* COPY ... FROM STDIN: the server reads CopyData; its end was sent. */
enum copy_state { COPY_NONE, COPY_READING, COPY_ENDING };

/* Texts of Parses in flight, oldest first; all zero for those without one. */
struct parsing {
    struct digest *ring;
    uint32_t head, count, room;
    uint32_t named; /* those with a text: the latest so many numbers of the slot's prepared_set */
    uint32_t ended; /* the oldest so many are in pipelines that a Sync has ended */
};

struct server {
    struct conn io;
    int32_t slot;
    uint32_t generation;
    struct client *client;
    uint8_t transaction; /* status byte of the last ReadyForQuery: I T E */
    uint8_t internal;    /* enum internal_request in flight */
    uint64_t internal_since;
    bool internal_failed, internal_blocks; /* the client's statement waits for our request's answer */
    bool guarded;                          /* as its row says: cancel_guard.c */
    bool asks_columns;                     /* that request is a Describe */
    uint8_t copy;                          /* enum copy_state */
    bool skip;                             /* after an error, skipping to Sync */
    bool unrecorded; /* it was sent a request that is not in the queue: its answers are good for nothing */
    /* it was sent messages of the extended protocol, and no Sync since; a Query ends nothing */
    bool pipeline_open;
    bool pipeline_runs;   /* an Execute is among them */
    bool pipeline_binds;  /* a Bind is */
    bool pipeline_ours;   /* an Execute of ours is among them */
    bool execute_open;    /* a Parse of ours for a Query there: what it fails with is the Query's answer */
    bool step_seen;       /* INTERNAL_STEP: what comes now answers that alone */
    bool step_skips;      /* it is behind a Sync of ours, and no Sync of its client was answered so far */
    uint8_t deeds;        /* enum sql_deeds: what its portals may be, and Queries on their way */
    uint32_t flushed;     /* number of the request that the last Flush of ours is behind */
    uint32_t copy_syncs;  /* Syncs that were sent while it reads CopyData */
    uint8_t copy_refused; /* letter of a message that its client goes on with among CopyData */
    uint32_t in_doubt;    /* Syncs that it may answer or not: copy.c */
    bool closing, shut;
    bool fatal_sent;    /* the server's own FATAL went to the client: no text of ours behind it */
    bool releasable;    /* ReadyForQuery said that it may be given back, nothing came since */
    bool fresh;         /* nothing of its client has been sent yet: the client can still get another server */
    bool first;         /* its client is the first that it has */
    bool unfit;         /* its client is about to say what only a server without a past takes */
    bool unnamed_noted; /* the unnamed statement that comes next was looked at when it was parsed */
    bool placing;       /* logged in, and not yet given to the pool */
    bool raw;   /* its descriptor is the encrypted connection, whose bridge died: good for its end only */
    bool dirty; /* must be cleaned before anybody gets it */
    uint8_t mode, session_state; /* those under which its client got it */
    uint8_t handover;            /* enum handover that is under way */
    uint8_t reset_step;          /* messages of its answer that have come */
    uint8_t found;               /* enum found: what that told so far */
    bool discards_plans;         /* the settings that are on their way to it end with that */
    bool ahead;                  /* the client's statement follows them without waiting */
    bool looks;                  /* it looks at all functions */
    bool dedicated;              /* its client's own (replication): closed when that leaves */
    struct session session;
    char internal_sqlstate[6], internal_text[EVENT_TEXT_BYTES]; /* of the error that our request met */
    bool internal_body; /* the message that is passing through answers a request of ours */
    bool altered;       /* DDL was seen whose transaction has not ended */
    /* numbers of requests that may be for a statement that cannot be parsed again */
    uint32_t refused_at, refused_count;
    uint32_t renamed_request; /* number of the request in whose text a name was replaced, */
    uint32_t renamed_at;      /* place in the last Query or Parse behind a name that was replaced, */
    int32_t renamed_by;       /* and by how much the text became longer */
    struct parsing parsing;
    struct digest parsed; /* the text of the last ParseComplete */
    uint32_t parameters;  /* hash of the last ParameterDescription that answered us */
    const char *reason;   /* of the closing, for the log */
    struct requests requests;
    struct replay replay; /* what its client sent since the last Sync */
};

/* What a client does to objects that all databases share. */
enum shared_ddl {
    DDL_BEGINS,    /* is about to do something to a database that idle servers may be in the way of */
    DDL_DATABASE,  /* has made or altered a database */
    DDL_ROLE,      /* has made or altered a role */
    DDL_ROLE_GONE, /* has dropped a role */
};

enum event_type {
    EVENT_ACCEPT = 1, /* a: descriptor, b: 1 for a unix socket */
    EVENT_DIAL,       /* a: slot */
    EVENT_CANCEL,     /* a: slot whose query is to be canceled because its client left, id: its generation */
    EVENT_LOGIN,      /* a: client row in its login, b: orders, id */
    EVENT_CLIENT_CLOSED, /* a: client row (already free), b: pool, id, age_us, text */
    EVENT_SERVER_CLOSED, /* a: slot (already free), b: pool, id, age_us, text */
    EVENT_WARNING,       /* text */
    EVENT_DATABASE,      /* a: pool of a client that does something to the database or role named `text`, to
                                    all roles if empty; b: an enum shared_ddl */
    /* a: database whose listening connection has work here, b: pool to open it for, or NOBODY */
    EVENT_LISTEN,
};

struct event {
    uint8_t type;
    int32_t a, b, database, user;
    uint64_t id, age_us;
    bool told; /* the client got an error message */
    int32_t port;
    char addr[ADDRESS_BYTES];
    char text[EVENT_TEXT_BYTES];
};

enum command_type {
    /* a: row, b: fd, generation: head of the greeting in bytes, token: its tail; data: settings values;
     * extra: greeting, bytes read after the login */
    COMMAND_CLIENT = 1,
    COMMAND_SERVER,     /* a: slot; b: fd, generation; data: settings values */
    COMMAND_DEDICATED,  /* a: client row, id, b: its fd; generation of the slot, token: slot and its fd; data:
                                    settings values; extra: bytes read behind the client's login */
    COMMAND_CLOSE_SLOT, /* a: slot, CLOSING and ours */
    COMMAND_FREED_SLOT, /* a: slot that was never dialed, or whose end was read by Python */
    COMMAND_KILL,       /* a: row, id, token; data: ErrorResponse bytes; extra: reason for the log */
    COMMAND_SEND,       /* a: row, id; data: bytes for the client (a notice) */
    COMMAND_RECLAIM,    /* finish the slots of dead workers */
    COMMAND_OPTIONS,    /* data: struct options */
    COMMAND_STOP,
};

struct options {
    uint64_t check_delay_us, answer_timeout_us, catalog_bytes, client_bytes;
    uint32_t max_packet_bytes, max_prepared_statements;
    bool reset_always, disable_pqexec, has_check, fast_close;
    char check_query[256], reset_query[1024];
    char trusted[TRUSTED_BYTES]; /* extensions: names with a NUL behind each, and an empty one */
};

struct command {
    struct command *next;
    uint8_t type;
    int32_t a, b;
    uint32_t generation;
    uint64_t id, token;
    struct tls *tls; /* COMMAND_CLIENT: of the connection, the relay's from now on; NULL: plain */
    uint32_t data_bytes, extra_bytes;
    unsigned char data[]; /* data, then extra */
};

struct relay {
    struct tables *t;
    int worker, epoll;
    struct conn doorbell, inbox, command_bell;
    int event_bell;
    const int *outboxes; /* send ends by worker; the last one is the master's */
    int outbox_count;
    struct client **clients; /* by row */
    struct server **servers; /* by slot */
    struct settings_store store;
    struct statement_store statements;
    uint64_t apart; /* counts statements that are not shared */
    struct words builtin;
    struct subscription **heard_by;  /* by channel row */
    uint32_t markers_sent;           /* to the listening connections, by their numbers */
    bool hangups;                    /* clients may have hung up that are still served */
    bool listen_work;                /* servers wait for channels, or clients have news */
    struct bytes undelivered;        /* of listening connections, not yet delivered */
    bool undelivered_lost;           /* there was no memory for some of it */
    struct accepted **accepted;      /* by pool row */
    struct profile **profiles;       /* by database row */
    struct catalog_reader **readers; /* by database row; NULL: this worker has not read its catalogs */
    bool catalog_work;               /* what was read waits for its effects to be computed */
    uint32_t profile_serial;
    uint32_t weak_pins; /* servers kept for what nextval left: given up for others that wait */
    uint64_t weak_checked_at;
    char *questions[QUESTIONS], *catalogs[CATALOG_TEXTS];
    struct options options;
    struct conn *ready_head, *ready_tail, *closed_list;
    uint64_t now, look_at; /* look_at: for what no event brings */
    bool suspended;
    bool stop;
    pthread_t thread;
    pthread_mutex_t lock; /* guards commands and events, both short */
    struct command *commands_head, *commands_tail;
    struct event *events;
    uint32_t event_head, event_count, event_capacity;
    struct order client_orders[64], slot_orders[64];
    unsigned char *buffer; /* at least BUFFER_BYTES; larger after a larger message had to be read whole */
    uint32_t buffer_bytes;
    const unsigned char *run; /* what the client being fed sent before, not yet passed on */
    uint32_t run_bytes;
    uint32_t ahead; /* bytes there from the beginning of the message that is being fed */
};

/* loop.c */
struct relay *relay_open(struct tables *t, int worker, int inbox, const int *outboxes, int outbox_count,
                         const char *const *tracked, int tracked_count, const char *const *questions);
int relay_start(struct relay *r);
void relay_join(struct relay *r);
void relay_command(struct relay *r, struct command *c);
int relay_events(struct relay *r, struct event *out, int max);
void relay_emit(struct relay *r, const struct event *e);
void relay_apply(struct relay *r, struct outcome *out);
void relay_drain_inbox(struct relay *r);
bool relay_need_buffer(struct relay *r, uint32_t bytes);
void relay_trim_buffer(struct relay *r);

/* io/connection.c: input and output of one connection, the ready list */
void conn_ready(struct relay *r, struct conn *c);
bool conn_arm(struct relay *r, struct conn *c);
void conn_disarm(struct relay *r, struct conn *c);
uint32_t conn_fill(struct relay *r, struct conn *c, uint32_t limit, bool *received);
bool conn_read_on(struct relay *r, struct conn *c, uint32_t n);
bool conn_stash(struct conn *c, const unsigned char *p, uint32_t n);
bool conn_unread(struct conn *c, const unsigned char *p, uint32_t n);
void conn_send(struct relay *r, struct conn *c, const void *p, uint32_t n);
void conn_append(struct relay *r, struct conn *c, const void *p, uint32_t n);
void conn_flush(struct relay *r, struct conn *c);
void conn_bury(struct relay *r, struct conn *c);
uint32_t error_message(char *out, const char *severity, const char *sqlstate, const char *text);
static inline uint32_t bytes_pending(const struct bytes *b) { return b->end - b->start; }
static inline uint32_t read_u32(const unsigned char *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}
static inline void write_u32(void *out, uint32_t value) {
    unsigned char *p = out;
    for (int i = 0; i < 4; i++) p[i] = (unsigned char)(value >> (24 - 8 * i));
}
bool bytes_add(struct bytes *b, const void *p, uint32_t n);

/* client_memory.c: what a client makes its worker keep */
uint64_t memory_count(struct relay *r, struct client *c);
bool memory_within(struct relay *r, struct client *c, uint64_t more);
void memory_refuse(struct relay *r, struct client *c);
void client_without_memory(struct relay *r, struct client *c);
void server_without_memory(struct relay *r, struct server *s);

/* suspend.c */
bool suspended_at(const struct relay *r, const struct conn *c);
uint32_t suspended_limit(const struct relay *r, const struct conn *c, uint32_t limit);
void suspend_look(struct relay *r);

/* client.c */
void client_run(struct relay *r, struct client *c);
void client_attached(struct relay *r, struct client *c, int32_t slot);
void client_add(struct relay *r, struct command *command);
void client_turn_away(struct relay *r, const struct command *command);
void client_close(struct relay *r, struct client *c, const char *sqlstate, const char *text,
                  const char *reason);
void client_resume(struct relay *r, struct client *c);
void client_canceled(struct relay *r, struct client *c);
uint32_t client_feed(struct relay *r, struct client *c, const unsigned char *p, uint32_t n);

void client_requeue(struct relay *r, struct client *c);
/* client_leave.c */
void client_leave(struct relay *r, struct client *c);
void client_left_copy(struct relay *r, struct client *c);
void client_leave_look(struct relay *r, struct client *c);

void client_settings(struct relay *r, struct client *c, struct settings *s);
void client_ready(struct relay *r, struct client *c, uint8_t status);

/* session/settings_ahead.c */
uint32_t settings_ahead(struct relay *r, struct server *s, const char *text, uint32_t bytes);
bool settings_ahead_failed(struct relay *r, struct server *s, const unsigned char *body, uint32_t n);

/* session/startup_values.c: the welcome of clients */
#define GREETING_VALUE_BYTES 512
struct greeting *greeting_of(const struct command *command);
struct settings *greeting_accepted(struct relay *r, struct client *c, const struct settings *given);
uint32_t greeting_question(const struct relay *r, const struct client *c, char *out, uint32_t at,
                           uint32_t room);
void greeting_row(struct relay *r, struct client *c, const unsigned char *name, uint32_t name_bytes,
                  const unsigned char *value, uint32_t value_bytes);
void client_greet(struct relay *r, struct client *c);
void client_let_in(struct relay *r, struct client *c);
void greeting_renew(struct relay *r, struct client *c);
void greeting_confirmed(struct relay *r, struct server *s);
struct settings *settings_without_name(struct relay *r, const struct settings *s);
struct settings *settings_of_startup(struct relay *r, struct settings *given);

/* walsender.c: clients with a server of their own */
void dedicated_add(struct relay *r, struct command *command);

/* statements/forward.c: prepared statements, where messages pass */
enum rewritten {
    REWRITTEN_NOT,
    REWRITTEN_HEAD,
    REWRITTEN_ALL,
    REWRITTEN_MORE,
    REWRITTEN_WAIT,
    REWRITTEN_WAIT_ALL,
    REWRITTEN_TOO_LARGE,
    REWRITTEN_NO_MEMORY
};
bool statements_on(const struct relay *r, const struct client *c);
enum rewritten statements_forward(struct relay *r, struct client *c, const unsigned char *p, uint32_t here,
                                  uint32_t total, uint32_t *head);
bool statements_due(const struct server *s);
uint64_t statements_altered_at(const struct relay *r, const struct server *s);
void statements_answer(struct relay *r, struct server *s);
void statements_parsed(struct relay *r, struct server *s, uint8_t request);
void statements_skipped(struct relay *r, struct server *s, uint8_t request, uint32_t *names_lost);
void statements_tag(struct relay *r, struct server *s, const unsigned char *tag, uint32_t n);
void statements_altered(struct relay *r, struct server *s);
void statements_ended(struct relay *r, struct server *s, uint8_t status);
bool statements_gone(struct relay *r, struct server *s, const unsigned char *message, uint32_t n);
bool statements_error(struct relay *r, struct server *s, const unsigned char *message, uint32_t n,
                      const unsigned char *run, uint32_t run_bytes);

/* inflight.c: what a server owes besides its queue */
void parsing_push(struct server *s, const struct digest *d);
bool parsing_is_unnamed(const struct digest *d);
void parsing_end_pipeline(struct server *s);
bool parsing_is_unsure(const struct server *s, const struct digest *d);
bool parsing_is_named(const struct digest *d);
struct digest parsing_of_unnamed(uint64_t number);
struct digest parsing_first(const struct server *s);
struct digest parsing_pop(struct server *s);
void parsing_free(struct server *s);

/* copy.c: COPY from a client */
#define COPY_REFUSAL_BYTES 64
void note_deeds(const struct relay *r, struct client *c, const unsigned char *p, uint32_t here,
                uint32_t total);
bool copy_may_begin(const struct server *s);
void copy_refuse(struct relay *r, struct server *s, uint8_t letter);
bool copy_was_refused(const struct server *s, const unsigned char *error, uint32_t n,
                      char text[COPY_REFUSAL_BYTES]);
bool copy_begins(struct relay *r, struct server *s);
bool copy_sync(struct server *s);
bool copy_decides(const struct server *s);
bool copy_completed(struct server *s);
bool copy_failed(struct server *s);
void doubt_ask(struct relay *r, struct server *s);
void doubt_end(struct relay *r, struct server *s);
bool doubt_answered(struct server *s);
void doubt_ended(struct server *s);

/* Notes what the server is about to be asked. */
static inline void server_expects(struct server *s, uint8_t request) {
    if (!requests_push(&s->requests, request)) s->unrecorded = true;
}

/* cancel_guard.c: requests of ours and cancel requests do not meet */
bool guard_take(struct relay *r, struct server *s);
void guard_drop(struct relay *r, struct server *s);
void guard_look(struct relay *r, struct server *s);
void guard_over(struct relay *r, struct client *c);

/* statements/row_description.c: what a client may know of the rows to come */
void columns_parameters(struct server *s, const unsigned char *body, uint32_t n);
void columns_learned(struct relay *r, struct server *s, const unsigned char *body, uint32_t n);

/* statements/replan.c: statements whose result type has changed */
bool replan_error(struct relay *r, struct server *s, const unsigned char *message, uint32_t n,
                  const unsigned char *run, uint32_t run_bytes, bool framed);
void replan_held(struct relay *r, struct server *s);
void replan_refuse(struct server *s);
void replan_settle(struct relay *r, struct server *s);

/* server.c */
bool server_fast_closed(struct relay *r, struct server *s);
struct server *server_of(struct relay *r, int32_t slot);
void server_run(struct relay *r, struct server *s);
void server_add(struct relay *r, struct command *command);
void server_learn(struct relay *r, int32_t slot, uint32_t generation, int fd, bool raw);
void server_tell_closed(struct relay *r, int32_t slot, uint32_t generation);
void server_forget(struct relay *r, int32_t slot, uint32_t generation);
void server_own(struct relay *r, struct server *s, enum internal_request what, const char *text, bool block);
void server_suit(struct relay *r, struct server *s);
void server_give_back(struct relay *r, struct server *s);
void server_left(struct relay *r, struct server *s, bool clean);
void server_close(struct relay *r, struct server *s, bool busy, const char *reason);
bool server_untouched(const struct server *s);
bool server_replace(struct relay *r, struct server *s);
void server_overdue(struct relay *r, struct server *s);
bool server_in_step(const struct server *s);
bool server_in_message(const struct server *s);
bool server_skip(struct relay *r, struct server *s);
struct counters *counters_of(struct relay *r, int32_t pool);
void count_time(uint64_t *histogram, uint64_t us);

#endif
