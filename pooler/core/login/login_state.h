/* What the login of a client is doing, and what may follow.
 *
 * Theory.  A connection is OUTSIDE until its first byte is there: it takes no place of those that may be in
 * their login at once.  Then it has its turn, at once or after it was QUEUED (login_queue.h).  OPENING is
 * what comes before anything is known of the client: requests for encryption (HANDSHAKE, on a thread), and
 * the startup packet.  That names a user; the configuration, or PostgreSQL (ASKING), knows the secret; and
 * the client proves who it is by a password, the answer to an MD5 challenge (PASSWORD), SCRAM (SASL_FIRST,
 * SASL_FINAL), or what needs no message.  DERIVING is PBKDF2, on a thread.
 *
 * A client that has proven who it is counts in its database and pool, waits there until PostgreSQL has let in
 * one server (WELCOME), and is the relay's then.  What speaks another protocol from here (the console, a
 * walsender, a cancel request) goes to Python.  Both are OVER for the login.
 *
 * A client that is refused hears so at a fixed pace (REFUSED), so that the time tells nothing, and is TOLD
 * until it has closed, or a second has passed: what it has sent, unread, would reset the connection before it
 * has read why.
 */
#ifndef POOLER_LOGIN_LOGIN_STATE_H
#define POOLER_LOGIN_LOGIN_STATE_H

#include "io/state_machine.h"

#define LOGIN_STATES(X)                                                                        \
    X(LOGIN_OUTSIDE, "nothing of it has come yet")                                             \
    X(LOGIN_QUEUED, "it waits for its turn")                                                   \
    X(LOGIN_OPENING, "its startup packet is read, or a request for encryption")                \
    X(LOGIN_HANDSHAKE, "TLS begins, in turns on the socket and on a thread")                   \
    X(LOGIN_ASKING, "Python answers a question: a secret, a password, an account, a pool")     \
    X(LOGIN_PASSWORD, "its password is read, or its answer to an MD5 challenge")               \
    X(LOGIN_SASL_FIRST, "its SASLInitialResponse is read")                                     \
    X(LOGIN_SASL_FINAL, "its proof is read")                                                   \
    X(LOGIN_DERIVING, "a thread computes PBKDF2")                                              \
    X(LOGIN_WELCOME, "it is who it says it is, and its pool has not had a server yet")         \
    X(LOGIN_REFUSED, "it is refused, and is not told before its time")                         \
    X(LOGIN_TOLD, "it was told why it is refused, and what it sends is dropped until it ends") \
    X(LOGIN_OVER, "it is a client of the relay or of Python, or gone")

#define LOGIN_TRANSITIONS(X)                                                                          \
    X(LOGIN_OUTSIDE, LOGIN_QUEUED, "its first byte is there, and so many are in their login already") \
    X(LOGIN_OUTSIDE, LOGIN_OPENING, "its first byte is there")                                        \
    X(LOGIN_OUTSIDE, LOGIN_TOLD, "it has waited for too long, or makes space for others")             \
    X(LOGIN_QUEUED, LOGIN_OPENING, "it is its turn")                                                  \
    X(LOGIN_QUEUED, LOGIN_TOLD, "it has waited for too long, is killed, or makes space for others")   \
    X(LOGIN_OPENING, LOGIN_HANDSHAKE, "it asks for TLS, or begins with it")                           \
    X(LOGIN_OPENING, LOGIN_ASKING, "it is looked up, or its account has to be the right one")         \
    X(LOGIN_OPENING, LOGIN_PASSWORD, "it is asked for a password")                                    \
    X(LOGIN_OPENING, LOGIN_SASL_FIRST, "it is asked for SCRAM")                                       \
    X(LOGIN_OPENING, LOGIN_WELCOME, "it need not prove anything")                                     \
    X(LOGIN_OPENING, LOGIN_REFUSED, "no way in, a bad packet, a limit, its time is over")             \
    X(LOGIN_OPENING, LOGIN_TOLD, "the same, before anything is known of it")                          \
    X(LOGIN_OPENING, LOGIN_OVER, "it is in, wants the console, or has left")                          \
    X(LOGIN_HANDSHAKE, LOGIN_OPENING, "the handshake is done")                                        \
    X(LOGIN_HANDSHAKE, LOGIN_TOLD, "its time is over, it is killed, or speaks another protocol")      \
    X(LOGIN_HANDSHAKE, LOGIN_OVER, "the handshake has failed, or it has left")                        \
    X(LOGIN_ASKING, LOGIN_PASSWORD, "its secret is known: it is asked for a password")                \
    X(LOGIN_ASKING, LOGIN_SASL_FIRST, "its secret is known: it is asked for SCRAM")                   \
    X(LOGIN_ASKING, LOGIN_DERIVING, "the prepared form of its password is known")                     \
    X(LOGIN_ASKING, LOGIN_WELCOME, "the answer lets it in")                                           \
    X(LOGIN_ASKING, LOGIN_REFUSED, "the answer does not let it in, or its time is over")              \
    X(LOGIN_ASKING, LOGIN_TOLD, "it is refused after its proof")                                      \
    X(LOGIN_ASKING, LOGIN_OVER, "it is in, or has left")                                              \
    X(LOGIN_PASSWORD, LOGIN_ASKING, "a directory or PAM is asked, or for a pool")                     \
    X(LOGIN_PASSWORD, LOGIN_DERIVING, "the secret is a verifier")                                     \
    X(LOGIN_PASSWORD, LOGIN_WELCOME, "it is right")                                                   \
    X(LOGIN_PASSWORD, LOGIN_REFUSED, "it is wrong, no password at all, or late")                      \
    X(LOGIN_PASSWORD, LOGIN_TOLD, "it is right, and a limit is reached")                              \
    X(LOGIN_PASSWORD, LOGIN_OVER, "it is in, or has left")                                            \
    X(LOGIN_SASL_FIRST, LOGIN_SASL_FINAL, "our nonce is sent")                                        \
    X(LOGIN_SASL_FIRST, LOGIN_REFUSED, "it is no such message, or late")                              \
    X(LOGIN_SASL_FIRST, LOGIN_OVER, "it has left")                                                    \
    X(LOGIN_SASL_FINAL, LOGIN_DERIVING, "the keys of a password in clear are not known yet")          \
    X(LOGIN_SASL_FINAL, LOGIN_ASKING, "its proof is right, and its pool is asked for")                \
    X(LOGIN_SASL_FINAL, LOGIN_WELCOME, "its proof is right")                                          \
    X(LOGIN_SASL_FINAL, LOGIN_REFUSED, "it is wrong, no such message, or late")                       \
    X(LOGIN_SASL_FINAL, LOGIN_TOLD, "its proof is right, and a limit is reached")                     \
    X(LOGIN_SASL_FINAL, LOGIN_OVER, "it is in, or has left")                                          \
    X(LOGIN_DERIVING, LOGIN_ASKING, "its proof is right, and its pool is asked for")                  \
    X(LOGIN_DERIVING, LOGIN_WELCOME, "its proof is right")                                            \
    X(LOGIN_DERIVING, LOGIN_REFUSED, "it is wrong, or late")                                          \
    X(LOGIN_DERIVING, LOGIN_TOLD, "its proof is right, and a limit is reached")                       \
    X(LOGIN_DERIVING, LOGIN_OVER, "it is in, or has left")                                            \
    X(LOGIN_WELCOME, LOGIN_TOLD, "PostgreSQL refuses its pool, it is killed, or its time is over")    \
    X(LOGIN_WELCOME, LOGIN_OVER, "its pool has had a server: it is in")                               \
    X(LOGIN_REFUSED, LOGIN_TOLD, "it is time")                                                        \
    X(LOGIN_TOLD, LOGIN_OVER, "it has closed, or a second has passed")

enum login_state { LOGIN_STATES(STATE_ENUMERATOR) };

extern const struct state_machine login_machine;

#endif
