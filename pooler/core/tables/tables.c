/* The map, its lock, its rows, and how the derived parts are rebuilt from the rows. */
#define _GNU_SOURCE
#include "tables/tables.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "tables/list.h"
#include "tables/queue.h"
#include "tables/registry.h"
#include "tls/bridge.h"

uint64_t now_us(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

static double wall_clock(void) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

uint64_t new_id(struct tables *t) { return atomic_fetch_add(&t->h->next_id, 1) + 1; }

/* Sets one flag and keeps what others set at the same moment. */
void client_flag(struct tables *t, int32_t row, uint8_t flag) {
    atomic_fetch_or(&t->clients[row].flags, flag);
}

void slot_flag(struct tables *t, int32_t slot, uint8_t flag) { atomic_fetch_or(&t->slots[slot].flags, flag); }

/* ---- the map ------------------------------------------------------------------------------- */

static uint64_t lay_out(struct tables *t, unsigned char *base, const struct sizes *z) {
    uint64_t at = 0;
#define PLACE(FIELD, TYPE, COUNT)                 \
    do {                                          \
        at = (at + 4095) & ~4095ull;              \
        if (base) t->FIELD = (TYPE *)(base + at); \
        at += sizeof(TYPE) * (uint64_t)(COUNT);   \
    } while (0)
    PLACE(h, struct header, 1);
    PLACE(workers, struct worker_row, z->workers);
    PLACE(databases, struct database_row, z->databases);
    PLACE(users, struct user_row, z->users);
    PLACE(instances, struct instance_row, z->instances);
    PLACE(pools, struct pool_row, z->pools);
    PLACE(slots, struct slot_row, z->slots);
    PLACE(clients, struct client_row, z->clients);
    PLACE(counters, struct counters, (uint64_t)z->workers * (uint64_t)z->pools);
    PLACE(prepared, struct prepared_set, z->slots);
    PLACE(channels, struct channel_row, CHANNELS_MAX);
    PLACE(peers, struct peer_row, MAX_PEERS);
    PLACE(hosts, struct host_row, HOSTS_MAX);
    PLACE(catalogs, unsigned char, CATALOG_STORE_BYTES);
#undef PLACE
    return (at + 4095) & ~4095ull;
}

static void init_mutex(pthread_mutex_t *m) {
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(m, &a);
    pthread_mutexattr_destroy(&a);
}

/* Makes the map and one doorbell (eventfd) per worker.  NULL with errno on failure.  Pages that are never
 * touched cost nothing, so rows may be many. */
struct tables *tables_create(const struct sizes *sizes) {
    struct tables *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->map_bytes = lay_out(t, NULL, sizes);
    t->fd = memfd_create("pooler", MFD_CLOEXEC);
    if (t->fd < 0 || ftruncate(t->fd, (off_t)t->map_bytes) < 0) goto fail;
    void *base = mmap(NULL, t->map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, t->fd, 0);
    if (base == MAP_FAILED) goto fail;
    madvise(base, t->map_bytes, MADV_DONTDUMP); /* secrets; a kernel without it dumps the map, as before */
    lay_out(t, base, sizes);
    t->h->sizes = *sizes;
    init_mutex(&t->h->mutex);
    if (getrandom(t->h->statement_key, sizeof t->h->statement_key, 0) < 0) goto fail;
    if (getrandom(t->h->notify_key, sizeof t->h->notify_key, 0) < 0) goto fail;
    if (getrandom(&t->h->marker_channel, sizeof t->h->marker_channel, 0) < 0) goto fail;
    for (int w = 0; w < sizes->workers; w++) {
        t->doorbells[w] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (t->doorbells[w] < 0) goto fail;
        list_clear(&t->workers[w].client_attention);
        list_clear(&t->workers[w].slot_attention);
    }
    list_clear(&t->h->free_clients);
    list_clear(&t->h->free_slots);
    list_clear(&t->h->starved);
    return t;
fail:;
    int saved = errno;
    if (t->fd >= 0) close(t->fd);
    free(t);
    errno = saved;
    return NULL;
}

void tables_destroy(struct tables *t) {
    for (int w = 0; w < t->h->sizes.workers; w++) close(t->doorbells[w]);
    int fd = t->fd;
    munmap(t->h, t->map_bytes);
    close(fd);
    free(t);
}

/* ---- the lock ------------------------------------------------------------------------------ */

static void inherit(struct tables *t, int rc) {
    if (rc != EOWNERDEAD) return;
    tables_rebuild(t);
    pthread_mutex_consistent(&t->h->mutex);
    tables_ring(t, ~0ull); /* orders may have been on a list that was being changed */
}

void tables_lock(struct tables *t) { inherit(t, pthread_mutex_lock(&t->h->mutex)); }

/* False when a (stopped) holder keeps the lock for longer than `timeout_us`. */
bool tables_trylock(struct tables *t, uint64_t timeout_us) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    uint64_t ns = (uint64_t)ts.tv_nsec + timeout_us * 1000u;
    ts.tv_sec += (time_t)(ns / 1000000000u);
    ts.tv_nsec = (long)(ns % 1000000000u);
    int rc = pthread_mutex_timedlock(&t->h->mutex, &ts);
    if (rc != 0 && rc != EOWNERDEAD) return false;
    inherit(t, rc);
    return true;
}

void tables_unlock(struct tables *t) { pthread_mutex_unlock(&t->h->mutex); }

/* Rings after the lock was given back, so that the woken worker does not run into it. */
void tables_ring(struct tables *t, uint64_t mask) {
    const uint64_t one = 1;
    for (int w = 0; mask && w < t->h->sizes.workers; w++, mask >>= 1)
        if (mask & 1) (void)!write(t->doorbells[w], &one, sizeof one);
}

/* ---- client rows --------------------------------------------------------------------------- */

/* A key by which peers know whose client this is (peers.c): there is no room in it for the row. */
static void peer_key(struct client_row *c, uint16_t peer_id, const uint32_t random[2]) {
    c->cancel_pid = (random[1] & 0x7f0000ffu) | (uint32_t)(peer_id & 0xff) << 16
        | (uint32_t)(peer_id >> 8) << 8;
    c->cancel_secret = random[0] | PEER_HOPS;
}

/* A row for a client that begins to log in; NOBODY when the table is full. */
int32_t client_new(struct tables *t, int worker, uint64_t now) {
    struct {
        uint32_t words[2];
        unsigned char more[CANCEL_MORE_BYTES];
    } random;
    if (getrandom(&random, sizeof random, 0) != sizeof random) return NOBODY;
    tables_lock(t);
    int32_t i = t->h->free_clients.head;
    if (i != NOBODY) client_queue_remove(t, &t->h->free_clients, i);
    else if (t->h->clients_high < t->h->sizes.clients) i = t->h->clients_high++;
    if (i != NOBODY) {
        struct client_row *c = &t->clients[i];
        memset(c, 0, sizeof *c);
        c->worker = (int16_t)worker;
        c->pool = c->database = c->user = c->slot = NOBODY;
        c->id = new_id(t);
        c->connected_at = c->idle_start = now;
        c->connect_time = wall_clock();
        c->cancel_secret = random.words[0];
        memcpy(c->cancel_more, random.more, sizeof c->cancel_more);
        /* the row, so that a cancel request is a look-up; above it random bits; the sign bit stays clear */
        c->cancel_pid = ((random.words[1] << 20) & 0x7ff00000u) | (uint32_t)((i + 1) & 0xfffff);
        if (t->h->peer_id) peer_key(c, t->h->peer_id, random.words);
        COMMIT();
        c->state = CL_LOGIN;
        atomic_fetch_add(&t->workers[worker].clients, 1);
    }
    tables_unlock(t);
    return i;
}

/* Counts a client in or out: the console's not against max_client_conn, our own in its pool alone. */
static void count_client(struct tables *t, const struct client_row *c, int by) {
    if (c->pool != NOBODY) t->pools[c->pool].clients += by;
    if (c->flags & CF_INTERNAL) return;
    if (!(c->flags & CF_CONSOLE)) t->h->clients += by;
    t->databases[c->database].clients += by;
    t->users[c->user].clients += by;
}

/* Counts a client that has authenticated against every limit, or says which one forbids it.
 * `special`: CF_CONSOLE or CF_INTERNAL, for whom max_client_conn is no limit.  `unlimited`: nor is any
 * other. */
enum login_verdict client_login(struct tables *t, int32_t row, int32_t database, int32_t user, int32_t pool,
                                uint8_t special, bool unlimited) {
    enum login_verdict verdict = LOGIN_OK;
    tables_lock(t);
    struct client_row *c = &t->clients[row];
    struct database_row *d = &t->databases[database];
    struct user_row *u = &t->users[user];
    bool there = d->used && u->used
        && (pool == NOBODY || (t->pools[pool].used && t->pools[pool].database == database));
    if (!there) verdict = LOGIN_FORGOTTEN;
    else if (!special && t->h->max_clients && t->h->clients >= t->h->max_clients)
        verdict = LOGIN_MAX_CLIENT_CONN;
    else if (d->disabled) verdict = LOGIN_DISABLED;
    else if (!unlimited && d->max_clients && d->clients >= d->max_clients) verdict = LOGIN_MAX_DB;
    else if (!unlimited && u->max_clients && u->clients >= u->max_clients) verdict = LOGIN_MAX_USER;
    if (verdict == LOGIN_OK) {
        c->database = database;
        c->user = user;
        c->pool = pool;
        COMMIT();
        c->flags |= (uint8_t)(CF_COUNTED | special);
        count_client(t, c, 1);
    }
    tables_unlock(t);
    return verdict;
}

/* Frees the row of a client that left, whatever it was doing; a slot that was handed to it and not yet
 * taken goes to the next.  A slot that it used must have been released or closed before. */
void client_free_locked(struct tables *t, int32_t row, int worker, uint64_t now, struct outcome *out) {
    struct client_row *c = &t->clients[row];
    if (c->state == CL_FREE) return;
    queue_leave(t, row);
    if (c->orders) {
        client_attention_remove(t, &t->workers[c->worker].client_attention, row);
        c->orders = 0;
    }
    int32_t slot = c->state == CL_ACTIVE ? c->slot : NOBODY;
    if (c->flags & CF_COUNTED) count_client(t, c, -1);
    atomic_fetch_sub(&t->workers[c->worker].clients, 1);
    c->slot = NOBODY;
    c->state = CL_FREE;
    COMMIT();
    c->flags = 0; /* its key and its rights end with it */
    c->cancel_pid = c->cancel_secret = 0;
    memset(c->cancel_more, 0, sizeof c->cancel_more);
    client_queue_append(t, &t->h->free_clients, row);
    if (slot != NOBODY && t->slots[slot].client == row) place_locked(t, slot, worker, now, out);
}

/* `worker` is NOBODY when the caller is not a relay. */
void client_free(struct tables *t, int32_t row, int worker, uint64_t now, struct outcome *out) {
    outcome_clear(out);
    tables_lock(t);
    client_free_locked(t, row, worker, now, out);
    tables_unlock(t);
}

/* ---- workers ------------------------------------------------------------------------------- */

void worker_starting(struct tables *t, int worker, int32_t pid) {
    struct worker_row *w = &t->workers[worker];
    uint64_t now = now_us();
    w->relay_beat = w->hub_beat = w->started_at = now;
    w->start_time = wall_clock();
    w->pid = pid;
}

/* What a dead worker leaves: its clients are gone; a slot it had not dialed yet is free; every other slot
 * it owned may still be a connection of PostgreSQL and waits for a reclaimer.  Idle ones stay in use.
 * The caller holds the lock. */
void worker_died_locked(struct tables *t, int worker, int32_t *clients, int32_t *reclaim,
                        struct outcome *out) {
    uint64_t now = now_us();
    *clients = *reclaim = 0;
    /* clients first: no server is to be opened for or handed to a dead one */
    for (int32_t i = 0; i < t->h->clients_high; i++) {
        struct client_row *c = &t->clients[i];
        if (c->state == CL_FREE || c->worker != worker) continue;
        c->slot = NOBODY;
        client_free_locked(t, i, NOBODY, now, out);
        ++*clients;
    }
    for (int32_t i = 0; i < t->h->slots_high; i++) {
        struct slot_row *s = &t->slots[i];
        if (s->canceling & (1ull << worker)) {
            cancel_over_locked(t, i, worker, &out->ring);
            /* its cancel request may still be on the way: nobody else may meet it */
            s->flags |= SF_CLOSE_NEEDED;
            if (s->state == SL_PARKED && !s->canceling && s->owner != worker)
                place_locked(t, i, NOBODY, now, out);
        }
        if (s->state == SL_RECLAIM) ++*reclaim; /* a rebuild found it */
        bool bridged = s->bridge_life && s->bridge == worker
            && s->bridge_life == t->workers[worker].restarts + 1;
        if (bridged && s->state == SL_IDLE) { /* who uses one of the others reads its end of stream */
            slot_idle_remove(t, &t->pools[s->pool].idle, i);
            s->owner = NOBODY;
            slot_state(t, i, SL_RECLAIM);
            ++*reclaim;
        }
        if (s->owner != worker || s->state == SL_FREE || s->state == SL_IDLE || s->state == SL_RECLAIM)
            continue;
        slot_drop_orders(t, i);
        if (s->state == SL_LOGIN && !(s->flags & SF_DIALED)) {
            freed_locked(t, i, NOBODY, now, out);
            continue;
        }
        if (s->state == SL_ACTIVE || s->state == SL_PARKED) s->flags |= SF_WAS_BUSY;
        s->client = NOBODY;
        s->owner = NOBODY;
        slot_state(t, i, SL_RECLAIM);
        ++*reclaim;
    }
    channels_worker_died(t, worker, &out->ring);
    peers_worker_died(t, worker);
    t->workers[worker].pid = 0;
    atomic_fetch_add(&t->workers[worker].restarts, 1);
}

/* ---- rebuild ------------------------------------------------------------------------------- */

static void clear_derived(struct tables *t) {
    struct header *h = t->h;
    h->clients = 0;
    list_clear(&h->free_clients);
    list_clear(&h->free_slots);
    list_clear(&h->starved);
    for (int w = 0; w < h->sizes.workers; w++) {
        list_clear(&t->workers[w].client_attention);
        list_clear(&t->workers[w].slot_attention);
        t->workers[w].clients = 0;
    }
    /* a named row may have been written just before its high-water mark was */
    while (h->databases_high < h->sizes.databases && t->databases[h->databases_high].used)
        h->databases_high++;
    while (h->users_high < h->sizes.users && t->users[h->users_high].used) h->users_high++;
    while (h->instances_high < h->sizes.instances && t->instances[h->instances_high].used)
        h->instances_high++;
    while (h->pools_high < h->sizes.pools && t->pools[h->pools_high].used) h->pools_high++;
    for (int i = 0; i < h->databases_high; i++) {
        t->databases[i].servers = t->databases[i].clients = 0;
        t->databases[i].first_pool = NOBODY;
    }
    for (int i = 0; i < h->users_high; i++) {
        t->users[i].servers = t->users[i].clients = 0;
        t->users[i].first_pool = NOBODY;
    }
    for (int i = 0; i < h->instances_high; i++) {
        t->instances[i].servers = 0;
        t->instances[i].first_pool = NOBODY;
    }
    for (int i = 0; i < h->pools_high; i++) {
        pool_clear_derived(&t->pools[i], h->sizes.workers);
        if (t->pools[i].used) pool_link(t, i);
    }
}

/* Slots whose fields contradict their client's were being changed: nobody knows what is on the wire, so
 * they are closed.  Clients that contradict go back to waiting. */
static void rebuild_slot(struct tables *t, int32_t i) {
    struct slot_row *s = &t->slots[i];
    if (s->state == SL_FREE) {
        s->orders = 0;
        slot_idle_append(t, &t->h->free_slots, i);
        return;
    }
    bool open = s->state == SL_LOGIN || s->state == SL_ACTIVE || s->state == SL_CLOSING;
    bool lost = s->state == SL_PARKED && !s->canceling; /* its canceler died on the way to giving it back */
    if (lost || (open && s->owner == NOBODY)) {
        s->client = s->owner = NOBODY;
        s->state = SL_RECLAIM;
    }
    if (s->state == SL_ACTIVE && s->client == NOBODY && s->orders & ORDER_CLOSE) s->state = SL_CLOSING;
    if (s->state == SL_IDLE) { /* it was about to be closed or given away */
        s->owner = s->client = s->evict_for = NOBODY;
        s->orders = 0;
    }
    if (s->state == SL_ACTIVE && s->client != NOBODY) {
        struct client_row *c = &t->clients[s->client];
        if (c->state != CL_ACTIVE || c->slot != i || c->worker != s->owner) {
            s->client = s->owner = NOBODY;
            s->flags |= SF_WAS_BUSY;
            s->state = SL_RECLAIM;
        }
    }
    struct pool_row *p = &t->pools[s->pool];
    p->servers++;
    p->by_state[s->state]++;
    t->databases[p->database].servers++;
    t->users[p->user].servers++;
    t->instances[p->instance].servers++;
    if (s->evict_for != NOBODY) t->pools[s->evict_for].evicting++;
    if (s->orders && s->owner == NOBODY) s->orders = 0;
    if (s->orders) slot_attention_append(t, &t->workers[s->owner].slot_attention, i);
    if (s->state == SL_IDLE) {
        int32_t at = p->idle.head; /* the one used last comes first, or with server_round_robin last */
        while (at != NOBODY && (t->slots[at].used_at > s->used_at) != t->h->round_robin)
            at = t->slots[at].idle.next;
        slot_idle_insert_before(t, &p->idle, at, i);
    }
}

static void rebuild_client(struct tables *t, int32_t i) {
    struct client_row *c = &t->clients[i];
    if (c->state == CL_FREE) {
        c->orders = 0;
        client_queue_append(t, &t->h->free_clients, i);
        return;
    }
    t->workers[c->worker].clients++;
    if (c->flags & CF_COUNTED) count_client(t, c, 1);
    if (c->state == CL_ACTIVE && (c->slot == NOBODY || t->slots[c->slot].client != i)) {
        c->slot = NOBODY;
        c->orders &= (uint8_t)~ORDER_HANDED;
        c->state = CL_WAITING;
    }
    if (c->state == CL_WAITING && c->orders & (ORDER_WELCOME | ORDER_FAIL)) c->state = CL_LOGIN;
    if (c->state == CL_WAITING && c->orders & ORDER_CANCELED) c->state = CL_IDLE;
    if (c->state != CL_WAITING) c->flags &= (uint8_t)~CF_LOGIN_WAIT;
    if (c->state == CL_WAITING) {
        c->slot = NOBODY;
        c->orders &= (uint8_t)~ORDER_HANDED;
        queue_insert(t, i);
    }
    if (c->orders) client_attention_append(t, &t->workers[c->worker].client_attention, i);
}

/* Rebuilds everything derived from the rows.  The only operation that is not O(1): it runs once after a
 * process died while holding the lock. */
void tables_rebuild(struct tables *t) {
    clear_derived(t);
    for (int32_t i = 0; i < t->h->slots_high; i++) rebuild_slot(t, i);
    for (int32_t i = 0; i < t->h->clients_high; i++) rebuild_client(t, i);
    for (int32_t i = 0; i < t->h->pools_high; i++)
        if (t->pools[i].waiting.count || t->pools[i].dedicated.count) starve(t, i);
    t->h->rebuilds++;
}
