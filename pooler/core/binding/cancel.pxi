"""Cancel requests, and the peers that they may be for."""


cdef class CancelKeys(SharedMap):
    """Cancel requests, and the peers that they may be for."""

    def cancel_key_fits(self, uint32_t pid, bytes key):
        """Whether this is the whole secret, as long as it has to be, of the client that may have this pid."""
        return cancel_key_fits(self.t, pid, <const unsigned char *><const char *>key, <uint32_t>len(key))

    def cancel_instance(self, uint32_t pid, bytes key):
        """The row of the instance of that client's servers; -1: no client has the key, or it has none."""
        return cancel_instance(self.t, pid, <const unsigned char *><const char *>key, <uint32_t>len(key))

    def cancel_begin(self, uint32_t pid, uint32_t secret, int worker):
        """Looks up a cancel key: a CancelAnswer.  After FORWARD the server is held until cancel_end."""
        cdef int32_t slot = NO_ROW, row = NO_ROW
        cdef uint32_t generation = 0
        cdef cancel_verdict verdict = cancel_begin(self.t, pid, secret, worker, &slot, &generation, &row)
        if verdict == CANCEL_FORWARD:
            return CancelAnswer(CancelVerdict(verdict), slot, generation, row, self.t.clients[row].id)
        return CancelAnswer(CancelVerdict(verdict))

    def set_peer_id(self, int peer_id):
        """What new clients' cancel keys say; 0: nothing."""
        self.t.h.peer_id = <uint16_t>peer_id

    def peer_wait(self, int peer_id, int worker):
        """A cancel request for a client of this peer waits to be sent; the row that counts it, or -1."""
        return peer_wait(self.t, peer_id, worker)

    def peer_connect(self, int row, int worker, int most):
        """Whether it may be sent now, with at most so many at a time over all workers (0: no limit)."""
        return peer_connect(self.t, row, worker, most)

    def peer_sent(self, int row, int worker):
        peer_sent(self.t, row, worker)

    def peer_done(self, int row, int worker, int state):
        """It is over, and had come as far as `state`, a PeerState."""
        peer_done(self.t, row, worker, <peer_state>state)

    def peers(self):
        """One dict per peer that was ever forwarded to."""
        cdef int32_t i
        cdef int w
        rows = []
        for i in range(MAX_PEERS):
            if self.t.peers[i].id:
                sums = [0, 0, 0]
                for w in range(self.t.h.sizes.workers):
                    sums[0] += self.t.peers[i].waiting[w]
                    sums[1] += self.t.peers[i].connecting[w]
                    sums[2] += self.t.peers[i].active[w]
                rows.append({"peer_id": self.t.peers[i].id, "waiting": sums[0], "connecting": sums[1],
                             "active": sums[2]})
        return rows

    def cancel_end(self, int slot, uint32_t generation, int row, uint64_t client_id, int worker):
        cancel_end(self.t, slot, generation, row, client_id, worker, clock_us())

    def cancel_doubtful(self, int slot, uint32_t generation):
        """A cancel request may still be on its way to this server: nobody else may get it."""
        self._take()
        if self.t.slots[slot].generation == generation and self.t.slots[slot].state != SL_FREE:
            slot_flag(self.t, slot, SF_CLOSE_NEEDED)
        tables_unlock(self.t)

    def cancel_target(self, int slot):
        """(generation, target, backend pid, key) to cancel what this slot's server runs."""
        cdef slot_row *s = &self.t.slots[slot]
        return (s.generation, s.sockaddr[:s.sockaddr_bytes].decode("utf-8", "surrogateescape"),
                <uint32_t>s.backend_pid,
                PyBytes_FromStringAndSize(<char *>s.cancel_key, s.cancel_key_bytes))
