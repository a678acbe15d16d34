"""Workers, and how each of them fares."""


cdef class WorkerRows(SharedMap):
    """Workers, and how each of them fares."""

    def doorbell(self, int worker):
        """The eventfd that wakes this worker's relay."""
        return self.t.doorbells[worker]

    def ring_all(self):
        tables_ring(self.t, <uint64_t>-1)

    def worker_starting(self, int worker, int pid):
        worker_starting(self.t, worker, pid)

    def worker_died(self, int worker, double timeout_s=0.1):
        """Takes stock after a worker's death; raises TablesBusy when the lock is held by a stopped
        process."""
        cdef int32_t clients, reclaim
        cdef outcome out
        if not tables_trylock(self.t, <uint64_t>(timeout_s * 1e6)):
            raise TablesBusy
        outcome_clear(&out)
        worker_died_locked(self.t, worker, &clients, &reclaim, &out)
        tables_unlock(self.t)
        tables_ring(self.t, out.ring)
        return {"clients": clients, "reclaim": reclaim}

    def beat(self, int worker, double lag_s=0.0):
        """The hub of this worker lives (its relay beats by itself), and its timer was this late."""
        self.t.workers[worker].hub_lag_us = <uint64_t>(max(lag_s, 0.0) * 1e6)
        self.t.workers[worker].hub_beat = clock_us()

    def is_alive(self, int worker):
        """Whether this number has a process; none between the end of one and the fork of the next."""
        return self.t.workers[worker].pid != 0

    def heartbeat_age(self, int worker):
        cdef uint64_t oldest = min(self.t.workers[worker].relay_beat, self.t.workers[worker].hub_beat)
        cdef uint64_t now = clock_us()
        return (now - oldest) / 1e6 if now > oldest else 0.0

    def busy_clients(self, int worker):
        """How many of this worker's clients have a server."""
        cdef int32_t busy[MAX_WORKERS]
        workers_busy(self.t, busy)
        return busy[worker]

    def clients_of(self, int worker):
        """How many clients this worker has."""
        return self.t.workers[worker].clients

    def load(self, int worker):
        cdef worker_row *w = &self.t.workers[worker]
        return w.clients + <int64_t>(w.sent - w.taken)

    def acceptor(self, outboxes, int most):
        """The thread that accepts, not begun: see AcceptThread."""
        return AcceptThread(self, outboxes, most)

    def own_load(self, int worker):
        """(clients on pools, those of them that wait, clients on the console, servers in use) of one
        worker."""
        cdef int32_t i
        cdef int pooled = 0, waiting = 0, console = 0, servers = 0
        for i in range(self.t.h.clients_high):
            if self.t.clients[i].state != CL_FREE and self.t.clients[i].worker == worker:
                if self.t.clients[i].flags & CF_CONSOLE:
                    console += 1
                else:
                    pooled += 1
                    waiting += self.t.clients[i].state == CL_WAITING
        for i in range(self.t.h.slots_high):
            if self.t.slots[i].owner == worker and self.t.slots[i].state not in (SL_FREE, SL_IDLE):
                servers += 1
        return pooled, waiting, console, servers
