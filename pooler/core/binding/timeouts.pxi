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

    def overdue(self, int worker, double query_wait_notify_s, double client_write_timeout_s):
        """Clients of this worker that outstayed a limit: query_wait_timeout, query_wait_notify,
        query_timeout, idle_transaction_timeout, transaction_timeout, client_idle_timeout or
        client_write_timeout.  `since` lets the relay see whether the client is still in the same state."""
        cdef int32_t i
        cdef client_row *c
        cdef pool_limits *l
        cdef uint64_t now = clock_us(), notify = <uint64_t>(query_wait_notify_s * 1e6)
        cdef uint64_t write = <uint64_t>(client_write_timeout_s * 1e6)
        found = []
        for i in range(self.t.h.clients_high):
            c = &self.t.clients[i]
            if c.worker != worker or c.pool < 0 or c.state == CL_FREE or c.state == CL_LOGIN:
                continue
            l = &self.t.pools[c.pool].limits
            if c.state == CL_ACTIVE and c.replication:   # what it runs has no end, nor is it a transaction
                if _over(now, c.stuck_start, write):
                    found.append(Overdue("client_write_timeout", i, c.id, c.stuck_start))
            elif c.state == CL_WAITING:
                if _over(now, c.wait_start, l.query_wait_timeout_us):
                    found.append(Overdue("query_wait_timeout", i, c.id, c.wait_start))
                elif _over(now, c.wait_start, l.query_timeout_us):
                    found.append(Overdue("query_timeout waiting", i, c.id, c.wait_start))
                elif not c.flags & (CF_NOTIFIED | CF_LOGIN_WAIT) and _over(now, c.wait_start, notify):
                    client_flag(self.t, i, CF_NOTIFIED)
                    found.append(Overdue("query_wait_notify", i, c.id, c.wait_start))
            elif c.state == CL_ACTIVE:
                if _over(now, c.stuck_start, write):
                    found.append(Overdue("client_write_timeout", i, c.id, c.stuck_start))
                elif c.request_start and _over(now, c.request_start, l.query_timeout_us):
                    found.append(Overdue("query_timeout", i, c.id, c.request_start))
                elif c.xact_start and _over(now, c.xact_start, l.transaction_timeout_us):
                    found.append(Overdue("transaction_timeout", i, c.id, c.xact_start))
                elif not c.request_start and c.xact_start and _over(now, c.idle_start,
                                                                    l.idle_transaction_timeout_us):
                    found.append(Overdue("idle_transaction_timeout", i, c.id, c.idle_start))
                # a session in its hands, and idle
                elif (c.pinned and not c.request_start and not c.xact_start
                      and _over(now, c.idle_start, l.client_idle_timeout_us)):
                    found.append(Overdue("client_idle_timeout", i, c.id, c.idle_start))
            elif c.state == CL_IDLE and _over(now, c.idle_start, l.client_idle_timeout_us):
                found.append(Overdue("client_idle_timeout", i, c.id, c.idle_start))
        return found
