/* A client of TLS 1.3 that does no more than it must: one cipher, two groups, nothing resumed, nothing verified.
 *
 * OpenSSL's own client takes longer for a handshake than a server does, most of it to read the server's certificate:
 * what is measured would be the client.  To the server both are the same work.  libcrypto does the arithmetic; the
 * client's keys for the exchange are made once.  TLS_AES_256_GCM_SHA384, X25519 and P-256 (PostgreSQL before 18).
 */
#ifndef LOGINS_TLS_H
#define LOGINS_TLS_H

#include "proof.h"

#include <openssl/evp.h>

enum { TLS_ALERT = 21, TLS_DATA = 23 }; /* types of records */

enum {
    HASH_BYTES = 48,
    RECORD_BYTES = 16384 + 256 + 5,
    FLIGHT_BYTES = 8192, /* what a client sends in its turn of a handshake */
    CERTIFICATE_BYTES = 4096,
};

/* One direction. */
struct tls_keys {
    EVP_CIPHER_CTX *cipher;
    unsigned char iv[12];
    uint64_t number;
};

/* Kept for the next connection of the same client. */
struct tls {
    struct tls_keys in, out;
    EVP_MD_CTX *transcript;
    bool keyed;                                              /* records are encrypted */
    bool done;                                               /* the handshake is over */
    bool wanted;                                             /* the server has asked for a certificate */
    unsigned char handshake[HASH_BYTES], client[HASH_BYTES]; /* secrets */
    size_t bytes;                                            /* of a handshake message that is not complete */
    unsigned char message[RECORD_BYTES];
    size_t flight_bytes; /* to be sent */
    unsigned char flight[FLIGHT_BYTES];
    unsigned char binding[BINDING_BYTES]; /* tls-server-end-point */
    size_t binding_bytes;
};

/* Once, before all: the exchange's keys, and the certificate that is shown, NULL: none.  NULL, or what is wrong. */
const char *tls_prepare(const char *certificate, const char *key);

/* Begins; `flight` is the ClientHello. */
const char *tls_begin(struct tls *s);

/* One record, with its header, decrypted in place.  `text` is what the server says, of `*n` bytes; `flight` may have to
 * be sent.  NULL, or what is wrong. */
const char *tls_take(struct tls *s, unsigned char *record, size_t bytes, unsigned char **text, size_t *n);

/* The text as a record; its length.  0: it is too long. */
size_t tls_put(struct tls *s, int type, const void *text, size_t n, unsigned char *record, size_t room);

#endif
