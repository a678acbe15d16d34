"""Clients in their login, and on the console."""


cdef class ClientRows(SharedMap):
    """Clients in their login, and on the console."""

    def client_new(self, int worker):
        """A row for a socket that begins to log in; -1 when the table is full."""
        return client_new(self.t, worker, clock_us())

    def client_where(self, int row, addr, int port, local_addr, int local_port, bint unix):
        put_endpoint(&self.t.clients[row].where, addr, port, local_addr, local_port)
        if unix:
            client_flag(self.t, row, CF_UNIX)

    def client_application(self, int row, name):
        put_text(self.t.clients[row].application_name, 64, encoded(name))

    def client_tls(self, int row, text):
        """Version and cipher, for SHOW."""
        put_text(self.t.clients[row].tls, 96, encoded(text))

    def client_login(self, int row, int database, int user, int pool, console=None, bint own=False):
        """Counts an authenticated client, if every limit allows it.  `console`: what a client of the console
        may do; it fits in where max_client_conn are there, and an "admin" whatever the limits say.  `own`:
        one of pooler's own, which counts in its pool only."""
        cdef uint8_t special = CF_CONSOLE if console else CF_INTERNAL if own else 0
        cdef login_verdict verdict = client_login(self.t, row, database, user, pool, special, own
                                                  or console == "admin")
        if verdict == LOGIN_OK:
            if console:
                self.t.clients[row].state = CL_IDLE
                self.t.workers[self.t.clients[row].worker].console_logins += 1
            if pool >= 0 and not own:
                worker = self.t.clients[row].worker
                self.t.counters[worker * self.t.h.sizes.pools + pool].client_login_count += 1
        return LoginVerdict(verdict)

    def client_free(self, int row):
        cdef outcome out
        client_free(self.t, row, NO_ROW, clock_us(), &out)
        tables_ring(self.t, out.ring)

    def client_pool(self, int row):
        """Row of the pool of a client that has logged in; -1."""
        return self.t.clients[row].pool

    def client_id(self, int row):
        return self.t.clients[row].id

    def client_key(self, int row):
        """(pid, secret) for BackendKeyData, both below 2**32."""
        return self.t.clients[row].cancel_pid, self.t.clients[row].cancel_secret

    def client_long_key(self, int row):
        """The secret for BackendKeyData of protocol 3.2; from now on a cancel request has to show all of
        it."""
        cdef client_row *c = &self.t.clients[row]
        c.long_key = 1
        return c.cancel_secret.to_bytes(4, "big") + PyBytes_FromStringAndSize(<char *>c.cancel_more,
                                                                              CANCEL_MORE_BYTES)

    def kill_text(self, int row):
        """Why this client is to be closed, as kill_client was told."""
        return tuple(KILL_TEXTS)[self.t.clients[row].kill_text]

    def wait_welcome(self, int row):
        """The client waits until its pool has logged in once; a LOGIN event (WELCOME or FAIL) follows."""
        cdef outcome out
        pool_wait_welcome(self.t, row, clock_us(), &out)

    def wait_dedicated(self, int row, str replication):
        """The client waits for a server of its own, opened by its worker: a DIAL event follows for a slot
        whose slot_dedicated() is this client."""
        cdef outcome out
        walsender_wait(self.t, row, REPLICATION.index(replication), clock_us(), &out)

    def slot_dedicated(self, int slot):
        """(row, id) of the client that this slot is opened for alone; None."""
        cdef slot_row *s = &self.t.slots[slot]
        return (s.dedicated_row, s.dedicated_to) if s.dedicated_to else None

    def pool_welcome(self, int pool):
        """What PostgreSQL reported at the first login of this pool (as stored by slot_login); None: not
        yet."""
        cdef pool_row *p = &self.t.pools[pool]
        cdef bytes welcome
        if not p.welcome_bytes:
            return None
        tables_lock(self.t)   # another worker may be writing it
        welcome = PyBytes_FromStringAndSize(<char *>p.welcome, p.welcome_bytes)
        tables_unlock(self.t)
        return welcome or None

    def pool_defaults_version(self, int pool):
        """Changes with what servers of the pool have by themselves."""
        return self.t.pools[pool].defaults_version

    def pool_scram_keys(self, int pool):
        """ClientKey and ServerKey (32 bytes each) of a client of this pool that logged in by SCRAM; None."""
        cdef pool_row *p = &self.t.pools[pool]
        cdef bytes both
        tables_lock(self.t)   # another worker may be writing them
        both = PyBytes_FromStringAndSize(<char *>p.scram_keys, p.scram_keys_bytes)
        tables_unlock(self.t)
        return (both[:32], both[32:]) if both else None

    def set_pool_scram_keys(self, int pool, bytes client_key, bytes server_key):
        cdef pool_row *p = &self.t.pools[pool]
        if len(client_key) != 32 or len(server_key) != 32:
            raise ValueError("SCRAM-SHA-256 keys have 32 bytes")
        cdef bytes both = client_key + server_key
        tables_lock(self.t)
        keep_bytes(p.scram_keys, &p.scram_keys_bytes, <const char *>both, 64)
        tables_unlock(self.t)

    def pool_secret(self, int pool):
        """What the last client of this pool had shown to a directory or PAM, or auth_query brought for it;
        None."""
        cdef pool_row *p = &self.t.pools[pool]
        cdef bytes secret
        tables_lock(self.t)
        secret = PyBytes_FromStringAndSize(<char *>p.secret, p.secret_bytes)
        tables_unlock(self.t)
        return secret or None

    def set_pool_secret(self, int pool, bytes secret):
        """Remembers it for logins at PostgreSQL, of whatever worker; empty: there is none (any more)."""
        cdef pool_row *p = &self.t.pools[pool]
        if len(secret) > SECRET_BYTES:
            raise ValueError("the secret is too long")
        tables_lock(self.t)
        keep_bytes(p.secret, &p.secret_bytes, <const char *>secret, <uint16_t>len(secret))
        tables_unlock(self.t)

    def pool_error(self, int pool):
        """(failures in a row, SQLSTATE, text) of the last failed server login."""
        cdef char sqlstate[SQLSTATE_BYTES]
        cdef char text[ERROR_TEXT_BYTES]
        pool_error_of(self.t, pool, sqlstate, text)
        return self.t.pools[pool].failures, decoded(sqlstate), decoded(text)

    def find_client(self, uint64_t client_id):
        """Row of the client with this id; -1."""
        cdef int32_t i
        for i in range(self.t.h.clients_high):
            if self.t.clients[i].state != CL_FREE and self.t.clients[i].id == client_id:
                return i
        return -1

    def kill_client(self, int row, uint64_t client_id, str text):
        """Has the client's worker close it with one of KILL_TEXTS; False when it has left."""
        cdef uint64_t ring = 0
        cdef uint8_t number = KILL_TEXTS[text]
        self._take()
        cdef bint told = mailbox_tell_locked(self.t, row, client_id, ORDER_KILL, number, &ring)
        tables_unlock(self.t)
        tables_ring(self.t, ring)
        return told

    def kill_clients(self, int database, str text, bint waiting_only=False, int worker=-1):
        """The same for all clients of a database (-1: all, but not the console's); returns how many."""
        cdef int32_t i
        cdef client_row *c
        cdef int killed = 0
        cdef uint64_t ring = 0
        cdef uint8_t number = KILL_TEXTS[text]
        self._take()
        for i in range(self.t.h.clients_high):
            c = &self.t.clients[i]
            if c.state == CL_FREE or c.flags & CF_CONSOLE or (database >= 0 and c.database != database):
                continue
            if (waiting_only and c.state != CL_WAITING) or (worker >= 0 and c.worker != worker):
                continue
            killed += mailbox_tell_locked(self.t, i, c.id, ORDER_KILL, number, &ring)
        tables_unlock(self.t)
        tables_ring(self.t, ring)
        return killed
