"""The thread of the master that accepts clients: core/tables/acceptor.h."""


cdef class AcceptThread:
    """Accepts the clients of listeners, at most `most` at a time, and gives each to the worker that has the
    fewest.  `outboxes`: descriptors of the send ends of all workers' inboxes.

    Made, used and closed by one thread of Python.  Raises OSError when it cannot be made."""

    cdef acceptor *a
    cdef SharedMap tables
    cdef int workers

    def __cinit__(self, SharedMap tables, outboxes, int most):
        cdef int boxes[MAX_WORKERS]
        if not 1 <= len(outboxes) <= MAX_WORKERS or most < 1:
            raise ValueError(f"1..{MAX_WORKERS} workers, at least one client")
        for i, box in enumerate(outboxes):
            boxes[<int>i] = box
        self.tables, self.workers = tables, <int>len(outboxes)
        self.a = acceptor_open(tables.t, boxes, self.workers, most)
        if self.a is NULL:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        if self.a is not NULL:
            acceptor_close(self.a)

    cdef acceptor *_open(self) except NULL:
        if self.a is NULL:
            raise ValueError("closed")
        return self.a

    def close(self):
        """Ends the thread; a client that was kept and not taken is closed."""
        if self.a is not NULL:
            acceptor_close(self.a)
            self.a = NULL

    def close_in_child(self):
        """Closes the descriptors that this child has inherited: the thread is the parent's."""
        if self.a is not NULL:
            acceptor_close_in_child(self.a)
            self.a = NULL  # its memory may be in any state, and is left

    def fileno(self):
        """An eventfd that is readable when the thread has stopped by itself: take() says why."""
        return acceptor_bell(self._open())

    def set_eligible(self, numbers):
        """The workers that may get clients."""
        cdef uint64_t mask = 0
        for number in numbers:
            if not 0 <= number < self.workers:
                raise ValueError(f"no worker has number {number}")
            mask |= <uint64_t>1 << <int>number
        acceptor_eligible(self._open(), mask)

    def watch(self, int listener, bint unix):
        cdef int error = acceptor_watch(self._open(), listener, unix)
        if error:
            raise OSError(error, os.strerror(error))

    def forget(self, int listener):
        """From now on this listener is not touched."""
        acceptor_forget(self._open(), listener)

    def go(self):
        acceptor_go(self._open())

    def halt(self):
        """From now on no client is accepted."""
        acceptor_halt(self._open())

    def take(self):
        """Why it has stopped by itself, or None.  It goes on by go() alone."""
        cdef acceptor_stop stop
        if not acceptor_take(self._open(), &stop):
            return None
        return Accepting(AcceptEnd(stop.result.end), stop.result.fd, stop.result.error, stop.is_unix,
                         stop.listener)

    def give(self, int fd, bint unix):
        """Gives one away that was kept: MORE, or KEPT again."""
        cdef accept_result result = acceptor_give(self._open(), fd, unix)
        return Accepting(AcceptEnd(result.end), result.fd, result.error, unix)

    def __enter__(self):
        """Inside `with` the thread has no client's descriptor: the place for a fork."""
        acceptor_hold(self._open())

    def __exit__(self, *_):
        acceptor_release(self._open())
