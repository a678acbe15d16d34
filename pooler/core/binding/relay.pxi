"""The relay of a worker, and the bridge for TLS with PostgreSQL."""


cdef class Bridge:
    """A thread that copies between encrypted connections to PostgreSQL and the socket pairs that all workers
    use instead. Raises OSError."""

    cdef bridge *p
    cdef SharedMap shared

    def __cinit__(self, SharedMap shared):
        self.shared = shared
        self.p = bridge_open()
        if self.p is NULL:
            raise OSError(errno, os.strerror(errno))

    def add(self, int slot, uint32_t generation, int raw, int inner, TlsSession session, bytes early):
        """Takes over both descriptors (non-blocking) and the session, whose handshake is done and which is
        attached to `raw`, unless it raises; `early` was read behind the login."""
        cdef const char *bytes_of = early
        cdef bridged of
        of.generation = generation
        of.latest = &self.shared.t.slots[slot].generation
        of.over = &self.shared.t.slots[slot].over
        if not bridge_add(self.p, &of, raw, inner, session.t, bytes_of, <uint32_t>len(early)):
            raise MemoryError
        session.t = NULL


cdef object _event(const event *e):
    if e.type == EVENT_LOGIN_ASKS:
        return LoginAsks(e.a, e.id, e.b, _fields(e))
    if e.type == EVENT_LOGIN_LEFT:
        return LoginLeft(e.id)
    if e.type == EVENT_LOGIN_PASSED:
        return LoginPassed(e.a, e.id, e.b, e.is_unix, e.how, _fields(e), _session(e.tls))
    if e.type == EVENT_DIAL:
        return DialNeeded(e.a)
    if e.type == EVENT_CANCEL:
        return CancelNeeded(e.a, e.id)
    if e.type == EVENT_LOGIN:
        return LoginOrdered(e.a, e.id, e.b)
    if e.type == EVENT_LISTEN:
        return ListenNeeded(e.a, e.b)
    return SharedDdlSeen(e.a, decoded(e.text), e.b)


cdef tls *_taken(TlsSession session):
    """The session itself, which is the relay's from now on; NULL for None."""
    cdef tls *t = NULL
    if session is not None:
        t, session.t = session.t, NULL
    return t


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
        """What happened since, at most 64 of them: pooler/core/events.py has their types."""
        cdef event found[64]
        cdef int n = relay_events(self.r, found, 64)
        cdef int i
        return [_event(&found[i]) for i in range(n)]

    def log_lines(self):
        """Lines of the log since the last call: before events(), so that the log has them first."""
        cdef const log_batch *batch = log_take(self.r)
        records = (<char *>batch.records)[:batch.count * sizeof(log_record)]
        return LogLines((<char *>batch.lines)[:batch.bytes], records, batch.lost)

    cdef command *_new(self, int kind, bytes data=b"", bytes extra=b"") except NULL:
        """A command to be filled in and passed to relay_command, which frees it."""
        cdef command *c = <command *>calloc(1, sizeof(command) + len(data) + len(extra))
        if c is NULL:
            raise MemoryError
        c.type = <uint8_t>kind
        c.data_bytes, c.extra_bytes = <uint32_t>len(data), <uint32_t>len(extra)
        memcpy(c.data, <const char *>data, len(data))
        memcpy(&c.data[len(data)], <const char *>extra, len(extra))
        return c

    def add_client(self, int row, int fd, bytes values, bytes head, bytes tail, bytes rest, bint usual,
                   TlsSession session=None, uint32_t given=0, uint32_t defaults=0):
        """Gives a logged-in client to the relay, which owns `fd` from now on.  `values`: the tracked
        parameters' values, each NUL-terminated, then other settings as names and values; `head`, `tail`: what
        it is greeted with before and behind its tracked parameters; `usual`: these are what the pool's
        servers have; `rest`: what was read behind the login (at most 64 kB). `session`: its TLS, which is
        used up.  `given`: bits of the tracked parameters that its startup packet has; `defaults`: what
        pool_defaults_version() said before the pool's welcome was read."""
        cdef command *c = self._new(COMMAND_CLIENT, values, head + tail + rest)
        c.a, c.b, c.generation, c.token = row, fd, <uint32_t>len(head), len(tail)
        c.id = (<uint64_t>defaults << 32) | (<uint64_t>(given & 0x7fffffff) << 1) | usual
        c.tls = _taken(session)
        relay_command(self.r, c)

    def add_server(self, int slot, uint32_t generation, int fd, bytes values):
        """Gives a logged-in server to the relay.  Its duplicates must be on their way to all processes."""
        cdef command *c = self._new(COMMAND_SERVER, values)
        c.a, c.b, c.generation = slot, fd, generation
        relay_command(self.r, c)

    def add_dedicated(self, int row, uint64_t client_id, int fd, int slot, uint32_t generation, int server_fd,
                      bytes values, bytes rest, TlsSession session=None):
        """Gives a client and the server that is its own to the relay, which owns both descriptors from now
        on.  The client has been greeted; `values` are the server's, `rest` was read behind the login.
        `session`: the client's TLS, which is used up."""
        cdef command *c = self._new(COMMAND_DEDICATED, values, rest)
        c.a, c.b, c.id, c.generation = row, fd, client_id, generation
        c.token = <uint64_t>server_fd << 32 | <uint32_t>slot
        c.tls = _taken(session)
        relay_command(self.r, c)

    def close_slot(self, int slot):
        """Ends the connection of a slot that is CLOSING and this worker's."""
        cdef command *c = self._new(COMMAND_CLOSE_SLOT)
        c.a = slot
        relay_command(self.r, c)

    def freed_slot(self, int slot, uint32_t generation):
        """A slot in its login has no connection any more: end of stream was read, or it was never dialed."""
        cdef command *c = self._new(COMMAND_FREED_SLOT)
        c.a, c.generation = slot, generation
        relay_command(self.r, c)

    def kill(self, int row, uint64_t client_id, uint64_t since, str sqlstate, str text, str detail=""):
        """Closes a client with a FATAL error, if it is still in the state that `since` stamps (0: always). A
        detail is cut at DETAIL_BYTES; one that has not proven who it is is not told it."""
        texts = (encoded(sqlstate), encoded(text), encoded(detail)[:DETAIL_BYTES - 1])
        cdef command *c = self._new(COMMAND_KILL, b"\0".join(texts) + b"\0")
        c.a, c.id, c.token = row, client_id, since
        relay_command(self.r, c)

    def send(self, int row, uint64_t client_id, bytes data):
        """Sends whole messages to a client that is waiting for a server."""
        cdef command *c = self._new(COMMAND_SEND, data)
        c.a, c.id = row, client_id
        relay_command(self.r, c)

    def set_policy(self, LoginPolicy policy):
        """Logins that begin from now on go by it; it is the relay's."""
        cdef command *c = self._new(COMMAND_POLICY)
        c.token, policy.p = <uint64_t>policy.p, NULL
        relay_command(self.r, c)

    def unknown_users(self, bint have_scram, int iterations, bytes key):
        """What a user who does not exist would have; `key` makes its salt."""
        cdef command *c = self._new(COMMAND_UNKNOWN_USERS, key)
        c.a, c.b = have_scram, iterations
        relay_command(self.r, c)

    def answer_login(self, int row, uint64_t client_id, int verdict, fields):
        """The answer to a LoginAsks: a LoginAnswer, and its fields."""
        cdef command *c = self._new(COMMAND_LOGIN_ANSWER, _packed(fields))
        c.a, c.id, c.b = row, client_id, verdict
        relay_command(self.r, c)

    def drain(self):
        """Logins are refused from now on."""
        relay_command(self.r, self._new(COMMAND_DRAIN))

    def reclaim(self):
        """Finishes the slots that dead workers left."""
        relay_command(self.r, self._new(COMMAND_RECLAIM))

    def options(self, *, double check_delay_s, check_query, reset_query, bint reset_always,
                bint disable_pqexec,
                bint fast_close, uint32_t max_packet_bytes, uint32_t max_prepared_statements,
                double answer_timeout_s, bint log_disconnections, bint log_pooler_errors, bint log_debug,
                trusted_extensions=(), uint64_t catalog_bytes=64 << 20,
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
        o.log_disconnections, o.log_pooler_errors = log_disconnections, log_pooler_errors
        o.log_debug = log_debug
        put_text(o.check_query, 256, encoded(check_query or ""))
        put_text(o.reset_query, 1024, encoded(reset_query))
        o.catalog_bytes = catalog_bytes
        o.client_bytes = client_bytes
        names = b"".join(encoded(name) + b"\0" for name in trusted_extensions)
        if len(names) >= 2048:
            raise ValueError("session_trusted_extensions is too long")
        memcpy(o.trusted, <char *>names, len(names))
        relay_command(self.r, self._new(COMMAND_OPTIONS, (<char *>&o)[:sizeof(options)]))

    def stop(self):
        """Ends the thread; connections stay as they are."""
        relay_command(self.r, self._new(COMMAND_STOP))
        with nogil:
            relay_join(self.r)
