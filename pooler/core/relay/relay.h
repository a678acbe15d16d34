/* The relay: logs in the clients of one worker and moves the bytes of all their queries, on a thread of its
 * own, without Python.
 *
 * Theory.  A client comes through the inbox (inbox.h), and is in its login first (login/login.h).  Python
 * logs servers in and gives their descriptors to the relay (commands); the relay tells Python what it cannot
 * do itself (events: open a server, answer a question of a login, send a cancel request).  Everything in
 * between happens here.  Commands and events cross between the two threads through small locked lists with an
 * eventfd each; every other structure belongs to the relay's thread alone.
 *
 * A client is read only when it has a server, or to find out that it wants one.  What was read and cannot be
 * used yet is its `stash` (a waiting client's first statement; a message cut in two).  What could not be
 * written is `out`, and while it is stuck its source is not read: a connection takes one buffer more at
 * the most because another is slow.
 *
 * Edge-triggered epoll, one registration per descriptor for its life: `readable` remembers the edge until the
 * socket was read empty.  A connection with work left is on the ready list.
 */
#ifndef POOLER_RELAY_RELAY_H
#define POOLER_RELAY_RELAY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "catalog/read.h"
#include "io/buffer.h"
#include "io/connection.h"
#include "session/probe.h"
#include "session/settings.h"
#include "sql/clean_texts.h"
#include "sql/effects.h"
#include "statements/statement_store.h"
#include "tables/layout.h"
#include "tables/mailbox.h"

struct accepted;
struct client;
struct command;
struct event;
struct logins;
struct profile;
struct relay_log;
struct server;
struct subscription;

#define TRUSTED_BYTES 2048

struct options {
    uint64_t check_delay_us, answer_timeout_us, catalog_bytes, client_bytes;
    uint32_t max_packet_bytes, max_prepared_statements;
    bool reset_always, disable_pqexec, has_check, fast_close;
    bool log_disconnections, log_pooler_errors, log_debug;
    char check_query[256], reset_query[1024];
    char trusted[TRUSTED_BYTES]; /* extensions: names with a NUL behind each, and an empty one */
};

struct relay {
    struct tables *t;
    int worker;
    struct conn_loop loop;
    struct conn doorbell, inbox, command_bell, job_bell;
    int event_bell;
    const int *outboxes; /* send ends by worker; the last one is the master's */
    int outbox_count;
    struct client **clients; /* by row */
    struct server **servers; /* by slot */
    struct logins *logins;   /* of clients that are not there yet (login/login.h) */
    struct settings_store store;
    struct statement_store statements;
    uint64_t apart; /* counts statements that are not shared */
    struct words builtin;
    struct clean_texts clean_texts;
    struct subscription **heard_by;  /* by channel row */
    uint32_t markers_sent;           /* to the listening connections, by their numbers */
    struct bytes hung_up;            /* rows of clients that may have, and are still served */
    bool hung_up_lost;               /* there was no memory for some of them */
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
    uint64_t look_at;         /* for what no event brings */
    uint64_t login_budget_at; /* of this turn: logins have had their time then; 0: none has begun */
    uint64_t turn_began_at;   /* CPU time of the thread, where turns are measured (turns.h) */
    uint32_t turn_work;       /* what the connection whose turn it is has cost in it (turns.h) */
    bool suspended;
    bool stop;
    pthread_t thread;
    pthread_mutex_t lock; /* guards commands, events and lines of the log, all short */
    struct command *commands_head, *commands_tail;
    struct event *events;
    uint32_t event_head, event_count, event_capacity;
    struct relay_log *log;
    struct order client_orders[64], slot_orders[64];
    const unsigned char *run; /* what the client being fed sent before, not yet passed on */
    uint32_t run_bytes;
    uint32_t ahead; /* bytes there from the beginning of the message that is being fed */
};

#endif
