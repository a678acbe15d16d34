"""What is known of prepared statements, by client and by server: each by itself, for tests."""

cimport cython


cdef extern from "statements/statement_store.h" nogil:
    struct statement:
        digest digest
        digest literals
        uint32_t references, bytes
        uint8_t deeds
        unsigned char body[1]
    struct statement_store:
        uint64_t key[2]
        settings_store *settings
        uint32_t count
        statement **buckets
    statement *statement_intern(statement_store *, const unsigned char *, uint32_t, settings_set *, uint64_t)
    void statement_drop(statement_store *, statement *)


cdef extern from "statements/client_names.h" nogil:
    struct name_of_client "name":
        statement *statement
        uint64_t made
        uint32_t columns
        bint told
        uint16_t bytes
        char text[1]
    struct names_of_client "names":
        uint64_t key
        uint32_t count, pipeline
        uint64_t kept_bytes
        name_of_client *used
        uint32_t used_number
    name_of_client *names_find(const names_of_client *, const char *, uint32_t)
    name_of_client *names_find_old(const names_of_client *, const char *, uint32_t)
    bint names_set(names_of_client *, const char *, uint32_t, statement *, uint64_t)
    void names_unset(names_of_client *, name_of_client *)
    bint names_unconfirmed(names_of_client *, const char *, uint32_t)
    bint names_confirmed(const names_of_client *)
    void names_confirm(statement_store *, names_of_client *)
    bint names_undo(statement_store *, names_of_client *, uint32_t)
    void names_clear(statement_store *, names_of_client *)
    void names_free(statement_store *, names_of_client *)


cdef extern from "tables/server_statements.h" nogil:
    struct prepared_entry:
        uint32_t number
        bint foreign
    uint32_t prepared_name(char *, uint32_t)
    void prepared_reset(prepared_set *)
    prepared_entry *prepared_find(prepared_set *, const digest *)
    prepared_entry *prepared_use(prepared_set *, const digest *, uint64_t)
    bint prepared_digest(const prepared_set *, uint32_t, digest *)
    void prepared_remove(prepared_set *, const digest *)
    void prepared_forget_before(prepared_set *, uint32_t)
    uint32_t prepared_add(prepared_set *, const digest *, uint64_t, uint32_t, uint32_t *)
    void prepared_plans_discarded(prepared_set *)
    uint32_t prepared_shrink(prepared_set *, uint32_t)


cdef class StatementStore:
    """The texts of a worker's clients: statements/statement_store.h. `key`: of digests, two numbers."""
    cdef statement_store store
    cdef Settings settings

    def __cinit__(self, key):
        self.settings = Settings(key)
        self.store.key[0], self.store.key[1] = key
        self.store.settings = &self.settings.store

    def __dealloc__(self):
        free(self.store.buckets)

    cdef statement *_intern(self, bytes body, bytes extras, uint64_t apart) except NULL:
        cdef settings_scope scope
        memset(&scope, 0, sizeof(scope))
        cdef settings_set *under = settings_intern(&self.settings.store, &scope, <const char *>extras,
                                                   <uint32_t>len(extras), True)
        cdef unsigned char *copy = _exactly(body)
        cdef statement *s = NULL
        if under is not NULL:
            s = statement_intern(&self.store, copy, <uint32_t>len(body), under, apart)
        settings_drop(&self.settings.store, under)
        free(copy)
        if s is NULL:
            raise MemoryError
        return s

    def intern(self, bytes body, bytes extras=b"", uint64_t apart=0):
        """Takes a reference to a text: its digest, that of the text with what its literals go by, how many
        references there are. `extras`: names and values of settings, each with a NUL behind it. `apart`: a
        number of its own for one that is not shared."""
        cdef statement *s = self._intern(body, extras, apart)
        return _digest_of(s.digest), _digest_of(s.literals), s.references

    def drop(self, bytes body, bytes extras=b"", uint64_t apart=0):
        """Gives a reference back; how many are left."""
        cdef statement *s = self._intern(body, extras, apart)
        cdef uint32_t left = s.references - 2
        statement_drop(&self.store, s)
        statement_drop(&self.store, s)
        return left

    @property
    def count(self):
        """How many texts there are."""
        return self.store.count


@cython.no_gc_clear  # its texts are needed to the end
cdef class ClientNames:
    """The names of one client's statements, and the journal of changes that are not answered (see
    core/statements/client_names.h)."""
    cdef StatementStore texts
    cdef names_of_client *names

    def __cinit__(self, StatementStore texts, uint64_t key=0x9e3779b97f4a7c15):
        self.texts = texts
        self.names = <names_of_client *>calloc(1, sizeof(names_of_client))
        if self.names is NULL:
            raise MemoryError
        self.names.key = key

    def __dealloc__(self):
        names_free(&self.texts.store, self.names)

    cdef object _text(self, const name_of_client *name):
        return None if name is NULL else <bytes>name.statement.body[:name.statement.bytes]

    def parse(self, bytes name, bytes body):
        """A Parse has been sent that gives the text this name."""
        cdef statement *s = self.texts._intern(body, b"", 0)
        if not names_set(self.names, name, <uint32_t>len(name), s, 0):
            raise MemoryError

    def close(self, bytes name):
        """A Close has been sent of a name that is there."""
        cdef name_of_client *found = names_find(self.names, name, <uint32_t>len(name))
        if found is NULL:
            raise KeyError(name)
        names_unset(self.names, found)

    def sync(self):
        """A Sync has been sent."""
        self.names.pipeline += 1

    def answered(self):
        """The oldest change holds."""
        names_confirm(&self.texts.store, self.names)

    def skipped(self, uint32_t changes):
        """The oldest changes were skipped; whether they fit to the names."""
        return names_undo(&self.texts.store, self.names, changes)

    def clear(self):
        """DEALLOCATE ALL has been answered."""
        names_clear(&self.texts.store, self.names)

    def find(self, bytes name):
        """The text of a name as all that was sent leaves it."""
        return self._text(names_find(self.names, name, <uint32_t>len(name)))

    def find_old(self, bytes name):
        """The text of a name as all that was answered leaves it."""
        return self._text(names_find_old(self.names, name, <uint32_t>len(name)))

    def unconfirmed(self, bytes name):
        """Whether who says this name has to wait for answers to an earlier pipeline."""
        return names_unconfirmed(self.names, name, <uint32_t>len(name))

    @property
    def confirmed(self):
        """Whether all that earlier pipelines did is answered."""
        return names_confirmed(self.names)

    @property
    def count(self):
        """How many names there are."""
        return self.names.count

    @property
    def kept_bytes(self):
        """What counts against the memory of the client."""
        return self.names.kept_bytes


cdef class PreparedSet:
    """What is prepared on a server (see core/tables/server_statements.h). A text is its digest, two
    numbers."""
    cdef prepared_set *p

    def __cinit__(self):
        self.p = <prepared_set *>calloc(1, sizeof(prepared_set))
        if self.p is NULL:
            raise MemoryError
        prepared_reset(self.p)

    def __dealloc__(self):
        free(self.p)

    def add(self, text, uint64_t made=0, uint32_t limit=1000, bint foreign=False):
        """The server is about to have this text, as the latest of at most `limit`: its number, and that of
        what has to go, or 0."""
        cdef digest d
        cdef uint32_t evicted
        d.high, d.low = text
        number = prepared_add(self.p, &d, made, limit, &evicted)
        prepared_find(self.p, &d).foreign = foreign
        return number, evicted

    def use(self, text, uint64_t made=0):
        """The number of what it has of this text, prepared then or later; 0: nothing."""
        cdef digest d
        d.high, d.low = text
        cdef prepared_entry *e = prepared_use(self.p, &d, made)
        return 0 if e is NULL else e.number

    def text_of(self, uint32_t number):
        """The text of a number; None: there is none."""
        cdef digest d
        return (d.high, d.low) if prepared_digest(self.p, number, &d) else None

    def remove(self, text):
        cdef digest d
        d.high, d.low = text
        prepared_remove(self.p, &d)

    def forget_before(self, uint32_t number):
        """It has lost what got a smaller number."""
        prepared_forget_before(self.p, number)

    def plans_discarded(self):
        """What was parsed under other settings than it is run under is too old from now on."""
        prepared_plans_discarded(self.p)

    def shrink(self, uint32_t limit):
        """Forgets the least recently used of more than that: its number, or 0."""
        return prepared_shrink(self.p, limit)

    @property
    def count(self):
        """How many texts it has."""
        return self.p.count


def server_statement_name(uint32_t number):
    """What a server knows a statement by, and how many bytes that has with its NUL."""
    cdef char out[32]
    n = prepared_name(out, number)
    return <bytes>out, n
