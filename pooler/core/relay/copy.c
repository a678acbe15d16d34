/* COPY ... FROM STDIN: what its Syncs are answered with, and when what comes behind them is sent.
 *
 * Theory.  PostgreSQL says CopyInResponse and reads CopyData until CopyDone or CopyFail.  A Sync that it
 * reads there it ignores, and any other request ends the connection.  When the COPY fails before its end it
 * stops reading, and a Sync that comes behind is answered by ReadyForQuery as any other: whether a Sync was
 * read before or after the failure no message tells.  So Syncs that are sent while the server reads CopyData
 * (COPY_READING) are counted apart, and what becomes of them is known by what the COPY ends with:
 *
 *   CommandComplete   the server has read the CopyDone, and ignored all Syncs before it.
 *   ErrorResponse     each of them may be answered or not: the server is `in_doubt` by that number.  An empty
 *                     Query of ours (INTERNAL_STEP) follows, and its client waits: EmptyQueryResponse is
 *                     nothing that a Sync is answered with, so every ReadyForQuery before it answers the
 *                     client, and behind it nothing is due. An error in the extended protocol is followed by
 *                     nothing up to a Sync: there the Query waits for one that is certainly behind the COPY,
 *                     or for a ReadyForQuery; or it goes behind a Sync of ours.
 *
 * Nothing is sent whose answers could be those of one request or of another:
 *
 *   a Sync behind what may begin a COPY waits until it has begun one, or has been answered (copy_may_begin),
 *            also where another COPY is under way still, whose end has been sent;
 *   what comes behind a CopyDone with Syncs before it, until the COPY has succeeded or failed;
 *   what PostgreSQL would not take among CopyData, until the COPY has failed.  It is made to by a CopyFail of
 *            ours, which PostgreSQL ignores where it has failed before; else the client has broken the
 *            protocol, and is closed;
 *   what comes behind an error in the extended protocol with Syncs in doubt: ReadyForQuery answers the Sync
 *            of ours, and each of the client's that was read behind the failure.  If none was, PostgreSQL
 *            would skip what comes now up to the client's next Sync; so does pooler (CLIENT_SKIPPING). */
#define _GNU_SOURCE
#include "relay/copy.h"

#include <stdio.h>
#include <string.h>

#include "io/buffer.h"
#include "io/connection.h"
#include "io/request_queue.h"
#include "relay/client.h"
#include "relay/internal.h"
#include "relay/relay.h"
#include "relay/server.h"
#include "sql/statement_names.h"
#include "statements/forward.h"
#include "statements/send.h"

/* ---- what statements may be ---------------------------------------------------------------------- */

/* A Parse or Bind is about to be sent.  What comes of a Bind by a name that is looked after its statement
 * says (forward_bind). */
void copy_note_deeds(const struct relay *r, struct client *c, const unsigned char *p, uint32_t here,
                     uint32_t total) {
    struct server *s = c->server;
    bool looked_after = statements_on(r, c);
    const unsigned char *end = p + here, *name = p + 5;
    if (p[0] == 'B' && looked_after) return;
    if (p[0] == 'B') name = memchr(name, 0, here - 5);
    name += name && p[0] == 'B';
    const unsigned char *behind = name ? memchr(name, 0, (size_t)(end - name)) : NULL;
    bool named = !name || name == end || *name;
    if (p[0] == 'B') {
        s->deeds |= named ? c->named_deeds : c->unnamed_deeds;
        return;
    }
    const char *text = behind ? (const char *)behind + 1 : "";
    uint8_t deeds = sql_deeds(text, behind ? (uint32_t)(end - behind) - 1 : 0, behind && here == total);
    if (named) c->named_deeds |= deeds;
    else if (s->skip || s->requests.count) c->unnamed_deeds |= deeds; /* it may be skipped */
    else c->unnamed_deeds = deeds;
}

/* The latest request that a server was sent, of those behind the first `n`; 0: none. */
static uint8_t last_sent(const struct requests *q, uint32_t n) {
    uint32_t i = q->count;
    while (i > n && (requests_at(q, i - 1) == 'p' || requests_at(q, i - 1) == 'x')) i--;
    return i > n ? requests_at(q, i - 1) : 0;
}

/* Whether a Sync that is sent now could be read among CopyData, before anybody knows of that COPY.  One that
 * has been sent its end stands at the head of the queue, and another may stand behind it. */
bool copy_may_begin(const struct server *s) {
    uint8_t last = last_sent(&s->requests, s->copy == COPY_ENDING);
    return s->copy != COPY_READING && !s->skip && (last == 'Q' || (last == 'E' && s->deeds & MAY_COPY));
}

/* ---- the COPY ----------------------------------------------------------------------------------- */

static uint32_t refusal_text(char out[COPY_REFUSAL_BYTES], uint8_t letter) {
    return (uint32_t)snprintf(out, COPY_REFUSAL_BYTES,
                              "unexpected message type 0x%02X during COPY from stdin", letter);
}

/* Its client goes on with a message that PostgreSQL takes only if the COPY has failed. */
void copy_refuse(struct relay *r, struct server *s, uint8_t letter) {
    char text[COPY_REFUSAL_BYTES];
    unsigned char head[5] = {'f'};
    uint32_t n = refusal_text(text, letter) + 1;
    store_be32(head + 1, n + 4);
    conn_append(&r->loop, &s->io, head, sizeof head);
    conn_send(&r->loop, &s->io, text, n);
    s->copy = COPY_ENDING;
    s->copy_refused = letter;
}

/* Whether this error is the answer to that: the COPY was still under way.  Then `text` is for the client. */
bool copy_was_refused(const struct server *s, const unsigned char *error, uint32_t n,
                      char text[COPY_REFUSAL_BYTES]) {
    return s->copy_refused && memmem(error, n, text, refusal_text(text, s->copy_refused));
}

/* A Parse or Close that PostgreSQL does not know of stands behind the COPY.  What it was sent behind that
 * ends the COPY without us, and may begin another one, which a CopyFail of ours would end.  False: nothing
 * fits into half a message. */
static bool refuse_unsent(struct relay *r, struct server *s, uint8_t letter) {
    bool ends = last_sent(&s->requests, 1);
    if (!ends && s->client && s->client->io.body_left) return false;
    if (!ends) copy_refuse(r, s, letter);
    s->copy_refused = letter;
    return true;
}

/* The server reads CopyData now: Syncs that it was sent already are among it, and a CopyDone may be.  False:
 * nothing that it was asked leads to a COPY, or its client has broken the protocol and a CopyFail cannot be
 * sent. */
bool copy_begins(struct relay *r, struct server *s) {
    struct requests *q = &s->requests;
    uint8_t head = requests_head(q), next = 0;
    if ((head != 'Q' && head != 'E') || s->copy != COPY_NONE) return false;
    uint32_t taken = 0;
    s->copy = COPY_READING;
    while (taken + 1 < q->count && s->copy == COPY_READING) {
        next = requests_at(q, taken + 1);
        /* what is no part of a COPY is read behind it, or ends the connection */
        if (next != 'S') s->copy = COPY_ENDING;
        if (next != 'S' && next != 'c') break;
        s->copy_syncs += next == 'S';
        taken++;
    }
    if (taken) requests_take_behind_head(q, taken);
    if ((next == 'p' || next == 'x') && !refuse_unsent(r, s, next == 'p' ? 'P' : 'C')) return false;
    if (head == 'E' && q->count == 1) s->pipeline_open = true; /* those Syncs did not end it */
    return true;
}

/* A Sync of the client, in the middle of its CopyData.  False: that is enough of them. */
bool copy_sync(struct server *s) { return s->copy_syncs++ < AHEAD_MAX; }

/* What is behind the COPY has to wait for its end. */
bool copy_decides(const struct server *s) {
    return s->copy == COPY_ENDING && (s->copy_syncs || s->copy_refused);
}

static void copy_ended(struct server *s) {
    s->copy = COPY_NONE;
    s->copy_syncs = 0;
    s->copy_refused = 0;
}

/* CommandComplete has come.  False: the client has not ended the COPY. */
bool copy_completed(struct server *s) {
    if (s->copy == COPY_READING || s->copy_refused) return false;
    copy_ended(s);
    return true;
}

/* The COPY has failed.  False: what is behind it cannot be told from what is in doubt. */
bool copy_failed(struct server *s) {
    const struct requests *q = &s->requests;
    uint32_t syncs = s->copy_syncs;
    copy_ended(s);
    for (uint32_t i = 1; syncs && i < q->count; i++) {
        uint8_t next = requests_at(q, i);
        if (next != 'S' && next != 'c') return false;
    }
    s->in_doubt = syncs;
    return true;
}

/* ---- doubt -------------------------------------------------------------------------------------- */

/* Asks how many Syncs were answered, when the time for it has come. */
void doubt_ask(struct relay *r, struct server *s) {
    if (!s->in_doubt || s->skip || s->internal != INTERNAL_NONE || !s->client) return;
    if (s->client->io.body_left) return; /* behind the client's message */
    s->step_seen = s->step_skips = false;
    internal_send(r, s, INTERNAL_STEP, "");
}

/* The same behind an error in the extended protocol, when no Sync of the client comes next. */
void doubt_end(struct relay *r, struct server *s) {
    send_sync(r, s);
    s->skip = s->step_seen = false;
    s->step_skips = true;
    internal_send(r, s, INTERNAL_STEP, "");
}

/* Whether ReadyForQuery answers a Sync that was in doubt. */
bool doubt_answered(struct server *s) {
    bool behind_all = s->internal == INTERNAL_STEP && requests_head(&s->requests) == ('Q' | INTERNAL)
        && !s->step_seen;
    if (!s->in_doubt || (s->requests.count && !behind_all)) return false;
    s->in_doubt--;
    s->skip = s->step_skips = false;
    return true;
}

/* Nothing is in doubt any more. */
void doubt_ended(struct relay *r, struct server *s) {
    (void)r;
    s->in_doubt = 0;
    struct client *c = s->client;
    if (s->step_skips && c && c->state != CLIENT_LEAVING) client_move(c, CLIENT_SKIPPING);
    s->step_skips = false;
}
