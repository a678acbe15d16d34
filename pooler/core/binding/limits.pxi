"""Limits, the rows that they stand in, and flags that hold for all."""


cdef class Limits(SharedMap):
    """Limits, the rows that they stand in, and flags that hold for all."""

    def set_global_limits(self, int max_clients, bint round_robin, double check_delay_s=0.0):
        """What holds for all; an idle server is shown as `used` after check_delay_s (0: never)."""
        self.t.h.check_delay_us = <uint64_t>(check_delay_s * 1e6)
        self.t.h.max_clients = max_clients
        self.t.h.round_robin = round_robin

    def database(self, name, bint create=True):
        """Row of this database; -1 when there is none (or the table is full)."""
        cdef bytes b = encoded(name)
        self._take()
        cdef int32_t i = tables_database(self.t, b, create)
        tables_unlock(self.t)
        return i

    def meet_database(self, name):
        """Whether nobody has asked for this database before; from now on somebody has."""
        cdef bytes b = encoded(name)
        self._take()
        cdef bint new = tables_database(self.t, b, False) < 0
        if new:
            tables_database(self.t, b, True)
        tables_unlock(self.t)
        return new

    def automatic_share(self, int reserved):
        """Which share of the rows that databases of `*` may have they have: all but `reserved`, and of pools
        half."""
        cdef int32_t databases = 0, pools = 0
        self._take()
        tables_automatic(self.t, &databases, &pools)
        tables_unlock(self.t)
        return max(databases / max(1, self.t.h.sizes.databases - reserved),
                   pools / max(1, self.t.h.sizes.pools // 2))

    def user(self, name, bint create=True):
        cdef bytes b = encoded(name)
        self._take()
        cdef int32_t i = tables_user(self.t, b, create)
        tables_unlock(self.t)
        return i

    def instance(self, name, bint create=True):
        cdef bytes b = encoded(name)
        self._take()
        cdef int32_t i = tables_instance(self.t, b, create)
        tables_unlock(self.t)
        return i

    def set_database(self, int row, int max_db_connections, int max_clients, bint kept=True):
        """Limits (0: none); `kept`: named by the configuration, so it is never forgotten."""
        self.t.databases[row].max_db_connections = max_db_connections
        self.t.databases[row].max_clients = max_clients
        self.t.databases[row].kept = kept

    def set_user(self, int row, int max_user_connections, int max_clients, bint kept=True):
        self.t.users[row].max_user_connections = max_user_connections
        self.t.users[row].max_clients = max_clients
        self.t.users[row].kept = kept

    def set_instance(self, int row, int max_server_connections):
        self.t.instances[row].max_server_connections = max_server_connections

    def open_pool(self, int database, int user, int instance, bint create=True, bint auth=False):
        """Row of this pool (`auth`: of the one whose servers run auth_query); -1 when there is none, or the
        table is full."""
        self._take()
        cdef int32_t i = tables_pool_of_kind(self.t, database, user, instance, POOL_AUTH if auth
                                             else POOL_CLIENTS, create)
        tables_unlock(self.t)
        return i

    def set_pool(self, int row, *, str mode, int size, int min_size, int reserve_size, double reserve_timeout,
                 double query_timeout, double query_wait_timeout, double idle_transaction_timeout,
                 double transaction_timeout, double client_idle_timeout, double server_lifetime,
                 bint forced_user, str session_state="auto", int pin_limit=0):
        """Writes the limits of a pool (times in seconds, 0: none)."""
        cdef pool_row *p = &self.t.pools[row]
        cdef pool_limits l
        memcpy(&l, &p.limits, sizeof(l))
        l.mode, l.size, l.min_size, l.reserve_size = POOL_MODES.index(mode), size, min_size, reserve_size
        l.session_state, l.pin_limit = SESSION_STATES.index(session_state), pin_limit
        l.reserve_timeout_us = <uint64_t>(reserve_timeout * 1e6)
        l.query_timeout_us = <uint64_t>(query_timeout * 1e6)
        l.query_wait_timeout_us = <uint64_t>(query_wait_timeout * 1e6)
        l.idle_transaction_timeout_us = <uint64_t>(idle_transaction_timeout * 1e6)
        l.transaction_timeout_us = <uint64_t>(transaction_timeout * 1e6)
        l.client_idle_timeout_us = <uint64_t>(client_idle_timeout * 1e6)
        l.server_lifetime_us = <uint64_t>(server_lifetime * 1e6)
        self._take()   # a worker that looks at a client meanwhile would go on by what was
        p.forced_user = forced_user
        changed = memcmp(&p.limits, &l, sizeof(l)) != 0
        memcpy(&p.limits, &l, sizeof(l))
        if changed and p.clients:
            deadlines_look_at_all(self.t)
        tables_unlock(self.t)

    def login_forgiven(self, int pool):
        """What refused the last login of this pool may have changed: the next client asks at once."""
        pool_login_forgiven(self.t, pool)

    def pool_key(self, int row):
        """(database, user, instance) names of a pool."""
        cdef pool_row *p = &self.t.pools[row]
        return (decoded(self.t.databases[p.database].name), decoded(self.t.users[p.user].name),
                decoded(self.t.instances[p.instance].name))

    def is_auth_kind(self, int kind):
        """Whether pools of this kind (as handoff_retire tells it) run auth_query."""
        return kind == POOL_AUTH

    def is_auth_pool(self, int row):
        """Whether the servers of this pool run auth_query."""
        return self.t.pools[row].kind == POOL_AUTH

    def pool_rows(self):
        """The rows of all pools."""
        return [i for i in range(self.t.h.pools_high) if self.t.pools[i].used]

    def forget(self, double idle_s, double pool_idle_s, at_us=None):
        """Frees the rows of what the configuration does not name and nobody has used for idle_s (0: never),
        and of pools that nobody has used for pool_idle_s; returns the names of the databases, and the keys of
        the pools."""
        cdef int32_t found[256]
        cdef int32_t pools[256]
        cdef int pool_count = 0
        cdef uint64_t now = clock_us() if at_us is None else at_us
        cdef int n = tables_forget(self.t, now, <uint64_t>(idle_s * 1e6), <uint64_t>(pool_idle_s * 1e6),
                                   found, pools,
                                   &pool_count, 256)
        return ([decoded(self.t.databases[found[i]].name) for i in range(min(n, 256))],
                [self.pool_key(pools[i]) for i in range(pool_count)])

    def set_paused(self, int database, bint paused):
        """Holds back a database's waiters (-1: all databases')."""
        if database < 0:
            self.t.h.paused = paused
        else:
            self.t.databases[database].paused = paused

    def set_draining(self, bint draining):
        self.t.h.draining = draining

    def set_shutting_down(self):
        """Known to all consoles at once, whichever worker was asked."""
        self.t.h.shutting_down = True

    def is_shutting_down(self):
        return bool(self.t.h.shutting_down)

    def pause_mode(self):
        """What holds all clients back: PAUSE, SUSPEND, or nothing."""
        return "SUSPEND" if self.t.h.suspended else "PAUSE" if self.t.h.paused else ""

    def is_paused(self, int database=-1):
        return bool(self.t.h.paused if database < 0 else self.t.databases[database].paused)

    def suspend(self, uint64_t client_id):
        """Read nothing more, from clients or from servers, once what is on its way has been passed on.  The
        console session with this id ends it when it leaves; 0: none does."""
        cdef int w
        for w in range(self.t.h.sizes.workers):
            self.t.workers[w].unflushed = -1
        self.t.h.suspended_by = client_id
        self.t.h.suspended = SUSPENDED
        self.ring_all()

    def suspend_left(self):
        """How many connections are not at the end of a message yet (or workers that have not looked)."""
        cdef int w
        cdef int left = 0
        for w in range(self.t.h.sizes.workers):
            if self.t.workers[w].pid:
                left += 1 if self.t.workers[w].unflushed < 0 else self.t.workers[w].unflushed
        return left

    def suspend_force(self):
        """Close what could not be flushed."""
        self.t.h.suspended = SUSPENDED_FORCED
        self.ring_all()

    def end_suspend(self):
        self.t.h.suspended = SUSPENDED_NOT
        self.ring_all()

    def is_suspended(self):
        return bool(self.t.h.suspended)

    def suspended_by(self):
        """The id of the console session that suspended us; 0: none."""
        return self.t.h.suspended_by if self.t.h.suspended else 0

    def set_disabled(self, int database, bint disabled):
        self.t.databases[database].disabled = disabled
