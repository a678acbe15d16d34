/* What a server owes besides its queue of requests: texts that are being parsed, and COPY from a client.
 *
 * Theory of COPY.  PostgreSQL says CopyInResponse and reads CopyData until CopyDone or CopyFail.  A Sync that it reads
 * there it ignores.  When the COPY fails before its end it stops reading, and a Sync that comes behind is answered by
 * ReadyForQuery as any other: whether a Sync was read before or after the failure no message tells.  So Syncs that are
 * sent while the server reads CopyData (COPY_READING) are counted apart, and what becomes of them is known by what the
 * COPY ends with:
 *
 *   CommandComplete   the server has read the CopyDone, and ignored all Syncs before it.
 *   ErrorResponse     each of them may be answered or not: the server is `in_doubt` by that number.  An empty Query of
 *                     ours (OWN_STEP) follows, and its client waits: EmptyQueryResponse is nothing that a Sync is
 *                     answered with, so every ReadyForQuery before it answers the client, and behind it nothing is due.
 *                     An error in the extended protocol is followed by nothing up to a Sync: there the Query waits for
 *                     one that is certainly behind the COPY, or for a ReadyForQuery.
 *
 * If something else than Syncs is behind the COPY when it fails with Syncs in doubt, its answers could be those of one
 * request or of another: the connection ends.
 */
#include <stdlib.h>

#include "relay.h"

/* ---- texts that are being parsed ------------------------------------------------------------- */

static const struct digest NO_TEXT;   /* no text has this digest, nor one of those of unnamed statements */
#define UNNAMED_LOW 1

bool parsing_is_unnamed(const struct digest *d) { return d->high && d->low == UNNAMED_LOW; }

bool parsing_is_named(const struct digest *d) { return !digest_none(*d) && !parsing_is_unnamed(d); }

/* What stands for an unnamed statement.  `number`: which of all that its client has had, from 1. */
struct digest parsing_of_unnamed(uint64_t number) { return (struct digest){.high = number, .low = UNNAMED_LOW}; }

/* Without memory it is the same as with a request that is in no queue: its client is closed, and the server. */
void parsing_push(struct server *s, const struct digest *d) {
    struct parsing *q = &s->parsing;
    if (q->count == q->room) {
        uint32_t room = q->room ? q->room * 2 : 8;
        struct digest *larger = malloc(room * sizeof *larger);
        if (!larger) {
            s->unrecorded = true;
            return;
        }
        for (uint32_t i = 0; i < q->count; i++) larger[i] = q->ring[(q->head + i) & (q->room - 1)];
        free(q->ring);
        *q = (struct parsing){.ring = larger, .room = room, .count = q->count, .named = q->named, .ended = q->ended};
    }
    if (!d) d = &NO_TEXT;
    q->ring[(q->head + q->count++) & (q->room - 1)] = *d;
    q->named += parsing_is_named(d);
}

/* The oldest; all zero when there is none. */
struct digest parsing_first(const struct server *s) {
    return s->parsing.count ? s->parsing.ring[s->parsing.head] : NO_TEXT;
}

struct digest parsing_pop(struct server *s) {
    struct parsing *q = &s->parsing;
    struct digest first = parsing_first(s);
    if (!q->count) return first;
    q->head = (q->head + 1) & (q->room - 1);
    q->count--;
    q->named -= parsing_is_named(&first);
    q->ended -= q->ended > 0;
    return first;
}

/* A Sync has been sent. */
void parsing_end_pipeline(struct server *s) { s->parsing.ended = s->parsing.count; }

#define UNSURE_MAX 64   /* looked at for each use of a statement; behind more of them it waits */

/* Whether this text is being parsed in a pipeline that has ended: an error in front of it may have it skipped, and what is
 * sent now is not skipped with it. */
bool parsing_is_unsure(const struct server *s, const struct digest *d) {
    const struct parsing *q = &s->parsing;
    if (q->ended > UNSURE_MAX) return true;
    for (uint32_t i = 0; i < q->ended; i++)
        if (digest_same(q->ring[(q->head + i) & (q->room - 1)], *d)) return true;
    return false;
}

void parsing_free(struct server *s) {
    free(s->parsing.ring);
    s->parsing = (struct parsing){0};
}

/* ---- COPY from a client ------------------------------------------------------------------------ */

/* The server reads CopyData now: Syncs that it was sent already are among it, and a CopyDone may be.  False: nothing
 * that it was asked leads to a COPY. */
bool copy_begins(struct server *s) {
    struct requests *q = &s->requests;
    uint8_t head = requests_head(q);
    if ((head != 'Q' && head != 'E') || s->copy != COPY_NONE) return false;
    uint32_t taken = 0;
    s->copy = COPY_READING;
    while (taken + 1 < q->count && s->copy == COPY_READING) {
        uint8_t next = requests_at(q, taken + 1);
        if (next != 'S') s->copy = COPY_ENDING;   /* what is no part of a COPY is read behind it, or ends the connection */
        if (next != 'S' && next != 'c') break;
        s->copy_syncs += next == 'S';
        taken++;
    }
    if (taken) requests_take_behind_head(q, taken);
    if (head == 'E' && q->count == 1) s->pipeline_open = true;   /* those Syncs did not end it */
    return true;
}

/* A Sync of the client, in the middle of its CopyData.  False: that is enough of them. */
bool copy_sync(struct server *s) { return s->copy_syncs++ < AHEAD_MAX; }

/* CommandComplete has come.  False: the client has not ended the COPY. */
bool copy_completed(struct server *s) {
    if (s->copy == COPY_READING) return false;
    s->copy = COPY_NONE;
    s->copy_syncs = 0;
    return true;
}

/* The COPY has failed.  False: what is behind it cannot be told from what is in doubt. */
bool copy_failed(struct server *s) {
    const struct requests *q = &s->requests;
    uint32_t syncs = s->copy_syncs;
    s->copy = COPY_NONE;
    s->copy_syncs = 0;
    for (uint32_t i = 1; syncs && i < q->count; i++) {
        uint8_t next = requests_at(q, i);
        if (next != 'S' && next != 'c') return false;
    }
    s->in_doubt = syncs;
    return true;
}

/* Asks how many Syncs were answered, when the time for it has come. */
void doubt_ask(struct relay *r, struct server *s) {
    if (!s->in_doubt || s->skip || s->own != OWN_NONE || s->closing || !s->client) return;
    if (s->client->io.body_left) return;   /* behind the client's message */
    s->step_seen = false;
    server_own(r, s, OWN_STEP, "", true);
}

/* Whether ReadyForQuery answers a Sync that was in doubt. */
bool doubt_answered(struct server *s) {
    bool behind_all = s->own == OWN_STEP && requests_head(&s->requests) == ('Q' | OWN) && !s->step_seen;
    if (!s->in_doubt || (s->requests.count && !behind_all)) return false;
    s->in_doubt--;
    s->skip = false;
    return true;
}
