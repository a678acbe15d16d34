"""Sessions and contexts: tls/tls_session.h."""

from libc.stdint cimport uint32_t

cdef extern from "tls/tls_session.h" nogil:
    ctypedef struct SSL_CTX:
        pass
    void SSL_CTX_free(SSL_CTX *)
    enum: TLS_TEXT_BYTES, TLS_HASH_BYTES, TLS_VERIFY_NOT, TLS_VERIFY_OPTIONAL, TLS_VERIFY_REQUIRED
    enum: TLS_DONE, TLS_DRAINED, TLS_PAUSED, TLS_WANT_READ, TLS_WANT_WRITE, TLS_END, TLS_BROKEN
    ctypedef struct tls_bytes "struct tls_bytes":
        unsigned char *data
        uint32_t start, end
    struct tls:
        void *ssl
        tls_bytes output
        bint paused
    tls *tls_new(SSL_CTX *, bint, const char *, bint)
    void tls_free(tls *)
    void tls_feed(tls *, const void *, uint32_t)
    int tls_handshake(tls *)
    void tls_attach(tls *, int)
    int tls_read(tls *, void *, uint32_t, uint32_t *)
    int tls_write(tls *, const void *, uint32_t, uint32_t *)
    void tls_close(tls *)
    void tls_error(const tls *, char *)
    void tls_describe(const tls *, char *)
    bint tls_peer(const tls *, char *, char *, int)
    int tls_certificate_hash(const tls *, bint, unsigned char *)
    bint tls_speaks_postgresql(const tls *)

cdef extern from "tls/context.h" nogil:
    struct tls_setup:
        bint server
        const char *key
        const char *certificate
        const char *authorities
        int key_bytes, certificate_bytes, authorities_bytes
        int verify
        uint32_t protocols
        const char *ciphers
        const char *ciphers13
        const char *curve
        int dh
    SSL_CTX *tls_context(const tls_setup *, char *)
