"""The store of snapshots of catalogs, one step at a time: for tests that play several workers."""


from cpython.buffer cimport PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory


cdef extern from "catalog/store.h" nogil:
    struct snapshot:
        uint32_t everything
    bint catalog_claim(tables *, int32_t, int32_t, int, uint64_t)
    bint catalog_keep(tables *, int32_t, int32_t, int, uint64_t)
    snapshot *catalog_reserve(tables *, int32_t, int, uint32_t, uint32_t)
    void catalog_drop(tables *, int32_t, int)
    void catalog_publish(tables *, int32_t, int, uint64_t, uint32_t, const catalog_totals *)
    void catalog_follow(tables *, int32_t, catalog *, char **, uint32_t *)
    void catalog_forget(catalog *)


cdef class CatalogOperations(SharedMap):
    """The store of snapshots of catalogs, one step at a time."""

    def _catalog_claim(self, int database, int instance, int worker, uint64_t now):
        return catalog_claim(self.t, database, instance, worker, now)

    def _catalog_keep(self, int database, int instance, int worker, uint64_t now):
        return catalog_keep(self.t, database, instance, worker, now)

    def _catalog_reserve(self, int database, int worker, uint32_t capacity):
        """What that worker may write into: the entries of its snapshot.  None: there is no extent for it."""
        cdef snapshot *s = catalog_reserve(self.t, database, worker, capacity, 0)
        if s == NULL:
            return None
        s.everything = <uint32_t>worker
        return PyMemoryView_FromMemory(<char *>(s + 1), capacity * sizeof(catalog_entry), PyBUF_WRITE)

    def _catalog_drop(self, int database, int worker):
        catalog_drop(self.t, database, worker)

    def _catalog_publish(self, int database, int worker, uint64_t now):
        cdef catalog_totals totals
        memset(&totals, 0, sizeof(totals))
        catalog_publish(self.t, database, worker, now, 0, &totals)

    def _catalog_follow(self, int database):
        """(generation, who wrote it, its entries) as any worker takes it over; None: there is none."""
        cdef catalog c
        cdef char *customs = NULL
        cdef uint32_t n = 0
        memset(&c, 0, sizeof(c))
        catalog_follow(self.t, database, &c, &customs, &n)
        free(customs)
        if not c.generation:
            return None
        found = c.generation, c.everything, (<unsigned char *>c.entries)[:c.capacity * sizeof(catalog_entry)]
        catalog_forget(&c)
        return found
