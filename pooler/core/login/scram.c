/* One exchange of SCRAM-SHA-256, as the server: see scram.h. */
#define _GNU_SOURCE
#include "login/scram.h"

#include <stdio.h>
#include <string.h>

#define BOUND "p=tls-server-end-point" /* PostgreSQL's only type of channel binding, too */
#define DECODED_BYTES_MAX (SASL_BYTES_MAX / 4 * 3)
#define COUNT_DIGITS 10 /* of a uint32_t */

#define AT_FIRST "client-first-message: "
#define AT_LAST "client-final-message: "

/* A part of a message, without its commas. */
struct field {
    const unsigned char *at;
    uint32_t n;
};

/* Takes the part before the next comma off the rest; false: nothing is left, not even an empty part. */
static bool next_field(struct field *rest, struct field *f) {
    if (!rest->at) return false;
    const unsigned char *comma = rest->n ? memchr(rest->at, ',', rest->n) : NULL;
    f->at = rest->at;
    f->n = comma ? (uint32_t)(comma - rest->at) : rest->n;
    rest->at = comma ? comma + 1 : NULL;
    rest->n = comma ? rest->n - f->n - 1 : 0;
    return true;
}

/* Makes of `letter=value` its value. */
static bool attribute(struct field *f, char letter) {
    if (f->n < 2 || f->at[0] != letter || f->at[1] != '=') return false;
    f->at += 2;
    f->n -= 2;
    return true;
}

static bool is_text(const struct field *f, const char *text, size_t n) {
    return f->n == n && !memcmp(f->at, text, n);
}

/* Printable ASCII without comma, and not empty. */
static bool is_nonce(const struct field *f) {
    for (uint32_t i = 0; i < f->n; i++)
        if (f->at[i] < 0x21 || f->at[i] > 0x7e || f->at[i] == ',') return false;
    return f->n > 0;
}

/* ---- the client's first message --------------------------------------------------------------- */

enum scram_fault scram_initial_response(const unsigned char *body, uint32_t n, bool bound, bool *plus,
                                        const unsigned char **data, uint32_t *bytes) {
    const unsigned char *end = n ? memchr(body, 0, n) : NULL;
    struct field name = {body, end ? (uint32_t)(end - body) : 0};
    if (!end) return SCRAM_BAD_MECHANISM;
    *plus = bound && is_text(&name, SCRAM_PLUS_NAME, sizeof SCRAM_PLUS_NAME - 1);
    if (!*plus && !is_text(&name, SCRAM_NAME, sizeof SCRAM_NAME - 1)) return SCRAM_BAD_MECHANISM;
    const unsigned char *at = end + 1;
    uint32_t left = n - name.n - 1;
    if (left < 4) return SCRAM_BAD_LENGTH;
    /* Unsigned and compared, never added to: a length of -1 or 2^31 is merely wrong (CVE-2026-6664). */
    uint32_t told = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
    if (told != left - 4) return SCRAM_BAD_LENGTH;
    *data = at + 4;
    *bytes = told;
    return SCRAM_GOOD;
}

/* `n,,n=user,r=nonce`: the user is ignored, as PostgreSQL does; the startup packet named it. */
const char *scram_client_first(struct scram *x, const unsigned char *data, uint32_t n, bool plus,
                               const unsigned char *certificate, uint32_t certificate_bytes) {
    x->channel_bytes = x->bare_bytes = x->nonce_bytes = x->first_bytes = 0;
    if (n > SASL_BYTES_MAX) return AT_FIRST "it is too long";
    if (certificate && certificate_bytes > BINDING_BYTES_MAX)
        return AT_FIRST "the channel's hash is too long";
    struct field rest = {n ? data : (const unsigned char *)"", n}, flag, authzid, user, nonce;
    if (!next_field(&rest, &flag) || !next_field(&rest, &authzid) || !next_field(&rest, &user)
        || !next_field(&rest, &nonce))
        return AT_FIRST "it has too few fields";
    bool is_bound = is_text(&flag, BOUND, sizeof BOUND - 1);
    if (plus != is_bound || (plus && !certificate))
        return AT_FIRST "the channel binding flag is not that of the mechanism";
    if (!is_bound && !is_text(&flag, "n", 1) && !is_text(&flag, "y", 1))
        return AT_FIRST "channel binding of another type was asked for";
    if (is_text(&flag, "y", 1) && certificate) /* somebody between us took the offer away */
        return AT_FIRST "the client supports channel binding but thinks the server does not";
    if (authzid.n) return AT_FIRST "an authorization identity is not supported";
    /* "m=..." stands here when a mandatory extension is asked for */
    if (!attribute(&user, 'n')) return AT_FIRST "attribute n expected";
    if (!attribute(&nonce, 'r')) return AT_FIRST "attribute r expected";
    if (!is_nonce(&nonce)) return AT_FIRST "the nonce has characters that are not allowed";
    uint32_t head = flag.n + 2; /* with both commas */
    memcpy(x->channel, data, head);
    if (plus) memcpy(x->channel + head, certificate, certificate_bytes);
    x->channel_bytes = head + (plus ? certificate_bytes : 0);
    memcpy(x->bare, data + head, n - head);
    x->bare_bytes = n - head;
    x->nonce_bytes = nonce.n;
    return NULL;
}

/* ---- the server's first message --------------------------------------------------------------- */

static uint32_t put(char *out, uint32_t at, const void *text, uint32_t n) {
    memcpy(out + at, text, n);
    return at + n;
}

uint32_t scram_server_first(struct scram *x, const void *salt, uint32_t salt_bytes, uint32_t iterations,
                            const unsigned char random[NONCE_BYTES]) {
    x->first_bytes = 0;
    if (!x->nonce_bytes || salt_bytes > sizeof x->first) return 0;
    uint32_t fixed = sizeof "r=" - 1 + sizeof ",s=" - 1 + sizeof ",i=" - 1 + COUNT_DIGITS;
    if (fixed + x->nonce_bytes + BASE64_BYTES(NONCE_BYTES) + BASE64_BYTES(salt_bytes) >= sizeof x->first)
        return 0;
    /* bare is `n=user,r=nonce...` */
    const char *nonce = (const char *)memchr(x->bare, ',', x->bare_bytes) + 3;
    uint32_t at = put(x->first, 0, "r=", 2);
    at = put(x->first, at, nonce, x->nonce_bytes);
    at += crypto_base64(x->first + at, random, NONCE_BYTES);
    at = put(x->first, at, ",s=", 3);
    at += crypto_base64(x->first + at, salt, salt_bytes);
    at += (uint32_t)snprintf(x->first + at, sizeof x->first - at, ",i=%u", iterations);
    return x->first_bytes = at;
}

/* ---- the client's last message ---------------------------------------------------------------- */

/* `c=...,r=nonce` and extensions: all but the proof. */
static const char *check_signed(const struct scram *x, struct field rest) {
    struct field binding, nonce, extension, said = {(const unsigned char *)x->first, x->first_bytes}, own;
    unsigned char channel[DECODED_BYTES_MAX];
    if (!x->first_bytes || !next_field(&said, &own)) return AT_LAST "it came before ours";
    if (!next_field(&rest, &binding) || !next_field(&rest, &nonce)) return AT_LAST "it has too few fields";
    if (!attribute(&binding, 'c')) return AT_LAST "attribute c expected";
    int32_t bytes = crypto_unbase64(channel, sizeof channel, (const char *)binding.at, binding.n);
    if (bytes < 0) return AT_LAST "the channel binding is no base64";
    if ((uint32_t)bytes != x->channel_bytes || memcmp(channel, x->channel, x->channel_bytes))
        return AT_LAST "channel binding differs from that of the first message"; /* nothing secret */
    if (nonce.n != own.n || !crypto_same(nonce.at, own.at, own.n)) return AT_LAST "altered nonce";
    while (next_field(&rest, &extension))
        if (attribute(&extension, 'm')) return AT_LAST "mandatory extension";
    return NULL;
}

/* `data` up to its last comma, and the proof behind it. */
static const char *check_shape(const struct scram *x, const unsigned char *data, uint32_t n,
                               uint32_t *signed_bytes, unsigned char proof[SHA256_BYTES]) {
    if (n > SASL_BYTES_MAX) return AT_LAST "it is too long";
    const unsigned char *comma = n ? memrchr(data, ',', n) : NULL;
    if (!comma) return AT_LAST "no proof";
    *signed_bytes = (uint32_t)(comma - data);
    const char *wrong = check_signed(x, (struct field){data, *signed_bytes});
    if (wrong) return wrong;
    struct field f = {comma + 1, n - *signed_bytes - 1};
    unsigned char raw[DECODED_BYTES_MAX];
    if (!attribute(&f, 'p')) return AT_LAST "attribute p expected";
    int32_t bytes = crypto_unbase64(raw, sizeof raw, (const char *)f.at, f.n);
    if (bytes < 0) return AT_LAST "the proof is no base64";
    if (bytes != SHA256_BYTES) return AT_LAST "proof has the wrong length";
    memcpy(proof, raw, SHA256_BYTES);
    return NULL;
}

const char *scram_client_final(const struct scram *x, const unsigned char *data, uint32_t n,
                               const unsigned char stored_key[SHA256_BYTES],
                               const unsigned char server_key[SHA256_BYTES],
                               unsigned char client_key[SHA256_BYTES], char final[SERVER_FINAL_BYTES],
                               bool *wrong) {
    unsigned char proof[SHA256_BYTES], mask[SHA256_BYTES], hashed[SHA256_BYTES];
    char message[SASL_BYTES_MAX + SERVER_FIRST_BYTES_MAX + SASL_BYTES_MAX + 2];
    uint32_t signed_bytes = 0;
    *wrong = false;
    const char *reason = check_shape(x, data, n, &signed_bytes, proof);
    if (reason) return reason;
    uint32_t at = put(message, 0, x->bare, x->bare_bytes);
    at = put(message, at, ",", 1);
    at = put(message, at, x->first, x->first_bytes);
    at = put(message, at, ",", 1);
    at = put(message, at, data, signed_bytes);
    reason = AT_LAST "OpenSSL gave no digest";
    if (crypto_hmac(stored_key, SHA256_BYTES, message, at, NULL, 0, mask)) {
        for (int i = 0; i < SHA256_BYTES; i++) proof[i] ^= mask[i]; /* now it is the ClientKey */
        if (crypto_sha256(proof, SHA256_BYTES, hashed)) {
            *wrong = !crypto_same(hashed, stored_key, SHA256_BYTES);
            if (*wrong) reason = "wrong password";
            else if (crypto_hmac(server_key, SHA256_BYTES, message, at, NULL, 0, mask)) reason = NULL;
        }
    }
    if (!reason) {
        memcpy(client_key, proof, SHA256_BYTES);
        at = put(final, 0, "v=", 2);
        crypto_base64(final + at, mask, SHA256_BYTES);
    }
    crypto_wipe(proof, sizeof proof);
    crypto_wipe(mask, sizeof mask);
    return reason;
}
