/* What a client is doing, and what may follow.
 *
 * Theory.  A client comes here when its login is over.  As at a PostgreSQL of its own it is greeted when a
 * server has accepted the values of its startup packet: it is in GREETING_WAITING and GREETING until then,
 * unless servers have accepted the same before, or none is free that could.
 *
 * From then on it is IDLE, WAITING or SERVED.  An IDLE client has no server, and is read to find out that it
 * wants one.  A WAITING client is on the queue of its pool, and is not read: its message is in the stash.  A
 * SERVED client has a server and is read; HELD is the same without being read, because what its server has
 * not answered yet decides how the next message is sent, or because there is too much of that.  (Whether the
 * socket can be written, and whether a request of ours is in the way, are facts of the connection and of the
 * server, and hold in every state.)
 *
 * What no server is to get is read and dropped: one message of a client that has canceled it in the queue
 * (DROPPING), everything up to Sync behind an error (SKIPPING).  A client that is SKIPPING may have a server
 * or not, and that may be taken from it.
 *
 * A client that sends nothing more is LEAVING until what it has sent is answered and the answers are out.  It
 * may have a server or not, and never waits for another.  A client that is broken, killed, or told why it has
 * to go is CLOSED at once; what is left of it is freed at the end of the turn of the loop.
 */
#ifndef POOLER_RELAY_CLIENT_STATE_H
#define POOLER_RELAY_CLIENT_STATE_H

#include "io/state_machine.h"

#define CLIENT_STATES(X)                                                                            \
    X(CLIENT_LOGGED_IN, "its login is over, and it is about to be greeted, or to ask for a server") \
    X(CLIENT_GREETING_WAITING, "not greeted: it waits for a server to accept its startup values")   \
    X(CLIENT_GREETING, "not greeted: its server is asked about its startup values")                 \
    X(CLIENT_IDLE, "it has no server, and has not said anything that needs one")                    \
    X(CLIENT_WAITING, "on the queue of its pool")                                                   \
    X(CLIENT_SERVED, "it has a server")                                                             \
    X(CLIENT_HELD, "it has a server, and is not read before that has answered more")                \
    X(CLIENT_DROPPING, "its next message is dropped: it was canceled while it waited for a server") \
    X(CLIENT_SKIPPING, "what it sends is dropped up to Sync, with a server or without one")         \
    X(CLIENT_LEAVING, "it sends nothing more, and is there until it has its answers")               \
    X(CLIENT_CLOSED, "it is gone")

#define CLIENT_TRANSITIONS(X)                                                                               \
    X(CLIENT_LOGGED_IN, CLIENT_GREETING_WAITING, "no server is free")                                       \
    X(CLIENT_LOGGED_IN, CLIENT_GREETING, "it gets a server at once")                                        \
    X(CLIENT_LOGGED_IN, CLIENT_IDLE, "its startup values are known, or no server will be free soon")        \
    X(CLIENT_LOGGED_IN, CLIENT_SERVED, "it comes with a server of its own")                                 \
    X(CLIENT_LOGGED_IN, CLIENT_CLOSED, "there is no memory for it, or its own server is gone")              \
    X(CLIENT_GREETING_WAITING, CLIENT_GREETING, "it gets a server")                                         \
    X(CLIENT_GREETING_WAITING, CLIENT_WAITING, "it is told that it waits, and let in for that")             \
    X(CLIENT_GREETING_WAITING, CLIENT_CLOSED, "it hangs up, is killed, or has waited for too long")         \
    X(CLIENT_GREETING, CLIENT_SERVED, "its server has accepted its startup values")                         \
    X(CLIENT_GREETING, CLIENT_GREETING_WAITING, "its server is lost, or not the right one")                 \
    X(CLIENT_GREETING, CLIENT_CLOSED, "its server refuses its startup values, or it is broken or killed")   \
    X(CLIENT_IDLE, CLIENT_SERVED, "it says something, and a server is free")                                \
    X(CLIENT_IDLE, CLIENT_WAITING, "it says something, and no server is free")                              \
    X(CLIENT_IDLE, CLIENT_LEAVING, "Terminate, the end of its stream, or what is no message")               \
    X(CLIENT_IDLE, CLIENT_CLOSED, "it is broken or killed")                                                 \
    X(CLIENT_WAITING, CLIENT_SERVED, "it gets a server")                                                    \
    X(CLIENT_WAITING, CLIENT_IDLE, "it is canceled, and has not said anything")                             \
    X(CLIENT_WAITING, CLIENT_DROPPING, "its Query or FunctionCall is canceled")                             \
    X(CLIENT_WAITING, CLIENT_SKIPPING, "its messages of the extended protocol are canceled")                \
    X(CLIENT_WAITING, CLIENT_CLOSED, "it is broken or killed, or has waited for too long")                  \
    X(CLIENT_SERVED, CLIENT_IDLE, "its server goes back to the pool")                                       \
    X(CLIENT_SERVED, CLIENT_HELD, "answers decide how its next message is sent, or too many are due")       \
    X(CLIENT_SERVED, CLIENT_WAITING, "its server is lost or not the right one, and was sent nothing of it") \
    X(CLIENT_SERVED, CLIENT_SKIPPING, "it is behind an error in a COPY that its Syncs did not end")         \
    X(CLIENT_SERVED, CLIENT_LEAVING, "Terminate, the end of its stream, or what is no message")             \
    X(CLIENT_SERVED, CLIENT_CLOSED, "it is broken or killed, or its server is lost")                        \
    X(CLIENT_HELD, CLIENT_SERVED, "those answers have come")                                                \
    X(CLIENT_HELD, CLIENT_IDLE, "they have come, and its server goes back to the pool")                     \
    X(CLIENT_HELD, CLIENT_WAITING, "its server is lost, and was sent nothing of it")                        \
    X(CLIENT_HELD, CLIENT_LEAVING, "Terminate behind the message for which it is held")                     \
    X(CLIENT_HELD, CLIENT_CLOSED, "it is broken or killed, or its server is lost")                          \
    X(CLIENT_DROPPING, CLIENT_IDLE, "the message is dropped")                                               \
    X(CLIENT_DROPPING, CLIENT_LEAVING, "the end of its stream, or what is no message")                      \
    X(CLIENT_DROPPING, CLIENT_CLOSED, "it is broken or killed")                                             \
    X(CLIENT_SKIPPING, CLIENT_SERVED, "Sync, and it has its server still")                                  \
    X(CLIENT_SKIPPING, CLIENT_IDLE, "Sync, and it has no server")                                           \
    X(CLIENT_SKIPPING, CLIENT_LEAVING, "Terminate, the end of its stream, or what is no message")           \
    X(CLIENT_SKIPPING, CLIENT_CLOSED, "it is broken or killed, or its server is lost")                      \
    X(CLIENT_LEAVING, CLIENT_CLOSED, "it has its answers, is broken or killed, or its server is lost")

/* (enum client_state is that of its row in the shared tables.) */
enum client_relay_state { CLIENT_STATES(STATE_ENUMERATOR) };

extern const struct state_machine client_machine;

#endif
