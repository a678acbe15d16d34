"""Servers: how they are opened and closed."""


cdef class ServerRows(SharedMap):
    """Servers: how they are opened and closed."""

    def slot_ready(self, int slot):
        """A server that is no pool's to give is logged in."""
        self.t.slots[slot].connect_time = _wall()
        self.t.slots[slot].connected_at = self.t.slots[slot].used_at = clock_us()

    def slot(self, int slot):
        """Whose it is, and how far it has come: a Slot."""
        cdef slot_row *s = &self.t.slots[slot]
        return Slot(s.pool, s.generation, s.id, s.owner, s.state)

    def slot_age_s(self, int slot):
        """Whole seconds since it was taken, or since its server is logged in."""
        cdef uint64_t now = clock_us(), since = self.t.slots[slot].connected_at
        return (now - since) // 1000000 if now > since else 0

    def slot_from_reserve(self, int slot):
        """Whether this slot is beyond pool_size."""
        return (self.t.slots[slot].flags & SF_RESERVE) != 0

    def slot_dialed(self, int slot):
        """A duplicate of the socket is with the master: from now on end of stream is needed to free the
        row."""
        slot_flag(self.t, slot, SF_DIALED)

    def slot_bump(self, int slot):
        """Another socket is tried for the same row: a new generation."""
        self.t.slots[slot].generation += 1
        return self.t.slots[slot].generation

    def slot_where(self, int slot, addr, int port, local_addr, int local_port, bint unix):
        """Both ends of a connection that is being opened."""
        put_endpoint(&self.t.slots[slot].where, addr, port, local_addr, local_port)
        if unix:
            slot_flag(self.t, slot, SF_UNIX)

    def slot_host(self, int slot, int host):
        """The name (a row of `host`, or -1) that led to the address of this server."""
        self.t.slots[slot].host = host

    def slot_key(self, int slot, uint32_t backend_pid, bytes cancel_key, target):
        """How to cancel what this server runs; `target` is where the request goes
        (pooler/worker/address.py)."""
        cdef slot_row *s = &self.t.slots[slot]
        cdef bytes t = encoded(target)
        if len(cancel_key) > CANCEL_KEY_BYTES or len(t) > 512:
            raise ValueError("cancel key or address is too long")
        s.backend_pid = <int32_t>backend_pid   # any 32 bits: a pooler in between, or a liar, chooses them
        s.cancel_key_bytes = <uint16_t>len(cancel_key)
        memcpy(s.cancel_key, <const char *>cancel_key, len(cancel_key))
        s.sockaddr_bytes = <uint16_t>len(t)
        memcpy(s.sockaddr, <const char *>t, len(t))

    def slot_tls(self, int slot, text, int bridge=-1):
        """Version and cipher of a server's TLS, and the worker whose bridge has the session (-1: it
        has none)."""
        cdef slot_row *s = &self.t.slots[slot]
        if bridge >= 0:
            s.bridge, s.bridge_life = <int16_t>bridge, self.t.workers[bridge].restarts + 1
        put_text(s.tls, 96, encoded(text))

    def slot_secured(self, int slot):
        """(whether this slot's connection has TLS, the worker that has or had the session, or -1)."""
        cdef slot_row *s = &self.t.slots[slot]
        return s.tls[0] != 0, s.bridge if s.bridge_life else -1

    def slot_login(self, int slot, bytes welcome, double lifetime_s):
        """A server has logged in.  `lifetime_s` 0: to be used once.  `welcome` becomes the pool's, and
        clients in their login that waited for it go on."""
        cdef slot_row *s = &self.t.slots[slot]
        cdef pool_row *p = &self.t.pools[s.pool]
        cdef uint64_t ring = 0
        if len(welcome) > WELCOME_BYTES:
            raise ValueError("welcome parameters are too long")
        s.connect_time = _wall()
        s.connected_at = s.used_at = clock_us()
        s.flushes = _major(welcome) >= 15
        if lifetime_s > 0:
            s.expires_at = s.connected_at + <uint64_t>(lifetime_s * 1e6)
        else:
            slot_flag(self.t, slot, SF_ONCE)
        tables_lock(self.t)
        if p.welcome_bytes != len(welcome) or memcmp(p.welcome, <const char *>welcome, len(welcome)) != 0:
            p.welcome_version += 1
            keep_bytes(p.welcome, &p.welcome_bytes, <const char *>welcome, <uint16_t>len(welcome))
        pool_welcome_known(self.t, s.pool, &ring)
        tables_unlock(self.t)
        tables_ring(self.t, ring)

    def login_failed(self, int pool, bint fatal, sqlstate, text, double retry_s):
        """A server login failed; `fatal`: clients in their login get this text.  No new try for retry_s."""
        cdef uint64_t ring = 0
        cdef bytes code = encoded(sqlstate), message = encoded(text)
        pool_login_failed(self.t, pool, fatal, code, message, clock_us() + <uint64_t>(retry_s * 1e6), &ring)
        tables_ring(self.t, ring)

    def slot_failed(self, int slot, int worker, bint logged_in):
        """The login of a server failed, and its connection still has to end: CLOSING, this worker's.  It
        counts until then, but nobody waits for it.  `logged_in`: it may be running something."""
        pool_begin_close(self.t, slot, worker, logged_in)

    def expired_idle(self, int worker, double idle_timeout_s):
        """Idle servers to be closed by this worker now: they are CLOSING and its own."""
        cdef int32_t found[256]
        cdef uint64_t idle_us = <uint64_t>(idle_timeout_s * 1e6)
        cdef int n = pool_expired_idle(self.t, worker, clock_us(), idle_us, found, 256)
        return [found[i] for i in range(n)]

    def take_idle(self, int database, int worker, bint mark, int pool=-1):
        """All idle servers of a database and of a pool (-1: of all) become CLOSING and this worker's; `mark`:
        those in use are closed when they come back."""
        cdef int32_t found[1024]
        cdef int n, i
        taken = []
        while True:
            n = pool_take_idle(self.t, database, pool, worker, mark, found, 1024)
            taken += [found[i] for i in range(n)]
            if n < 1024:
                return taken

    def mark_close(self, int database):
        """All servers of a database are obsolete: idle ones end now, others when they are next free."""
        cdef uint64_t ring = 0
        self._take()
        pool_mark_obsolete(self.t, database, &ring)
        tables_unlock(self.t)
        tables_ring(self.t, ring)

    def busy_servers(self, int database=-1, bint marked_only=False):
        """How many servers (of a database) are not free yet; with `marked_only` those that are to be
        closed."""
        cdef int32_t i
        cdef int n = 0
        cdef slot_row *s
        for i in range(self.t.h.slots_high):
            s = &self.t.slots[i]
            if s.state in (SL_FREE, SL_ELSEWHERE) or (database >= 0
                                                      and self.t.pools[s.pool].database != database):
                continue
            if self.t.pools[s.pool].kind != POOL_CLIENTS:
                continue   # the listening connection stays as long as somebody listens
            n += not marked_only or (s.flags & SF_CLOSE_NEEDED) != 0
        return n

    def closing_slots(self, int worker, double older_than_s):
        """(slot, generation) of this worker's that were to close and whose server has not let go for so
        long."""
        cdef int32_t i
        cdef slot_row *s
        cdef uint64_t now = clock_us()
        found = []
        for i in range(self.t.h.slots_high):
            s = &self.t.slots[i]
            if s.state == SL_CLOSING and s.owner == worker and s.flags & SF_WAS_BUSY:
                if _over(now, s.closing_at, <uint64_t>(older_than_s * 1e6)):
                    s.closing_at = now
                    found.append((i, s.generation))
        return found
