/* The longest turn of a relay's loop (SHOW TURNS). */
#include "relay/turns.h"

#include <time.h>

#include "relay/relay.h"
#include "tables/layout.h"

static uint64_t thread_cpu_us(void) {
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

/* From the end of one turn to the end of the next, so that nothing is left out. */
void turns_measure(struct relay *r) {
    struct worker_row *w = &r->t->workers[r->worker];
    if (r->loop.now >= atomic_load_explicit(&r->t->h->turns_until, memory_order_relaxed)) {
        r->turn_began_at = 0;
        return;
    }
    uint64_t cpu = thread_cpu_us();
    uint64_t took = r->turn_began_at && cpu > r->turn_began_at ? cpu - r->turn_began_at : 0;
    atomic_fetch_add_explicit(&w->turns, 1, memory_order_relaxed);
    if (took > atomic_load_explicit(&w->longest_turn_us, memory_order_relaxed))
        atomic_store_explicit(&w->longest_turn_us, took, memory_order_relaxed);
    r->turn_began_at = cpu;
}
