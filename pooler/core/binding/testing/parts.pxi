"""Parts of the core one by one, for tests."""


cdef extern from "io/message_table.h" nogil:
    enum:
        BE_NOTHING, BE_POP_PARSE, BE_POP_BIND, BE_POP_CLOSE, BE_ROWDESC, BE_NODATA, BE_COMMAND,
        BE_EMPTY, BE_SUSPENDED, BE_ERROR, BE_READY, BE_COPY_IN, BE_COPY_OUT, BE_COPY_BOTH,
        BE_PARAMETER, BE_NOTICE, BE_NOTIFY, BE_FUNCTION, BE_PARAMDESC, BE_COPY_DATA, BE_COPY_DONE,
        BE_FORBIDDEN
    enum:
        FE_QUERY, FE_PARSE, FE_BIND, FE_DESCRIBE, FE_EXECUTE, FE_CLOSE, FE_SYNC, FE_FLUSH,
        FE_FUNCTION, FE_COPY_DATA, FE_COPY_DONE, FE_COPY_FAIL, FE_TERMINATE, FE_FORBIDDEN
    const uint8_t backend_effects_table "backend_effects"[256]
    const uint8_t frontend_effects_table "frontend_effects"[256]


cdef extern from "io/server_messages.h" nogil:
    bint server_message_length_fits(uint8_t, uint32_t)
    bint server_message_well_formed(uint8_t, const unsigned char *, uint32_t, bint)


cdef extern from "sql/catalog_names.h" nogil:
    enum: CATALOG_UNKNOWN
    enum catalog_kind:
        CATALOG_FUNCTION, CATALOG_RELATION, CATALOG_TYPE, CATALOG_OPERATOR
    struct catalog_entry:
        uint64_t hash
        uint32_t effect_flags, kind

cdef extern from "catalog/graph.h" nogil:
    struct graph:
        uint64_t key
        uint32_t symbol_count
        bint starved
    void graph_solve(graph *)
    bint graph_solve_step(graph *, uint32_t)
    uint32_t graph_effect_flags(const graph *, uint64_t)
    enum: SYMBOL_EVERYTHING
    bint graph_entry(const graph *, uint32_t, catalog_entry *)
    void graph_free(graph *)

cdef extern from "catalog/rows.h" nogil:
    enum: CATALOG_CLASSES_ "CATALOG_CLASSES"
    struct customs_names "customs":
        uint32_t bytes
        char names[16384]
    void catalog_rows_take(catalog_reader *, const unsigned char *, uint32_t, bint, const char *)
    void catalog_rows_end(catalog_reader *)

cdef extern from "catalog/read.h" nogil:
    enum: READING_PAGES
    struct catalog_reader:
        int phase
        uint8_t class_ "class"
        bint utf8
        uint32_t server_version
        graph graph
        customs_names customs


cdef extern from "sql/catalog_names.h" nogil:
    struct catalog:
        catalog_entry *entries
        uint32_t capacity, generation, everything
    uint32_t catalog_place(uint64_t, catalog_kind, uint32_t)


cdef extern from "sql/effects.h" nogil:
    struct words:
        uint64_t key
    struct scan_result "scan":
        uint32_t effect_flags, ends, names_bytes, unknown_count
        uint64_t work
        bint calls, reads_literals
        char names[4096]
    bint words_builtin(words *, uint64_t)
    void words_free(words *)
    uint64_t words_hash(const words *, const char *, uint32_t)
    void scan_text(const words *, const catalog *, const unsigned char *, uint32_t, bint, scan_result *)
    bint scan_next_name(const char *, uint32_t, uint32_t *, char *, const char **)
    enum: ASK_SETTINGS, ASK_LOCKS, ASK_TEMP, ASK_PREPARED, ASK_CURSORS, ASK_CHANNELS, ASK_ALL, PIN_OPAQUE
    enum: PIN_LOADED
    enum: PIN_INTERPRETER
    enum: PIN_SEQUENCE, EFFECT_CURRVAL, EFFECT_INSERT, EFFECT_NAMED, EFFECT_RESET, EFFECT_RESET_ALL
    enum: EFFECT_LISTEN
    enum: EFFECT_UNLISTEN, EFFECT_NOTIFY, EFFECT_SCHEMA, EFFECT_UNKNOWN, EFFECT_EXECUTE, EFFECT_DATABASE
    enum: EFFECT_UNSURE
    enum: EFFECT_ENCODING, EFFECT_FOLDS

cdef extern from "sql/clean_texts.h" nogil:
    enum: CLEAN_TEXTS, CLEAN_TEXT_BYTES_MAX
    struct clean_text:
        unsigned char *text
    struct clean_texts_table "clean_texts":
        clean_text places[1024]
    struct readable:
        const unsigned char *text
        uint32_t bytes, serial
        bint backslash
    bint clean_texts_find(clean_texts_table *, uint64_t, const readable *, scan_result *)
    void clean_texts_keep(clean_texts_table *, uint64_t, const readable *, const scan_result *)
    uint32_t clean_texts_mask(const unsigned char *, uint32_t, unsigned char *)


cdef extern from "sql/scan.h" nogil:
    bint scan_names_a_setting(const unsigned char *, uint32_t)


cdef extern from "sql/lexer.h" nogil:
    uint64_t lexer_hash(uint64_t, const unsigned char *, uint32_t)


cdef extern from "session/settings.h" nogil:
    struct settings_set "settings":
        digest digest
        digest literals
        digest run
        uint32_t bytes
    struct settings_store:
        pass
    void settings_open(settings_store *, const uint64_t *, const char *const *, int)
    struct settings_scope:
        int32_t database
    settings_set *settings_intern(settings_store *, const settings_scope *, const char *, uint32_t, bint)
    void settings_drop(settings_store *, settings_set *)
    uint32_t settings_statement(const settings_store *, const settings_set *, bint, char *, uint32_t)


def backend_effects():
    """What a message of a server means, by its type byte: 256 names (see io/message_table.h)."""
    names = {BE_NOTHING: "NOTHING", BE_POP_PARSE: "POP_PARSE", BE_POP_BIND: "POP_BIND",
             BE_POP_CLOSE: "POP_CLOSE", BE_ROWDESC: "ROWDESC", BE_NODATA: "NODATA",
             BE_COMMAND: "COMMAND", BE_EMPTY: "EMPTY", BE_SUSPENDED: "SUSPENDED", BE_ERROR: "ERROR",
             BE_READY: "READY", BE_COPY_IN: "COPY_IN", BE_COPY_OUT: "COPY_OUT",
             BE_COPY_BOTH: "COPY_BOTH", BE_PARAMETER: "PARAMETER", BE_NOTICE: "NOTICE",
             BE_NOTIFY: "NOTIFY", BE_FUNCTION: "FUNCTION", BE_PARAMDESC: "PARAMDESC",
             BE_COPY_DATA: "COPY_DATA", BE_COPY_DONE: "COPY_DONE", BE_FORBIDDEN: "FORBIDDEN"}
    return [names[backend_effects_table[i]] for i in range(256)]


def frontend_effects():
    """What a message of a client means, by its type byte: 256 names."""
    names = {FE_QUERY: "QUERY", FE_PARSE: "PARSE", FE_BIND: "BIND", FE_DESCRIBE: "DESCRIBE",
             FE_EXECUTE: "EXECUTE", FE_CLOSE: "CLOSE", FE_SYNC: "SYNC", FE_FLUSH: "FLUSH",
             FE_FUNCTION: "FUNCTION", FE_COPY_DATA: "COPY_DATA", FE_COPY_DONE: "COPY_DONE",
             FE_COPY_FAIL: "COPY_FAIL", FE_TERMINATE: "TERMINATE", FE_FORBIDDEN: "FORBIDDEN"}
    return [names[frontend_effects_table[i]] for i in range(256)]


def server_message_fits(bytes kind, bytes body, bint own=False):
    """Whether the relay reads a message of a server (see core/io/server_messages.h), or closes that server
    for it. `own`: it answers a request of pooler's own."""
    cdef size_t n = len(body)
    # a copy of exactly this size: what reads beyond its end is found out by a sanitizer
    cdef unsigned char *copy = <unsigned char *>malloc(n if n else 1)
    if copy is NULL:
        raise MemoryError
    memcpy(copy, <const char *>body, n)
    fits = server_message_length_fits(kind[0], <uint32_t>n + 4)
    fits = fits and server_message_well_formed(kind[0], copy, <uint32_t>n, own)
    free(copy)
    return bool(fits)


EFFECT_FLAGS = {"settings": ASK_SETTINGS, "locks": ASK_LOCKS, "temp": ASK_TEMP, "prepared": ASK_PREPARED,
                "cursors": ASK_CURSORS, "channels": ASK_CHANNELS, "opaque": PIN_OPAQUE, "loaded": PIN_LOADED,
                "interpreter": PIN_INTERPRETER,
                "sequence": PIN_SEQUENCE, "currval": EFFECT_CURRVAL, "insert": EFFECT_INSERT,
                "named": EFFECT_NAMED,
                "reset": EFFECT_RESET, "reset_all": EFFECT_RESET_ALL, "listen": EFFECT_LISTEN,
                "unlisten": EFFECT_UNLISTEN,
                "notify": EFFECT_NOTIFY, "schema": EFFECT_SCHEMA, "unknown": EFFECT_UNKNOWN,
                "execute": EFFECT_EXECUTE,
                "database": EFFECT_DATABASE, "unsure": EFFECT_UNSURE, "encoding": EFFECT_ENCODING,
                "folds": EFFECT_FOLDS}

CATALOG_CLASSES = CATALOG_CLASSES_


cdef class CatalogGraph:
    """What rows of the catalogs say about names, as a worker reads them: for tests."""

    cdef catalog_reader *c
    cdef bytes trusted

    def __cinit__(self, int version=150000, bint utf8=True, trusted=(), uint64_t key=0x9e3779b97f4a7c15):
        self.trusted = b"".join(name.encode() + b"\0" for name in trusted) + b"\0"
        self.c = <catalog_reader *>calloc(1, sizeof(catalog_reader))
        if self.c is NULL:
            raise MemoryError
        self.c.phase, self.c.server_version, self.c.utf8 = READING_PAGES, version, utf8
        self.c.graph.key = key

    def __dealloc__(self):
        if self.c is not NULL:
            graph_free(&self.c.graph)
            free(self.c)

    def take(self, int number, fields):
        """A row of the class of that number: texts, or None."""
        cdef bytes body = len(fields).to_bytes(2, "big")
        for text in fields:
            body += b"\xff" * 4 if text is None else len(text).to_bytes(4, "big") + text
        # exactly: a sanitizer sees what goes beyond
        cdef unsigned char *copy = <unsigned char *>malloc(len(body))
        if copy is NULL:
            raise MemoryError
        memcpy(copy, <const char *>body, len(body))
        self.c.class_ = <uint8_t>number
        catalog_rows_take(self.c, copy, <uint32_t>len(body), True, self.trusted)
        free(copy)

    def effects(self, str kind, str name):
        """The words of EFFECT_FLAGS and `unknown` for a name of that kind (function, relation, type,
        operator)."""
        cdef catalog_entry e
        cdef bytes text = name.encode()
        cdef uint64_t wanted = lexer_hash(self.c.graph.key, text, <uint32_t>len(text))
        cdef int number = ("function", "relation", "type", "operator").index(kind)
        cdef uint32_t i
        catalog_rows_end(self.c)
        graph_solve(&self.c.graph)
        while not graph_solve_step(&self.c.graph, 1000):
            pass
        for i in range(self.c.graph.symbol_count):
            if graph_entry(&self.c.graph, i, &e) and e.hash == wanted and e.kind == <uint32_t>number:
                found = {word for word, bit in EFFECT_FLAGS.items() if e.effect_flags & bit}
                return found | ({"unknown"} if e.effect_flags & CATALOG_UNKNOWN else set())
        return {"unknown"}

    def everything(self):
        """The words of EFFECT_FLAGS that any statement may leave."""
        catalog_rows_end(self.c)
        graph_solve(&self.c.graph)
        while not graph_solve_step(&self.c.graph, 1000):
            pass
        effect_flags = graph_effect_flags(&self.c.graph, SYMBOL_EVERYTHING)
        return {word for word, bit in EFFECT_FLAGS.items() if effect_flags & bit}

    @property
    def starved(self):
        """There was no memory for some of it."""
        return self.c.graph.starved

    def customs(self):
        """Names of settings that bodies and expressions have in them."""
        return (<bytes>self.c.customs.names[:self.c.customs.bytes]).decode().removesuffix("\0").split("\0")


cdef words _builtin
if not words_builtin(&_builtin, 0x9e3779b97f4a7c15):
    raise MemoryError


cdef scan_result _scanned(bytes text, bint backslash, known) except *:
    cdef scan_result found
    cdef catalog names
    cdef uint32_t at
    cdef uint64_t hash
    text = text.partition(b"\0")[0]   # where a text ends in the protocol, too
    cdef size_t n = len(text)
    # a copy of exactly this size: what reads beyond its end is found out by a sanitizer
    cdef unsigned char *copy = <unsigned char *>malloc(n if n else 1)
    memset(&names, 0, sizeof(names))
    names.capacity = 16
    while names.capacity < 8 * len(known):
        names.capacity *= 2
    names.entries = <catalog_entry *>calloc(names.capacity, sizeof(catalog_entry))
    if copy is NULL or names.entries is NULL:
        raise MemoryError
    for name, effect_flags in known.items():
        hash = words_hash(&_builtin, name, <uint32_t>len(name))
        for kind in range(4):
            at = catalog_place(hash, <catalog_kind>kind, names.capacity)
            while names.entries[at].hash:
                at = (at + 1) & (names.capacity - 1)
            names.entries[at].hash, names.entries[at].kind = hash, kind
            names.entries[at].effect_flags = sum(EFFECT_FLAGS[trait] for trait in effect_flags)
    memcpy(copy, <const char *>text, n)
    scan_text(&_builtin, &names, copy, <uint32_t>n, backslash, &found)
    free(copy)
    free(names.entries)
    return found


def scan(bytes text, bint backslash=False, dict known={}):
    """What the text of a statement says about its session, as (effect flags, ends, names): sets of words, and
    pairs of a letter and a name (see core/sql/effects.h).  `backslash`: standard_conforming_strings is off.
    `known`: what the catalogs have, of whatever kind, and the effect flags of each; what is not there is
    unknown."""
    cdef scan_result found = _scanned(text, backslash, known)
    cdef uint32_t at = 0
    cdef char kind
    cdef const char *name
    names = []
    while scan_next_name(found.names, found.names_bytes, &at, &kind, &name):
        names.append((chr(kind), decoded(name)))
    return ({word for word, bit in EFFECT_FLAGS.items() if found.effect_flags & bit},
            {word for word, bit in EFFECT_FLAGS.items() if found.ends & bit}, names)


def scan_reads_literals(bytes text):
    """Whether the scanner looks into literals of the text for what they say."""
    return _scanned(text, False, {}).reads_literals


def clean_text_mask(bytes text):
    """The text without what stands in its literals; None: it has none, or they are not certain."""
    cdef unsigned char *copy = <unsigned char *>malloc(len(text) + 1)
    cdef unsigned char *out = <unsigned char *>malloc(len(text) + 1)
    if copy is NULL or out is NULL:
        raise MemoryError
    memcpy(copy, <const char *>text, len(text))
    cdef uint32_t n = clean_texts_mask(copy, <uint32_t>len(text), out)
    masked = <bytes>out[:n] if n else None
    free(copy)
    free(out)
    return masked


cdef class CleanTexts:
    """A table of texts that leave nothing behind, for tests: see core/sql/clean_texts.h."""
    cdef clean_texts_table *table

    def __cinit__(self):
        self.table = <clean_texts_table *>calloc(1, sizeof(clean_texts_table))
        if self.table is NULL:
            raise MemoryError

    def __dealloc__(self):
        for i in range(CLEAN_TEXTS):
            free(self.table.places[i].text)
        free(self.table)

    def scan(self, bytes text, uint32_t serial=1, bint backslash=False):
        """As the relay scans a text. True: it was kept, and leaves nothing behind."""
        cdef readable read
        cdef scan_result found
        read.text, read.bytes = <const unsigned char *><const char *>text, <uint32_t>len(text)
        read.serial, read.backslash = serial, backslash
        if clean_texts_find(self.table, _builtin.key, &read, &found):
            return True
        found = _scanned(text, backslash, {})
        clean_texts_keep(self.table, _builtin.key, &read, &found)
        return False


def scan_work(bytes text, bint backslash=False):
    """How many tokens and bytes are read to scan a text."""
    return _scanned(text, backslash, {}).work


cdef tuple _digest_of(digest d):
    return (d.high, d.low)


cdef class Settings:
    """A store of sets of settings, for tests: see core/session/settings.h. `key`: of their digests, two
    numbers."""
    cdef settings_store store

    def __cinit__(self, key, *names):
        cdef uint64_t parts[2]
        cdef const char *tracked[32]
        for i, name in enumerate(names):
            tracked[i] = name
        parts[0], parts[1] = key
        settings_open(&self.store, parts, tracked, len(names))

    def look(self, bytes values, bint told=True, bint reset=False):
        """Of the set with these values, each with a NUL behind it (the tracked ones, then other names and
        values): its digest, those of what a Parse and of what the use of a statement goes by, the SQL that
        puts it in force. `told`: by a server."""
        cdef char text[65536]
        cdef settings_scope scope
        memset(&scope, 0, sizeof(scope))
        cdef settings_set *s = settings_intern(&self.store, &scope, <const char *>values,
                                               <uint32_t>len(values), told)
        if s is NULL:
            raise MemoryError
        cdef uint32_t n = settings_statement(&self.store, s, reset, text, sizeof(text))
        found = (_digest_of(s.digest), _digest_of(s.literals), _digest_of(s.run), text[:n])
        settings_drop(&self.store, s)
        return found
