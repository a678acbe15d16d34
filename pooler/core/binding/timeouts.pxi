"""Limits that clients outstayed, and what is due at each tick."""


cdef class Timeouts(SharedMap):
    """Limits that clients outstayed, and what is due at each tick."""

    def tick(self, int worker):
        """Slots that this worker is to dial now (reserve pool, retries, min_pool_size)."""
        cdef int32_t dials[64]
        cdef uint64_t ring = 0
        cdef int n = pool_tick(self.t, worker, clock_us(), dials, 64, &ring)
        tables_ring(self.t, ring)
        return [dials[i] for i in range(n)]

    def quiet_us(self, int worker):
        """How long no client of this worker outstays a limit, if none begins anything; 0: something is under
        way, of a client or at a server of its."""
        return deadlines_quiet(self.t, worker, clock_us())

    def overdue(self, int worker, double query_wait_notify_s, double client_write_timeout_s, at_us=None):
        """Clients of this worker that outstayed a limit: query_wait_timeout, query_wait_notify,
        query_timeout, idle_transaction_timeout, transaction_timeout, client_idle_timeout or
        client_write_timeout.  `since` lets the relay see whether the client is still in the same state."""
        cdef overdue batch[256]
        cdef common_limits common
        cdef uint64_t now = clock_us() if at_us is None else at_us
        cdef int32_t at = 0
        cdef int i, n
        common.notify_us = <uint64_t>(query_wait_notify_s * 1e6)
        common.write_us = <uint64_t>(client_write_timeout_s * 1e6)
        found = []
        while at < self.t.h.clients_high:
            n = deadlines_over(self.t, worker, now, &common, &at, batch, 256)
            for i in range(n):
                found.append(Overdue(decoded(deadlines_name(batch[i].limit)), batch[i].row, batch[i].id,
                                     batch[i].since))
        return found
