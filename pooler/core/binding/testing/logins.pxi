"""The logins of a relay whose thread is not there: the test says when they run, and what time it is then."""

cdef extern from "io/connection.h" nogil:
    enum: KIND_LOGIN

cdef extern from "relay/client.h" nogil:
    struct client_part "client":
        conn io
        login_part *login

cdef extern from "login/login.h" nogil:
    struct fault_part "fault":
        char text[512]
    struct login_part "login":
        client_part *client
        login_part *next
        uint8_t state
        c_bool inside, stalled
        int32_t row
        uint64_t id
        fault_part fault
    struct logins_part "logins":
        login_part *first
        login_queue *queue
    void login_accept(relay *, int, c_bool)
    void login_run(relay *, login_part *)
    void logins_tick(relay *)

cdef extern from "login/jobs.h" nogil:
    void jobs_take(relay *)

cdef extern from "login/login_queue.h" nogil:
    struct login_queue:
        uint32_t inside, stalled, waiting
    void login_queue_network(const char *, char *)
    void login_queue_tick(relay *)

cdef extern from "login/parameters.h" nogil:
    void parameters_printable(const char *, const char *, char *)
    c_bool parameters_same(const char *, const char *, const char *)

cdef extern from "<sys/socket.h>" nogil:
    enum: MSG_PEEK, MSG_DONTWAIT
    ssize_t recv(int, void *, size_t, int)

cdef extern from "relay/commands.h" nogil:
    void relay_obey_commands(relay *)

cdef extern from "relay/orders.h" nogil:
    void relay_attention(relay *)

cdef extern from "relay/relay.h" nogil:
    struct relay_part "relay":
        conn_loop loop
        logins_part *logins


cdef class Logins:
    """Of a relay that was not started; times are in seconds."""

    cdef Relay of
    cdef relay_part *r

    def __cinit__(self, Relay of, double now):
        self.of = of
        self.r = <relay_part *>of.r
        self.now = now

    @property
    def now(self):
        """What time it is for them."""
        return self.r.loop.now / 1e6

    @now.setter
    def now(self, double now):
        self.r.loop.now = <uint64_t>(now * 1e6 + 0.5)

    def accept(self, int fd, bint is_unix):
        """A client has come; the descriptor is the relay's."""
        login_accept(self.of.r, fd, is_unix)

    def obey(self):
        """Does what Python and the tables have ordered, and takes what the threads have computed."""
        relay_obey_commands(self.of.r)
        relay_attention(self.of.r)
        jobs_take(self.of.r)

    def run(self):
        """Reads what there is of all, until nothing is left to do."""
        cdef login_part *l = self.r.logins.first
        cdef char byte
        while l is not NULL:
            if recv(l.client.io.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0:
                l.client.io.readable = True
                conn_ready(&self.r.loop, &l.client.io)
            l = l.next
        for _ in range(16):
            if self.r.loop.ready_head is NULL:
                break
            self._turn()

    cdef void _turn(self):
        cdef conn *c = self.r.loop.ready_head
        cdef conn *next
        self.r.loop.ready_head = self.r.loop.ready_tail = NULL
        while c is not NULL:
            next = c.next_ready
            c.queued = False
            if c.dead:
                conn_bury(&self.r.loop, c)
            elif c.kind == KIND_LOGIN:
                login_run(self.of.r, (<client_part *>c).login)
            c = next
        while self.r.loop.closed_list is not NULL:
            c = self.r.loop.closed_list
            self.r.loop.closed_list = c.next_ready
            free(c)

    def tick(self):
        """The queue lets in, and sends away."""
        login_queue_tick(self.of.r)

    def clock(self):
        """What no event brings: the end of their time, refusals that are told."""
        logins_tick(self.of.r)

    def all(self):
        """By descriptor: state, whether it takes a place, row (-1: none), id, and why it is refused, in the
        order in which they came."""
        cdef login_part *l = self.r.logins.first
        found = {}
        while l is not NULL:
            found[l.client.io.fd] = (decoded(login_machine.states[l.state].name), bool(l.inside), l.row, l.id,
                                     decoded(l.fault.text))
            l = l.next
        return found

    @property
    def queue(self):
        """How many are inside, how many of those are stalled, and how many wait."""
        cdef login_queue *q = self.r.logins.queue
        return q.inside, q.stalled, q.waiting


def login_network(str address):
    """What connections from this address are counted by."""
    cdef char out[64]
    login_queue_network(encoded(address), out)
    return decoded(out)


def login_printable(bytes name, bytes server_version):
    """What PostgreSQL makes of an application_name; `server_version` None: it was not reported."""
    cdef char out[253]
    cdef const char *version = NULL
    if server_version is not None:
        version = server_version
    parameters_printable(name, version, out)
    return <bytes>out


def login_same_value(str name, bytes value, bytes reported):
    """Whether a value is a server's own in another spelling."""
    return bool(parameters_same(encoded(name), value, reported))
