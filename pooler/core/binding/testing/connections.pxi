"""Bytes that wait, one connection, and what is counted of times: each by itself, for tests."""


cdef extern from "io/buffer.h" nogil:
    struct waiting_bytes "bytes":
        unsigned char *data
        uint32_t start, end, capacity
    const uint32_t BYTES_MAX
    bint bytes_add(waiting_bytes *, const void *, uint32_t)
    uint32_t bytes_pending(const waiting_bytes *)
    void bytes_free(waiting_bytes *)
    uint32_t load_be32(const unsigned char *)
    void store_be32(void *, uint32_t)


cdef extern from "io/connection.h" nogil:
    enum: BUFFER_BYTES, TRIM_BYTES
    struct conn:
        uint8_t kind
        c_bool readable, hangup, broken, eof, stuck, queued, dead, wants_out, armed, gap
        int fd
        uint64_t stuck_since
        waiting_bytes out
        waiting_bytes stash
        conn *next_ready
    struct conn_loop:
        int epoll
        uint64_t now
        conn *ready_head
        conn *ready_tail
        conn *closed_list
        unsigned char *buffer
        uint32_t buffer_bytes
    void conn_ready(conn_loop *, conn *)
    bint conn_arm(conn_loop *, conn *)
    void conn_disarm(conn_loop *, conn *)
    bint conn_stash(conn *, const unsigned char *, uint32_t)
    bint conn_unread(conn *, const unsigned char *, uint32_t)
    uint32_t conn_fill(conn_loop *, conn *, uint32_t, c_bool *)
    bint conn_read_on(conn_loop *, conn *, uint32_t)
    void conn_append(conn_loop *, conn *, const void *, uint32_t)
    void conn_flush(conn_loop *, conn *)
    void conn_send(conn_loop *, conn *, const void *, uint32_t)
    void conn_bury(conn_loop *, conn *)
    bint conn_need_buffer(conn_loop *, uint32_t)
    void conn_trim_buffer(conn_loop *)


cdef bytes _pending(const waiting_bytes *b):
    return <bytes>b.data[b.start:b.end]


cdef class WaitingBytes:
    """Bytes that wait (see core/io/buffer.h)."""
    cdef waiting_bytes b

    def __dealloc__(self):
        bytes_free(&self.b)

    def add(self, bytes more):
        """Whether there was memory."""
        cdef const char *p = more
        return bytes_add(&self.b, p, <uint32_t>len(more))

    def claims(self, uint32_t n):
        """Whether so many bytes more would be taken, with what is pending; none is copied unless they are."""
        if bytes_pending(&self.b) + <uint64_t>n <= BYTES_MAX:
            raise ValueError("that many would be copied")
        return bytes_add(&self.b, NULL, n)

    def take(self, uint32_t n):
        """The first so many."""
        taken = _pending(&self.b)[:n]
        self.b.start += <uint32_t>len(taken)
        return taken

    @property
    def pending(self):
        return _pending(&self.b)

    @property
    def capacity(self):
        """Bytes that are allocated."""
        return self.b.capacity


BYTES_LIMIT = <uint32_t>BYTES_MAX


def number_in_network_order(uint32_t number):
    """The four bytes of a number, and the number that is read of them."""
    cdef unsigned char out[4]
    store_be32(out, number)
    return <bytes>out[:4], load_be32(out)


cdef class ConnLoop:
    """What the connections of a thread share (see core/io/connection.h)."""
    cdef conn_loop loop
    cdef dict known

    def __cinit__(self, int epoll):
        self.loop.epoll = epoll
        self.known = {}
        if not conn_need_buffer(&self.loop, BUFFER_BYTES):
            raise MemoryError

    def __dealloc__(self):
        free(self.loop.buffer)

    @property
    def now(self):
        return self.loop.now

    @now.setter
    def now(self, uint64_t value):
        self.loop.now = value

    @property
    def ready(self):
        """The connections with work left, in their order."""
        found = []
        cdef conn *at = self.loop.ready_head
        while at is not NULL:
            found.append(self.known[<size_t>at])
            at = at.next_ready
        return found

    @property
    def closed(self):
        """The connections whose memory ends after this round, the latest first."""
        found = []
        cdef conn *at = self.loop.closed_list
        while at is not NULL:
            found.append(self.known[<size_t>at])
            at = at.next_ready
        return found

    @property
    def buffer_bytes(self):
        return self.loop.buffer_bytes

    def need_buffer(self, uint32_t size):
        """Whether there was memory."""
        return conn_need_buffer(&self.loop, size)

    def trim_buffer(self):
        """A large message has been used."""
        conn_trim_buffer(&self.loop)


cdef class Connection:
    """One plain connection; `name` stands for it in the lists of its loop."""
    cdef conn *c
    cdef ConnLoop of

    def __cinit__(self, ConnLoop of, int fd, object name):
        self.c = <conn *>calloc(1, sizeof(conn))
        if self.c is NULL:
            raise MemoryError
        self.of, self.c.fd, self.c.readable = of, fd, True
        of.known[<size_t>self.c] = name

    def __dealloc__(self):
        bytes_free(&self.c.out)
        bytes_free(&self.c.stash)
        free(self.c)

    def arm(self):
        """Whether its descriptor is watched now."""
        return conn_arm(&self.of.loop, self.c)

    def disarm(self):
        conn_disarm(&self.of.loop, self.c)

    def work_left(self):
        conn_ready(&self.of.loop, self.c)

    def send(self, bytes data):
        cdef const char *p = data
        conn_send(&self.of.loop, self.c, p, <uint32_t>len(data))

    def append(self, bytes data):
        cdef const char *p = data
        conn_append(&self.of.loop, self.c, p, <uint32_t>len(data))

    def flush(self):
        conn_flush(&self.of.loop, self.c)

    def can_read(self):
        """As epoll says so."""
        self.c.readable = True

    def fill(self, uint32_t limit=65536):
        """What is in the read buffer now, and whether any of it is new."""
        cdef c_bool received
        cdef uint32_t n = conn_fill(&self.of.loop, self.c, limit, &received)
        return <bytes>self.of.loop.buffer[:n], bool(received)

    def stash(self, bytes data):
        """Whether there was memory."""
        return conn_stash(self.c, <const unsigned char *><const char *>data, <uint32_t>len(data))

    def unread(self, bytes data):
        """Whether there was memory."""
        return conn_unread(self.c, <const unsigned char *><const char *>data, <uint32_t>len(data))

    def read_on(self, uint32_t n):
        """Whether there was memory."""
        return conn_read_on(&self.of.loop, self.c, n)

    def end(self):
        conn_bury(&self.of.loop, self.c)

    @property
    def out(self):
        """What could not be written."""
        return _pending(&self.c.out)

    @property
    def stashed(self):
        """What was read and cannot be used yet."""
        return _pending(&self.c.stash)

    @property
    def stuck_since(self):
        return self.c.stuck_since

    @property
    def facts(self):
        """The names of what is true of it."""
        values = (("readable", self.c.readable), ("hangup", self.c.hangup), ("broken", self.c.broken),
                  ("eof", self.c.eof), ("stuck", self.c.stuck), ("wants_out", self.c.wants_out),
                  ("armed", self.c.armed), ("gap", self.c.gap), ("dead", self.c.dead))
        return {name for name, is_so in values if is_so}


def time_bucket(uint64_t us):
    """Which count of a histogram grows by one for a time."""
    cdef uint64_t counts[64]
    memset(counts, 0, sizeof(counts))
    histogram_add(counts, us)
    return [counts[i] for i in range(HISTOGRAM_BUCKETS)].index(1)
