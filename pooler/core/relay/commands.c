/* Commands: what Python's thread wants of the relay. */
#include "relay/commands.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/connection.h"
#include "login/login.h"
#include "login/questions.h"
#include "notify/subscribe.h"
#include "relay/client.h"
#include "relay/client_enter.h"
#include "relay/inbox.h"
#include "relay/internal.h"
#include "relay/orders.h"
#include "relay/relay.h"
#include "relay/server.h"
#include "relay/server_close.h"
#include "relay/walsender.h"
#include "session/startup_values.h"
#include "tables/layout.h"
#include "tables/maintenance.h"
#include "tables/outcome.h"
#include "tables/pool.h"
#include "tables/slots.h"
#include "tables/states.h"

/* ---- from Python's thread -------------------------------------------------------------------- */

void relay_command(struct relay *r, struct command *c) {
    const uint64_t one = 1;
    c->next = NULL;
    pthread_mutex_lock(&r->lock);
    bool wake = r->commands_head == NULL;
    if (r->commands_tail) r->commands_tail->next = c;
    else r->commands_head = c;
    r->commands_tail = c;
    pthread_mutex_unlock(&r->lock);
    if (wake) (void)!write(r->command_bell.fd, &one, sizeof one);
}

/* ---- what they ask for ----------------------------------------------------------------------- */

static void reclaim(struct relay *r) {
    relay_drain_inbox(r);
    for (int32_t i = 0; i < r->t->h->slots_high; i++) {
        struct slot_row *row = &r->t->slots[i];
        if (row->state != SL_RECLAIM || (slot_bridge_is_lost(r->t, row) && row->bridge != r->worker))
            continue;
        struct server *s = server_of(r, i);
        if (!s || !pool_take_reclaim(r->t, i, r->worker)) continue;
        server_close(r, s, (row->flags & SF_WAS_BUSY) != 0, "reclaimed");
    }
}

/* It waits for ReadyForQuery, which waits for a request of ours. */
static bool held_back(const struct client *c) {
    const struct session *x = c->server ? &c->server->session : NULL;
    return x && (x->held || (x->listen && x->listen->ready));
}

static void kill_client(struct relay *r, const struct command *k) {
    struct client *c = r->clients[k->a];
    struct client_row *row = &r->t->clients[k->a];
    const char *sqlstate = (const char *)k->data, *text = sqlstate + 6, *detail = text + strlen(text) + 1;
    if (detail >= sqlstate + k->data_bytes) detail = NULL;
    if (row->id != k->id) return;
    if (!c) { /* in its login: what it was to be punished for may be over */
        if (!k->token || k->token == row->wait_start) login_ordered(r, k->a, k->id, ORDER_KILL, text, detail);
        return;
    }
    bool waits_for_it = client_waits(c) && k->token == row->wait_start;
    bool idle = !c->server || c->server->transaction != 'I' || (row->pinned && !row->request_start);
    bool quiet = !client_waits(c) && idle && !held_back(c) && k->token == row->idle_start;
    bool works = c->server && (k->token == row->request_start || k->token == row->xact_start);
    bool never_reads = c->io.stuck && k->token == row->stuck_start;
    /* what it was to be punished for is over */
    if (k->token && !waits_for_it && !quiet && !works && !never_reads) return;
    client_close_telling(r, c, sqlstate, text, detail, text);
}

static void send_client(struct relay *r, const struct command *k) {
    struct client *c = r->clients[k->a];
    if (!c || r->t->clients[k->a].id != k->id || !client_waits(c)) return;
    if (client_ungreeted(c)) client_let_in(r, c); /* nothing may stand before AuthenticationOk */
    conn_send(&r->loop, &c->io, k->data, k->data_bytes);
}

static void obey(struct relay *r, struct command *k) {
    struct outcome out;
    switch (k->type) {
    case COMMAND_CLIENT: client_add(r, k); break;
    case COMMAND_SERVER: server_add(r, k); break;
    case COMMAND_DEDICATED: walsender_add(r, k); break;
    case COMMAND_CLOSE_SLOT: relay_close_slot(r, k->a); break;
    case COMMAND_FREED_SLOT:
        server_forget(r, k->a, k->generation);
        pool_freed(r->t, k->a, r->worker, r->loop.now, &out);
        server_tell_closed(r, k->a, k->generation);
        relay_apply(r, &out);
        break;
    case COMMAND_KILL: kill_client(r, k); break;
    case COMMAND_SEND: send_client(r, k); break;
    case COMMAND_RECLAIM: reclaim(r); break;
    case COMMAND_OPTIONS: memcpy(&r->options, k->data, sizeof r->options); break;
    case COMMAND_STOP: r->stop = true; break;
    case COMMAND_POLICY: logins_policy(r, (struct policy *)(uintptr_t)k->token); break;
    case COMMAND_UNKNOWN_USERS: logins_unknown(r, k); break;
    case COMMAND_DRAIN: r->logins->draining = true; break;
    case COMMAND_LOGIN_ANSWER: question_answered(r, k); break;
    }
}

void relay_obey_commands(struct relay *r) {
    uint64_t drained;
    (void)!read(r->command_bell.fd, &drained, sizeof drained);
    pthread_mutex_lock(&r->lock);
    struct command *k = r->commands_head;
    r->commands_head = r->commands_tail = NULL;
    pthread_mutex_unlock(&r->lock);
    while (k) {
        struct command *next = k->next;
        obey(r, k);
        free(k);
        k = next;
    }
}
