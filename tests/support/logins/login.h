/* One login after the other on a connection of its own: connect, prove, SELECT 1, Terminate, close.
 *
 * Nothing here waits: `login_begin` opens the connection, `login_go_on` does what its socket is ready for.  What the
 * server asks for decides how the client proves itself; the first row ends the time of a login.
 */
#ifndef LOGINS_LOGIN_H
#define LOGINS_LOGIN_H

#include "tls.h"

#include <sys/socket.h>

enum { INPUT_BYTES = 16384, ERROR_BYTES = 400 };

/* How a client had to prove itself. */
enum method { METHOD_NONE, METHOD_PASSWORD, METHOD_MD5, METHOD_SCRAM, METHOD_SCRAM_PLUS, METHODS };
extern const char *const METHOD_NAMES[METHODS];

enum login_state {
    LOGIN_ABSENT,     /* no connection: the queue of the listening socket was full, or all is over */
    LOGIN_CONNECTING, /* TCP's handshake */
    LOGIN_ASKING,     /* SSLRequest is sent */
    LOGIN_HANDSHAKE,  /* TLS */
    LOGIN_PROVING,    /* the startup packet is sent */
    LOGIN_QUERYING,   /* and the query */
    LOGIN_DONE,       /* Terminate is sent, the connection closed; it can begin again */
    LOGIN_FAILED,     /* `error` says why */
};

/* The same for all clients. */
struct target {
    struct sockaddr_storage address;
    socklen_t address_bytes;
    const char *user, *database, *password;
    bool tls;
    bool bound; /* only SCRAM-SHA-256-PLUS will do */
    int epoll;
    char startup[512], query[64];
    size_t startup_bytes, query_bytes;
};

struct login {
    enum login_state state;
    enum method method;
    int fd;
    uint64_t began_ns, row_ns; /* 0: no row yet */
    bool verified;             /* SCRAM: the server, too */
    struct scram scram;
    size_t input_bytes, record_bytes;
    char input[INPUT_BYTES];
    unsigned char records[RECORD_BYTES]; /* that are not complete */
    struct tls tls;
    char error[ERROR_BYTES];
};

uint64_t now_ns(void);

/* Opens a connection, with the login as data of its events; LOGIN_ABSENT where it has to be tried again. */
void login_begin(struct login *l, const struct target *t);

void login_go_on(struct login *l, const struct target *t);

#endif
