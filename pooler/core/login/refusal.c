/* How a client hears that it cannot come in, and what the log says about it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "io/buffer.h"
#include "io/connection.h"
#include "io/error_message.h"
#include "io/sqlstate.h"
#include "login/jobs.h"
#include "login/login.h"
#include "login/login_queue.h"
#include "login/policy.h"
#include "login/questions.h"
#include "relay/internal.h"
#include "tables/layout.h"
#include "tls/tls_session.h"

/* Longer than PBKDF2 takes: what is refused while nothing is proven yet is refused at this pace. */
#define PACE_US 50000
#define GRAIN_US 10000 /* those that are due within so much are told in one walk over all logins */
/* How long the refusal may take to be sent and read. */
#define TELL_US 1000000

/* How long a proof took to be found wrong tells what is known of the user: the answer comes at a fixed time
 * after what the client said last, or at a multiple of that. */
static uint64_t pace(const struct relay *r, const struct login *l) {
    uint64_t took = r->loop.now > l->heard_at ? r->loop.now - l->heard_at : 0;
    uint64_t due = r->loop.now + PACE_US - took % PACE_US;
    return (due + GRAIN_US - 1) / GRAIN_US * GRAIN_US;
}

static enum refusal reason_of(const struct login *l, const char *sqlstate) {
    if (l->refusal) return (enum refusal)l->refusal;
    if (strcmp(sqlstate, WRONG_PASSWORD) == 0) return REFUSAL_PASSWORD;
    if (strcmp(sqlstate, NOT_PERMITTED) == 0) return REFUSAL_NOT_PERMITTED;
    if (strcmp(sqlstate, NO_DATABASE) == 0) return REFUSAL_DATABASE;
    return strcmp(sqlstate, TOO_MANY_CONNECTIONS) == 0 ? REFUSAL_QUEUE : REFUSAL_OTHER;
}

/* Ends a login; the first reason counts.  `note` is for the log alone, and may be NULL. */
void login_refuse(struct relay *r, struct login *l, const char *sqlstate, const char *text,
                  const char *note) {
    if (l->state == LOGIN_REFUSED || l->state == LOGIN_TOLD || l->state == LOGIN_OVER) return;
    r->t->workers[r->worker].refusals[reason_of(l, sqlstate)]++;
    question_left(r, l);
    if (l->job) job_abandon(l->job);
    l->job = NULL;
    login_queue_leave(r, l);
    if (sqlstate != l->fault.sqlstate) snprintf(l->fault.sqlstate, sizeof l->fault.sqlstate, "%s", sqlstate);
    if (text != l->fault.text) snprintf(l->fault.text, sizeof l->fault.text, "%s", text);
    free(l->note);
    l->note = note ? strdup(note) : NULL;
    if (!l->attempted || l->proven) {
        refusal_tell(r, l);
        return;
    }
    login_move(l, LOGIN_REFUSED);
    l->due_at = pace(r, l);
    r->logins->refused++;
    if (l->due_at < r->logins->tick_at) r->logins->tick_at = l->due_at;
}

void login_without_memory(struct relay *r, struct login *l) {
    login_refuse(r, l, OUT_OF_MEMORY, "out of memory", NULL);
}

/* The client hears no more of it; what is wrong is the operator's to read, where `note` says it. */
void login_config_error(struct relay *r, struct login *l, const char *note) {
    login_refuse(r, l, PROTOCOL_VIOLATION, "bouncer config error", note);
}

/* Logs the fault, tells the client, and closes our side. */
void refusal_tell(struct relay *r, struct login *l) {
    char message[FAULT_BYTES + DETAIL_BYTES + 64];
    struct conn *io = &l->client->io;
    const struct policy *p = l->policy ? l->policy : r->logins->policy;
    if (l->state == LOGIN_REFUSED) r->logins->refused--;
    login_move(l, LOGIN_TOLD);
    l->due_at = r->loop.now + TELL_US;
    l->waits_since = 0;
    login_closing(r, l, l->fault.text);
    if (l->note) login_log(r, l, LEVEL_LOG, "%s", l->note);
    if (!p || p->settings.log_pooler_errors)
        login_log(r, l, LEVEL_WARNING, "pooler error: %s", l->fault.text);
    conn_send(&r->loop, io, message,
              error_message(message, "FATAL", l->fault.sqlstate, l->fault.text, l->detail));
    conn_uncork(&r->loop, io);
    if (!bytes_pending(&io->out)) {
        if (io->tls) tls_close(io->tls);
        shutdown(io->fd, SHUT_WR);
    }
    bytes_free(&io->stash);
    conn_ready(&r->loop, io); /* what it has sent, unread, would reset the connection */
}
