/* TLS of one connection, by OpenSSL: the handshake away from the socket, then reading and writing at it.
 *
 * Theory.  A handshake is dear (milliseconds for a signature), so it has a thread where it delays no query,
 * and that thread must not touch a descriptor that may be closed and used again meanwhile: until tls_attach
 * the session reads what tls_feed gave it and writes into `output`, and whoever drives the handshake carries
 * the bytes.  From tls_attach on it uses the descriptor, without ever waiting.  One thread at a time uses a
 * session.
 *
 * Reading is bounded: OpenSSL itself reads on behind messages that carry nothing (new keys, refused
 * handshakes) for as long as they come, so the session gives it no more of the socket than what comes of it,
 * and some more.
 *
 * There is no renegotiation, no compression, no ticket and no cache of sessions, as in PostgreSQL: each
 * handshake checks certificates anew.
 */
#ifndef POOLER_TLS_TLS_SESSION_H
#define POOLER_TLS_TLS_SESSION_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#define TLS_ALPN "postgresql"
#define TLS_TEXT_BYTES 256
#define TLS_HASH_BYTES 64
#define TLS_IDLE_BYTES \
    17408 /* one tls_read may read so much of which nothing comes: the longest record, and more */

enum tls_verify { TLS_VERIFY_NOT, TLS_VERIFY_OPTIONAL, TLS_VERIFY_REQUIRED };
enum tls_protocol { TLS_1_0 = 1, TLS_1_1 = 2, TLS_1_2 = 4, TLS_1_3 = 8, TLS_ALL = 15 };

enum tls_result {
    TLS_DONE,
    TLS_DRAINED, /* reading: nothing more is there at this moment */
    TLS_PAUSED,  /* reading: others first, for there was much of which nothing has come */
    TLS_WANT_READ,
    TLS_WANT_WRITE,
    TLS_END, /* the other side is done, politely or not */
    TLS_BROKEN,
};

struct tls_bytes {
    unsigned char *data;
    uint32_t start, end, space;
};

struct tls {
    SSL *ssl;
    int fd;                         /* -1 until tls_attach */
    bool drained;                   /* the last read of the socket got less than it asked for */
    bool paused;                    /* OpenSSL was told that nothing is there, though something may be */
    uint32_t allowance;             /* what one tls_read may still read of the socket */
    bool ended;                     /* the socket's end of stream was read, or it failed */
    struct tls_bytes input, output; /* of the handshake */
};

void tls_feed(struct tls *t, const void *bytes, uint32_t n);

/* `host`: the name to tell the other side and, with `match`, to find in its certificate; NULL: none. */
struct tls *tls_new(SSL_CTX *context, bool server, const char *host, bool match);
void tls_free(struct tls *t);
void tls_attach(struct tls *t, int fd);
enum tls_result tls_handshake(struct tls *t);
enum tls_result tls_read(struct tls *t, void *out, uint32_t space, uint32_t *done);
enum tls_result tls_write(struct tls *t, const void *bytes, uint32_t n, uint32_t *done);
void tls_close(struct tls *t);

/* What is known after a handshake; texts are cut to their space. */
void tls_error(const struct tls *t, char text[TLS_TEXT_BYTES]);
void tls_describe(const struct tls *t, char text[TLS_TEXT_BYTES]);
bool tls_speaks_postgresql(const struct tls *t);
bool tls_peer(const struct tls *t, char *common_name, char *name, int space);
int tls_certificate_hash(const struct tls *t, bool peer, unsigned char hash[TLS_HASH_BYTES]);

#endif
