/* How what happens to a server moves it: the theory stands in server_state.h. */
#include "relay/server_state.h"

#include <stdio.h>
#include <stdlib.h>

#include "relay/internal.h"
#include "relay/server.h"

STATE_MACHINE(server_machine, "server", SERVER_STATES, SERVER_TRANSITIONS);

/* A request of its client is on its way, or about to be: it does not go back before that is answered. */
void server_state_requested(struct server *s) {
    if (s->state == SERVER_GREETED) server_move(s, SERVER_FRESH);
    else if (s->state == SERVER_ANSWERED || s->state == SERVER_PROBING) server_move(s, SERVER_SERVING);
}

/* Bytes of its client go out. */
void server_state_used(struct server *s) {
    if (s->state == SERVER_FRESH) server_move(s, SERVER_SERVING);
    else if (s->state == SERVER_GREETED) server_move(s, SERVER_ANSWERED);
}

/* Both, for what is sent for its client. */
void server_state_sent(struct server *s) {
    server_state_requested(s);
    server_state_used(s);
}

/* A request of ours for its client goes out, or waits to. */
void server_state_asked(struct server *s) {
    if (s->state == SERVER_GREETED) server_move(s, SERVER_FRESH);
    else if (s->state == SERVER_ANSWERED) server_move(s, SERVER_PROBING);
}

/* Its client was greeted, and has not said anything yet. */
void server_state_greeted(struct server *s) {
    if (s->state == SERVER_FRESH) server_move(s, SERVER_GREETED);
}

/* ReadyForQuery has come.  `over`: nothing is outstanding or in doubt, and no transaction is open. */
void server_state_ready(struct server *s, bool over) {
    switch ((enum server_state)s->state) {
    case SERVER_FRESH:
        if (over) server_move(s, SERVER_GREETED);
        break;
    case SERVER_GREETED:
        if (!over) server_move(s, SERVER_FRESH);
        break;
    case SERVER_SERVING:
        if (over) server_move(s, SERVER_ANSWERED);
        break;
    case SERVER_PROBING:
        if (over) server_move(s, SERVER_ANSWERED);
        else if (!s->internal) server_move(s, SERVER_SERVING);
        break;
    case SERVER_ANSWERED:
        if (!over) server_move(s, SERVER_SERVING);
        break;
    default: break; /* no client has it, or one has it for good */
    }
}

#ifdef POOLER_DEBUG

/* Aborts where a client has a server in a state without one, or the other way round. */
void server_state_check(const struct server *s) {
    bool has = s->state == SERVER_FRESH || s->state == SERVER_GREETED || server_is_used(s)
        || s->state == SERVER_DEDICATED;
    if (s->state == SERVER_RESETTING || has == (s->client != NULL)) return;
    fprintf(stderr, "illegal state of a server: %s %s a client\n", server_machine.states[s->state].name,
            s->client ? "with" : "without");
    abort();
}

#endif
