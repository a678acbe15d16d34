"""What figures alone tell: histograms of times (tables/histogram.h), errors, refused logins."""


cdef class Histograms(SharedMap):
    """What is counted since the start. A histogram is (sum in microseconds, counts as native 64 bit
    numbers)."""

    def dial_took(self, int worker, int pool, uint64_t us):
        """This worker has opened a server of the pool, which took so long."""
        cdef counters *n = &self.t.counters[<int64_t>worker * self.t.h.sizes.pools + pool]
        n.dial_time += us
        histogram_add(n.dial_histogram, us)

    def histograms(self):
        """By pool row, added up over workers: database, user and four histograms."""
        cdef int32_t i
        cdef int w
        cdef uint64_t wait[64]
        cdef uint64_t query[64]
        cdef uint64_t xact[64]
        cdef uint64_t dial[64]
        cdef uint64_t times[4]
        cdef counters *n
        found = {}
        for i in range(self.t.h.pools_high):
            if not self.t.pools[i].used or self.t.pools[i].kind != POOL_CLIENTS:
                continue
            memset(times, 0, sizeof(times))
            memset(wait, 0, sizeof(wait))
            memset(query, 0, sizeof(query))
            memset(xact, 0, sizeof(xact))
            memset(dial, 0, sizeof(dial))
            for w in range(self.t.h.sizes.workers):
                n = &self.t.counters[<int64_t>w * self.t.h.sizes.pools + i]
                times[0] += n.wait_time
                times[1] += n.query_time
                times[2] += n.xact_time
                times[3] += n.dial_time
                histogram_sum(wait, n.wait_histogram)
                histogram_sum(query, n.query_histogram)
                histogram_sum(xact, n.xact_histogram)
                histogram_sum(dial, n.dial_histogram)
            database, user, _ = self.pool_key(i)
            found[i] = {"database": database, "user": user,
                        "wait": (times[0], (<char *>wait)[:sizeof(wait)]),
                        "query": (times[1], (<char *>query)[:sizeof(query)]),
                        "transaction": (times[2], (<char *>xact)[:sizeof(xact)]),
                        "dial": (times[3], (<char *>dial)[:sizeof(dial)])}
        return found

    def errors(self):
        """By pool row, added up over workers: database, user, and how many errors of PostgreSQL clients were
        told, by the class of their SQLSTATE."""
        cdef int32_t i
        cdef int w, c
        cdef uint64_t count
        found = {}
        for i in range(self.t.h.pools_high):
            if not self.t.pools[i].used or self.t.pools[i].kind != POOL_CLIENTS:
                continue
            classes = {}
            for c in range(ERROR_CLASSES):
                count = 0
                for w in range(self.t.h.sizes.workers):
                    count += self.t.counters[<int64_t>w * self.t.h.sizes.pools + i].errors[c]
                if count:
                    classes[decoded(error_class_names[c])] = count
            database, user, _ = self.pool_key(i)
            found[i] = {"database": database, "user": user, "classes": classes}
        return found

    def refusals(self):
        """How many clients were refused at their login, by reason, added up over workers."""
        cdef int w, reason
        return {decoded(refusal_words[reason]):
                sum([self.t.workers[w].refusals[reason] for w in range(self.t.h.sizes.workers)])
                for reason in range(REFUSAL_COUNT)}

    def login_histograms(self):
        """By the way to log in, added up over workers: how long it took until a client had proven itself."""
        cdef int w, method
        cdef uint64_t time
        cdef uint64_t counts[64]
        found = {}
        for name, method in _METHODS.items():
            time = 0
            memset(counts, 0, sizeof(counts))
            for w in range(self.t.h.sizes.workers):
                time += self.t.workers[w].logins[method].time
                histogram_sum(counts, self.t.workers[w].logins[method].histogram)
            found["none" if method == METHOD_NONE else name] = time, (<char *>counts)[:sizeof(counts)]
        return found
