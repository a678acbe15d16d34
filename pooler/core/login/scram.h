/* SCRAM-SHA-256 (RFC 5802, 7677) and its channel binding (RFC 5929), when a client proves itself to us.
 *
 * Whatever is wrong, the client is told the same; the reasons returned here are for the log.  NULL: all is
 * well. */
#ifndef POOLER_LOGIN_SCRAM_H
#define POOLER_LOGIN_SCRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "login/crypto.h"

#define SASL_BYTES_MAX 1024 /* PostgreSQL's PG_MAX_SASL_MESSAGE_LENGTH */
#define NONCE_BYTES 18      /* PostgreSQL's SCRAM_RAW_NONCE_LEN, before base64 */
#define BINDING_BYTES_MAX 64
#define SCRAM_NAME "SCRAM-SHA-256"
#define SCRAM_PLUS_NAME "SCRAM-SHA-256-PLUS"
#define SERVER_FIRST_BYTES_MAX (SASL_BYTES_MAX + 2048)
#define SERVER_FINAL_BYTES (2 + BASE64_BYTES(SHA256_BYTES))

/* One exchange, from the client's first message to its last. */
struct scram {
    uint32_t channel_bytes, bare_bytes, nonce_bytes, first_bytes;
    unsigned char channel[32 + BINDING_BYTES_MAX]; /* "n,,", "y,," or "p=...,," and what it is bound to */
    char bare[SASL_BYTES_MAX];
    char first[SERVER_FIRST_BYTES_MAX]; /* what we said: "r=...,s=...,i=..." */
};

/* A SASLInitialResponse without its frame: mechanism, length, data.  `plus` comes out; `bound`: the other
 * mechanism was offered, too.  NULL: `*data` and `*bytes` are the client-first-message. */
enum scram_fault { SCRAM_GOOD, SCRAM_BAD_MECHANISM, SCRAM_BAD_LENGTH };
enum scram_fault scram_initial_response(const unsigned char *body, uint32_t n, bool bound, bool *plus,
                                        const unsigned char **data, uint32_t *bytes);
/* `certificate`: the hash to bind to where binding was offered, else NULL; `plus`: the client has chosen
 * to. */
const char *scram_client_first(struct scram *x, const unsigned char *data, uint32_t n, bool plus,
                               const unsigned char *certificate, uint32_t certificate_bytes);
/* Makes x->first, whose length it returns; 0: it would be too long. */
uint32_t scram_server_first(struct scram *x, const void *salt, uint32_t salt_bytes, uint32_t iterations,
                            const unsigned char random[NONCE_BYTES]);
/* Checks the client-final-message.  Good: `client_key` is what the proof revealed, and `final` the
 * server-final-message.  `wrong`: everything is in order but the password. */
const char *scram_client_final(const struct scram *x, const unsigned char *data, uint32_t n,
                               const unsigned char stored_key[SHA256_BYTES],
                               const unsigned char server_key[SHA256_BYTES],
                               unsigned char client_key[SHA256_BYTES], char final[SERVER_FINAL_BYTES],
                               bool *wrong);

#endif
