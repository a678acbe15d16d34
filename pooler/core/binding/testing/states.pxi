"""The state machines of the core, for tests and for the page that shows them (docs/internals/states.md)."""


cdef extern from "io/state_machine.h" nogil:
    struct state:
        const char *name
        const char *meaning
    struct transition:
        uint8_t from_ "from"
        uint8_t to
        const char *when
    struct state_machine:
        const char *name
        const state *states
        const transition *transitions
        uint32_t state_count, transition_count
    bint state_may_follow(const state_machine *, uint8_t, uint8_t)
    void state_move(const state_machine *, uint8_t *, uint8_t)

cdef extern from "login/login_state.h" nogil:
    const state_machine login_machine

cdef extern from "relay/client_state.h" nogil:
    const state_machine client_machine

cdef extern from "relay/server_state.h" nogil:
    const state_machine server_machine


cdef class StateMachine:
    """States with what they mean, the first being the first of all; and transitions with when they are
    taken."""

    cdef const state_machine *m

    @property
    def name(self):
        """Of what has the state."""
        return decoded(self.m.name)

    @property
    def states(self):
        """Pairs of a name and its meaning."""
        return [(decoded(self.m.states[i].name), decoded(self.m.states[i].meaning))
                for i in range(self.m.state_count)]

    @property
    def transitions(self):
        """Two names, and when the second state follows the first."""
        names = [name for name, _ in self.states]
        return [(names[self.m.transitions[i].from_], names[self.m.transitions[i].to],
                 decoded(self.m.transitions[i].when)) for i in range(self.m.transition_count)]

    def may_follow(self, str first, str second):
        """Whether the core takes this transition for legal."""
        names = [name for name, _ in self.states]
        return bool(state_may_follow(self.m, names.index(first), names.index(second)))

    def move(self, str first, str second):
        """Moves something that is in the first state to the second: a debug build ends the process where that
        is illegal."""
        names = [name for name, _ in self.states]
        cdef uint8_t now = names.index(first)
        state_move(self.m, &now, names.index(second))
        return names[now]


cdef StateMachine _machine(const state_machine *m):
    cdef StateMachine made = StateMachine.__new__(StateMachine)
    made.m = m
    return made


#: All of them, in the order in which the page shows them.
STATE_MACHINES = (_machine(&login_machine), _machine(&client_machine), _machine(&server_machine))
