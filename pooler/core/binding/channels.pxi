"""Channels that clients listen on, and the connections that listen for them."""


cdef class Channels(SharedMap):
    """Channels that clients listen on, and the connections that listen for them."""

    @property
    def marker_channel(self):
        """The channel on which a listening connection hears what relays tell it."""
        cdef char name[24]
        marker_channel(self.t, name)
        return name.decode()

    def marker_seal(self, int slot, uint32_t pid, bytes marker):
        """The seal of a note that this backend sent to the listening connection in `slot` (see
        core/notify/origin.h)."""
        cdef char seal[33]
        marker_seal(self.t, &self.t.slots[slot].where, pid, marker, seal)
        return <bytes>seal

    def channels(self, int database=-1):
        """What clients (of a database) listen on: dicts with row, id, name (as it came), heard, clients by
        worker."""
        cdef int32_t i
        cdef int w
        cdef channel_row *c
        rows = []
        self._take()
        for i in range(self.t.h.channels_high):
            c = &self.t.channels[i]
            if c.state != CH_FREE and (database < 0 or c.database == database):
                rows.append({"row": i, "id": c.id, "name": <bytes>c.name[:strlen(c.name)],
                             "heard": c.state == CH_HEARD,
                             "database": decoded(self.t.databases[c.database].name),
                             "listener": self.listener(c.database),
                             "clients": [c.clients[w] for w in range(self.t.h.sizes.workers)]})
        tables_unlock(self.t)
        return rows

    def channel_workers(self, int row, uint32_t id):
        """The workers with clients that listen on it."""
        cdef int w
        cdef channel_row *c = &self.t.channels[row]
        if c.id != id:
            return []
        return [w for w in range(self.t.h.sizes.workers) if c.clients[w] > 0]

    def channel_heard(self, int row, uint32_t id):
        """LISTEN was said for it."""
        channel_heard(self.t, row, id)

    def channel_drop(self, int row, uint32_t id):
        """Frees the row of a channel; False when somebody listens on it."""
        return channel_drop(self.t, row, id)

    def listener(self, int database):
        """(state, worker, client_encoding) of the connection that listens for a database."""
        cdef listener *l = &self.t.databases[database].listener
        return LISTENER_STATES[l.state], l.owner, decoded(l.encoding)

    def listener_reserve(self, int pool, int worker):
        """(slot, whether to ask again soon) for a listening connection that logs in as the user of a pool;
        slot -1: a limit forbids it."""
        cdef int32_t ever = 0
        cdef int32_t slot = listener_reserve(self.t, pool, worker, clock_us(), &ever)
        return slot, bool(ever)

    def listener_opened(self, int database, int slot):
        """It is logged in."""
        self.slot_ready(slot)
        listener_opened(self.t, database, slot)

    def listener_rest(self, int database):
        """It is not needed any more; False when it is."""
        return listener_rest(self.t, database)

    def listener_lost(self, int database, double refused_s=0.0):
        """It is gone, or could not be opened and shall not be tried again for so long; returns how many
        clients are closed because they may have missed something."""
        cdef uint64_t until = clock_us() + <uint64_t>(refused_s * 1e6) if refused_s > 0 else 0
        return listener_lost(self.t, database, until)

    def listeners_kill(self, int database, int worker):
        """Closes the listening clients of a worker that does not take their notifications; returns how
        many."""
        return listeners_kill(self.t, database, worker)
