/* What a client proves itself with: MD5 and SCRAM-SHA-256 of PostgreSQL.
 *
 * The keys that PBKDF2 makes of a password are kept by salt, so that a login after the first of a user costs the client
 * four HMACs.  A server that makes a new salt for each login has new keys made for each (`proof_derived`).
 */
#ifndef LOGINS_PROOF_H
#define LOGINS_PROOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SHA256_BYTES = 32, BINDING_BYTES = 64, MESSAGE_BYTES = 1024, SERVER_FIRST_BYTES = 400 };

struct scram {
    char first[64];     /* client-first-message-bare: "n=,r=" and the nonce */
    char signature[64]; /* "v=" and what the server must end with, in base64 */
    bool bound;         /* SCRAM-SHA-256-PLUS */
    size_t binding_bytes;
    unsigned char binding[BINDING_BYTES]; /* tls-server-end-point: the certificate's digest */
};

/* "md5" and 32 digits. */
void proof_md5(const char *user, const char *password, const unsigned char salt[4], char answer[36]);

/* The client's first message, with its header; its length.  0: no random numbers. */
size_t proof_scram_first(struct scram *s, char message[MESSAGE_BYTES]);

/* The client's second one.  NULL, or what is wrong with the server's. */
const char *proof_scram_final(struct scram *s, const char *password, const char *server_first, size_t bytes,
                              char message[MESSAGE_BYTES]);

/* Whether the server knows the keys, too. */
bool proof_scram_verified(const struct scram *s, const char *server_final, size_t bytes);

/* How often PBKDF2 had to run. */
unsigned proof_derived(void);

#endif
