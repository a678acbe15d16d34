/* One TLS session: see session.h. */
#include "tls/tls_session.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- how OpenSSL reaches the socket ----------------------------------------------------------- */

/* False: no memory. */
static bool keep(struct tls_bytes *b, const void *bytes, uint32_t n) {
    if (b->end + n > b->space) {
        uint32_t space = b->space ? b->space : 4096;
        while (space < b->end + n) space *= 2;
        unsigned char *data = realloc(b->data, space);
        if (!data) return false;
        b->data = data;
        b->space = space;
    }
    memcpy(b->data + b->end, bytes, n);
    b->end += n;
    return true;
}

/* What there is no memory for is the end of the stream. */
void tls_feed(struct tls *t, const void *bytes, uint32_t n) {
    if (n && !keep(&t->input, bytes, n)) t->ended = true;
}

static int bio_read(BIO *b, char *out, int n) {
    struct tls *t = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    uint32_t there = t->input.end - t->input.start;
    if (there) {
        uint32_t take = there < (uint32_t)n ? there : (uint32_t)n;
        memcpy(out, t->input.data + t->input.start, take);
        t->input.start += take;
        if (take == there) t->input.start = t->input.end = 0;
        return (int)take;
    }
    if (t->fd < 0) {
        if (!t->ended) BIO_set_retry_read(b);
        return -1;
    }
    if (!t->allowance) {
        t->paused = true;
        BIO_set_retry_read(b);
        return -1;
    }
    if ((uint32_t)n > t->allowance) n = (int)t->allowance;
    ssize_t got;
    do got = recv(t->fd, out, (size_t)n, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    t->drained = got < n;
    if (got > 0) {
        t->allowance -= (uint32_t)got;
        return (int)got;
    }
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) BIO_set_retry_read(b);
    else t->ended = true;
    return got == 0 ? 0 : -1;
}

static int bio_write(BIO *b, const char *bytes, int n) {
    struct tls *t = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    if (t->fd < 0) {
        if (keep(&t->output, bytes, (uint32_t)n)) return n;
        t->ended = true;
        return -1;
    }
    ssize_t sent;
    do sent = send(t->fd, bytes, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0) return (int)sent;
    if (errno == EAGAIN || errno == EWOULDBLOCK) BIO_set_retry_write(b);
    else t->ended = true;
    return -1;
}

static long bio_control(BIO *b, int command, long number, void *pointer) {
    (void)number, (void)pointer;
    const struct tls *t = BIO_get_data(b);
    return command == BIO_CTRL_FLUSH || (command == BIO_CTRL_EOF && t->ended);
}

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static void make_method(void) {
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "pooler");
    if (!method) return; /* out of memory: there is no TLS in this process */
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_control);
}

/* ---- life ------------------------------------------------------------------------------------- */

static bool is_address(const char *host) {
    unsigned char space[16];
    return inet_pton(AF_INET, host, space) == 1 || inet_pton(AF_INET6, host, space) == 1;
}

static bool aim(SSL *ssl, const char *host, bool match) {
    X509_VERIFY_PARAM *parameters = SSL_get0_param(ssl);
    bool address = is_address(host);
    if (!address && SSL_set_tlsext_host_name(ssl, host) != 1) return false;
    if (!match) return true;
    X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return address ? X509_VERIFY_PARAM_set1_ip_asc(parameters, host) == 1 : SSL_set1_host(ssl, host) == 1;
}

/* NULL when memory or the name is bad. */
struct tls *tls_new(SSL_CTX *context, bool server, const char *host, bool match) {
    pthread_once(&method_once, make_method);
    struct tls *t = calloc(1, sizeof *t);
    SSL *ssl = t ? SSL_new(context) : NULL;
    BIO *bio = ssl && method ? BIO_new(method) : NULL;
    if (!bio || (host && !aim(ssl, host, match))) {
        BIO_free(bio);
        SSL_free(ssl);
        free(t);
        ERR_clear_error();
        return NULL;
    }
    *t = (struct tls){.ssl = ssl, .fd = -1};
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    if (server) SSL_set_accept_state(ssl);
    else SSL_set_connect_state(ssl);
    return t;
}

void tls_free(struct tls *t) {
    if (!t) return;
    SSL_free(t->ssl);
    free(t->input.data);
    free(t->output.data);
    free(t);
}

void tls_attach(struct tls *t, int fd) { t->fd = fd; }

/* SSL_get_error looks at the thread's list of errors, too.  It is nearly always empty, and clearing costs. */
static void forget_errors(void) {
    if (ERR_peek_error()) ERR_clear_error();
}

static enum tls_result result_of(struct tls *t, int rc) {
    switch (SSL_get_error(t->ssl, rc)) {
    case SSL_ERROR_WANT_READ: return TLS_WANT_READ;
    case SSL_ERROR_WANT_WRITE: return TLS_WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN: return TLS_END;
    default: break;
    }
    bool socket = t->ended;
    t->ended = true;
    return socket ? TLS_END : TLS_BROKEN;
}

/* One step: uses what was fed, leaves in `output` what is to be sent (also when it is BROKEN: an alert). */
enum tls_result tls_handshake(struct tls *t) {
    ERR_clear_error();
    int rc = SSL_do_handshake(t->ssl);
    return rc == 1 ? TLS_DONE : result_of(t, rc);
}

/* Fills the space as far as there are bytes.  DONE: there may be more; any other result: that is why it
 * stopped, beside the `done` bytes that are good.  END and BROKEN come again when asked again. */
enum tls_result tls_read(struct tls *t, void *out, uint32_t space, uint32_t *done) {
    *done = 0;
    t->allowance = TLS_IDLE_BYTES;
    t->paused = false;
    while (*done < space) {
        size_t got = 0;
        forget_errors();
        int rc = SSL_read_ex(t->ssl, (char *)out + *done, space - *done, &got);
        if (rc != 1) {
            enum tls_result why = result_of(t, rc);
            return why == TLS_WANT_READ && t->paused ? TLS_PAUSED : why;
        }
        *done += (uint32_t)got;
        t->allowance += (uint32_t)got;
        if (t->drained && t->input.end == t->input.start && !SSL_has_pending(t->ssl)) return TLS_DRAINED;
    }
    return TLS_DONE;
}

/* Writes one record.  After WANT_WRITE the same bytes (and more, if there are more) must come again. */
enum tls_result tls_write(struct tls *t, const void *bytes, uint32_t n, uint32_t *done) {
    size_t sent = 0;
    forget_errors();
    int rc = SSL_write_ex(t->ssl, bytes, n, &sent);
    *done = rc == 1 ? (uint32_t)sent : 0;
    return rc == 1 ? TLS_DONE : result_of(t, rc);
}

/* Says goodbye, if that fits; nobody waits for an answer. */
void tls_close(struct tls *t) {
    ERR_clear_error();
    if (!t->ended && SSL_is_init_finished(t->ssl)) (void)SSL_shutdown(t->ssl);
    ERR_clear_error();
}

/* ---- what is known of it ---------------------------------------------------------------------- */

/* Why the last step failed. */
void tls_error(const struct tls *t, char text[TLS_TEXT_BYTES]) {
    long verdict = SSL_get_verify_result(t->ssl);
    unsigned long code = ERR_peek_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    if (code && ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED)
        snprintf(text, TLS_TEXT_BYTES, "%s: %s", reason, X509_verify_cert_error_string(verdict));
    else
        snprintf(text, TLS_TEXT_BYTES, "%s", reason ? reason : t->ended ? "unexpected eof" : "unknown error");
}

/* As PgBouncer writes it: version, cipher and, where the key exchange is not part of the cipher's version,
 * its group. */
void tls_describe(const struct tls *t, char text[TLS_TEXT_BYTES]) {
    snprintf(text, TLS_TEXT_BYTES, "%s/%s", SSL_get_version(t->ssl), SSL_get_cipher_name(t->ssl));
}

bool tls_speaks_postgresql(const struct tls *t) {
    const unsigned char *name;
    unsigned int n;
    SSL_get0_alpn_selected(t->ssl, &name, &n);
    return n == sizeof TLS_ALPN - 1 && memcmp(name, TLS_ALPN, n) == 0;
}

/* The subject of the certificate the other side has shown; false: none.  A common name with a NUL inside
 * counts as none: it is made to look like another (CVE-2009-4034). */
bool tls_peer(const struct tls *t, char *common_name, char *name, int space) {
    X509 *peer = SSL_get1_peer_certificate(t->ssl);
    common_name[0] = name[0] = 0;
    if (!peer) return false;
    X509_NAME *subject = X509_get_subject_name(peer);
    int n = X509_NAME_get_text_by_NID(subject, NID_commonName, common_name, space);
    if (n < 0 || n >= space - 1 || strlen(common_name) != (size_t)n) common_name[0] = 0;
    BIO *out = BIO_new(BIO_s_mem());
    if (out && X509_NAME_print_ex(out, subject, 0, XN_FLAG_RFC2253) >= 0) {
        int got = BIO_read(out, name, space);
        bool fits = got >= 0 && got < space;
        name[fits ? got : 0] = 0;
        if (fits && strlen(name) != (size_t)got) name[0] = 0;
    }
    BIO_free(out);
    X509_free(peer);
    return true;
}

/* tls-server-end-point (RFC 5929) of the server's certificate: of the peer's, or of our own.  0: there is
 * none. */
int tls_certificate_hash(const struct tls *t, bool peer, unsigned char hash[TLS_HASH_BYTES]) {
    X509 *certificate = peer ? SSL_get1_peer_certificate(t->ssl) : SSL_get_certificate(t->ssl);
    int digest_id = 0;
    unsigned int n = 0;
    if (!certificate) return 0;
    if (X509_get_signature_info(certificate, &digest_id, NULL, NULL, NULL) == 1 && digest_id != NID_undef) {
        if (digest_id == NID_md5 || digest_id == NID_sha1) digest_id = NID_sha256;
        const EVP_MD *digest = EVP_get_digestbynid(digest_id);
        if (!digest || X509_digest(certificate, digest, hash, &n) != 1) n = 0;
    }
    if (peer) X509_free(certificate);
    ERR_clear_error();
    return (int)n;
}
