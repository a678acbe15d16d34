"""TLS for Python's side of a connection: contexts, and sessions until they go to the relay or the bridge."""


class TlsError(Exception):
    """A context could not be made, a handshake failed, or a session is broken. The text is OpenSSL's."""


TLS_VERIFY = {"no": TLS_VERIFY_NOT, "optional": TLS_VERIFY_OPTIONAL, "required": TLS_VERIFY_REQUIRED}


cdef class TlsContext:
    """Certificates and rules for the sessions of one side. Files come as their contents; `verify` is a key of
    TLS_VERIFY, `protocols` are bits (1.0: 1 … 1.3: 8), `dh` 0, 1 or 2 (none, auto, legacy). Raises
    TlsError."""

    cdef SSL_CTX *c
    cdef bint server

    def __cinit__(self, *, bint server, bytes key=b"", bytes certificate=b"", bytes authorities=b"",
                  str verify="no",
                  uint32_t protocols=15, ciphers=None, ciphers13=None, curve=None, int dh=1):
        cdef tls_setup s
        cdef char text[TLS_TEXT_BYTES]
        cdef bytes one, other, third
        memset(&s, 0, sizeof(s))
        s.server = self.server = server
        s.key, s.key_bytes = key, <int>len(key)
        s.certificate, s.certificate_bytes = certificate, <int>len(certificate)
        s.authorities, s.authorities_bytes = authorities, <int>len(authorities)
        s.verify, s.protocols, s.dh = TLS_VERIFY[verify], protocols, dh
        if ciphers is not None:
            one = encoded(ciphers)
            s.ciphers = one
        if ciphers13 is not None:
            other = encoded(ciphers13)
            s.ciphers13 = other
        if curve is not None:
            third = encoded(curve)
            s.curve = third
        self.c = tls_context(&s, text)
        if self.c is NULL:
            raise TlsError(decoded(text))

    def __dealloc__(self):
        if self.c is not NULL:
            SSL_CTX_free(self.c)

    def session(self, host=None, bint match=False):
        """A session that begins. `host`: the name to tell the server and, with `match`, to find in its
        certificate."""
        cdef TlsSession made = TlsSession.__new__(TlsSession)
        cdef bytes name
        cdef const char *given = NULL
        if host is not None:
            name = encoded(host)
            given = name
        made.t = tls_new(self.c, self.server, given, match)
        made.server = self.server
        if made.t is NULL:
            raise TlsError("no session could be made")
        return made


cdef class TlsSession:
    """One TLS session. Handshake first, away from the socket: it may run in another thread. Then `attach`."""

    cdef tls *t
    cdef readonly bint server

    def __dealloc__(self):
        if self.t is not NULL:
            tls_free(self.t)

    def handshake(self, bytes received):
        """One step: (whether it is done, bytes to send, why it failed or None). Without the GIL where it is
        dear."""
        cdef int how
        cdef char text[TLS_TEXT_BYTES]
        cdef const char *data = received
        cdef uint32_t n = <uint32_t>len(received)
        text[0] = 0
        with nogil:
            tls_feed(self.t, data, n)
            how = tls_handshake(self.t)
            if how == TLS_END or how == TLS_BROKEN:
                tls_error(self.t, text)
        sent = self.t.output.data[:self.t.output.end] if self.t.output.end else b""
        self.t.output.end = 0
        failed = decoded(text) if how == TLS_END or how == TLS_BROKEN else None
        return how == TLS_DONE, sent, failed

    def attach(self, int fd):
        """From now on this non-blocking socket is read and written."""
        tls_attach(self.t, fd)

    def read(self, uint32_t space):
        """Bytes; b"" at the end; or None: wait until the socket can be read, or, where it `paused`, until
        others have had their turn. Raises TlsError."""
        cdef uint32_t got = 0
        cdef int how
        data = PyBytes_FromStringAndSize(NULL, space)
        how = tls_read(self.t, <char *>data, space, &got)
        if got:
            return data[:got]
        if how == TLS_BROKEN:
            raise TlsError("broken TLS session")
        return b"" if how == TLS_END else None

    @property
    def paused(self):
        """The last `read` has stopped because nothing came of much that it read: there may be more."""
        return self.t.paused

    def write(self, bytes data, uint32_t start):
        """How many bytes behind `start` were taken; 0: wait until the socket has space, and come again with
        the same bytes. Raises TlsError."""
        cdef uint32_t done = 0
        cdef const char *p = data
        cdef int how = tls_write(self.t, p + start, <uint32_t>len(data) - start, &done)
        if how == TLS_END or how == TLS_BROKEN:
            raise TlsError("broken TLS session")
        return done

    def close(self):
        """Say that we send no more."""
        tls_close(self.t)

    @property
    def description(self):
        """Version and cipher, as SHOW CLIENTS has them."""
        cdef char text[TLS_TEXT_BYTES]
        tls_describe(self.t, text)
        return decoded(text)

    @property
    def speaks_postgresql(self):
        """Whether the protocol was agreed upon by ALPN."""
        return tls_speaks_postgresql(self.t)

    def peer(self):
        """(common name, distinguished name) of the other side's certificate, None for what it does not
        have."""
        cdef char common_name[1024]
        cdef char name[1024]
        if not tls_peer(self.t, common_name, name, 1024):
            return None, None
        return decoded(common_name) or None, decoded(name) or None

    def certificate_hash(self):
        """tls-server-end-point (RFC 5929) of the server's certificate, whichever side we are; None: it has
        none."""
        cdef unsigned char found[TLS_HASH_BYTES]
        cdef int n = tls_certificate_hash(self.t, not self.server, found)
        return found[:n] if n else None
