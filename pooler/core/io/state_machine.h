/* State machines: the states of a connection and its legal transitions as tables, and the one way to move.
 *
 * A machine is two lists.  STATES has for each state its enumerator and what it means, the first one being
 * that of a zeroed structure; TRANSITIONS has two states and when a connection goes from the first to the
 * second.  The enum, the tables, the tests and docs/internals/states.md are made from them:
 *
 *     enum server_state { SERVER_STATES(STATE_ENUMERATOR) };         in the header
 *     STATE_MACHINE(server_machine, "server", SERVER_STATES, SERVER_TRANSITIONS);   in the source
 *
 * state_move() is what moves, and each machine has one function that calls it.  A debug build (POOLER_DEBUG
 * in the environment of setup.py; the tests run on no other) aborts on a transition that is not in the
 * table.  It also writes each transition, the first time that a process takes it, as a line into the file
 * that POOLER_TRANSITIONS names: entries that nothing takes are found so.  In a release build a move is an
 * assignment.
 */
#ifndef POOLER_IO_STATE_MACHINE_H
#define POOLER_IO_STATE_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

struct state { const char *name, *meaning; };

struct transition {
    uint8_t from, to;
    const char *when;
};

struct state_machine {
    const char *name; /* of what has the state */
    const struct state *states;
    const struct transition *transitions;
    uint32_t state_count, transition_count;
#ifdef POOLER_DEBUG
    _Atomic bool *taken; /* by transition */
#endif
};

#define STATE_ENUMERATOR(state, meaning) state,
#define STATE_ENTRY(state, meaning) {#state, meaning},
#define STATE_TRANSITION(from, to, when) {from, to, when},

#ifdef POOLER_DEBUG
#define STATE_TAKEN(machine) \
    static _Atomic bool machine##_taken[sizeof machine##_transitions / sizeof(struct transition)];
#define STATE_TAKEN_BY(machine) .taken = machine##_taken,
#else
#define STATE_TAKEN(machine)
#define STATE_TAKEN_BY(machine)
#endif

#define STATE_MACHINE(machine, title, states_of, transitions_of)                                         \
    static const struct state machine##_states[] = {states_of(STATE_ENTRY)};                             \
    static const struct transition machine##_transitions[] = {transitions_of(STATE_TRANSITION)};         \
    STATE_TAKEN(machine)                                                                                 \
    const struct state_machine machine = {.name = (title),                                               \
                                          .states = machine##_states,                                    \
                                          .transitions = machine##_transitions,                          \
                                          .state_count = sizeof machine##_states / sizeof(struct state), \
                                          .transition_count = sizeof machine##_transitions               \
                                              / sizeof(struct transition),                               \
                                          STATE_TAKEN_BY(machine)}

bool state_may_follow(const struct state_machine *m, uint8_t from, uint8_t to);
#ifdef POOLER_DEBUG
void state_check(const struct state_machine *m, uint8_t from, uint8_t to);
#endif

static inline void state_move(const struct state_machine *m, uint8_t *state, uint8_t to) {
#ifdef POOLER_DEBUG
    state_check(m, *state, to);
#else
    (void)m;
#endif
    *state = to;
}

#endif
