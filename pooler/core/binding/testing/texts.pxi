"""The queue of requests, and what is read in SQL texts: each by itself, for tests."""


cdef extern from "io/request_queue.h" nogil:
    enum: INTERNAL, REQUESTS_MAX
    struct requests:
        uint32_t capacity, count
    void requests_init(requests *)
    void requests_free(requests *)
    uint8_t requests_at(const requests *, uint32_t)
    bint requests_push(requests *, uint8_t)
    void requests_pop(requests *)
    uint32_t requests_number(const requests *)
    uint8_t requests_head(const requests *)
    void requests_internal_head(requests *)
    void requests_take_behind_head(requests *, uint32_t)


cdef extern from "sql/lexer.h" nogil:
    enum token_kind:
        T_END
    struct token:
        token_kind kind
        const unsigned char *start
    struct lexer:
        const unsigned char *at
        const unsigned char *end
        bint backslash, incomplete
    void lexer_next(lexer *, token *)


cdef extern from "sql/statement_names.h" nogil:
    enum: SQL_USES_MAX
    enum sql_verb:
        SQL_EXECUTE, SQL_DEALLOCATE, SQL_PREPARE
    struct sql_use:
        sql_verb verb
        uint32_t statement, at, bytes, name_bytes
        bint bare
        char name[64]
    enum: MAY_COPY, MAY_CLEAR
    int sql_uses(const char *, uint32_t, sql_use *, uint32_t *, c_bool *)
    uint8_t sql_deeds(const char *, uint32_t, bint)


cdef extern from "sql/setting_names.h" nogil:
    bint setting_is_harmless(const char *, uint32_t)
    bint setting_is_literal(const char *, uint32_t)


cdef extern from "sql/builder.h" nogil:
    uint32_t sql_put_encoded(char *, uint32_t, uint32_t, const char *, const char *)


cdef extern from "sql/digest.h" nogil:
    void digest_of(const uint64_t *, const unsigned char *, uint32_t, digest *)


cdef unsigned char *_exactly(bytes text) except NULL:
    """A copy of just this size: a sanitizer finds what reads beyond its end."""
    cdef unsigned char *copy = <unsigned char *>malloc(len(text) if len(text) else 1)
    if copy is NULL:
        raise MemoryError
    memcpy(copy, <const char *>text, len(text))
    return copy


cdef class Requests:
    """The requests that a server has not answered (see io/request_queue.h)."""
    cdef requests queue

    def __cinit__(self):
        requests_init(&self.queue)

    def __dealloc__(self):
        requests_free(&self.queue)

    def push(self, int letter):
        """Whether there was a place for it."""
        return requests_push(&self.queue, <uint8_t>letter)

    def pop(self):
        """The oldest is answered."""
        if not self.queue.count:
            raise IndexError
        requests_pop(&self.queue)

    def own_head(self):
        """The oldest becomes one of pooler's own."""
        if not self.queue.count:
            raise IndexError
        requests_internal_head(&self.queue)

    def take_behind_head(self, uint32_t n):
        """The n requests behind the oldest are none any more."""
        if n >= self.queue.count:
            raise IndexError
        requests_take_behind_head(&self.queue, n)

    @property
    def waiting(self):
        """All of them, the oldest first."""
        return bytes([requests_at(&self.queue, i) for i in range(self.queue.count)])

    @property
    def head(self):
        """The oldest, 0 when there is none."""
        return requests_head(&self.queue)

    @property
    def number(self):
        """How many were pushed before the oldest."""
        return requests_number(&self.queue)


REQUESTS_LIMIT = REQUESTS_MAX


def tokens(bytes text, bint backslash=False):
    """The tokens of a text as (kind, where it begins, where it ends), and whether the end was met within one.
    `backslash`: standard_conforming_strings is off."""
    cdef unsigned char *copy = _exactly(text)
    cdef lexer l
    cdef token t
    memset(&l, 0, sizeof(l))
    l.at, l.end, l.backslash = copy, copy + len(text), backslash
    kinds = ("end", "word", "quoted", "string", "operator", "other")   # Python has a macro T_STRING
    found = []
    lexer_next(&l, &t)
    while t.kind != T_END:
        found.append((kinds[<int>t.kind], t.start - copy, l.at - copy))
        lexer_next(&l, &t)
    free(copy)
    return found, bool(l.incomplete)


def statement_names(bytes text):
    """The names of prepared statements in a text: (verb, number of its statement, whether that ends behind
    it, the name as it stands there, the name as the server reads it); how many statements the text has;
    whether all names may be gone behind it. None: it has too many."""
    cdef unsigned char *copy = _exactly(text)
    cdef sql_use uses[SQL_USES_MAX]
    cdef uint32_t statements
    cdef c_bool clears
    cdef int count = sql_uses(<const char *>copy, <uint32_t>len(text), uses, &statements, &clears)
    free(copy)
    if count < 0:
        return None
    verbs = {SQL_EXECUTE: "execute", SQL_DEALLOCATE: "deallocate", SQL_PREPARE: "prepare"}
    return ([(verbs[uses[i].verb], uses[i].statement, bool(uses[i].bare),
              text[uses[i].at:uses[i].at + uses[i].bytes], uses[i].name[:uses[i].name_bytes])
             for i in range(count)], statements, bool(clears))


def statement_deeds(bytes text, bint whole=True):
    """What a statement may do: `copy`, `clear`. `whole`: it is more than a beginning."""
    cdef unsigned char *copy = _exactly(text)
    cdef uint8_t deeds = sql_deeds(<const char *>copy, <uint32_t>len(text), whole)
    free(copy)
    return {word for word, bit in (("copy", MAY_COPY), ("clear", MAY_CLEAR)) if deeds & bit}


def setting_kind(bytes name):
    """What a setting may change: `nothing`, how `literals` are read, or what else a text means (`text`)."""
    if setting_is_harmless(name, <uint32_t>len(name)):
        return "nothing"
    return "literals" if setting_is_literal(name, <uint32_t>len(name)) else "text"


def sql_literal(bytes value, bytes encoding=None, uint32_t size=65536):
    """The SQL expression for a value in an encoding; None: it is longer than `size`."""
    cdef const char *name = NULL
    cdef char *out = <char *>malloc(size)
    if out is NULL:
        raise MemoryError
    if encoding is not None:
        name = encoding
    cdef uint32_t n = sql_put_encoded(out, 0, size, value, name)
    text = out[:n] if n < size else None
    free(out)
    return text


def keyed_digest(key, bytes text):
    """SipHash-2-4 of 128 bits, as two numbers. `key`: two numbers."""
    cdef uint64_t parts[2]
    cdef digest d
    cdef unsigned char *copy = _exactly(text)
    parts[0], parts[1] = key
    digest_of(parts, copy, <uint32_t>len(text), &d)
    free(copy)
    return _digest_of(d)


cdef extern from "relay/log.h" nogil:
    uint32_t log_escape(char *, uint32_t, const char *)
    void relay_log(relay *, int, const char *, ...)
    void log_client_closing(relay *, const client_row *, const char *, bint)


def log_shown(bytes text, int space=4096):
    """A text as a line of the log shows it."""
    cdef char shown[4096]
    return shown[:log_escape(shown, min(space, 4096), text)]


def relay_say(Relay relay, int level, bytes text):
    """Has a relay that is not started say something to the log."""
    relay_log(relay.r, level, "%s", <const char *>text)


def relay_client_closes(Relay relay, SharedMap tables, int row, bytes reason, bint told):
    """Has a relay that is not running say that a client is closed."""
    log_client_closing(relay.r, &tables.t.clients[row], reason, told)
