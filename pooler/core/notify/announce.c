/* LISTEN and NOTIFY before a statement: the server listens again, the listener is told who notifies. */
#include "notify/announce.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "io/buffer.h"
#include "io/connection.h"
#include "io/request_queue.h"
#include "notify/origin.h"
#include "notify/subscribe.h"
#include "relay/internal.h"
#include "session/session.h"
#include "sql/effects.h"
#include "statements/client_names.h"
#include "statements/replies.h"
#include "tables/layout.h"
#include "tables/states.h"

/* What a message is about to run, or to prepare in order to run it; NULL: nothing new. */
static const char *text_of(const struct client *c, const unsigned char *p, uint32_t total, uint32_t *bytes) {
    const unsigned char *at = p + 5, *end = p + total,
                        *zero = at < end ? memchr(at, 0, (size_t)(end - at)) : NULL;
    if (!zero) return NULL;
    if (p[0] == 'P' || p[0] == 'B') {
        at = zero + 1;
        zero = at < end ? memchr(at, 0, (size_t)(end - at)) : NULL;
        if (!zero) return NULL;
    }
    if (p[0] == 'B') {
        if (!c->names) return NULL;
        if (zero == at) {
            *bytes = c->names->unnamed_kept
                ? (uint32_t)strnlen((const char *)c->names->unnamed, c->names->unnamed_bytes)
                : 0;
            return (const char *)c->names->unnamed;
        }
        const struct name *name = names_find(c->names, (const char *)at, (uint32_t)(zero - at));
        if (!name) return NULL;
        *bytes = (uint32_t)strnlen((const char *)name->statement->body, name->statement->bytes);
        return (const char *)name->statement->body;
    }
    *bytes = (uint32_t)(zero - at);
    return (const char *)at;
}

/* A statement that may notify by what it does to tables: only for clients that would hear it themselves. */
static bool changes(const char *text, uint32_t bytes) {
    static const char *const words[] = {"insert", "update", "delete",  "merge",  "call", "do",
                                        "with",   "copy",   "execute", "commit", "end"};
    while (bytes && strchr(" \t\r\n(;", *text)) text++, bytes--;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (bytes >= strlen(words[i]) && strncasecmp(text, words[i], strlen(words[i])) == 0) return true;
    return false;
}

static uint32_t add_name(char *out, uint32_t n, const char *verb, const char *name) {
    n += (uint32_t)sprintf(out + n, "%s \"", verb);
    for (; *name; name++) {
        if (*name == '"') out[n++] = '"';
        out[n++] = *name;
    }
    out[n++] = '"';
    out[n] = '\0';
    return n;
}

uint32_t listen_add_marker(const struct relay *r, const struct server *s, char *out, uint32_t n,
                           const char *text) {
    char channel[MARKER_CHANNEL_BYTES], marker[MARKER_BYTES];
    marker_channel(r->t, channel);
    marker_sealed(r->t, &r->t->slots[s->slot], text, marker);
    return n + (uint32_t)sprintf(out + n, "NOTIFY %s, '%s'", channel, marker);
}

/* Makes the server ready for a statement that has to do with channels. */
static void prepare(struct relay *r, struct client *c, bool again, bool notifies) {
    char query[CLIENT_CHANNELS_MAX * (2 * CHANNEL_NAME_BYTES + 16) + ADDED_MARKER_BYTES], marker[32];
    struct server *s = c->server;
    struct slot_row *row = &r->t->slots[s->slot];
    struct listening *l = listen_need(r, s);
    uint32_t n = 0;
    if (!l) return;
    if (again) {
        for (const struct subscription *one = c->subscriptions; one; one = one->next_of_client) {
            n = add_name(query, n, "LISTEN", one->name);
            query[n++] = ';';
        }
        l->again = true;
        l->outside = s->transaction == 'I';
        s->session.effect_flags |= ASK_CHANNELS;
    }
    query[n] = '\0';
    if (notifies) {
        snprintf(marker, sizeof marker, "c %u", r->t->clients[c->row].cancel_pid);
        n = listen_add_marker(r, s, query, n, marker);
        l->notified = true;
        row->notifier = r->t->clients[c->row].cancel_pid;
        row->notifier_of = listen_connection(r, c)->generation;
    }
    internal_send(r, s, INTERNAL_LISTEN, query);
}

/* Called before a message is passed on while nothing is outstanding.  True: it has to wait. */
bool listen_first(struct relay *r, struct client *c, const unsigned char *p, uint32_t here, uint32_t total) {
    struct server *s = c->server;
    bool open = listen_connection(r, c)->state == LISTENER_OPEN;
    if ((!open && !c->subscriptions) || !memchr("QPB", p[0], 3) || !session_on(r, c)) return false;
    if (s->transaction == 'E' || s->copy == COPY_READING || s->skip || total > WHOLE_MESSAGE_BYTES)
        return false;
    if (statements_due(s)) statements_answer(r, s);
    for (uint32_t i = 0; i < s->requests.count; i++)
        if (s->internal == INTERNAL_NONE || !(requests_at(&s->requests, i) & INTERNAL)) return false;
    if (here < total) {
        c->whole_bytes = total;
        return true;
    }
    struct scan scan;
    uint32_t bytes = 0;
    const char *text = text_of(c, p, total, &bytes);
    if (!text || !bytes) return false;
    session_scan(r, c, text, bytes, &scan);
    const struct listening *l = s->session.listen;
    /* a LISTEN alone needs none of those before it; what else its text runs may end them */
    bool alone = scan.effect_flags & EFFECT_LISTEN && !(scan.effect_flags & (EFFECT_UNSURE | EFFECT_UNKNOWN));
    bool channels = scan.effect_flags & EFFECT_UNLISTEN || (scan.effect_flags & ASK_CHANNELS && !alone);
    bool may_notify = scan.effect_flags & EFFECT_NOTIFY
        || (c->subscriptions
            && (scan.effect_flags & (ASK_CHANNELS | EFFECT_INSERT | EFFECT_UNKNOWN | EFFECT_EXECUTE)
                || changes(text, bytes)));
    bool again = channels && c->subscriptions && !(l && l->again);
    bool notifies = open && may_notify && !(l && l->notified);
    if (!again && !notifies) return false;
    if (s->internal != INTERNAL_NONE) { /* its settings go first */
        s->internal_blocks = true;
        conn_flush(&r->loop, &s->io);
        return true;
    }
    if (guard_take(r, s)) prepare(r, c, again, notifies);
    else client_hold(c, HELD_FOR_CANCEL);
    return true;
}
