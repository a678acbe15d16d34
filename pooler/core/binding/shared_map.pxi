"""The map that all processes share, and its lock."""


cdef class SharedMap:
    """The map and its lock: what the parts of `Tables` have in common."""

    cdef tables *t
    cdef uint64_t patience_us

    def __cinit__(self, *, int workers, int slots, int clients, int databases=4096, int users=8192,
                  int pools=4096,
                  int instances=1024):
        cdef sizes z
        if not 1 <= workers <= MAX_WORKERS or slots < 1 or not 1 <= clients <= 0xfffff:
            raise ValueError(f"workers 1..{MAX_WORKERS}, slots >= 1, clients 1..1048575")
        z.workers, z.slots, z.clients, z.databases = workers, slots, clients, databases
        z.users, z.pools, z.instances = users, pools, instances
        self.t = tables_create(&z)
        if self.t is NULL:
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        if self.t is not NULL:
            tables_destroy(self.t)

    cdef int _take(self) except -1:
        """Takes the lock; raises TablesBusy when this process is not to wait longer than its patience."""
        if self.patience_us == 0:
            tables_lock(self.t)
        elif not tables_trylock(self.t, self.patience_us):
            raise TablesBusy
        return 0

    def set_patience(self, double seconds):
        """How long this process waits for the lock before TablesBusy (0: for ever).  The master must never
        hang on a lock whose holder is stopped: it is the one who kills that process."""
        self.patience_us = <uint64_t>(seconds * 1e6)
