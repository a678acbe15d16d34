/* The checks of a debug build: whether a transition is in its table, and which ones are taken. */
#define _GNU_SOURCE
#include "io/state_machine.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int64_t place_of(const struct state_machine *m, uint8_t from, uint8_t to) {
    for (uint32_t i = 0; i < m->transition_count; i++)
        if (m->transitions[i].from == from && m->transitions[i].to == to) return i;
    return -1;
}

bool state_may_follow(const struct state_machine *m, uint8_t from, uint8_t to) {
    return place_of(m, from, to) >= 0;
}

#ifdef POOLER_DEBUG

static const char *name_of(const struct state_machine *m, uint8_t state) {
    return state < m->state_count ? m->states[state].name : "none";
}

/* One line, in one write: several processes share the file. */
static void note(const struct state_machine *m, uint8_t from, uint8_t to) {
    const char *path = getenv("POOLER_TRANSITIONS");
    char line[128];
    int n = snprintf(line, sizeof line, "%s %s %s\n", m->name, name_of(m, from), name_of(m, to));
    int fd = path ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
    if (fd < 0) return;
    (void)!write(fd, line, (size_t)n);
    close(fd);
}

void state_check(const struct state_machine *m, uint8_t from, uint8_t to) {
    int64_t place = place_of(m, from, to);
    if (place < 0) {
        fprintf(stderr, "illegal transition of a %s: from %s to %s\n", m->name, name_of(m, from),
                name_of(m, to));
        abort();
    }
    if (!atomic_exchange_explicit(&m->taken[place], true, memory_order_relaxed)) note(m, from, to);
}

#endif
