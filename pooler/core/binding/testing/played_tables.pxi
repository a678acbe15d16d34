"""The pool's operations one by one, for simulations, where one process plays several workers."""


cdef enum:
    LIST_QUEUE, LIST_LOCAL, LIST_CLIENT_ATTENTION, LIST_IDLE, LIST_SLOT_ATTENTION


cdef link *_link(tables *t, int kind, int32_t i):
    if kind == LIST_QUEUE:
        return &t.clients[i].queue
    if kind == LIST_LOCAL:
        return &t.clients[i].local_queue
    if kind == LIST_CLIENT_ATTENTION:
        return &t.clients[i].attention
    return &t.slots[i].idle if kind == LIST_IDLE else &t.slots[i].attention


cdef object _walk(tables *t, list *l, int kind):
    """The rows of a list; ValueError when its links, its tail or its count are wrong."""
    cdef int32_t i = l.head, before = NO_ROW
    rows = []
    while i != NO_ROW and len(rows) <= l.count:
        rows.append(i)
        if _link(t, kind, i).prev != before:
            raise ValueError(f"list {kind}: {rows} does not lead back")
        before, i = i, _link(t, kind, i).next
    if len(rows) != l.count or l.tail != before:
        raise ValueError(f"list {kind}: {rows}, count {l.count}, tail {l.tail}")
    return rows


cdef class PoolOperations(SharedMap):
    """The pool's operations one by one, for simulations, where one process plays several workers."""

    @property
    def rebuilds(self):
        """How often the derived parts had to be rebuilt after a process died inside the lock."""
        return self.t.h.rebuilds

    def _play(self, str what, int row, int worker, uint64_t now):
        cdef outcome out
        outcome_clear(&out)
        if what == "acquire":
            pool_acquire(self.t, row, now, &out)
        elif what == "requeue":
            pool_requeue(self.t, row, now, &out)
        elif what == "release":
            pool_release(self.t, row, worker, now, &out)
        elif what == "place":
            pool_place(self.t, row, worker, now, &out)
        elif what == "freed":
            pool_freed(self.t, row, worker, now, &out)
        elif what == "client_free":
            client_free(self.t, row, worker, now, &out)
        elif what == "begin_close":
            pool_begin_close(self.t, row, worker, False)
        elif what == "detach":
            pool_detach(self.t, row, now)
        elif what == "used":
            self.t.slots[row].last_worker = <int16_t>worker
        elif what == "expires":
            self.t.slots[row].expires_at = now
        elif what == "abandon":
            pool_abandon(self.t, row)
        elif what == "wait_welcome":
            pool_wait_welcome(self.t, row, now, &out)
        elif what == "wait_dedicated":
            walsender_wait(self.t, row, 1, now, &out)
        elif what == "dedicated":   # the slot's client has got it
            walsender_attach(self.t, row, self.t.slots[row].generation, self.t.slots[row].dedicated_row,
                           self.t.slots[row].dedicated_to, worker, now, &out)
        elif what == "idle":
            self.t.clients[row].state = CL_IDLE
            deadlines_look(self.t, row)
        elif what == "asks":
            self.t.clients[row].request_start = self.t.clients[row].xact_start = now
        elif what == "answered":   # and in a transaction
            self.t.clients[row].request_start = 0
            self.t.clients[row].idle_start = now
        else:
            raise ValueError(what)
        return {"slot": out.slot, "dial": out.dial, "close": out.close, "client": out.client,
                "ring": out.ring}

    def _play_tick(self, int worker, uint64_t now):
        cdef int32_t dials[64]
        cdef uint64_t ring = 0
        cdef int n = pool_tick(self.t, worker, now, dials, 64, &ring)
        return [dials[i] for i in range(n)]

    def _play_attention(self, int worker):
        cdef order clients[64]
        cdef order slots[64]
        cdef int nc, ns, i
        mailbox_take(self.t, worker, clients, &nc, slots, &ns, 64)
        return ([(clients[i].row, clients[i].id, clients[i].orders) for i in range(nc)],
                [(slots[i].row, slots[i].orders) for i in range(ns)])

    def _play_reclaim(self, int slot, int worker):
        return pool_take_reclaim(self.t, slot, worker)

    def _play_claim_idle(self, int slot, uint32_t generation, int worker):
        return pool_claim_idle(self.t, slot, generation, worker)

    def _play_login_failed(self, int pool, bint fatal, uint64_t retry_at):
        cdef uint64_t ring = 0
        pool_login_failed(self.t, pool, fatal, b"08P01", b"refused", retry_at, &ring)

    def _play_expired(self, int worker, uint64_t now, uint64_t idle_timeout_us):
        cdef int32_t found[256]
        cdef int n = pool_expired_idle(self.t, worker, now, idle_timeout_us, found, 256)
        return [found[i] for i in range(n)]

    def _play_taken(self, int worker):
        """As a worker that has taken a client out of its inbox."""
        self.t.workers[worker].taken += 1

    def _play_unguard(self, int row):
        """What is under way on the server of this client, if it has one, is its own."""
        if self.t.clients[row].slot >= 0:
            self.t.slots[self.t.clients[row].slot].guarded = 0

    def _play_cancel_end(self, int slot, uint32_t generation, int row, uint64_t client_id, int worker,
                         uint64_t now):
        cancel_end(self.t, slot, generation, row, client_id, worker, now)

    def _map(self):
        """(address, bytes, where its mutex is, bytes of that) of the map: for tests that look at every state
        it passes through."""
        cdef header *h = self.t.h
        return <size_t>h, self.t.map_bytes, <size_t>&h.mutex - <size_t>h, sizeof(h.mutex)

    def _truth(self):
        """The fields of the rows that a rebuild starts from: ({slot: ...}, {client row: ...}), free rows left
        out."""
        cdef int32_t i
        slots, clients = {}, {}
        for i in range(self.t.h.slots_high):
            if self.t.slots[i].state != SL_FREE:
                slots[i] = {name: value for name, value in (
                    ("state", self.t.slots[i].state), ("owner", self.t.slots[i].owner),
                    ("pool", self.t.slots[i].pool),
                    ("client", self.t.slots[i].client), ("orders", self.t.slots[i].orders),
                    ("flags", self.t.slots[i].flags), ("canceling", self.t.slots[i].canceling),
                    ("evict_for", self.t.slots[i].evict_for), ("generation", self.t.slots[i].generation),
                    ("last_worker", self.t.slots[i].last_worker))}
        for i in range(self.t.h.clients_high):
            if self.t.clients[i].state != CL_FREE:
                clients[i] = {name: value for name, value in (
                    ("state", self.t.clients[i].state), ("worker", self.t.clients[i].worker),
                    ("pool", self.t.clients[i].pool), ("slot", self.t.clients[i].slot),
                    ("orders", self.t.clients[i].orders), ("flags", self.t.clients[i].flags),
                    ("ticket", self.t.clients[i].ticket), ("wait_start", self.t.clients[i].wait_start),
                    ("database", self.t.clients[i].database), ("user", self.t.clients[i].user))}
        return slots, clients

    def _derived(self):
        """Everything that a rebuild makes anew; lists as lists of rows."""
        cdef int32_t i
        cdef int w
        cdef header *h = self.t.h
        cdef pool_row *p
        pools = []
        for i in range(h.pools_high):
            p = &self.t.pools[i]
            pools.append({
                "servers": p.servers, "clients": p.clients, "evicting": p.evicting,
                "by_state": [n for n in p.by_state],
                "idle": _walk(self.t, &p.idle, LIST_IDLE), "waiting": _walk(self.t, &p.waiting, LIST_QUEUE),
                "waiting_of": [_walk(self.t, &p.waiting_of[w], LIST_LOCAL) for w in range(h.sizes.workers)],
                "dedicated": _walk(self.t, &p.dedicated, LIST_QUEUE)})
        return {
            "pools": pools, "clients": h.clients,
            "databases": [(self.t.databases[i].servers, self.t.databases[i].clients)
                          for i in range(h.databases_high)],
            "users": [(self.t.users[i].servers, self.t.users[i].clients) for i in range(h.users_high)],
            "instances": [self.t.instances[i].servers for i in range(h.instances_high)],
            "free_clients": sorted(_walk(self.t, &h.free_clients, LIST_QUEUE)),
            "free_slots": sorted(_walk(self.t, &h.free_slots, LIST_IDLE)),
            "workers": [(self.t.workers[w].clients,
                         sorted(_walk(self.t, &self.t.workers[w].client_attention, LIST_CLIENT_ATTENTION)),
                         sorted(_walk(self.t, &self.t.workers[w].slot_attention, LIST_SLOT_ATTENTION)))
                        for w in range(h.sizes.workers)]}

    def _rebuild(self):
        tables_lock(self.t)
        tables_rebuild(self.t)
        tables_unlock(self.t)

    def _lock(self):
        """Takes the lock and does not give it back: for tests that die inside it."""
        tables_lock(self.t)


class PlayedTables(Tables, PoolOperations, CatalogOperations):
    """Shared tables whose pool operations can be done one by one."""

    __slots__ = ()
