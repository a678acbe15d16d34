/* The map of the shared tables, and its lock. */
#define _GNU_SOURCE
#include "tables/tables.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "tables/clock.h"
#include "tables/layout.h"
#include "tables/list.h"
#include "tables/rebuild.h"
#include "tables/server_statements.h"

uint64_t tables_new_id(struct tables *t) { return atomic_fetch_add(&t->h->next_id, 1) + 1; }

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
    PLACE(due, _Atomic uint32_t, z->clients);
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
    t->h->begun_at = clock_us();
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
