/* From a configuration to a context of OpenSSL: certificates, versions, ciphers, who is verified. */
#include "tls/context.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>

#include "tls/tls_session.h"

static const unsigned char ALPN_WIRE[] = "\x0a" TLS_ALPN;

static bool failed(char *error, const char *what) {
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    snprintf(error, TLS_TEXT_BYTES, "%s%s%s", what, reason ? ": " : "", reason ? reason : "");
    ERR_clear_error();
    return false;
}

/* A key with a passphrase must not make a daemon ask a terminal. */
static int no_passphrase(char *buffer, int size, int writing, void *user) {
    (void)buffer, (void)size, (void)writing, (void)user;
    return 0;
}

static BIO *pem(const char *bytes, int n) { return BIO_new_mem_buf(bytes, n); }

/* End of a PEM text; anything else that stopped the reading is a mistake in it. */
static bool at_end(void) {
    unsigned long code = ERR_peek_last_error();
    if (code && !(ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE))
        return false;
    ERR_clear_error();
    return true;
}

static bool load_certificate(SSL_CTX *c, const struct tls_setup *s, char *error) {
    BIO *in = pem(s->certificate, s->certificate_bytes);
    X509 *own = in ? PEM_read_bio_X509_AUX(in, NULL, no_passphrase, NULL) : NULL;
    bool good = own && SSL_CTX_use_certificate(c, own) == 1;
    X509_free(own);
    while (good && (own = PEM_read_bio_X509(in, NULL, no_passphrase, NULL)) != NULL)
        if (SSL_CTX_add0_chain_cert(c, own) != 1) {
            X509_free(own);
            good = false;
        }
    BIO_free(in);
    return (good && at_end()) || failed(error, "failed to load certificate");
}

static bool load_key(SSL_CTX *c, const struct tls_setup *s, char *error) {
    BIO *in = pem(s->key, s->key_bytes);
    EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, no_passphrase, NULL) : NULL;
    bool good = key && SSL_CTX_use_PrivateKey(c, key) == 1;
    EVP_PKEY_free(key);
    BIO_free(in);
    if (!good) return failed(error, "failed to load private key");
    return SSL_CTX_check_private_key(c) == 1 || failed(error, "private/public key mismatch");
}

static bool load_authorities(SSL_CTX *c, const struct tls_setup *s, char *error) {
    BIO *in = pem(s->authorities, s->authorities_bytes);
    X509_STORE *store = SSL_CTX_get_cert_store(c);
    int count = 0;
    bool good = in != NULL;
    for (X509 *one; good && (one = PEM_read_bio_X509(in, NULL, no_passphrase, NULL)) != NULL; count++) {
        good = X509_STORE_add_cert(store, one) == 1 && (!s->server || SSL_CTX_add_client_CA(c, one) == 1);
        X509_free(one);
    }
    BIO_free(in);
    return (good && at_end() && count) || failed(error, "failed to load CA certificates");
}

static bool set_protocols(SSL_CTX *c, uint32_t wanted) {
    static const struct {
        uint32_t bit;
        int version;
        uint64_t without;
    } all[] = {{TLS_1_0, TLS1_VERSION, SSL_OP_NO_TLSv1},
               {TLS_1_1, TLS1_1_VERSION, SSL_OP_NO_TLSv1_1},
               {TLS_1_2, TLS1_2_VERSION, SSL_OP_NO_TLSv1_2},
               {TLS_1_3, TLS1_3_VERSION, SSL_OP_NO_TLSv1_3}};
    int low = 0, high = 0;
    for (int i = 0; i < 4; i++) {
        if (!(wanted & all[i].bit)) {
            SSL_CTX_set_options(c, all[i].without);
            continue;
        }
        if (!low) low = all[i].version;
        high = all[i].version;
    }
    return low && SSL_CTX_set_min_proto_version(c, low) == 1 && SSL_CTX_set_max_proto_version(c, high) == 1;
}

static bool set_ciphers(SSL_CTX *c, const struct tls_setup *s, char *error) {
    if (s->ciphers && SSL_CTX_set_cipher_list(c, s->ciphers) != 1)
        return failed(error, "no ciphers for that list");
    if (s->ciphers13 && SSL_CTX_set_ciphersuites(c, s->ciphers13) != 1)
        return failed(error, "failed to set the TLSv1.3 cipher suites");
    if (s->curve && SSL_CTX_set1_groups_list(c, s->curve) != 1) return failed(error, "unknown curve");
    if (s->dh) SSL_CTX_set_dh_auto(c, s->dh);
    return true;
}

/* A client that offers other protocols only has come to the wrong place. */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_bytes,
                       const unsigned char *offered, unsigned int n, void *user) {
    (void)ssl, (void)user;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_bytes, ALPN_WIRE, sizeof ALPN_WIRE - 1, offered, n)
        != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static bool prepare(SSL_CTX *c, const struct tls_setup *s, char *error) {
    SSL_CTX_set_options(c,
                        SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET
                            | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(c, 0);
    SSL_CTX_set_mode(c,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_AUTO_RETRY
                         | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(c, 1); /* one read of the socket gets a record, or several */
    SSL_CTX_set_default_passwd_cb(c, no_passphrase);
    if (!set_protocols(c, s->protocols)) return failed(error, "no TLS version is left");
    if (!set_ciphers(c, s, error)) return false;
    if (s->certificate_bytes && !load_certificate(c, s, error)) return false;
    if (s->key_bytes && !load_key(c, s, error)) return false;
    if (s->authorities_bytes && !load_authorities(c, s, error)) return false;
    if (!s->authorities_bytes && s->verify != TLS_VERIFY_NOT && SSL_CTX_set_default_verify_paths(c) != 1)
        return failed(error, "failed to load the system's CA certificates");
    int mode = s->verify == TLS_VERIFY_NOT ? SSL_VERIFY_NONE : SSL_VERIFY_PEER;
    if (s->verify == TLS_VERIFY_REQUIRED) mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(c, mode, NULL);
    if (s->server) SSL_CTX_set_alpn_select_cb(c, choose_alpn, NULL);
    return s->server || SSL_CTX_set_alpn_protos(c, ALPN_WIRE, sizeof ALPN_WIRE - 1) == 0
        || failed(error, "ALPN could not be set");
}

SSL_CTX *tls_context(const struct tls_setup *setup, char error[TLS_TEXT_BYTES]) {
    ERR_clear_error();
    SSL_CTX *c = SSL_CTX_new(setup->server ? TLS_server_method() : TLS_client_method());
    if (!c) {
        failed(error, "OpenSSL could not be started");
        return NULL;
    }
    if (prepare(c, setup, error)) return c;
    SSL_CTX_free(c);
    return NULL;
}
