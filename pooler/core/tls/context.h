/* From a configuration to a context of OpenSSL. */
#ifndef POOLER_TLS_CONTEXT_H
#define POOLER_TLS_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "tls/tls_session.h"

/* What a context is made of.  Files come as their contents: who reads them is another matter. */
struct tls_setup {
    bool server;                                 /* we are the side that is connected to */
    const char *key, *certificate, *authorities; /* PEM; empty: none */
    int key_bytes, certificate_bytes, authorities_bytes;
    int verify;                              /* enum tls_verify */
    uint32_t protocols;                      /* enum tls_protocol, or-ed */
    const char *ciphers, *ciphers13, *curve; /* NULL: OpenSSL's */
    int dh; /* parameters of DHE: 0 none, 1 as strong as the key, 2 of 1024 bits */
};

/* NULL with a text on failure. */
SSL_CTX *tls_context(const struct tls_setup *setup, char error[TLS_TEXT_BYTES]);

#endif
