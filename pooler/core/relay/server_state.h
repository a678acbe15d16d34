/* What a server connection is doing, and what may follow.
 *
 * Theory.  Every worker has a duplicate of every connection, so most of the servers of a relay are POOLED:
 * the shared tables say who has them, and nothing is read from them here.  A server is this relay's from the
 * moment when the tables give it to one of its clients, or when the relay takes it for itself, until it is
 * POOLED again or closed.
 *
 * With a client it begins FRESH.  As long as nothing of the client was sent, the client can still get another
 * server, and whatever goes wrong is no loss.  With the first byte it is SERVING.  ReadyForQuery outside of a
 * transaction, with nothing outstanding, makes it ANSWERED: from there it goes back to its pool, unless its
 * client keeps it (session pooling, or what the session has left).  Where that has to be asked first, it is
 * PROBING.  A client that only had to be greeted has it GREETED: it goes back without having been used.
 *
 * Without a client it is RETURNING: whatever has to be done before another client gets it is begun from there
 * (RESETTING, ASKING, ROLLING_BACK), leads back there, and when nothing is left to do it is POOLED.
 *
 * A walsender, and what is like one, is DEDICATED from its login to its end.  Every way out is CLOSING, then
 * SHUT, and ends with the end of its stream, for only then has PostgreSQL let go of the connection.
 *
 * Which request of ours is on its way is another question (`internal`): requests of the client may be under
 * way at the same time, in front of it or behind.  So is what the relay remembers of a server for later: the
 * booleans of struct server are facts of that kind, and none of them says what the server is doing.
 */
#ifndef POOLER_RELAY_SERVER_STATE_H
#define POOLER_RELAY_SERVER_STATE_H

#include <stdbool.h>

#include "io/state_machine.h"

#define SERVER_STATES(X)                                                                                    \
    X(SERVER_ABSENT, "no descriptor of the connection is here")                                             \
    X(SERVER_POOLED, "a descriptor is here; who has the server stands in its row")                          \
    X(SERVER_RETURNING, "this relay has it, and no client; what is left to do is begun, then it is pooled") \
    X(SERVER_FRESH, "a client has it, nothing of the client was sent yet")                                  \
    X(SERVER_GREETED, "the same, and the client only had to be greeted: it goes back")                      \
    X(SERVER_SERVING, "requests of its client, or a transaction, are under way")                            \
    X(SERVER_ANSWERED, "all that its client sent is answered, outside of a transaction: it may go back")    \
    X(SERVER_PROBING, "the same, and a request of ours is under way before it may")                         \
    X(SERVER_RESETTING, "a reset is under way; a client may wait for its end")                              \
    X(SERVER_ASKING, "a question of ours is under way, and no client has it (any more)")                    \
    X(SERVER_ROLLING_BACK, "the transaction that its client has left open is rolled back")                  \
    X(SERVER_DEDICATED, "it is its client's own until its end")                                             \
    X(SERVER_CLOSING, "it is to end: what is for it still goes out, what it sends is dropped")              \
    X(SERVER_SHUT, "our side of its stream is shut; the end of its own is waited for")

#define SERVER_TRANSITIONS(X)                                                                               \
    X(SERVER_ABSENT, SERVER_POOLED, "a descriptor has arrived")                                             \
    X(SERVER_POOLED, SERVER_ABSENT, "another worker has closed it, or its row has a new connection")        \
    X(SERVER_POOLED, SERVER_FRESH, "the tables give it to a client of this relay")                          \
    X(SERVER_POOLED, SERVER_RETURNING,                                                                      \
      "something has arrived on it while it was idle, or it is to be asked or reset")                       \
    X(SERVER_POOLED, SERVER_DEDICATED, "it was opened for one client alone")                                \
    X(SERVER_POOLED, SERVER_CLOSING, "the tables order its end, or its worker has died")                    \
    X(SERVER_RETURNING, SERVER_POOLED, "nothing is left to do")                                             \
    X(SERVER_RETURNING, SERVER_RESETTING, "what a client has left is not for the next one")                 \
    X(SERVER_RETURNING, SERVER_ASKING, "it is asked for defaults, or for a piece of the catalogs")          \
    X(SERVER_RETURNING, SERVER_ROLLING_BACK, "its client has left in a transaction")                        \
    X(SERVER_RETURNING, SERVER_CLOSING, "it ends, is not in step, or has what no reset undoes")             \
    X(SERVER_FRESH, SERVER_SERVING, "the first bytes of its client go out")                                 \
    X(SERVER_FRESH, SERVER_GREETED, "its client is greeted, and has not said anything yet")                 \
    X(SERVER_FRESH, SERVER_RESETTING, "another client has left something there")                            \
    X(SERVER_FRESH, SERVER_RETURNING, "its client leaves, or goes to another server")                       \
    X(SERVER_FRESH, SERVER_ASKING, "its client leaves while it is asked for defaults")                      \
    X(SERVER_FRESH, SERVER_CLOSING, "it ends, or is not the right one for its client")                      \
    X(SERVER_GREETED, SERVER_FRESH, "its client has said something after all")                              \
    X(SERVER_GREETED, SERVER_ANSWERED, "its client has sent what nothing answers")                          \
    X(SERVER_GREETED, SERVER_RETURNING, "it goes back unused")                                              \
    X(SERVER_GREETED, SERVER_CLOSING, "it ends")                                                            \
    X(SERVER_SERVING, SERVER_ANSWERED, "ReadyForQuery, outside of a transaction, with nothing outstanding") \
    X(SERVER_SERVING, SERVER_RETURNING, "its client leaves in an idle transaction")                         \
    X(SERVER_SERVING, SERVER_ASKING, "its client leaves while a question of ours is all that is under way") \
    X(SERVER_SERVING, SERVER_CLOSING, "it ends, is out of step, or its client leaves while something runs") \
    X(SERVER_ANSWERED, SERVER_SERVING, "its client goes on")                                                \
    X(SERVER_ANSWERED, SERVER_PROBING, "what its client has left has to be asked, or put right")            \
    X(SERVER_ANSWERED, SERVER_RETURNING, "its client is done with it")                                      \
    X(SERVER_ANSWERED, SERVER_CLOSING, "it ends, or is outdated in session pooling")                        \
    X(SERVER_PROBING, SERVER_ANSWERED, "that is done")                                                      \
    X(SERVER_PROBING, SERVER_SERVING, "its client goes on behind it")                                       \
    X(SERVER_PROBING, SERVER_ASKING, "its client leaves meanwhile")                                         \
    X(SERVER_PROBING, SERVER_CLOSING, "it ends, or does not answer")                                        \
    X(SERVER_RESETTING, SERVER_FRESH, "it is as new for the client that waits")                             \
    X(SERVER_RESETTING, SERVER_RETURNING, "it is as new")                                                   \
    X(SERVER_RESETTING, SERVER_CLOSING, "it ends, or the reset fails")                                      \
    X(SERVER_ASKING, SERVER_RETURNING, "it has answered")                                                   \
    X(SERVER_ASKING, SERVER_CLOSING, "it ends, or does not answer")                                         \
    X(SERVER_ROLLING_BACK, SERVER_RETURNING, "it is out of the transaction")                                \
    X(SERVER_ROLLING_BACK, SERVER_CLOSING, "it ends, or the rollback fails")                                \
    X(SERVER_DEDICATED, SERVER_CLOSING, "it ends, or its client leaves")                                    \
    X(SERVER_CLOSING, SERVER_SHUT, "all that is for it is out")                                             \
    X(SERVER_CLOSING, SERVER_ABSENT, "the end of its stream has come first")                                \
    X(SERVER_SHUT, SERVER_ABSENT, "the end of its stream")

struct server;

enum server_state { SERVER_STATES(STATE_ENUMERATOR) };

extern const struct state_machine server_machine;

#ifdef POOLER_DEBUG
void server_state_check(const struct server *s);
#endif

#endif
