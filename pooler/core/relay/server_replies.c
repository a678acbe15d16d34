/* What a server sends, message by message: whose it is, and what it means. */
#define _GNU_SOURCE
#include "relay/server_replies.h"

#include <string.h>
#include <unistd.h>

#include "catalog/read.h"
#include "io/buffer.h"
#include "io/connection.h"
#include "io/message_table.h"
#include "io/request_queue.h"
#include "io/server_messages.h"
#include "io/sqlstate.h"
#include "notify/deliver.h"
#include "notify/subscribe.h"
#include "relay/client.h"
#include "relay/client_leave.h"
#include "relay/copy.h"
#include "relay/counters.h"
#include "relay/internal.h"
#include "relay/internal_requests.h"
#include "relay/relay.h"
#include "relay/server.h"
#include "relay/server_close.h"
#include "relay/server_ready.h"
#include "relay/turns.h"
#include "session/client_reset.h"
#include "session/probe.h"
#include "session/server_reset.h"
#include "session/session.h"
#include "session/settings_ahead.h"
#include "statements/replan.h"
#include "statements/replay.h"
#include "statements/replies.h"
#include "statements/row_description.h"
#include "statements/sql_execute.h"
#include "tables/layout.h"
#include "tables/states.h"

/* By the field V, which no lc_messages translates. */
static bool is_fatal(const unsigned char *body, uint32_t n) {
    return memmem(body, n, "\0VFATAL", 8) || memmem(body, n, "\0VPANIC", 8);
}

/* Whether a message answers a request of ours.  Parameters that change while one among the client's own is
 * answered are the client's: the end of its transaction, or a reload, has changed them. */
static bool is_own(const struct server *s, enum backend_effect effect) {
    /* Syncs of the client are answered */
    if (s->internal == INTERNAL_STEP && !s->step_seen && effect != BE_EMPTY)
        return effect == BE_READY && requests_head(&s->requests) == ('S' | INTERNAL);
    return requests_head(&s->requests) & INTERNAL
        && !(effect == BE_PARAMETER && s->internal == INTERNAL_NONE);
}

/* Whether an error now would be that of a request of ours; else it is its client's, as that of our own Parse
 * is: its statement cannot be prepared any more. */
static bool error_is_own(const struct server *s) {
    uint8_t head = requests_head(&s->requests);
    bool parts = s->internal == INTERNAL_SETTINGS_AHEAD || s->internal == INTERNAL_RESTORE;
    return head == ('Q' | INTERNAL) || (head & INTERNAL && parts);
}

/* A server may say it whenever it likes. */
static bool answers_no_request(enum backend_effect effect) {
    return effect == BE_NOTICE || effect == BE_PARAMETER || effect == BE_NOTIFY;
}

/* What may come while the server reads CopyData. */
static bool during_copy(enum backend_effect effect) {
    return answers_no_request(effect) || effect == BE_COMMAND || effect == BE_ERROR;
}

/* One message of the server.  False: it is out of step. */
static bool effect_of(struct relay *r, struct server *s, enum backend_effect effect,
                      const unsigned char *body, uint32_t n) {
    struct requests *q = &s->requests;
    uint8_t head = requests_head(q) & 0x7f;
    if (s->copy != COPY_NONE && s->state != SERVER_DEDICATED && !during_copy(effect)) return false;
    switch (effect) {
    case BE_POP_PARSE:
    case BE_POP_BIND:
    case BE_POP_CLOSE: {
        static const char letters[] = {0, 'P', 'B', 'C'};
        uint8_t request = requests_head(q), letter = request & 0x7f;
        if (letter != letters[effect] && !(effect == BE_POP_PARSE && letter == 'U')) return false;
        requests_pop(q);
        if (effect == BE_POP_PARSE) statements_parsed(r, s, request);
        return true;
    }
    case BE_PARAMDESC:
        if (requests_head(q) == ('D' | INTERNAL)) columns_parameters(s, body, n);
        return true;
    case BE_ROWDESC:
    case BE_NODATA:
        if (requests_head(q) == ('D' | INTERNAL))
            columns_learned(r, s, effect == BE_ROWDESC ? body : NULL, n);
        if (head == 'D') requests_pop(q);
        return true;
    case BE_COMMAND:
    case BE_EMPTY:
    case BE_SUSPENDED:
        if (effect == BE_EMPTY && s->internal == INTERNAL_STEP && requests_head(q) == ('Q' | INTERNAL))
            s->step_seen = true;
        if (s->copy != COPY_NONE && !copy_completed(s)) return false;
        if (effect == BE_COMMAND && n > 1 && (strchr("ACDR", body[0]) || body[1] == 'M'))
            statements_tag(r, s, body, n);
        if (effect == BE_COMMAND && s->deallocating.count) execute_tag(r, s, body, n);
        if (effect == BE_COMMAND && n >= 8 && memcmp(body, "ROLLBACK", 8) == 0) session_failed(s);
        if ((requests_head(q) & 0x7f) == 'E') requests_pop(q);
        return true;
    case BE_ERROR:
        if (s->copy != COPY_NONE && !copy_failed(s)) return false;
        if (settings_ahead_failed(r, s, body, n)) return true;
        /* no Sync leads to an error */
        if (s->internal == INTERNAL_STEP && requests_head(q) == ('Q' | INTERNAL)) return is_fatal(body, n);
        if (error_is_own(s) && is_fatal(body, n)) { /* no answer follows it */
            server_close(r, s, false, "server conn crashed?");
            return true;
        }
        /* its client goes on with another, and hears nothing */
        if (s->client && server_untouched(s) && is_fatal(body, n)) {
            server_close(r, s, false, "server conn crashed?");
            return true;
        }
        if (error_is_own(s)) internal_error(r, s, body, n);
        else s->fatal_sent = s->client && is_fatal(body, n);
        if (s->fatal_sent) server_state_requested(s); /* behind its last answer: nobody gets it any more */
        session_failed(s);
        if (s->replay.verdict != VERDICT_WAIT && !server_skip(r, s)) return false;
        if (head == 'E') doubt_ask(r, s); /* a Query has its ReadyForQuery first */
        return true;
    case BE_READY: return server_ready(r, s, body[0]);
    case BE_COPY_BOTH:
        if (s->state != SERVER_DEDICATED) return false;
        s->copy = COPY_READING;
        return true;
    case BE_COPY_IN: return copy_begins(r, s) || s->state == SERVER_DEDICATED;
    case BE_PARAMETER: server_parameter(r, s, body, n, s->internal_body); return true;
    case BE_FORBIDDEN: return false;
    default: return true;
    }
}

static bool looked_into(const struct server *s, enum backend_effect effect) {
    return effect == BE_READY || effect == BE_PARAMETER || effect == BE_ERROR || effect == BE_COMMAND
        || (effect == BE_NOTHING && internal_kinds[s->internal].hear)
        || ((effect == BE_ROWDESC || effect == BE_PARAMDESC)
            && requests_head(&s->requests) == ('D' | INTERNAL));
}

/* Messages that are looked into are read whole up to this size; rows of the catalogs have bodies of functions
 * in them. */
static uint32_t whole_bytes(const struct server *s) {
    return s->internal == INTERNAL_CATALOG ? BUFFER_BYTES - 1 : WHOLE_MESSAGE_BYTES;
}

static void to_client(struct relay *r, struct server *s, const unsigned char *p, uint32_t n) {
    if (!n || !s->client) return;
    conn_send(&r->loop, &s->client->io, p, n);
    struct client_row *row = &r->t->clients[s->client->row];
    if (s->client->io.stuck && !row->stuck_start) {
        row->stuck_start = r->loop.now;
        memory_count(r, s->client);
    }
    counters_of(r, r->t->slots[s->slot].pool)->bytes_sent += n;
}

/* Statement pooling: a transaction that outlives its statement is refused, before the client hears of it. */
static bool open_transaction_refused(struct relay *r, struct server *s, uint8_t status) {
    if (!s->client || s->state == SERVER_DEDICATED || status == 'I' || s->mode != MODE_STATEMENT)
        return false;
    static const char text[] = "transaction blocks not allowed in statement pooling mode";
    client_close(r, s->client, PROTOCOL_VIOLATION, text, text);
    return true;
}

static bool report_hidden(struct relay *r, const struct server *s, const unsigned char *body) {
    const char *name = (const char *)body;
    return session_report_hidden(r, s, name, name + strlen(name) + 1);
}

/* What was not asked for, while nothing is outstanding, or behind the last answer (`next`: what follows this
 * message, if it has come).  It would be taken for an answer to what is sent next, which may be another
 * client's. */
static bool unasked(const struct server *s, enum backend_effect effect, const unsigned char *body, uint32_t n,
                    const unsigned char *next) {
    if (s->state == SERVER_DEDICATED) return false;
    /* it says why it ends */
    if (!s->requests.count && s->client && effect == BE_ERROR) return !is_fatal(body, n);
    if (!s->requests.count) return !answers_no_request(effect) && !(effect == BE_READY && s->in_doubt);
    return effect == BE_READY && s->requests.count == 1 && !s->in_doubt && next
        && !answers_no_request(backend_effects[*next]) && backend_effects[*next] != BE_ERROR;
}

/* Whether a message breaks the protocol (io/server_messages.h).  Nothing in it is read before this. */
static bool malformed(const struct server *s, const unsigned char *p, enum backend_effect effect,
                      uint32_t here, uint32_t length) {
    if (effect == BE_FORBIDDEN) return true;
    return here == length + 1 && !server_message_well_formed(p[0], p + 5, here - 5, s->internal_body);
}

/* Closes a server for the message at p[at].  What stands before it is its client's: a message of which that
 * has got the beginning must have its end, or it takes what we say for data. */
static void out_of_step(struct relay *r, struct server *s, const unsigned char *p, uint32_t run, uint32_t at,
                        bool speaks) {
    if (run < at) to_client(r, s, p + run, at - run);
    if (!server_is_closing(s))
        server_close(r, s, speaks, speaks ? "server sent an unexpected message" : "server conn crashed?");
}

/* What a server has sent, and how far that has been dealt with. */
struct feeding {
    const unsigned char *p;
    uint32_t n, at, run;   /* a message begins at p[at]; p[run..at) is to be passed on */
    uint32_t framed;       /* here and behind messages begin */
    uint32_t length, here; /* of the message: what it says, and what is there of it with its letter */
    enum backend_effect effect;
    struct client *client; /* whose server it is when the message comes */
    struct client *first;  /* the same of the first message */
};

/* Whether the message is dealt with in this turn.  What comes when its client is served no more is: in the
 * next somebody may have asked the server something, and it would be taken for the answer. */
static bool in_this_turn(struct relay *r, const struct server *s, const struct feeding *f) {
    uint32_t work = f->effect == BE_PARAMETER             ? WORK_PARAMETER
        : looked_into(s, f->effect) || f->p[f->at] == 'A' ? WORK_MESSAGE
                                                          : WORK_DATA;
    return turns_take(r, work) || !s->client || s->client != f->first;
}

static void pass_run(struct relay *r, struct server *s, struct feeding *f) {
    to_client(r, s, f->p + f->run, f->at - f->run);
    f->run = f->at;
}

/* Replies of ours whose turn has come go behind what was passed on. */
static void answer_due(struct relay *r, struct server *s, struct feeding *f) {
    if (!statements_due(s)) return;
    pass_run(r, s, f);
    statements_answer(r, s);
}

/* The rest of a message whose beginning has been dealt with. */
static void feed_rest(struct relay *r, struct server *s, struct feeding *f) {
    if (!s->io.body_left) return;
    f->at = s->io.body_left < f->n ? s->io.body_left : f->n;
    s->io.body_left -= f->at;
    if (s->internal_body) f->run = f->at;
    answer_due(r, s, f);
}

/* Reads the head of the next message.  False: more of it has to come first. */
static bool next_message(const struct server *s, struct feeding *f) {
    const unsigned char *p = f->p + f->at;
    uint32_t left = f->n - f->at;
    f->length = load_be32(p + 1);
    f->effect = backend_effects[p[0]];
    if (!server_message_length_fits(p[0], f->length)) f->effect = BE_FORBIDDEN;
    f->here = f->length < left ? f->length + 1 : left;
    bool read = looked_into(s, f->effect) || p[0] == 'A';
    return !read || f->here > f->length || f->length >= whole_bytes(s);
}

/* The error is the answer to a message that has broken a COPY: its client is closed. */
static bool ends_broken_copy(struct relay *r, struct server *s, const struct feeding *f) {
    char refusal[COPY_REFUSAL_BYTES];
    struct client *c = s->client;
    if (!c || !copy_was_refused(s, f->p + f->at + 5, f->here - 5, refusal)) return false;
    to_client(r, s, f->p + f->run, f->at - f->run);
    if (c->state == CLIENT_LEAVING) client_left_copy(r, c);
    else client_close(r, c, PROTOCOL_VIOLATION, refusal, refusal);
    return true;
}

/* Whether a message may come now and is well formed; notes whose it is.  False: its server, or its client, is
 * closed for it. */
static bool admit(struct relay *r, struct server *s, const struct feeding *f) {
    const unsigned char *p = f->p + f->at;
    const unsigned char *next = f->n - f->at > f->length + 1 ? p + f->length + 1 : NULL;
    if (unasked(s, f->effect, p + 5, f->here - 5, next)) {
        out_of_step(r, s, f->p, f->run, f->at, f->effect != BE_ERROR);
        return false;
    }
    s->internal_body = p[0] != 'A' && is_own(s, f->effect) && (f->effect != BE_ERROR || error_is_own(s));
    if (malformed(s, p, f->effect, f->here, f->length)) {
        out_of_step(r, s, f->p, f->run, f->at, true);
        return false;
    }
    return f->effect != BE_ERROR || !ends_broken_copy(r, s, f);
}

/* Whether the client does not get the message.  `held`: it gets this ReadyForQuery later. */
static bool hides(struct relay *r, struct server *s, struct feeding *f, bool *held) {
    const unsigned char *p = f->p + f->at;
    struct client *c = f->client;
    bool hidden = s->internal_body, whole = f->here == f->length + 1;
    if (session_restoring(r, s, f->effect, p + 5, f->here - 5) && whole
        && (!hidden || s->internal == INTERNAL_RESTORE)) {
        if (f->effect == BE_PARAMETER) hidden = report_hidden(r, s, p + 5);
        if (f->effect == BE_READY && !hidden) {
            pass_run(r, s, f);
            hidden = *held = session_hold(r, s, p[5]);
        }
    }
    if (f->effect == BE_READY && !hidden && c && p[5] == 'I') {
        hidden = listen_hold(r, s, p[5]);
        if (!hidden && bytes_pending(&c->notifications)) { /* else the reply is one write */
            pass_run(r, s, f);
            listen_flush(r, c);
        }
    }
    if (p[0] == 'A') hidden = listen_message(r, s, r->loop.buffer + (p - r->loop.buffer));
    return hidden;
}

/* Passes on what the client gets now, and takes what it does not get.  False: the server is closed. */
static bool deliver(struct relay *r, struct server *s, struct feeding *f, bool hidden) {
    if (hidden) {
        pass_run(r, s, f);
        f->run = f->at + f->here;
        const struct internal_kind *kind = &internal_kinds[s->internal];
        const unsigned char *p = f->p + f->at;
        if (s->internal_body && kind->hear)
            kind->hear(r, s, p[0], p + 5, f->here - 5, f->here == f->length + 1);
    } else if (f->effect == BE_READY) { /* the client may be gone or served by another afterwards */
        if (!open_transaction_refused(r, s, f->p[f->at + 5]))
            to_client(r, s, f->p + f->run, f->at + f->here - f->run);
        if (server_is_closing(s)) return false;
        f->run = f->at + f->here;
    }
    return true;
}

/* What a message changes.  False: the server is out of step, and closed. */
static bool account(struct relay *r, struct server *s, struct feeding *f) {
    const unsigned char *p = f->p + f->at;
    bool error = f->effect == BE_ERROR && !s->internal_body;
    bool taken = error && f->here == f->length + 1
        && replan_error(r, s, p, f->here, f->p + f->run, f->at - f->run, f->run >= f->framed);
    if (taken) f->run = f->at + f->here;
    bool cut = f->effect == BE_PARAMETER && f->here <= f->length;
    if (!effect_of(r, s, f->effect, p + 5, cut ? 0 : f->here - 5)) {
        out_of_step(r, s, f->p, f->run, f->at, true);
        return false;
    }
    /* where the server is closed its client goes on with another, and hears nothing */
    if (error && !taken && s->client && !server_is_closing(s)) counters_error(r, s, p + 5, f->here - 5);
    return true;
}

/* Looks at every message in p[0..n), passes on what is for the client.  Returns the bytes used.
 *
 * The order of the steps: what breaks the protocol is seen before anything is read in it; DDL that a
 * transaction has committed counts before its client hears of the end (statements_ended); what is hidden is
 * known before anything is passed on; the client has its ReadyForQuery before the server may be given to
 * another (account). */
uint32_t server_feed(struct relay *r, struct server *s, const unsigned char *p, uint32_t n) {
    struct feeding f = {.p = p, .n = n, .first = s->client};
    feed_rest(r, s, &f);
    f.framed = f.at;
    while (n - f.at >= 5 && !server_is_closing(s)) {
        bool held = false;
        if (!next_message(s, &f) || !in_this_turn(r, s, &f)) break;
        f.client = s->client;
        if (!admit(r, s, &f)) return n;
        if (f.effect == BE_READY) statements_ended(r, s, p[f.at + 5]);
        bool hidden = hides(r, s, &f, &held);
        if (!deliver(r, s, &f, hidden) || !account(r, s, &f)) return n;
        if (held && s->client == f.client && !server_is_closing(s)) session_restore(r, s);
        if (s->client != f.client) f.run = f.at + f.here;
        s->io.body_left = f.length + 1 - f.here;
        f.at += f.here;
        answer_due(r, s, &f);
    }
    if (server_is_closing(s)) return n;
    to_client(r, s, p + f.run, f.at - f.run);
    return f.at;
}
