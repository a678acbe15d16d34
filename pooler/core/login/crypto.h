/* The arithmetic of logins, by OpenSSL: digests, keys, base64, comparison in constant time.
 *
 * Any thread may call these: each keeps its own context.  False: OpenSSL has no memory, or does not offer the
 * digest (MD5 under FIPS); the caller refuses the login. */
#ifndef POOLER_LOGIN_CRYPTO_H
#define POOLER_LOGIN_CRYPTO_H

#include <stdbool.h>
#include <stdint.h>

#define SHA256_BYTES 32
#define MD5_DIGITS 32
/* of n bytes, without a terminator */
#define BASE64_BYTES(n) (((n) + 2) / 3 * 4)

bool crypto_sha256(const void *data, uint32_t n, unsigned char out[SHA256_BYTES]);
/* HMAC with SHA-256 of two pieces, one behind the other; the second may be empty. */
bool crypto_hmac(const void *key, uint32_t key_bytes, const void *first, uint32_t first_bytes,
                 const void *second, uint32_t second_bytes, unsigned char out[SHA256_BYTES]);
/* MD5 of two pieces, as lower case digits without a terminator. */
bool crypto_md5(const void *first, uint32_t first_bytes, const void *second, uint32_t second_bytes,
                char out[MD5_DIGITS]);
/* PBKDF2 with HMAC-SHA-256, 32 bytes: milliseconds, so never on the relay's thread. */
bool crypto_pbkdf2(const void *password, uint32_t password_bytes, const void *salt, uint32_t salt_bytes,
                   uint32_t iterations, unsigned char out[SHA256_BYTES]);
/* Takes the same time whatever differs. */
bool crypto_same(const void *one, const void *other, uint32_t n);
bool crypto_random(void *out, uint32_t n);
/* Returns how many bytes were written: BASE64_BYTES(n). */
uint32_t crypto_base64(char *out, const void *data, uint32_t n);
/* Strict: padding, no spaces, nothing behind.  Returns the bytes, -1 if the text is no base64 or they have no
 * space. */
int32_t crypto_unbase64(unsigned char *out, uint32_t space, const char *text, uint32_t n);
void crypto_wipe(void *bytes, uint32_t n);

#endif
