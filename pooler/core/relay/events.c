/* Events: what the relay tells Python's thread. */
#include "relay/events.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "relay/internal.h"
#include "relay/log.h"
#include "relay/relay.h"

#define EVENTS_MAX 65536 /* unread events; beyond them news are dropped, orders never are */

static bool may_drop(const struct event *e) { return e->type == EVENT_DATABASE; }

bool events_grow(struct relay *r, uint32_t capacity) {
    struct event *events = malloc(capacity * sizeof *events);
    if (!events) return false;
    for (uint32_t i = 0; i < r->event_count; i++)
        events[i] = r->events[(r->event_head + i) % r->event_capacity];
    free(r->events);
    r->events = events;
    r->event_capacity = capacity;
    r->event_head = 0;
    return true;
}

void relay_emit(struct relay *r, const struct event *e) {
    const uint64_t one = 1;
    pthread_mutex_lock(&r->lock);
    if (r->event_count >= EVENTS_MAX && may_drop(e)) {
        pthread_mutex_unlock(&r->lock);
        return;
    }
    while (r->event_count == r->event_capacity && !events_grow(r, r->event_capacity * 2)) {
        pthread_mutex_unlock(&r->lock);
        if (may_drop(e)) return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); /* until Python has taken some */
        pthread_mutex_lock(&r->lock);
    }
    r->events[(r->event_head + r->event_count) % r->event_capacity] = *e;
    bool wake = r->event_count++ == 0;
    pthread_mutex_unlock(&r->lock);
    if (wake) (void)!write(r->event_bell, &one, sizeof one);
}

/* Called by Python's thread: takes up to `max` events. */
int relay_events(struct relay *r, struct event *out, int max) {
    uint64_t drained;
    int n = 0;
    pthread_mutex_lock(&r->lock);
    while (n < max && r->event_count) {
        out[n++] = r->events[r->event_head];
        r->event_head = (r->event_head + 1) % r->event_capacity;
        r->event_count--;
    }
    if (!r->event_count && !log_has_rung(r)) (void)!read(r->event_bell, &drained, sizeof drained);
    pthread_mutex_unlock(&r->lock);
    return n;
}
