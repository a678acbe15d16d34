"""Two instances, one limit (tables/handoff.c)."""


cdef object _pool_name(tables *t, int32_t pool):
    cdef pool_row *p = &t.pools[pool]
    return [decoded(t.databases[p.database].name), decoded(t.users[p.user].name),
            decoded(t.instances[p.instance].name), p.kind]


cdef class Handoff(SharedMap):
    """Two instances, one limit (tables/handoff.c)."""

    def handoff_retire(self):
        """Another instance replaces this one: open nothing beyond what there is.  Returns that: [database,
        user, instance, kind, servers] per pool."""
        cdef uint64_t ring = 0
        cdef int32_t i
        self._take()
        handoff_retire(self.t, clock_us(), &ring)
        held = [[*_pool_name(self.t, i), handoff_quota(self.t, i)] for i in range(self.t.h.pools_high)
                if handoff_quota(self.t, i)]
        tables_unlock(self.t)
        tables_ring(self.t, ring)
        return held

    def handoff_retire_all(self):
        """Clients go as soon as they are between transactions."""
        self.t.h.retiring = RETIRING_ALL

    def handoff_resume(self):
        """It does not, after all."""
        self.t.h.retiring = RETIRING_NOT

    def handoff_messages(self):
        """What the other instance is to be told: (word, [database, user, instance, kind, servers])."""
        cdef handoff_message found[64]
        cdef int n, i
        self._take()
        n = handoff_messages(self.t, clock_us(), found, 64)
        news = [(HANDOFF_WORDS[found[i].word], [*_pool_name(self.t, found[i].pool), found[i].servers])
                for i in range(n)]
        tables_unlock(self.t)
        return news

    def handoff_told(self, str word, pool):
        """The other instance says so of `pool`, as in handoff_messages; False when there are no rows for
        it."""
        cdef handoff_message news
        cdef uint64_t ring = 0
        database, user, instance, kind, servers = pool
        cdef bytes database_name = encoded(database), user_name = encoded(user)
        cdef bytes instance_name = encoded(instance)
        cdef bint done = False
        cdef int said = HANDOFF_WORDS.index(word)
        self._take()
        cdef int32_t d, u, n
        d = tables_database(self.t, database_name, True)
        u = tables_user(self.t, user_name, True)
        n = tables_instance(self.t, instance_name, True)
        news.word, news.servers = <handoff_word>said, servers
        news.pool = NO_ROW if min(d, u, n) < 0 else tables_pool_of_kind(
            self.t, d, u, n, <pool_kind><int>kind, True)
        if news.pool != NO_ROW:
            done = handoff_told(self.t, &news, clock_us(), &ring)
        tables_unlock(self.t)
        tables_ring(self.t, ring)
        return done

    def handoff_left(self):
        """The instance that this one replaced is gone."""
        cdef uint64_t ring = 0
        self._take()
        handoff_left(self.t, clock_us(), &ring)
        tables_unlock(self.t)
        tables_ring(self.t, ring)

    def in_use(self):
        """(clients but for the console's, sockets on their way to workers, rows of servers in use) over all
        workers."""
        cdef int32_t i
        cdef int clients = 0, servers = 0, arriving = 0
        for i in range(self.t.h.clients_high):
            clients += self.t.clients[i].state != CL_FREE and not self.t.clients[i].flags & CF_CONSOLE
        for i in range(self.t.h.slots_high):
            servers += self.t.slots[i].state != SL_FREE
        for i in range(self.t.h.sizes.workers):
            arriving += <int>(self.t.workers[i].sent - self.t.workers[i].taken)
        return clients, arriving, servers
