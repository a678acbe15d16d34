/* Stored secrets, and answers that are checked against them: see secret.h. */
#include "login/secret.h"

#include <stdlib.h>
#include <string.h>

#define MD5_PREFIX "md5"
#define MD5_PREFIX_BYTES 3
#define MD5_BYTES (MD5_PREFIX_BYTES + MD5_DIGITS) /* of a secret, and of an answer */
#define SCRAM_PREFIX "SCRAM-SHA-256$"
#define SCRAM_PREFIX_BYTES (sizeof SCRAM_PREFIX - 1)
#define COUNT_DIGITS 9 /* of iterations, at most */

/* Takes the place of a secret that does not exist; its text never counts, only the time it takes. */
static const unsigned char STAND_IN[] = "\0no such user";

/* ---- the kind, by the form -------------------------------------------------------------------- */

static bool is_md5(const unsigned char *raw, uint32_t n) {
    if (n != MD5_BYTES || memcmp(raw, MD5_PREFIX, MD5_PREFIX_BYTES)) return false;
    for (uint32_t i = MD5_PREFIX_BYTES; i < n; i++)
        if (!(raw[i] >= '0' && raw[i] <= '9') && !(raw[i] >= 'a' && raw[i] <= 'f')) return false;
    return true;
}

/* What stands before `end`, which must come; *at moves behind that. */
static bool field(const unsigned char **at, const unsigned char *behind, char end, const char **text,
                  uint32_t *n) {
    const unsigned char *found = memchr(*at, end, (size_t)(behind - *at));
    if (!found) return false;
    *text = (const char *)*at;
    *n = (uint32_t)(found - *at);
    *at = found + 1;
    return true;
}

static bool read_count(const char *text, uint32_t n, uint32_t *out) {
    if (!n || n > COUNT_DIGITS) return false;
    *out = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        *out = *out * 10 + (uint32_t)(text[i] - '0');
    }
    return *out > 0;
}

static bool read_key(const char *text, uint32_t n, unsigned char out[SHA256_BYTES]) {
    return crypto_unbase64(out, SHA256_BYTES, text, n) == SHA256_BYTES;
}

/* Takes a verifier apart; the salt goes to `salt`, which has the space that raw has. */
static bool is_scram(struct secret *s, const unsigned char *raw, uint32_t n, unsigned char *salt) {
    if (n < SCRAM_PREFIX_BYTES || memcmp(raw, SCRAM_PREFIX, SCRAM_PREFIX_BYTES)) return false;
    const unsigned char *at = raw + SCRAM_PREFIX_BYTES, *behind = raw + n;
    const char *counted, *salted, *stored;
    uint32_t counted_bytes, salted_bytes, stored_bytes;
    if (!field(&at, behind, ':', &counted, &counted_bytes) || !field(&at, behind, '$', &salted, &salted_bytes)
        || !field(&at, behind, ':', &stored, &stored_bytes))
        return false;
    if (!read_count(counted, counted_bytes, &s->iterations)) return false;
    if (!read_key(stored, stored_bytes, s->stored_key)) return false;
    if (!read_key((const char *)at, (uint32_t)(behind - at), s->server_key)) return false;
    int32_t bytes = crypto_unbase64(salt, n, salted, salted_bytes);
    if (bytes < 1) return false;
    s->salt_bytes = (uint32_t)bytes;
    return true;
}

struct secret *secret_new(const void *raw, uint32_t raw_bytes, const void *prepared,
                          uint32_t prepared_bytes) {
    if (!prepared_bytes) { /* never empty where the password is not: then it is used as it is */
        prepared = raw;
        prepared_bytes = raw_bytes;
    }
    /* behind raw there is either the prepared form or the salt, which is shorter than raw */
    uint32_t other = prepared_bytes > raw_bytes ? prepared_bytes : raw_bytes;
    struct secret *s = malloc(sizeof *s + (size_t)raw_bytes + other);
    if (!s) return NULL;
    memset(s, 0, sizeof *s);
    s->raw_bytes = raw_bytes;
    if (raw_bytes) memcpy(s->bytes, raw, raw_bytes);
    if (is_md5(s->bytes, raw_bytes)) {
        s->kind = SECRET_MD5;
    } else if (is_scram(s, s->bytes, raw_bytes, s->bytes + raw_bytes)) {
        s->kind = SECRET_SCRAM;
    } else {
        s->kind = SECRET_PLAIN;
        s->iterations = 0;
        memset(s->stored_key, 0, sizeof s->stored_key);
        memset(s->server_key, 0, sizeof s->server_key);
        s->prepared_bytes = prepared_bytes;
        if (prepared_bytes) memcpy(s->bytes + raw_bytes, prepared, prepared_bytes);
    }
    return s;
}

void secret_free(struct secret *s) {
    if (!s) return;
    crypto_wipe(s->bytes, s->raw_bytes);
    crypto_wipe(s->bytes + s->raw_bytes, s->prepared_bytes + s->salt_bytes);
    crypto_wipe(s, sizeof *s);
    free(s);
}

/* ---- answers ---------------------------------------------------------------------------------- */

/* Whether both are the same; the time depends on the length of `given` alone. */
static bool same(const void *stored, uint32_t stored_bytes, const void *given, uint32_t given_bytes) {
    bool fits = stored_bytes == given_bytes;
    bool equal = crypto_same(fits ? stored : given, given, given_bytes);
    return fits && equal;
}

/* An empty secret is as good as none: it lets no client in. */
static bool exists(const struct secret *s) { return s && s->raw_bytes; }

static const unsigned char *text_of(const struct secret *s, uint32_t *n) {
    *n = exists(s) ? s->raw_bytes : (uint32_t)sizeof STAND_IN - 1;
    return exists(s) ? secret_raw(s) : STAND_IN;
}

/* "md5" and the digits of two pieces. */
static bool md5_of(const void *first, uint32_t first_bytes, const void *second, uint32_t second_bytes,
                   char out[MD5_BYTES]) {
    memcpy(out, MD5_PREFIX, MD5_PREFIX_BYTES);
    return crypto_md5(first, first_bytes, second, second_bytes, out + MD5_PREFIX_BYTES);
}

bool secret_answers_md5(const struct secret *s, const char *user, const unsigned char salt[4],
                        const void *answer, uint32_t answer_bytes) {
    uint32_t n;
    const unsigned char *text = text_of(s, &n);
    char stored[MD5_BYTES], right[MD5_BYTES];
    bool good = true;
    if (s && s->kind == SECRET_MD5) memcpy(stored, text, MD5_BYTES);
    else good = md5_of(text, n, user, (uint32_t)strlen(user), stored);
    good = good && md5_of(stored + MD5_PREFIX_BYTES, MD5_DIGITS, salt, 4, right)
        && same(right, MD5_BYTES, answer, answer_bytes);
    crypto_wipe(stored, sizeof stored);
    crypto_wipe(right, sizeof right);
    return good && exists(s) && s->kind != SECRET_SCRAM;
}

bool secret_is_password(const struct secret *s, const char *user, const void *password,
                        uint32_t password_bytes) {
    uint32_t n;
    const unsigned char *text = text_of(s, &n);
    if (s && s->kind == SECRET_MD5) {
        char made[MD5_BYTES];
        bool good = md5_of(password, password_bytes, user, (uint32_t)strlen(user), made)
            && same(text, n, made, MD5_BYTES);
        crypto_wipe(made, sizeof made);
        return good;
    }
    return same(text, n, password, password_bytes) && exists(s) && s->kind == SECRET_PLAIN;
}

/* ---- keys ------------------------------------------------------------------------------------- */

static bool labelled(const void *key, uint32_t key_bytes, const char *label, uint32_t label_bytes,
                     const char *user, unsigned char out[SHA256_BYTES]) {
    return crypto_hmac(key, key_bytes, label, label_bytes, user, (uint32_t)strlen(user), out);
}

bool secret_derive(const void *prepared, uint32_t prepared_bytes, const void *salt, uint32_t salt_bytes,
                   uint32_t iterations, struct scram_keys *keys) {
    unsigned char salted[SHA256_BYTES];
    bool good = crypto_pbkdf2(prepared, prepared_bytes, salt, salt_bytes, iterations, salted)
        && labelled(salted, SHA256_BYTES, "Client Key", 10, "", keys->client_key)
        && labelled(salted, SHA256_BYTES, "Server Key", 10, "", keys->server_key);
    crypto_wipe(salted, sizeof salted);
    if (!good) crypto_wipe(keys, sizeof *keys);
    return good;
}

bool secret_stable_salt(const void *key, uint32_t key_bytes, const char *user,
                        unsigned char salt[STABLE_SALT_BYTES]) {
    unsigned char whole[SHA256_BYTES];
    if (!labelled(key, key_bytes, "salt", sizeof "salt", user, whole)) return false;
    memcpy(salt, whole, STABLE_SALT_BYTES);
    return true;
}

bool secret_mock(const void *key, uint32_t key_bytes, const char *user,
                 unsigned char stored_key[SHA256_BYTES], unsigned char server_key[SHA256_BYTES]) {
    return labelled(key, key_bytes, "stored", sizeof "stored", user, stored_key)
        && labelled(key, key_bytes, "server", sizeof "server", user, server_key);
}
