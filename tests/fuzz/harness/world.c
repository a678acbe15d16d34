/* A relay without its thread: see world.h. */
#define _GNU_SOURCE
#include "world.h"
#include "../../../pooler/core/relay/loop.c" /* for its static functions: the loop's turn is played here */

#include <sys/socket.h>

#include "catalog/read.h"
#include "claim.h"
#include "session/probe.h"
#include "tables/pool.h"
#include "tables/registry.h"
#include "tables/tables.h"
#include "tables/workers.h"

static void open_pool(struct tables *t, const struct world_shape *shape) {
    tables_lock(t);
    int32_t database = tables_database(t, "d", true), user = tables_user(t, shape->user, true);
    int32_t pool = tables_pool_of_kind(t, database, user, tables_instance(t, "i", true), POOL_CLIENTS, true);
    claim(pool == 0, "no pool");
    t->pools[pool].limits = (struct pool_limits){
        .mode = MODE_TRANSACTION, .size = shape->pool_size, .session_state = SESSION_OFF};
    if (shape->welcome) memcpy(t->pools[pool].welcome, shape->welcome, shape->welcome_bytes);
    t->pools[pool].welcome_bytes = (uint16_t)shape->welcome_bytes;
    tables_unlock(t);
}

struct relay *world_open(const struct world_shape *shape) {
    static const char *questions[QUESTIONS + CATALOG_TEXTS];
    const struct sizes sizes = {.workers = 1,
                                .slots = shape->slots,
                                .clients = shape->clients,
                                .databases = 2,
                                .users = 2,
                                .pools = 2,
                                .instances = 2};
    int box[2];
    for (int i = 0; i < QUESTIONS + CATALOG_TEXTS; i++) questions[i] = "SELECT 1";
    struct tables *t = tables_create(&sizes);
    claim(t != NULL, "no tables");
    memset(t->h->statement_key, 7, sizeof t->h->statement_key);
    claim(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, box) == 0, "no sockets");
    open_pool(t, shape);
    worker_starting(t, 0, getpid());
    const int boxes[2] = {box[1], box[1]};
    struct relay *r = relay_open(t, 0, box[0], boxes, 2, shape->tracked, WORLD_TRACKED, questions);
    claim(r != NULL, "no relay");
    return r;
}

void world_pair(int ends[2]) {
    claim(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0, "no pair");
}

struct command *world_command(enum command_type type, int32_t a, int32_t b, uint32_t data_bytes) {
    struct command *k = calloc(1, sizeof *k + data_bytes);
    claim(k != NULL, "no memory");
    k->type = (uint8_t)type;
    k->a = a;
    k->b = b;
    k->data_bytes = data_bytes;
    return k;
}

void world_tell(struct relay *r, struct command *k) { relay_command(r, k); }

void world_refuse_dial(struct relay *r, int32_t slot) {
    struct command *k = world_command(COMMAND_FREED_SLOT, slot, 0, 0);
    pool_begin_close(r->t, slot, 0, false);
    k->generation = r->t->slots[slot].generation;
    world_tell(r, k);
}

void world_turn(struct relay *r, uint64_t now) {
    struct epoll_event ready[EVENTS_PER_WAIT];
    int n = epoll_wait(r->loop.epoll, ready, EVENTS_PER_WAIT, 0);
    r->loop.now = now;
    r->login_budget_at = 0;
    for (int i = 0; i < n; i++) note_events(r, ready[i].data.ptr, ready[i].events);
    logins_tick(r);
    run_ready(r);
    if (r->loop.now >= r->look_at) look(r); /* who has said something and is gone */
    free_closed(r);
}

bool world_is_empty(const struct relay *r) {
    for (int i = 0; i < r->t->h->sizes.clients; i++)
        if (r->t->clients[i].state != CL_FREE) return false;
    for (int i = 0; i < r->t->h->sizes.slots; i++)
        if (r->t->slots[i].state != SL_FREE) return false;
    return true;
}
