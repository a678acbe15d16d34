/* See proof.h. */
#include "proof.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

enum { NONCE_BYTES = 18, SALT_BYTES = 64, KEPT = 16, ITERATIONS_MAX = 1000000 };

struct keys {
    int iterations; /* 0: none */
    size_t salt_bytes;
    unsigned char salt[SALT_BYTES];
    unsigned char client[SHA256_BYTES], stored[SHA256_BYTES], server[SHA256_BYTES];
};

static struct keys kept[KEPT];
static unsigned derived;

unsigned proof_derived(void) { return derived; }

static void digits_of(const void *data, size_t n, char text[33]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_Digest(data, n, digest, NULL, EVP_md5(), NULL);
    for (int i = 0; i < 16; i++) sprintf(text + 2 * i, "%02x", digest[i]);
}

void proof_md5(const char *user, const char *password, const unsigned char salt[4], char answer[36]) {
    char text[512], salted[36];
    int n = snprintf(text, sizeof text, "%s%s", password, user);
    digits_of(text, n < (int)sizeof text ? (size_t)n : sizeof text - 1, salted);
    memcpy(salted + 32, salt, 4);
    memcpy(answer, "md5", 3);
    digits_of(salted, sizeof salted, answer + 3);
}

static void hmac(const unsigned char key[SHA256_BYTES], const char *text, size_t n, unsigned char *out) {
    HMAC(EVP_sha256(), key, SHA256_BYTES, (const unsigned char *)text, n, out, NULL);
}

/* Bytes of the base64 text, -1: it is none, or has more than fit. */
static int decode(const char *text, size_t n, unsigned char *out, size_t room) {
    unsigned char bytes[256];
    if (n == 0 || n % 4 || n / 4 * 3 > sizeof bytes) return -1;
    int found = EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)n);
    if (found < 0) return -1;
    found -= (text[n - 1] == '=') + (text[n - 2] == '='); /* it counts the padding */
    if ((size_t)found > room) return -1;
    memcpy(out, bytes, (size_t)found);
    return found;
}

static struct keys *keys_of(const char *password, const unsigned char *salt, size_t salt_bytes,
                            int iterations) {
    for (int i = 0; i < KEPT; i++) {
        if (kept[i].iterations == iterations && kept[i].salt_bytes == salt_bytes
            && memcmp(kept[i].salt, salt, salt_bytes) == 0)
            return &kept[i];
    }
    struct keys *k = &kept[derived++ % KEPT];
    unsigned char salted[SHA256_BYTES];
    PKCS5_PBKDF2_HMAC(password, -1, salt, (int)salt_bytes, iterations, EVP_sha256(), sizeof salted, salted);
    hmac(salted, "Client Key", 10, k->client);
    hmac(salted, "Server Key", 10, k->server);
    EVP_Digest(k->client, SHA256_BYTES, k->stored, NULL, EVP_sha256(), NULL);
    memcpy(k->salt, salt, salt_bytes);
    k->salt_bytes = salt_bytes;
    k->iterations = iterations;
    return k;
}

static const char *header_of(const struct scram *s) { return s->bound ? "p=tls-server-end-point,," : "n,,"; }

size_t proof_scram_first(struct scram *s, char message[MESSAGE_BYTES]) {
    unsigned char nonce[NONCE_BYTES];
    if (RAND_bytes(nonce, sizeof nonce) != 1) return 0;
    memcpy(s->first, "n=,r=", 5);
    EVP_EncodeBlock((unsigned char *)s->first + 5, nonce, sizeof nonce);
    return (size_t)snprintf(message, MESSAGE_BYTES, "%s%s", header_of(s), s->first);
}

/* "c=" and the header with the binding. */
static void put_binding(const struct scram *s, char *text) {
    unsigned char input[32 + BINDING_BYTES];
    size_t n = (size_t)snprintf((char *)input, 32, "%s", header_of(s));
    if (s->bound) {
        memcpy(input + n, s->binding, s->binding_bytes);
        n += s->binding_bytes;
    }
    memcpy(text, "c=", 2);
    EVP_EncodeBlock((unsigned char *)text + 2, input, (int)n);
}

const char *proof_scram_final(struct scram *s, const char *password, const char *server_first, size_t bytes,
                              char message[MESSAGE_BYTES]) {
    char first[SERVER_FIRST_BYTES], nonce[128], salt_text[96], binding[160];
    unsigned char salt[SALT_BYTES], signature[SHA256_BYTES], proof[SHA256_BYTES];
    int iterations;
    if (bytes >= sizeof first) return "the server's first SCRAM message is too long";
    memcpy(first, server_first, bytes);
    first[bytes] = 0;
    if (sscanf(first, "r=%127[^,],s=%95[^,],i=%d", nonce, salt_text, &iterations) != 3 || iterations < 1
        || iterations > ITERATIONS_MAX)
        return "the server's first SCRAM message is malformed";
    if (strncmp(nonce, s->first + 5, strlen(s->first + 5)) != 0) return "the server has another nonce";
    int salt_bytes = decode(salt_text, strlen(salt_text), salt, sizeof salt);
    if (salt_bytes < 1) return "the server's salt is malformed";
    struct keys *k = keys_of(password, salt, (size_t)salt_bytes, iterations);
    put_binding(s, binding);
    int n = snprintf(message, MESSAGE_BYTES, "%s,%s,%s,r=%s", s->first, first, binding, nonce);
    hmac(k->server, message, (size_t)n, signature);
    memcpy(s->signature, "v=", 2);
    EVP_EncodeBlock((unsigned char *)s->signature + 2, signature, sizeof signature);
    hmac(k->stored, message, (size_t)n, signature);
    for (int i = 0; i < SHA256_BYTES; i++) proof[i] = k->client[i] ^ signature[i];
    n = snprintf(message, MESSAGE_BYTES, "%s,r=%s,p=", binding, nonce);
    EVP_EncodeBlock((unsigned char *)message + n, proof, sizeof proof);
    return NULL;
}

bool proof_scram_verified(const struct scram *s, const char *server_final, size_t bytes) {
    return bytes == strlen(s->signature) && memcmp(server_final, s->signature, bytes) == 0;
}
