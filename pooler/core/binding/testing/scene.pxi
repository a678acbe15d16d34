"""A relay that does not run, with one client and the server that it has: what they say is given to it by
hand, for tests."""


cdef extern from "session/session.h" nogil:
    struct notes_of_session "notes":
        uint32_t bytes
        char names[4096]
    struct session:
        uint32_t effect_flags, ends, pinned, asked
        c_bool opaque, unseen, failed
        notes_of_session *notes
        answer *answer


cdef extern from "session/probe.h" nogil:
    struct answer:
        uint32_t got, bytes
        c_bool overflow
        char limits[3][32]
        char pairs[16384]
    void session_probe(relay *, server *, uint32_t)
    void session_hear(relay *, server *, unsigned char, const unsigned char *, uint32_t, bint)
    void session_answered(relay *, server *)
    void session_unanswered(server *)


cdef extern from "statements/replay.h" nogil:
    enum: VERDICT_NONE, VERDICT_RENEW, VERDICT_AGAIN, VERDICT_WAIT
    struct replay:
        c_bool ended
        uint8_t verdict
    void replay_free(replay *)


cdef extern from "relay/client_state.h" nogil:
    enum: CLIENT_SERVED, CLIENT_LEAVING, CLIENT_CLOSED


cdef extern from "relay/server_state.h" nogil:
    enum: SERVER_FRESH, SERVER_ANSWERED


cdef extern from "relay/client.h" nogil:
    struct client:
        conn io
        int32_t row
        uint8_t state
        server *server
        settings_set *settings
        settings_set *startup
        names_of_client *names


cdef extern from "relay/server.h" nogil:
    struct server:
        conn io
        int32_t slot
        uint8_t state, transaction, mode, session_state
        client *client
        session session
        requests requests
        replay replay


cdef extern from "relay/relay.h" nogil:
    struct relay_inside "relay":
        conn_loop loop
        options options
        client **clients
        server **servers
        settings_store store
        statement_store statements
        uint32_t turn_work


cdef extern from "session/settings.h" nogil:
    bint settings_next_extra(const settings_set *, const char **, const char **)
    settings_set *settings_keep(settings_set *)


cdef extern from "catalog/database.h" nogil:
    bint profile_ready(relay *, int32_t)


cdef extern from "relay/internal.h" nogil:
    uint32_t client_feed(relay *, client *, const unsigned char *, uint32_t)


cdef extern from "relay/server_replies.h" nogil:
    uint32_t server_feed(relay *, server *, const unsigned char *, uint32_t)


cdef set _words_of(uint32_t flags):
    return {word for word, bit in EFFECT_FLAGS.items() if flags & bit}


cdef uint32_t _flags_of(words) except? 0xffffffff:
    return sum(EFFECT_FLAGS[word] for word in words)


@cython.no_gc_clear  # its relay is needed to the end
cdef class Scene:
    """A client that has just got a server. `relay` does not run; `slot` and `row` are ACTIVE, with each
    other; `values` are the client's, of the tracked parameters and of others, each with a NUL behind it."""

    cdef Relay of
    cdef relay *r
    cdef relay_inside *inside
    cdef server *s
    cdef client *c

    def __cinit__(self, Relay relay_of, int slot, int row, int to_server, int to_client, bytes values):
        cdef settings_scope scope
        cdef tables *t = relay_of.tables.t
        memset(&scope, 0, sizeof(scope))
        self.of, self.r, self.inside = relay_of, relay_of.r, <relay_inside *>relay_of.r
        self.s = <server *>calloc(1, sizeof(server))
        self.c = <client *>calloc(1, sizeof(client))
        if self.s is NULL or self.c is NULL or not profile_ready(self.r, t.clients[row].pool):
            raise MemoryError
        self.inside.options.max_prepared_statements = 100
        prepared_reset(&t.prepared[slot])
        requests_init(&self.s.requests)
        self.s.slot, self.s.state, self.s.transaction, self.s.client = slot, SERVER_FRESH, ord("I"), self.c
        self.s.mode = t.pools[t.clients[row].pool].limits.mode
        self.s.session_state = t.pools[t.clients[row].pool].limits.session_state
        self.c.row, self.c.state, self.c.server = row, CLIENT_SERVED, self.s
        self.s.replay.ended = True
        self.s.io.fd, self.c.io.fd = to_server, to_client
        self.c.settings = settings_intern(&self.inside.store, &scope, <const char *>values,
                                          <uint32_t>len(values), True)
        if self.c.settings is NULL:
            raise MemoryError
        self.c.startup = settings_keep(self.c.settings)
        self.inside.servers[slot], self.inside.clients[row] = self.s, self.c

    def client_says(self, bytes data):
        """How many of these bytes it has used; the rest comes again, with more behind it."""
        cdef unsigned char *copy = _exactly(data)
        self.inside.turn_work = 0
        cdef uint32_t used = client_feed(self.r, self.c, copy, <uint32_t>len(data))
        free(copy)
        return used

    def server_says(self, bytes data):
        """How many of these bytes it has used."""
        cdef unsigned char *copy = _exactly(data)
        self.inside.turn_work = 0
        cdef uint32_t used = server_feed(self.r, self.s, copy, <uint32_t>len(data))
        free(copy)
        return used

    def take_unused(self):
        """What the relay has put aside of what the client has said: it comes again, unless it leaves."""
        if self.c.state == CLIENT_LEAVING:
            return b""
        left = _pending(&self.c.io.stash)
        bytes_free(&self.c.io.stash)
        return left

    def is_open(self):
        """Whether the client is still there."""
        return self.c.state != CLIENT_CLOSED

    @property
    def verdict(self):
        """What is to be done about a plan that has changed: `none`, `renew`, `again`, `wait`."""
        return {VERDICT_NONE: "none", VERDICT_RENEW: "renew", VERDICT_AGAIN: "again",
                VERDICT_WAIT: "wait"}[self.s.replay.verdict]

    @property
    def waiting(self):
        """The requests that the server has not answered, the oldest first."""
        return bytes([requests_at(&self.s.requests, i) for i in range(self.s.requests.count)])

    def mention(self, str kind, bytes name):
        """A statement has said this name (see core/sql/effects.h)."""
        cdef session *x = &self.s.session
        if x.notes is NULL:
            x.notes = <notes_of_session *>calloc(1, sizeof(notes_of_session))
            if x.notes is NULL:
                raise MemoryError
        text = kind.encode() + name + b"\0"
        if x.notes.bytes + <size_t>len(text) > sizeof(x.notes.names):
            raise ValueError("more names than there is space for")
        memcpy(x.notes.names + x.notes.bytes, <const char *>text, len(text))
        x.notes.bytes += <uint32_t>len(text)

    def unseen(self):
        """Something was called of which nothing is known."""
        self.s.session.unseen = True

    def probe(self, *words):
        """All is answered; the server is asked what its client has left: words of EFFECT_FLAGS."""
        self.s.state = SERVER_ANSWERED
        session_probe(self.r, self.s, _flags_of(words))

    def row(self, fields, bint whole=True):
        """It answers with a row of texts, or None."""
        cdef bytes body = len(fields).to_bytes(2, "big")
        for text in fields:
            body += b"\xff" * 4 if text is None else len(text).to_bytes(4, "big") + text
        cdef unsigned char *copy = _exactly(body)
        session_hear(self.r, self.s, ord("D"), copy, <uint32_t>len(body), whole)
        free(copy)

    @property
    def found(self):
        """What the rows have said so far: words of EFFECT_FLAGS, settings, whether it is more than can be
        known."""
        cdef answer *a = self.s.session.answer
        texts = iter((<bytes>a.pairs[:a.bytes]).removesuffix(b"\0").split(b"\0") if a.bytes else ())
        return _words_of(a.got), [(name, next(texts)) for name in texts], bool(a.overflow)

    def answered(self):
        """The answer is complete."""
        session_answered(self.r, self.s)

    def unanswered(self):
        """There is none."""
        session_unanswered(self.s)

    def begin(self):
        """As if its client had just got the server: no answer, no names, no pins."""
        session_unanswered(self.s)
        self.s.session.pinned = 0
        self.s.session.opaque = self.s.session.unseen = False

    @property
    def pinned(self):
        """Why the server stays with its client: words of EFFECT_FLAGS."""
        return _words_of(self.s.session.pinned)

    def pin(self, *words):
        self.s.session.pinned |= _flags_of(words)

    @property
    def is_opaque(self):
        """Whether settings may be in force whose names are not known."""
        return bool(self.s.session.opaque)

    @property
    def is_known(self):
        """Whether the row of the server says that its settings are those of the client."""
        cdef tables *t = self.of.tables.t
        return _digest_of(t.slots[self.s.slot].settings) == _digest_of(self.c.settings.digest)

    @property
    def settings(self):
        """The client's, but for the tracked ones."""
        cdef const char *name = NULL
        cdef const char *value
        found = {}
        while settings_next_extra(self.c.settings, &name, &value):
            found[<bytes>name] = <bytes>value
        return found
