/* See tls.h; the numbers are those of RFC 8446. */
#include "tls.h"

#include <stdio.h>
#include <string.h>

#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>

enum { CHANGE_CIPHER_SPEC = 20, HANDSHAKE = 22 };
enum { SERVER_HELLO = 2, CERTIFICATE = 11, CERTIFICATE_REQUEST = 13, CERTIFICATE_VERIFY = 15, FINISHED = 20 };
enum { X25519 = 0x001d, P256 = 0x0017, P256_BYTES = 65, KEY_SHARE = 51, TAG_BYTES = 16 };

static EVP_PKEY *x25519, *p256, *own_key;
static unsigned char x25519_share[32], p256_share[P256_BYTES], own_certificate[CERTIFICATE_BYTES];
static size_t own_bytes;
static unsigned char nothing[HASH_BYTES], derived[HASH_BYTES]; /* the hash of nothing; the early secret's */
static const EVP_CIPHER *aes;
static const EVP_MD *sha384;

static void hmac(const unsigned char *key, const void *data, size_t n, unsigned char *out) {
    HMAC(sha384, key, HASH_BYTES, data, n, out, NULL);
}

/* HKDF-Expand-Label. */
static void expand(const unsigned char *secret, const char *label, const unsigned char *hash,
                   unsigned char *out, size_t n) {
    unsigned char info[128], block[HASH_BYTES];
    size_t at = 0, context = hash ? HASH_BYTES : 0;
    info[at++] = 0;
    info[at++] = (unsigned char)n;
    info[at++] = (unsigned char)(strlen(label) + 6);
    at += (size_t)sprintf((char *)info + at, "tls13 %s", label);
    info[at++] = (unsigned char)context;
    if (hash) memcpy(info + at, hash, context);
    at += context;
    info[at++] = 1;
    hmac(secret, info, at, block);
    memcpy(out, block, n);
}

static const char *read_certificate(const char *certificate, const char *key) {
    FILE *file = fopen(certificate, "r");
    X509 *found = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
    unsigned char *p = own_certificate;
    if (file) fclose(file);
    if (!found || i2d_X509(found, NULL) > CERTIFICATE_BYTES) return "no certificate";
    own_bytes = (size_t)i2d_X509(found, &p);
    X509_free(found);
    file = fopen(key, "r");
    own_key = file ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;
    if (file) fclose(file);
    return own_key && EVP_PKEY_is_a(own_key, "EC") ? NULL : "no EC key";
}

const char *tls_prepare(const char *certificate, const char *key) {
    static const unsigned char zeros[HASH_BYTES];
    unsigned char early[HASH_BYTES];
    size_t n = sizeof x25519_share, m = 0;
    aes = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    sha384 = EVP_MD_fetch(NULL, "SHA384", NULL);
    x25519 = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    p256 = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    if (!aes || !sha384 || !x25519 || !p256 || EVP_PKEY_get_raw_public_key(x25519, x25519_share, &n) != 1
        || EVP_PKEY_get_octet_string_param(p256, "pub", p256_share, sizeof p256_share, &m) != 1
        || m != P256_BYTES)
        return "libcrypto lacks something";
    EVP_Digest("", 0, nothing, NULL, sha384, NULL);
    hmac(zeros, zeros, sizeof zeros, early);
    expand(early, "derived", nothing, derived, HASH_BYTES);
    return certificate ? read_certificate(certificate, key) : NULL;
}

/* ---- keys ---- */

static void hash_so_far(const struct tls *s, unsigned char hash[HASH_BYTES]) {
    EVP_MD_CTX *copy = EVP_MD_CTX_new();
    EVP_MD_CTX_copy_ex(copy, s->transcript);
    EVP_DigestFinal_ex(copy, hash, NULL);
    EVP_MD_CTX_free(copy);
}

static void set_keys(struct tls_keys *k, const unsigned char *secret, int encrypt) {
    unsigned char key[32];
    expand(secret, "key", NULL, key, sizeof key);
    expand(secret, "iv", NULL, k->iv, sizeof k->iv);
    k->number = 0;
    EVP_CipherInit_ex(k->cipher, aes, NULL, key, NULL, encrypt);
}

static void next_iv(struct tls_keys *k, unsigned char iv[12]) {
    memcpy(iv, k->iv, 12);
    for (int i = 0; i < 8; i++) iv[11 - i] ^= (unsigned char)(k->number >> (8 * i));
    k->number++;
}

/* The secret that both have, by the server's share. */
static bool agree(unsigned group, const unsigned char *share, size_t n, unsigned char secret[32]) {
    EVP_PKEY *own = group == X25519 ? x25519 : p256, *peer = EVP_PKEY_new();
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(own, NULL);
    size_t bytes = 32;
    bool good = EVP_PKEY_copy_parameters(peer, own) == 1
        && EVP_PKEY_set1_encoded_public_key(peer, share, n) == 1 && EVP_PKEY_derive_init(context) == 1
        && EVP_PKEY_derive_set_peer(context, peer) == 1 && EVP_PKEY_derive(context, secret, &bytes) == 1
        && bytes == 32;
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(peer);
    return good;
}

/* ---- what the client says ---- */

static size_t put16(unsigned char *to, size_t value) {
    to[0] = (unsigned char)(value >> 8);
    to[1] = (unsigned char)value;
    return 2;
}

static size_t put24(unsigned char *to, size_t value) {
    to[0] = (unsigned char)(value >> 16);
    return 1 + put16(to + 1, value);
}

const char *tls_begin(struct tls *s) {
    static const unsigned char BEHIND_RANDOM[] = {
        0,                                                          /* no session */
        0, 2,         0x13, 0x02, 1, 0,                             /* the cipher; no compression */
        0, 140,                                                     /* bytes of the extensions */
        0, 43,        0,    3,    2, 3,   4,                        /* TLS 1.3 */
        0, 10,        0,    6,    0, 4,   0, X25519, 0, P256,       /* groups */
        0, 13,        0,    8,    0, 6,   4, 3,      8, 4,    4, 1, /* signatures */
        0, KEY_SHARE, 0,    107,  0, 105, 0, X25519, 0, 32,
    };
    unsigned char *hello = s->flight + 5, *p = hello + 4;
    if (!s->transcript) {
        s->transcript = EVP_MD_CTX_new();
        s->in.cipher = EVP_CIPHER_CTX_new();
        s->out.cipher = EVP_CIPHER_CTX_new();
    }
    s->keyed = s->done = s->wanted = false;
    s->bytes = s->binding_bytes = 0;
    p += put16(p, 0x0303);
    if (RAND_bytes(p, 32) != 1) return "no random numbers";
    p += 32;
    memcpy(p, BEHIND_RANDOM, sizeof BEHIND_RANDOM);
    p += sizeof BEHIND_RANDOM;
    memcpy(p, x25519_share, sizeof x25519_share);
    p += sizeof x25519_share;
    p += put16(p, P256);
    p += put16(p, P256_BYTES);
    memcpy(p, p256_share, P256_BYTES);
    p += P256_BYTES;
    hello[0] = 1;
    put24(hello + 1, (size_t)(p - hello) - 4);
    s->flight_bytes = (size_t)(p - s->flight);
    memcpy(s->flight, "\x16\x03\x01", 3);
    put16(s->flight + 3, s->flight_bytes - 5);
    EVP_DigestInit_ex(s->transcript, sha384, NULL);
    EVP_DigestUpdate(s->transcript, hello, s->flight_bytes - 5);
    return NULL;
}

size_t tls_put(struct tls *s, int type, const void *text, size_t n, unsigned char *record, size_t room) {
    unsigned char iv[12], *p = record + 5;
    int length;
    if (n + 5 + 1 + TAG_BYTES > room || n > 16384) return 0;
    memcpy(record, "\x17\x03\x03", 3);
    put16(record + 3, n + 1 + TAG_BYTES);
    memmove(p, text, n);
    p[n] = (unsigned char)type;
    next_iv(&s->out, iv);
    EVP_CipherInit_ex(s->out.cipher, NULL, NULL, NULL, iv, -1);
    EVP_CipherUpdate(s->out.cipher, NULL, &length, record, 5);
    EVP_CipherUpdate(s->out.cipher, p, &length, p, (int)n + 1);
    EVP_CipherFinal_ex(s->out.cipher, p + n + 1, &length);
    EVP_CIPHER_CTX_ctrl(s->out.cipher, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, p + n + 1);
    return n + 6 + TAG_BYTES;
}

/* Certificate, and if there is one CertificateVerify; their bytes. */
static size_t put_certificate(struct tls *s, unsigned char *to) {
    static const char CONTEXT[] = "TLS 1.3, client CertificateVerify";
    unsigned char signed_text[64 + sizeof CONTEXT + HASH_BYTES], *p = to + 4;
    size_t entry = own_bytes ? 3 + own_bytes + 2 : 0, bytes = 256;
    *p++ = 0;
    p += put24(p, entry);
    if (entry) {
        p += put24(p, own_bytes);
        memcpy(p, own_certificate, own_bytes);
        p += own_bytes;
        p += put16(p, 0);
    }
    to[0] = CERTIFICATE;
    put24(to + 1, (size_t)(p - to) - 4);
    EVP_DigestUpdate(s->transcript, to, (size_t)(p - to));
    if (!entry) return (size_t)(p - to);
    memset(signed_text, ' ', 64);
    memcpy(signed_text + 64, CONTEXT, sizeof CONTEXT);
    hash_so_far(s, signed_text + 64 + sizeof CONTEXT);
    EVP_MD_CTX *signing = EVP_MD_CTX_new();
    EVP_DigestSignInit(signing, NULL, EVP_sha256(), NULL, own_key);
    EVP_DigestSign(signing, p + 8, &bytes, signed_text, sizeof signed_text);
    EVP_MD_CTX_free(signing);
    p[0] = CERTIFICATE_VERIFY;
    put24(p + 1, 4 + bytes);
    put16(p + 4, 0x0403);
    put16(p + 6, bytes);
    EVP_DigestUpdate(s->transcript, p, 8 + bytes);
    return (size_t)(p - to) + 8 + bytes;
}

/* The client's end of the handshake, and the keys behind it. */
static void finish(struct tls *s) {
    static const unsigned char zeros[HASH_BYTES];
    unsigned char hash[HASH_BYTES], secret[HASH_BYTES], master[HASH_BYTES], ours[HASH_BYTES],
        theirs[HASH_BYTES];
    unsigned char text[CERTIFICATE_BYTES + 1024];
    size_t n = 0;
    hash_so_far(s, hash);
    expand(s->handshake, "derived", nothing, secret, HASH_BYTES);
    hmac(secret, zeros, sizeof zeros, master);
    expand(master, "c ap traffic", hash, ours, HASH_BYTES);
    expand(master, "s ap traffic", hash, theirs, HASH_BYTES);
    if (s->wanted) n = put_certificate(s, text);
    hash_so_far(s, hash);
    expand(s->client, "finished", NULL, secret, HASH_BYTES);
    text[n] = FINISHED;
    put24(text + n + 1, HASH_BYTES);
    hmac(secret, hash, HASH_BYTES, text + n + 4);
    s->flight_bytes = tls_put(s, HANDSHAKE, text, n + 4 + HASH_BYTES, s->flight, sizeof s->flight);
    set_keys(&s->in, theirs, 0);
    set_keys(&s->out, ours, 1);
    s->done = true;
}

/* ---- what the server says ---- */

static size_t get16(const unsigned char *p) { return (size_t)p[0] << 8 | p[1]; }
static size_t get24(const unsigned char *p) { return (size_t)p[0] << 16 | get16(p + 1); }

static const char *take_hello(struct tls *s, const unsigned char *p, size_t n) {
    const unsigned char *end = p + n;
    unsigned char secret[32], hash[HASH_BYTES], theirs[HASH_BYTES];
    if (n < 35 || n < 35u + p[34] + 5) return "TLS: a malformed ServerHello";
    p += 35 + p[34];
    if (get16(p) != 0x1302) return "TLS: another cipher";
    for (p += 5; p + 4 <= end && p + 4 + get16(p + 2) <= end; p += 4 + get16(p + 2)) {
        if (get16(p) != KEY_SHARE) continue;
        size_t group = get16(p + 4), share = get16(p + 2) < 4 ? 0 : get16(p + 6);
        if ((group != X25519 && group != P256) || share + 4 != get16(p + 2)
            || !agree((unsigned)group, p + 8, share, secret))
            return "TLS: no common group";
        hmac(derived, secret, sizeof secret, s->handshake);
        hash_so_far(s, hash);
        expand(s->handshake, "c hs traffic", hash, s->client, HASH_BYTES);
        expand(s->handshake, "s hs traffic", hash, theirs, HASH_BYTES);
        set_keys(&s->in, theirs, 0);
        set_keys(&s->out, s->client, 1);
        s->keyed = true;
        return NULL;
    }
    return "TLS: no key share";
}

/* RFC 5929: the digest of the certificate by the hash that it is signed with, SHA-256 for older ones.  The last one is
 * remembered: to read a certificate takes longer than all the rest. */
static const char *take_certificate(struct tls *s, const unsigned char *p, size_t n) {
    static unsigned char last[CERTIFICATE_BYTES], digest[BINDING_BYTES];
    static size_t last_bytes;
    static unsigned digest_bytes;
    if (n < 7 || p[0] || get24(p + 4) > n - 7 || get24(p + 4) > sizeof last)
        return "TLS: a malformed certificate";
    size_t bytes = get24(p + 4);
    p += 7;
    if (bytes != last_bytes || memcmp(p, last, bytes) != 0) {
        const unsigned char *at = p;
        int hash = NID_undef;
        X509 *certificate = d2i_X509(NULL, &at, (long)bytes);
        if (!certificate || X509_get_signature_info(certificate, &hash, NULL, NULL, NULL) != 1)
            hash = NID_undef;
        X509_free(certificate);
        const EVP_MD *md = hash == NID_md5 || hash == NID_sha1 ? EVP_sha256() : EVP_get_digestbynid(hash);
        if (!md || EVP_Digest(p, bytes, digest, &digest_bytes, md, NULL) != 1)
            return "TLS: a certificate without a hash";
        memcpy(last, p, bytes);
        last_bytes = bytes;
    }
    memcpy(s->binding, digest, digest_bytes);
    s->binding_bytes = digest_bytes;
    return NULL;
}

/* All messages that are complete. */
static const char *take_handshake(struct tls *s, const unsigned char *text, size_t n) {
    const char *wrong = NULL;
    size_t at = 0;
    if (s->done) return NULL; /* session tickets */
    if (s->bytes + n > sizeof s->message) return "TLS: a handshake message that is too long";
    memcpy(s->message + s->bytes, text, n);
    s->bytes += n;
    while (!wrong && !s->done && s->bytes - at >= 4 && s->bytes - at >= 4 + get24(s->message + at + 1)) {
        unsigned char *p = s->message + at;
        size_t bytes = get24(p + 1);
        at += 4 + bytes;
        EVP_DigestUpdate(s->transcript, p, 4 + bytes);
        if ((p[0] == SERVER_HELLO) == s->keyed) return "TLS: a message out of order";
        if (p[0] == SERVER_HELLO) wrong = take_hello(s, p + 4, bytes);
        if (p[0] == CERTIFICATE) wrong = take_certificate(s, p + 4, bytes);
        if (p[0] == CERTIFICATE_REQUEST) s->wanted = true;
        if (p[0] == FINISHED) finish(s);
    }
    memmove(s->message, s->message + at, s->bytes - at);
    s->bytes -= at;
    return wrong;
}

static bool open_record(struct tls *s, unsigned char *record, size_t bytes) {
    unsigned char iv[12], *p = record + 5;
    int length, n = (int)bytes - 5 - TAG_BYTES;
    if (n < 1) return false;
    next_iv(&s->in, iv);
    EVP_CipherInit_ex(s->in.cipher, NULL, NULL, NULL, iv, -1);
    EVP_CIPHER_CTX_ctrl(s->in.cipher, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, p + n);
    EVP_CipherUpdate(s->in.cipher, NULL, &length, record, 5);
    EVP_CipherUpdate(s->in.cipher, p, &length, p, n);
    return EVP_CipherFinal_ex(s->in.cipher, p + n, &length) == 1;
}

const char *tls_take(struct tls *s, unsigned char *record, size_t bytes, unsigned char **text, size_t *n) {
    static char alert[40];
    int type = record[0];
    size_t length = bytes - 5;
    *text = record + 5;
    *n = 0;
    if (type == CHANGE_CIPHER_SPEC) return NULL;
    if (s->keyed) {
        if (type == TLS_DATA) {
            if (!open_record(s, record, bytes)) return "TLS: a record that was not sealed by the server";
            for (length -= TAG_BYTES; length && !record[5 + length - 1];) length--;
            if (!length) return "TLS: an empty record";
            type = record[5 + --length];
        } else if (type != TLS_ALERT) {
            return "TLS: a record in clear";
        }
    }
    if (type == TLS_ALERT && length == 2) {
        snprintf(alert, sizeof alert, "TLS: alert %d", record[6]);
        return alert;
    }
    if (type == HANDSHAKE) return take_handshake(s, record + 5, length);
    if (type != TLS_DATA || !s->done) return "TLS: a record of an unknown kind";
    *n = length;
    return NULL;
}
