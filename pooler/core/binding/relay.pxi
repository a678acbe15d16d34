"""The relay of a worker, and the bridge for TLS with PostgreSQL."""


cdef class Bridge:
    """A thread that copies between encrypted connections to PostgreSQL and the socket pairs that all workers
    use instead. Raises OSError."""

    cdef bridge *p

    def __cinit__(self, SharedMap shared):
        self.p = bridge_open(shared.t)
        if self.p is NULL:
            raise OSError(errno, os.strerror(errno))

    def add(self, int slot, uint32_t generation, int raw, int inner, TlsSession session, bytes early):
        """Takes over both descriptors (non-blocking) and the session, whose handshake is done and which is
        attached to `raw`, unless it raises; `early` was read behind the login."""
        cdef const char *bytes_of = early
        if not bridge_add(self.p, slot, generation, raw, inner, session.t, bytes_of, <uint32_t>len(early)):
            raise MemoryError
        session.t = NULL


cdef class Relay:
    """One worker's relay.  `outboxes` are the send ends of all workers' inboxes and, last, of the master's.

    `tracked` are the names of the parameters that follow a client.  Raises OSError.
    """

    cdef relay *r
    cdef SharedMap tables

    def __cinit__(self, SharedMap tables, int worker, int inbox, outboxes, tracked, questions):
        cdef int boxes[128]
        cdef const char *names[32]
        cdef const char *texts[128]
        cdef int i, n = 0
        held = [encoded(name) for name in tracked]
        if len(held) > TRACKED_MAX:
            raise ValueError(f"at most {TRACKED_MAX} parameters can be tracked")
        for i, fd in enumerate(outboxes):
            boxes[i] = fd
            n = i + 1
        for i in range(len(held)):
            names[i] = <const char *><bytes>held[i]
        asked = [encoded(text) for text in questions]
        if len(asked) != QUESTIONS + CATALOG_TEXTS:
            raise ValueError(f"{QUESTIONS + CATALOG_TEXTS} questions are asked, not {len(asked)}")
        for i in range(len(asked)):
            texts[i] = <const char *><bytes>asked[i]
        self.tables = tables
        self.r = relay_open(tables.t, worker, inbox, boxes, n, names, len(held), texts)
        if self.r is NULL:
            raise OSError(errno, os.strerror(errno))

    def start(self):
        cdef int rc = relay_start(self.r)
        if rc:
            raise OSError(rc, os.strerror(rc))

    @property
    def event_fd(self):
        return self.r.event_bell

    def learn(self, int slot, uint32_t generation, int fd, bint raw=False):
        """A duplicate inherited from the master; `raw`: an encrypted connection whose bridge died.  Only
        before start()."""
        server_learn(self.r, slot, generation, fd, raw)

    def events(self):
        """What happened: tuples (type, a, b, id, age_us, text, database row, user row, address, port,
        told)."""
        cdef event found[64]
        cdef int n = relay_events(self.r, found, 64)
        cdef int i
        return [(found[i].type, found[i].a, found[i].b, found[i].id, found[i].age_us, decoded(found[i].text),
                 found[i].database, found[i].user, decoded(found[i].addr), found[i].port,
                 bool(found[i].told)) for i in range(n)]

    cdef void _command(self, int kind, int a, int b, uint32_t generation, uint64_t client_id, uint64_t token,
                       bytes data, bytes extra, tls *session=NULL):
        cdef command *c = <command *>malloc(sizeof(command) + len(data) + len(extra))
        if c is NULL:
            raise MemoryError
        c.type, c.a, c.b, c.generation, c.id, c.token = <uint8_t>kind, a, b, generation, client_id, token
        c.tls = session
        c.data_bytes, c.extra_bytes = <uint32_t>len(data), <uint32_t>len(extra)
        memcpy(c.data, <const char *>data, len(data))
        memcpy(&c.data[len(data)], <const char *>extra, len(extra))
        relay_command(self.r, c)

    def add_client(self, int row, int fd, bytes values, bytes head, bytes tail, bytes rest, bint usual,
                   TlsSession session=None, uint32_t given=0, uint32_t defaults=0):
        """Gives a logged-in client to the relay, which owns `fd` from now on.  `values`: the tracked
        parameters' values, each NUL-terminated, then other settings as names and values; `head`, `tail`: what
        it is greeted with before and behind its tracked parameters; `usual`: these are what the pool's
        servers have; `rest`: what was read behind the login (at most 64 kB). `session`: its TLS, which is
        used up.  `given`: bits of the tracked parameters that its startup packet has; `defaults`: what
        pool_defaults_version() said before the pool's welcome was read."""
        cdef tls *t = NULL
        cdef uint64_t facts = (<uint64_t>defaults << 32) | (<uint64_t>(given & 0x7fffffff) << 1) | usual
        if session is not None:
            t, session.t = session.t, NULL
        self._command(COMMAND_CLIENT, row, fd, len(head), facts, len(tail), values, head + tail + rest, t)

    def add_server(self, int slot, uint32_t generation, int fd, bytes values):
        """Gives a logged-in server to the relay.  Its duplicates must be on their way to all processes."""
        self._command(COMMAND_SERVER, slot, fd, generation, 0, 0, values, b"")

    def add_dedicated(self, int row, uint64_t client_id, int fd, int slot, uint32_t generation, int server_fd,
                      bytes values, bytes rest, TlsSession session=None):
        """Gives a client and the server that is its own to the relay, which owns both descriptors from now
        on.  The client has been greeted; `values` are the server's, `rest` was read behind the login.
        `session`: the client's TLS, which is used up."""
        cdef tls *t = NULL
        if session is not None:
            t, session.t = session.t, NULL
        self._command(COMMAND_DEDICATED, row, fd, generation, client_id,
                      <uint64_t>server_fd << 32 | <uint32_t>slot,
                      values, rest, t)

    def close_slot(self, int slot):
        """Ends the connection of a slot that is CLOSING and this worker's."""
        self._command(COMMAND_CLOSE_SLOT, slot, 0, 0, 0, 0, b"", b"")

    def freed_slot(self, int slot, uint32_t generation):
        """A slot in its login has no connection any more: end of stream was read, or it was never dialed."""
        self._command(COMMAND_FREED_SLOT, slot, 0, generation, 0, 0, b"", b"")

    def kill(self, int row, uint64_t client_id, uint64_t token, str sqlstate, str text):
        """Closes a client with a FATAL error, if it is still in the state that `token` stamps (0: always)."""
        self._command(COMMAND_KILL, row, 0, 0, client_id, token,
                      encoded(sqlstate) + b"\0" + encoded(text) + b"\0", b"")

    def send(self, int row, uint64_t client_id, bytes data):
        """Sends whole messages to a client that is waiting for a server."""
        self._command(COMMAND_SEND, row, 0, 0, client_id, 0, data, b"")

    def reclaim(self):
        """Finishes the slots that dead workers left."""
        self._command(COMMAND_RECLAIM, 0, 0, 0, 0, 0, b"", b"")

    def options(self, *, double check_delay_s, check_query, reset_query, bint reset_always,
                bint disable_pqexec,
                bint fast_close, uint32_t max_packet_bytes, uint32_t max_prepared_statements,
                double answer_timeout_s, trusted_extensions=(), uint64_t catalog_bytes=64 << 20,
                uint64_t client_bytes=64 << 20):
        """What the relay has to know of the configuration; check_query None: no checks."""
        cdef options o
        memset(&o, 0, sizeof(options))
        o.check_delay_us = <uint64_t>(check_delay_s * 1e6)
        o.answer_timeout_us = <uint64_t>(answer_timeout_s * 1e6)
        o.max_packet_bytes = max_packet_bytes
        o.max_prepared_statements = max_prepared_statements
        o.reset_always, o.disable_pqexec, o.fast_close = reset_always, disable_pqexec, fast_close
        o.has_check = check_query is not None
        put_text(o.check_query, 256, encoded(check_query or ""))
        put_text(o.reset_query, 1024, encoded(reset_query))
        o.catalog_bytes = catalog_bytes
        o.client_bytes = client_bytes
        names = b"".join(encoded(name) + b"\0" for name in trusted_extensions)
        if len(names) >= 2048:
            raise ValueError("session_trusted_extensions is too long")
        memcpy(o.trusted, <char *>names, len(names))
        self._command(COMMAND_OPTIONS, 0, 0, 0, 0, 0, (<char *>&o)[:sizeof(options)], b"")

    def stop(self):
        """Ends the thread; connections stay as they are."""
        self._command(COMMAND_STOP, 0, 0, 0, 0, 0, b"", b"")
        with nogil:
            relay_join(self.r)
