/* Secrets as they are stored for users, and how an answer is checked against one.
 *
 * The kind is told by the form, as PostgreSQL and PgBouncer do: `md5` and 32 lower case digits; a SCRAM
 * verifier `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`; anything else is a password in clear.  Checks
 * take the same way for users that do not exist (secret NULL), or have an empty secret, and fail. */
#ifndef POOLER_LOGIN_SECRET_H
#define POOLER_LOGIN_SECRET_H

#include <stdbool.h>
#include <stdint.h>

#include "login/crypto.h"

enum secret_kind { SECRET_PLAIN, SECRET_MD5, SECRET_SCRAM };

struct scram_keys { unsigned char client_key[SHA256_BYTES], server_key[SHA256_BYTES]; };

struct secret {
    uint8_t kind;        /* enum secret_kind */
    bool derived;        /* of SECRET_PLAIN: `keys` are those of its password, for `derived_iterations` */
    uint32_t iterations; /* of SECRET_SCRAM, from 1 */
    uint32_t derived_iterations;
    uint32_t raw_bytes, prepared_bytes, salt_bytes;
    unsigned char stored_key[SHA256_BYTES], server_key[SHA256_BYTES]; /* of SECRET_SCRAM */
    struct scram_keys keys;
    unsigned char bytes[]; /* raw; the prepared form (SASLprep) of a password in clear; the salt */
};

/* `prepared`: what SASLprep makes of it; empty: the text itself.  NULL: no memory. */
struct secret *secret_new(const void *raw, uint32_t raw_bytes, const void *prepared, uint32_t prepared_bytes);
/* Wipes it; NULL is fine. */
void secret_free(struct secret *s);

static inline const unsigned char *secret_raw(const struct secret *s) { return s->bytes; }
static inline const unsigned char *secret_prepared(const struct secret *s) { return s->bytes + s->raw_bytes; }
static inline const unsigned char *secret_salt(const struct secret *s) {
    return s->bytes + s->raw_bytes + s->prepared_bytes;
}

/* The answer to an MD5 challenge ("md5" and digits, without a terminator); a SCRAM secret never fits. */
bool secret_answers_md5(const struct secret *s, const char *user, const unsigned char salt[4],
                        const void *answer, uint32_t answer_bytes);
/* A password in clear against a plain or MD5 secret; a SCRAM secret never fits (that takes PBKDF2: the
 * server_key of secret_derive is to be compared). */
bool secret_is_password(const struct secret *s, const char *user, const void *password,
                        uint32_t password_bytes);
/* The keys of a prepared password; slow. */
bool secret_derive(const void *prepared, uint32_t prepared_bytes, const void *salt, uint32_t salt_bytes,
                   uint32_t iterations, struct scram_keys *keys);

/* The salt of a user who has none stored: always the same, and not to be told from a stored one. */
#define STABLE_SALT_BYTES 16
bool secret_stable_salt(const void *key, uint32_t key_bytes, const char *user,
                        unsigned char salt[STABLE_SALT_BYTES]);
/* StoredKey and ServerKey that no password satisfies, for a user who does not exist. */
bool secret_mock(const void *key, uint32_t key_bytes, const char *user,
                 unsigned char stored_key[SHA256_BYTES], unsigned char server_key[SHA256_BYTES]);

#endif
