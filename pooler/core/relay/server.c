/* Server connections: descriptors (every worker has a duplicate of each), reading. */
#include "relay/server.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/buffer.h"
#include "io/connection.h"
#include "io/request_queue.h"
#include "relay/client.h"
#include "relay/client_leave.h"
#include "relay/commands.h"
#include "relay/inbox.h"
#include "relay/internal.h"
#include "relay/relay.h"
#include "relay/server_close.h"
#include "relay/server_release.h"
#include "relay/server_replies.h"
#include "relay/suspend.h"
#include "relay/turns.h"
#include "session/accepted_settings.h"
#include "session/plans.h"
#include "session/session.h"
#include "session/settings.h"
#include "sql/digest.h"
#include "statements/parsing.h"
#include "statements/replay.h"
#include "tables/layout.h"
#include "tables/pool.h"
#include "tables/server_statements.h"
#include "tables/states.h"

/* Rows of the catalogs are read at some 4 ns a byte: one buffer of them before the others get their turn. */
#define CATALOG_ROUNDS 1

/* ---- descriptors ----------------------------------------------------------------------------- */

/* NULL: no memory. */
static struct server *server_struct(struct relay *r, int32_t slot) {
    struct server *s = r->servers[slot];
    if (s) return s;
    s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->io.kind = KIND_SERVER;
    s->io.fd = -1;
    s->slot = slot;
    requests_init(&s->requests);
    return r->servers[slot] = s;
}

void server_drop_descriptor(struct relay *r, struct server *s) {
    session_forget(r, s);
    conn_disarm(&r->loop, &s->io);
    if (s->io.fd >= 0) close(s->io.fd);
    s->io.fd = -1;
    free(s->io.out.data);
    free(s->io.stash.data);
    s->io.out = s->io.stash = (struct bytes){0};
    requests_free(&s->requests);
    replay_free(&s->replay);
    parsing_free(s);
    if (s->state != SERVER_ABSENT) server_move(s, SERVER_ABSENT);
}

/* A (duplicate of a) descriptor for this generation of a slot has arrived. */
void server_learn(struct relay *r, int32_t slot, uint32_t generation, int fd, bool raw) {
    struct server *s = server_struct(r, slot);
    if (!s || (s->io.fd >= 0 && (int32_t)(generation - s->generation) <= 0)) {
        close(fd); /* without memory it is one that has not arrived */
        return;
    }
    server_drop_descriptor(r, s);
    struct conn io = {.kind = KIND_SERVER, .fd = fd, .queued = s->io.queued, .next_ready = s->io.next_ready};
    *s = (struct server){.io = io, .slot = slot, .generation = generation, .transaction = 'I', .raw = raw};
    requests_init(&s->requests);
    server_move(s, SERVER_POOLED);
}

/* The connection is over for everybody. */
void server_forget(struct relay *r, int32_t slot, uint32_t generation) {
    struct server *s = r->servers[slot];
    if (s && s->generation == generation && !server_is_closing(s)) server_drop_descriptor(r, s);
}

/* The connection of a slot; NULL when its descriptor never arrived here. */
struct server *server_of(struct relay *r, int32_t slot) {
    struct server *s = server_struct(r, slot);
    uint32_t generation = r->t->slots[slot].generation;
    if (!s) return NULL;
    /* sent before the slot was published */
    if (s->io.fd < 0 || s->generation != generation) relay_drain_inbox(r);
    return s->io.fd >= 0 && s->generation == generation ? s : NULL;
}

/* Takes over a server whose login is done. */
void server_add(struct relay *r, struct command *command) {
    server_learn(r, command->a, command->generation, command->b, false);
    struct slot_row *row = &r->t->slots[command->a];
    struct settings_scope scope = accepted_scope(r->t, row->pool);
    struct settings *settings = settings_intern(&r->store, &scope, (const char *)command->data,
                                                command->data_bytes, true);
    row->settings = row->login_settings = settings ? settings->digest : (struct digest){0};
    row->flags &= (uint8_t)~SF_EXTRAS;
    row->sequence_of = 0;
    plans_forget(row);
    row->served = row->temporary = 0;
    if (settings) {
        accepted_keep(r, row->pool, settings);
        settings_drop(&r->store, settings);
    }
    prepared_reset(&r->t->prepared[command->a]);
    row->unnamed_of = 0;
    struct server *s = r->servers[command->a];
    if (!s) {
        pool_abandon(r->t, command->a);
        return;
    }
    conn_arm(&r->loop, &s->io);
    server_place(r, s);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Something arrived on a connection that may not be ours: only the owner of the slot reads. */
static bool owned(struct relay *r, struct server *s) {
    if (s->state != SERVER_POOLED) return true;
    const struct slot_row *row = &r->t->slots[s->slot];
    if ((row->state == SL_IDLE || row->state == SL_PARKED)
        && pool_claim_idle(r->t, s->slot, s->generation, r->worker)) {
        server_move(s, SERVER_RETURNING);
        s->internal_since = r->loop.now;
        return true;
    }
    conn_disarm(&r->loop, &s->io);
    return false;
}

static void discard(struct relay *r, struct server *s) {
    /* all of ours is out; not connected yet: when it is */
    if (s->state == SERVER_CLOSING && !bytes_pending(&s->io.out)
        && (shutdown(s->io.fd, SHUT_WR) == 0 || errno != ENOTCONN))
        server_move(s, SERVER_SHUT);
    for (int round = 0; round < ROUNDS; round++) {
        ssize_t got = recv(s->io.fd, r->loop.buffer, r->loop.buffer_bytes, MSG_DONTWAIT);
        if (got > 0 || (got < 0 && errno == EINTR)) continue;
        s->io.readable = false;
        if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) server_gone(r, s);
        return;
    }
    conn_ready(&r->loop, &s->io);
}

/* Bytes of its stream are lost. */
static void without_memory(struct relay *r, struct server *s) {
    s->io.gap = true;
    if (s->client) memory_refuse(r, s->client);
    if (!server_is_closing(s)) server_close(r, s, true, "out of memory");
}

void server_run(struct relay *r, struct server *s) {
#ifdef POOLER_DEBUG
    server_state_check(s);
#endif
    if (s->io.fd < 0 || !owned(r, s)) return;
    if (bytes_pending(&s->io.out) && (s->io.stuck || server_is_closing(s))) {
        conn_flush(&r->loop, &s->io);
        if (!s->io.stuck && s->client) conn_ready(&r->loop, &s->client->io);
    }
    if (server_is_closing(s)) {
        discard(r, s);
        return;
    }
    if (s->io.gap) {
        without_memory(r, s);
        return;
    }
    turns_begin(r);
    for (int round = 0; round < (s->internal == INTERNAL_CATALOG ? CATALOG_ROUNDS : ROUNDS); round++) {
        if (s->client && (s->client->io.stuck || (suspended_at(r, &s->io) && !s->internal))) return;
        bool received;
        uint32_t n = conn_fill(&r->loop, &s->io, suspended_limit(r, &s->io, BUFFER_BYTES), &received);
        uint32_t used = n ? server_feed(r, s, r->loop.buffer, n) : 0;
        if (server_is_closing(s)) return;
        if (!conn_stash(&s->io, r->loop.buffer + used, n - used)) {
            without_memory(r, s);
            return;
        }
        if (s->client) client_resume(r, s->client);
        if (s->client && s->client->state == CLIENT_LEAVING) {
            client_leave(r, s->client);
            conn_ready(&r->loop, &s->io);
            if (!s->client) return;
        }
        if (turns_over(r)) break;
        if (s->io.eof && !received) {
            server_gone(r, s);
            return;
        }
        if (!s->io.readable || !received) {
            server_release_if_done(r, s);
            return;
        }
    }
    conn_ready(&r->loop, &s->io);
}
