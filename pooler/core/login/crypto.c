/* Digests, keys and base64: see crypto.h.
 *
 * OpenSSL looks a digest up by its name under a lock whenever it is not given one, so both are fetched once;
 * and each thread keeps one context. */
#include "login/crypto.h"

#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#define BLOCK_BYTES 64 /* of SHA-256 */
#define MD5_BYTES 16

struct piece {
    const void *data;
    uint32_t n;
};

static pthread_once_t digests_once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256, *md5; /* NULL: OpenSSL does not offer it */
static pthread_key_t context_key;
static bool has_key; /* a thread's end frees its context */
static _Thread_local EVP_MD_CTX *context;

static void free_context(void *own) { EVP_MD_CTX_free(own); }

static void fetch_digests(void) {
    sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    md5 = EVP_MD_fetch(NULL, "MD5", NULL);
    has_key = pthread_key_create(&context_key, free_context) == 0;
    ERR_clear_error();
}

/* Of this thread; NULL: no memory. */
static EVP_MD_CTX *own_context(void) {
    if (context) return context;
    EVP_MD_CTX *made = has_key ? EVP_MD_CTX_new() : NULL;
    if (made && pthread_setspecific(context_key, made)) {
        EVP_MD_CTX_free(made);
        made = NULL;
    }
    return context = made;
}

/* Of pieces that stand one behind the other. */
static bool digest(const EVP_MD *kind, const struct piece *pieces, uint32_t count, unsigned char *out) {
    EVP_MD_CTX *c = kind ? own_context() : NULL;
    bool good = c && EVP_DigestInit_ex2(c, kind, NULL) == 1;
    for (uint32_t i = 0; good && i < count; i++)
        good = !pieces[i].n || EVP_DigestUpdate(c, pieces[i].data, pieces[i].n) == 1;
    good = good && EVP_DigestFinal_ex(c, out, NULL) == 1;
    if (!good) ERR_clear_error(); /* whoever uses TLS on this thread asks for errors of its own */
    return good;
}

static const EVP_MD *digest_sha256(void) {
    pthread_once(&digests_once, fetch_digests);
    return sha256;
}

bool crypto_sha256(const void *data, uint32_t n, unsigned char out[SHA256_BYTES]) {
    struct piece whole = {data, n};
    return digest(digest_sha256(), &whole, 1, out);
}

/* RFC 2104. */
bool crypto_hmac(const void *key, uint32_t key_bytes, const void *first, uint32_t first_bytes,
                 const void *second, uint32_t second_bytes, unsigned char out[SHA256_BYTES]) {
    const EVP_MD *kind = digest_sha256();
    unsigned char pad[BLOCK_BYTES] = {0}, inner[SHA256_BYTES];
    bool good = true;
    if (key_bytes > BLOCK_BYTES) good = crypto_sha256(key, key_bytes, pad);
    else if (key_bytes) memcpy(pad, key, key_bytes);
    for (int i = 0; i < BLOCK_BYTES; i++) pad[i] ^= 0x36;
    struct piece message[] = {{pad, BLOCK_BYTES}, {first, first_bytes}, {second, second_bytes}};
    good = good && digest(kind, message, 3, inner);
    for (int i = 0; i < BLOCK_BYTES; i++) pad[i] ^= 0x36 ^ 0x5c;
    struct piece outer[] = {{pad, BLOCK_BYTES}, {inner, SHA256_BYTES}};
    good = good && digest(kind, outer, 2, out);
    crypto_wipe(pad, sizeof pad);
    crypto_wipe(inner, sizeof inner);
    return good;
}

bool crypto_md5(const void *first, uint32_t first_bytes, const void *second, uint32_t second_bytes,
                char out[MD5_DIGITS]) {
    static const char digits[] = "0123456789abcdef";
    unsigned char raw[MD5_BYTES];
    struct piece pieces[] = {{first, first_bytes}, {second, second_bytes}};
    pthread_once(&digests_once, fetch_digests);
    if (!digest(md5, pieces, 2, raw)) return false;
    for (int i = 0; i < MD5_BYTES; i++) {
        out[2 * i] = digits[raw[i] >> 4];
        out[2 * i + 1] = digits[raw[i] & 15];
    }
    crypto_wipe(raw, sizeof raw);
    return true;
}

bool crypto_pbkdf2(const void *password, uint32_t password_bytes, const void *salt, uint32_t salt_bytes,
                   uint32_t iterations, unsigned char out[SHA256_BYTES]) {
    const EVP_MD *kind = digest_sha256();
    if (!kind || password_bytes > INT_MAX || salt_bytes > INT_MAX || iterations < 1 || iterations > INT_MAX)
        return false;
    /* NULL would stand for no password, or no salt, at all */
    bool good = PKCS5_PBKDF2_HMAC(password_bytes ? password : "", (int)password_bytes, salt_bytes ? salt : "",
                                  (int)salt_bytes, (int)iterations, kind, SHA256_BYTES, out)
        == 1;
    if (!good) ERR_clear_error();
    return good;
}

bool crypto_same(const void *one, const void *other, uint32_t n) { return !CRYPTO_memcmp(one, other, n); }

bool crypto_random(void *out, uint32_t n) {
    unsigned char *at = out;
    while (n) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        at += got;
        n -= (uint32_t)got;
    }
    return true;
}

/* ---- base64 (RFC 4648) ------------------------------------------------------------------------ */

uint32_t crypto_base64(char *out, const void *data, uint32_t n) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = data;
    char *to = out;
    for (; n >= 3; n -= 3, in += 3) {
        uint32_t bits = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
        for (int shift = 18; shift >= 0; shift -= 6) *to++ = letters[bits >> shift & 63];
    }
    if (n) {
        uint32_t bits = (uint32_t)in[0] << 16 | (n == 2 ? (uint32_t)in[1] << 8 : 0);
        *to++ = letters[bits >> 18];
        *to++ = letters[bits >> 12 & 63];
        *to++ = n == 2 ? letters[bits >> 6 & 63] : '=';
        *to++ = '=';
    }
    return (uint32_t)(to - out);
}

/* -1: no letter of base64. */
static int value_of(unsigned char letter) {
    if (letter >= 'A' && letter <= 'Z') return letter - 'A';
    if (letter >= 'a' && letter <= 'z') return letter - 'a' + 26;
    if (letter >= '0' && letter <= '9') return letter - '0' + 52;
    return letter == '+' ? 62 : letter == '/' ? 63 : -1;
}

int32_t crypto_unbase64(unsigned char *out, uint32_t space, const char *text, uint32_t n) {
    if (!n) return 0;
    if (n % 4) return -1;
    uint32_t pads = text[n - 1] != '=' ? 0 : text[n - 2] != '=' ? 1 : 2;
    uint32_t bytes = n / 4 * 3 - pads, written = 0;
    if (bytes > space || bytes > INT32_MAX) return -1;
    for (uint32_t i = 0; i < n; i += 4) {
        uint32_t bits = 0, letters = i + 4 == n ? 4 - pads : 4;
        for (uint32_t k = 0; k < 4; k++) {
            int value = k < letters ? value_of((unsigned char)text[i + k]) : 0;
            if (value < 0) return -1;
            bits = bits << 6 | (uint32_t)value;
        }
        for (uint32_t k = 0; k + 1 < letters; k++) out[written++] = (unsigned char)(bits >> (16 - 8 * k));
    }
    return (int32_t)written;
}

void crypto_wipe(void *bytes, uint32_t n) { OPENSSL_cleanse(bytes, n); }
