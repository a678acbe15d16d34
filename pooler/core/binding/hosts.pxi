"""Names of hosts, and the addresses that they led to."""


cdef class HostNames(SharedMap):
    """Names of hosts, and the addresses that they led to."""

    def host_turn(self, int database):
        """A number that grows by one with each call: whose turn it is among the hosts of a list."""
        return host_turn_next(&self.t.databases[database].host_turn)

    def host_now(self, int database):
        """The same number, left as it is."""
        return self.t.databases[database].host_turn

    def host_passes(self, int database, uint32_t seen):
        """The host whose turn it was at `seen` has failed: the next one's turn, unless somebody said so
        before."""
        host_turn_pass(&self.t.databases[database].host_turn, seen)

    def host(self, name, bint zone=False):
        """Row of a name that is to be looked up, or of a zone; -1: a name that long cannot be looked up."""
        cdef bytes b = encoded(name)
        return host_find(self.t, b, HOST_ZONE if zone else HOST_NAME, clock_us())

    def host_entry(self, int row, bint turn=False):
        """(addresses, fresh): what the name led to when it was last answered, None if it never was; and
        whether that, or that it failed, is still to be believed.  `turn`: they begin with another one each
        time."""
        cdef host_row copy
        host_read(self.t, row, &copy)
        if turn:
            self.t.hosts[row].turn += 1
        addresses = decoded(copy.addresses).split() if copy.known else None
        if turn and addresses:
            first = copy.turn % len(addresses)
            addresses = addresses[first:] + addresses[:first]
        return addresses, copy.expires_at > clock_us()

    def host_asked(self, int row, double for_s):
        """Somebody waits for an answer, so long at most."""
        host_asked(self.t, row, clock_us() + <uint64_t>(for_s * 1e6))

    def host_answered(self, int row, addresses, double ttl_s):
        """What the DNS said; servers at addresses that are not among them any more are obsolete.  Returns how
        many."""
        cdef int count = 0
        before = self.host_entry(row)[0] or []
        host_answered(self.t, row, encoded(" ".join(addresses)), clock_us() + <uint64_t>(ttl_s * 1e6))
        for address in before:
            if address not in addresses:
                count += host_obsolete(self.t, row, encoded(address))
        return count

    def host_failed(self, int row, double ttl_s):
        """The look-up failed; what was known before stays."""
        host_failed(self.t, row, clock_us() + <uint64_t>(ttl_s * 1e6))

    def host_expire(self, int row):
        """It is to be looked up anew."""
        host_failed(self.t, row, 0)

    def zone_answered(self, int row, uint32_t serial):
        """The serial before, if it is another one now; None."""
        cdef uint32_t before = 0
        return before if host_zone_answered(self.t, row, serial, &before) else None

    def hosts(self, bint zones=False):
        """One dict per name (or zone) that was looked up."""
        cdef int32_t i
        cdef host_row copy
        cdef uint64_t now = clock_us()
        rows = []
        for i in range(self.t.h.hosts_high):
            if host_read(self.t, i, &copy) and (copy.kind == HOST_ZONE) == zones:
                rows.append({"row": i, "name": decoded(copy.name), "serial": copy.serial if copy.known else 0,
                             "addresses": decoded(copy.addresses).split() if copy.known and not zones else [],
                             "ttl_s": (copy.expires_at - now) / 1e6 if copy.expires_at > now else 0.0,
                             "asking": copy.asked_until > now})
        return rows
