"""What no TLS session of ours sends, for tests."""


cdef extern from "openssl/ssl.h" nogil:
    int SSL_key_update(void *, int)
    int SSL_do_handshake(void *)


def tls_key_updates(TlsSession session, int count, bytes data):
    """The records of so many changes of keys, and of data behind them; of a session that is not attached."""
    cdef uint32_t done = 0
    cdef const char *p = data
    for _ in range(count):
        if SSL_key_update(session.t.ssl, 0) != 1 or SSL_do_handshake(session.t.ssl) != 1:
            raise TlsError("no new keys")
    if tls_write(session.t, p, <uint32_t>len(data), &done) != TLS_DONE or done != len(data):
        raise TlsError("not written")
    sent = session.t.output.data[:session.t.output.end]
    session.t.output.end = 0
    return sent
