/* Statements whose result type was changed by others: which may be sent again, and how.  The theory stands in
 * replan.h. */
#define _GNU_SOURCE
#include "statements/replan.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "io/buffer.h"
#include "io/connection.h"
#include "io/request_queue.h"
#include "relay/internal.h"
#include "statements/client_names.h"
#include "statements/replay.h"
#include "statements/replies.h"
#include "statements/row_description.h"
#include "tables/clock.h"

/* ---- what is kept of a pipeline ----------------------------------------------------------------- */

/* One of the kept messages; all of them came whole. */
struct replay_message {
    uint32_t at, next;
    uint8_t letter;
    const char *body;
    uint32_t bytes;
};

static bool message_at(const struct replay *k, uint32_t at, struct replay_message *m) {
    if (at + 5 > k->bytes) return false;
    uint32_t length = load_be32(k->data + at + 1);
    if (length < 4 || length > k->bytes - at - 1) return false;
    *m = (struct replay_message){.at = at,
                                 .next = at + 1 + length,
                                 .letter = k->data[at],
                                 .body = (const char *)k->data + at + 5,
                                 .bytes = length - 4};
    return true;
}

/* A name in a message; no `text`: there is none. */
struct span {
    const char *text;
    uint32_t bytes;
};

static struct span span_at(const struct replay_message *m, uint32_t at) {
    const char *end = at < m->bytes ? memchr(m->body + at, 0, m->bytes - at) : NULL;
    return end ? (struct span){m->body + at, (uint32_t)(end - (m->body + at))} : (struct span){0};
}

/* The portal that a Bind makes, and a Describe asks of. */
static struct span portal_of(const struct replay_message *m) {
    bool describes = m->letter == 'D' && m->bytes && m->body[0] == 'P';
    return m->letter == 'B' ? span_at(m, 0) : describes ? span_at(m, 1) : (struct span){0};
}

/* The statement that a Parse makes, and a Bind uses, and a Describe asks of. */
static struct span statement_of(const struct replay_message *m) {
    bool describes = m->letter == 'D' && m->bytes && m->body[0] == 'S';
    if (m->letter != 'B')
        return m->letter == 'P' ? span_at(m, 0) : describes ? span_at(m, 1) : (struct span){0};
    struct span portal = span_at(m, 0);
    return portal.text ? span_at(m, portal.bytes + 1) : portal;
}

static bool same(struct span a, struct span b) {
    return a.text && b.text && a.bytes == b.bytes && memcmp(a.text, b.text, a.bytes) == 0;
}

/* ---- what the client knows ---------------------------------------------------------------------- */

static bool parsed_before(const struct replay *k, const struct replay_message *use) {
    struct replay_message m;
    for (uint32_t at = 0; at < use->at && message_at(k, at, &m); at = m.next)
        if (m.letter == 'P' && same(statement_of(use), statement_of(&m))) return true;
    return false;
}

static bool portal_described(const struct replay *k, const struct replay_message *bind) {
    struct replay_message m;
    for (uint32_t at = bind->next; message_at(k, at, &m) && m.letter != 'E'; at = m.next)
        if (m.letter == 'D' && same(portal_of(bind), portal_of(&m))) return true;
    return false;
}

/* The name that this message uses, if the client will not take the statement's columns for others: it hears
 * of them in this pipeline, or never asked. */
static struct name *renewable(const struct replay *k, const struct names *names,
                              const struct replay_message *use) {
    if (use->letter != 'B' && use->letter != 'D') return NULL;
    struct span text = statement_of(use);
    struct name *name = text.bytes ? names_find_old(names, text.text, text.bytes) : NULL;
    if (!name || use->letter == 'D' || !name->told || parsed_before(k, use)) return name;
    return portal_described(k, use) && !columns_formatted(k->data + use->at, use->next - use->at) ? name
                                                                                                  : NULL;
}

/* ---- the error ---------------------------------------------------------------------------------- */

/* By the code and the name of PostgreSQL's function, which no lc_messages translates. */
static bool plan_changed(const unsigned char *body, uint32_t n) {
    static const char CODE[] = "\0C0A000", ROUTINE[] = "\0RRevalidateCachedQuery";
    return memmem(body, n, CODE, sizeof CODE) && memmem(body, n, ROUTINE, sizeof ROUTINE);
}

#define REFUSED_SLACK 32 /* requests of ours that may stand between the refusal and what it is about */

/* How many messages of the client are unanswered; false: not all are of one pipeline. */
static bool unanswered(const struct requests *q, uint32_t *count) {
    *count = 0;
    for (uint32_t i = 0; i < q->count; i++) {
        uint8_t request = requests_at(q, i);
        if (request & INTERNAL) continue;
        ++*count;
        if (request == 'S') return i + 1 == q->count;
        if (request == 'Q' || request == 'F' || request == 'c') return false;
    }
    return true;
}

static bool is_request(uint8_t letter) { return letter && strchr("PBDECS", letter); }

struct counts {
    uint32_t bound, described;
    bool repeatable;
};

/* Finds the message that failed, behind those that were answered.  False: it is not there. */
static bool find_failed(struct replay *k, uint32_t pending, struct counts *answered) {
    struct replay_message m;
    uint32_t requests = 0, at;
    for (at = 0; message_at(k, at, &m); at = m.next) requests += is_request(m.letter);
    if (at != k->bytes || requests < pending) return false;
    uint32_t before = requests - pending;
    *answered = (struct counts){.repeatable = true};
    for (at = 0; message_at(k, at, &m); at = m.next) {
        if (!is_request(m.letter)) continue;
        if (!before--) {
            k->failed = at;
            return m.letter == 'B' || m.letter == 'D';
        }
        bool repeated = answered->bound || answered->described;
        switch (m.letter) {
        case 'B': answered->bound++; break;
        case 'D': answered->described++; break;
        case 'P':
        case 'C': /* holds, and is not sent again: only in front of all that is */
            if (repeated) answered->repeatable = false;
            k->from = m.next;
            break;
        default: answered->repeatable = false; /* executed */
        }
    }
    return false;
}

/* Whether the answers in p[0..n), which the client has not got, are all that came for what will be
 * repeated. */
static bool all_unsent(const unsigned char *p, uint32_t n, const struct counts *answered) {
    struct counts here = {0};
    for (uint32_t at = 0; at < n; at += load_be32(p + at + 1) + 1) {
        here.bound += p[at] == '2';
        here.described += p[at] == 'T' || p[at] == 'n';
    }
    return here.bound == answered->bound && here.described == answered->described;
}

/* Whether the client has asked for answers, by Flush or Sync: until then more of the pipeline may come. */
static bool asked(const struct replay *k, const struct replay_message *failed) {
    struct replay_message m;
    for (uint32_t at = failed->next; message_at(k, at, &m); at = m.next)
        if (strchr("HSQF", m.letter)) return true;
    return false;
}

/* The same for an EXECUTE alone in a Query: rows come with their columns, and nothing has been run.  All of
 * it is there, also of a client that leaves. */
static enum verdict judge_execute(const struct server *s) {
    const struct replay *k = &s->replay;
    struct replay_message m;
    if (!k->execute || !k->whole || !message_at(k, 0, &m) || m.letter != 'Q' || m.next != k->bytes
        || s->requests.count != 1 || !s->client->names->used)
        return VERDICT_NONE;
    return !k->again && s->transaction == 'I' && !s->internal && !s->client->io.body_left ? VERDICT_AGAIN
                                                                                          : VERDICT_RENEW;
}

/* What is to be done about a changed plan; run[0..run_bytes) are answers that the client has not got. */
static enum verdict judge(const struct server *s, const unsigned char *run, uint32_t run_bytes, bool framed) {
    struct replay *k = (struct replay *)&s->replay;
    const struct client *c = s->client;
    struct replay_message failed;
    struct counts answered = {0};
    uint32_t pending = 0;
    if (c->state == CLIENT_LEAVING) return VERDICT_NONE; /* no more of the pipeline comes */
    if (!k->whole || !unanswered(&s->requests, &pending)) return VERDICT_NONE;
    if (framed && c->io.body_left) return VERDICT_WAIT;
    if (!find_failed(k, pending, &answered) || !message_at(k, k->failed, &failed)) return VERDICT_NONE;
    /* else nothing comes before this is answered */
    if (framed && !asked(k, &failed) && !client_undecided(c)) return VERDICT_WAIT;
    if (!renewable(k, c->names, &failed)) return VERDICT_NONE;
    bool again = answered.repeatable && !k->again && s->transaction == 'I' && !s->internal
        && !c->io.body_left;
    return again && framed && all_unsent(run, run_bytes, &answered) ? VERDICT_AGAIN : VERDICT_RENEW;
}

/* Passes on what is not an answer to what will be repeated: ParseComplete, notices. */
static void send_rest(struct relay *r, struct server *s, const unsigned char *p, uint32_t n) {
    for (uint32_t at = 0; at < n;) {
        uint32_t bytes = load_be32(p + at + 1) + 1;
        if (!strchr("2tTn", p[at])) conn_send(&r->loop, &s->client->io, p + at, bytes);
        at += bytes;
    }
}

/* False: no memory. */
static bool hold(struct replay *k, const unsigned char *run, uint32_t run_bytes, const unsigned char *message,
                 uint32_t n) {
    replay_release(k);
    k->held = malloc(run_bytes + n);
    if (!k->held) return false;
    if (run_bytes) memcpy(k->held, run, run_bytes);
    memcpy(k->held + run_bytes, message, n);
    k->held_answers = run_bytes;
    k->held_bytes = run_bytes + n;
    return true;
}

/* Whether the next Sync is one of ours, so that what a client uses the statement by follows. */
static bool sync_is_own(const struct requests *q) {
    uint32_t i = 0;
    while (i < q->count && (requests_at(q, i) & 0x7f) != 'S') i++;
    return i < q->count && requests_at(q, i) & INTERNAL;
}

static const char CHANGED[] =
    "SERROR\0VERROR\0C0A000\0Mcached plan must not change result type\0Fplancache.c\0"
    "RRevalidateCachedQuery\0";
struct changed {
    unsigned char head[5];
    char fields[sizeof CHANGED];
};

static struct changed changed_message(void) {
    struct changed message = {.head = {'E', 0, 0, 0, 4 + sizeof CHANGED}};
    memcpy(message.fields, CHANGED, sizeof CHANGED);
    return message;
}

/* Has the client hear of a changed plan instead of the error that is to come: to the next request, or to one
 * behind it if others of ours go first. */
void replan_refuse(struct server *s) {
    const struct requests *q = &s->requests;
    if (!s->refused_count || requests_reached(q, s->refused_at + s->refused_count)) s->refused_at = q->pushed;
    s->refused_count = q->pushed - s->refused_at + REFUSED_SLACK;
}

static bool is_refused(const struct server *s) {
    const struct requests *q = &s->requests;
    return requests_reached(q, s->refused_at) && !requests_reached(q, s->refused_at + s->refused_count);
}

/* A Bind that asks for a format per column, by the columns that its client was told of before some DDL: there
 * are others now.  PostgreSQL itself would have looked at the plan first. */
static bool is_of_other_columns(struct relay *r, const struct server *s, const unsigned char *message,
                                uint32_t n) {
    const struct name *name = s->client && s->client->names ? s->client->names->bound : NULL;
    return name && name->told && name->made < statements_altered_at(r, s)
        && requests_head(&s->requests) == 'B' && memmem(message, n, "\0C08P01", 7)
        && memmem(message, n, "\0RPortalSetResultFormat", 23);
}

/* It names the statement that never is. */
static bool is_of_no_statement(const unsigned char *message, uint32_t n) {
    static const char NAME[] = "pooler_0";
    const unsigned char *at = memmem(message, n, NAME, sizeof NAME - 1);
    return at && !isdigit(at[sizeof NAME - 1]);
}

/* An error for a client: `message`, with the unsent answers before it, run[0..run_bytes), which begin with
 * the beginning of a message if `framed`.  True: nothing of either is left to be passed on. */
bool replan_error(struct relay *r, struct server *s, const unsigned char *message, uint32_t n,
                  const unsigned char *run, uint32_t run_bytes, bool framed) {
    uint8_t head = requests_head(&s->requests);
    bool uses = s->client && s->client->names && head && strchr("BDQ", head);
    /* what ours met, in front of a Sync of ours */
    if (s->client && s->replay.held && head && strchr("BDQF", head)) {
        if (run_bytes) conn_send(&r->loop, &s->client->io, run, run_bytes);
        conn_send(&r->loop, &s->client->io, s->replay.held, s->replay.held_bytes);
        replay_release(&s->replay);
        return true;
    }
    bool changed = uses && plan_changed(message, n);
    if (changed) statements_altered(r, s);
    if (changed || (uses && statements_gone(r, s, message, n))) {
        s->replay.verdict = (uint8_t)(head == 'Q' ? judge_execute(s) : judge(s, run, run_bytes, framed));
        switch (s->replay.verdict) {
        case VERDICT_AGAIN: send_rest(r, s, run, run_bytes); return true;
        case VERDICT_WAIT:
            if (hold(&s->replay, run, run_bytes, message, n)) return true;
            s->replay.verdict = VERDICT_NONE;
            break;
        default: break;
        }
    }
    /* this is why it does not exist */
    bool refused = uses && is_refused(s) && is_of_no_statement(message, n);
    if (refused || is_of_other_columns(r, s, message, n)) {
        struct changed instead = changed_message();
        if (run_bytes) conn_send(&r->loop, &s->client->io, run, run_bytes);
        conn_send(&r->loop, &s->client->io, &instead, sizeof instead);
        return true;
    }
    if (head & INTERNAL && head != ('S' | INTERNAL) && sync_is_own(&s->requests)
        && memmem(message, n, "\0VERROR", 8)) {
        if (s->client && run_bytes) conn_send(&r->loop, &s->client->io, run, run_bytes);
        if (hold(&s->replay, NULL, 0, message, n)) return true;
        s->unrecorded = true; /* it has this error now, and another one to come */
        return statements_error(r, s, message, n, NULL, 0);
    }
    return statements_error(r, s, message, n, run, run_bytes);
}

/* The client has sent more behind what failed: judges again. */
void replan_held(struct relay *r, struct server *s) {
    struct replay *k = &s->replay;
    k->verdict = (uint8_t)judge(s, k->held, k->held_answers, true);
    if (k->verdict == VERDICT_WAIT) return;
    if (k->verdict == VERDICT_AGAIN) send_rest(r, s, k->held, k->held_answers);
    else conn_send(&r->loop, &s->client->io, k->held, k->held_bytes);
    replay_release(k);
    if (!server_skip(r, s)) server_close(r, s, true, "names of statements out of step");
}

/* The statements from the failed one on: as of now, so that they are prepared anew where they are used
 * next. */
static void renew(struct server *s) {
    struct replay_message m;
    struct name *name;
    if (s->replay.execute) s->client->names->used->made = clock_us();
    for (uint32_t at = s->replay.failed; message_at(&s->replay, at, &m); at = m.next)
        if ((name = renewable(&s->replay, s->client->names, &m))) {
            name->made = clock_us();
            name->columns = 0;
        }
}

/* The error has been taken off the queue: does what it leads to. */
void replan_settle(struct relay *r, struct server *s) {
    struct replay *k = &s->replay;
    enum verdict verdict = (enum verdict)k->verdict;
    k->verdict = VERDICT_NONE;
    if (verdict == VERDICT_NONE || !s->client) return;
    renew(s);
    if (verdict != VERDICT_AGAIN) return;
    if (s->requests.count) {
        /* what ends the error, the Sync or the Query itself: nobody hears of it */
        requests_internal_head(&s->requests);
    } else {
        conn_append(&r->loop, &s->io, "S\0\0\0\4", 5);
        server_expects(s, 'S' | INTERNAL);
        s->skip = false;
    }
    s->deeds = 0; /* nothing of it has run: its names are where they were, and it need not wait for itself */
    struct replay old = *k;
    struct client *c = s->client;
    *k = (struct replay){.ended = true};
    uint32_t used = old.from + client_feed(r, c, old.data + old.from, old.bytes - old.from);
    bool unread = c->state == CLIENT_CLOSED || conn_unread(&c->io, old.data + used, old.bytes - used);
    k->again = true;
    free(old.data);
    if (!unread) memory_refuse(r, c);
}
