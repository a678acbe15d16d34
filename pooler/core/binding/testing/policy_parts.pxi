"""What logins look up and how their packets are read (core/login), for tests."""


cdef extern from "login/packet.h" nogil:
    enum: PACKET_SSL, PACKET_GSS, PACKET_CANCEL, PACKET_STARTUP, PARAMETERS_MAX
    struct fault:
        char sqlstate[6]
        char text[512]
    struct pair:
        const char *name
        const char *value
    struct packet_ "packet":
        uint8_t kind, replication
        uint16_t minor
        const char *user
        const char *database
        const char *options
        uint32_t setting_count, extension_count
        pair *settings
        const char **extensions
        uint32_t cancel_pid, cancel_key_bytes
        const unsigned char *cancel_key
    uint32_t packet_length(const unsigned char *, fault *)
    bint packet_read(packet_ *, const unsigned char *, uint32_t, fault *)
    void packet_free(packet_ *)
    struct wanted:
        const char *tracked[32]
        uint32_t other_count
        pair *others
    bint packet_wanted(wanted *, const packet_ *, const char **, int, const name_set *, bint, fault *)
    void wanted_free(wanted *)

DERIVED_LIMIT = DERIVED_MAX


cdef tuple _fault_of(const fault *f):
    return decoded(f.sqlstate), <bytes>f.text


def login_packet_length(bytes head):
    """The length of a packet by its first four bytes, or why it has none: (SQLSTATE, text)."""
    cdef fault f
    cdef unsigned char *copy
    if len(head) != 4:
        raise ValueError
    copy = _exactly(head)
    cdef uint32_t length = packet_length(copy, &f)
    free(copy)
    return length if length else _fault_of(&f)


cdef tuple _packet_of(const packet_ *p):
    if p.kind == PACKET_CANCEL:
        return "cancel", p.cancel_pid, p.cancel_key[:p.cancel_key_bytes]
    if p.kind != PACKET_STARTUP:
        return ("ssl" if p.kind == PACKET_SSL else "gss",)
    return ("startup", p.minor, <bytes>p.user, <bytes>p.database, REPLICATION[p.replication],
            <bytes>p.options,
            tuple((<bytes>p.settings[i].name, <bytes>p.settings[i].value) for i in range(p.setting_count)),
            tuple(<bytes>p.extensions[i] for i in range(p.extension_count)))


def login_packet(bytes packet):
    """A packet that opens a connection: its kind and what is in it; or `fault`, SQLSTATE, text."""
    cdef fault f
    cdef packet_ p
    cdef unsigned char *copy = _exactly(packet)
    try:
        if not packet_read(&p, copy, <uint32_t>len(packet), &f):
            return ("fault", *_fault_of(&f))
        found = _packet_of(&p)
        packet_free(&p)
        return found
    finally:
        free(copy)


def login_wanted(bytes packet, names, ignored, bint accept_unknown=False):
    """The settings that the client of a packet shall have: `wanted`, the value for each of `names` or None,
    others as pairs; or `fault`, SQLSTATE, text."""
    cdef fault f
    cdef packet_ p
    cdef wanted w
    cdef name_set ignore
    cdef void *old
    cdef const char *given[64]
    cdef int count = <int>min(<int>len(names), 64)
    cdef unsigned char *copy = _exactly(packet)
    kept = tuple(names)
    memset(&ignore, 0, sizeof(ignore))
    ignore.key[0], ignore.key[1] = 1, 2
    try:
        for i in range(count):
            given[i] = kept[i]
        for name in ignored:
            if not names_put(&ignore, name, NULL, &old):
                raise MemoryError
        if not packet_read(&p, copy, <uint32_t>len(packet), &f):
            return ("fault", *_fault_of(&f))
        if not packet_wanted(&w, &p, given, count, &ignore, accept_unknown, &f):
            packet_free(&p)
            return ("fault", *_fault_of(&f))
        tracked = tuple(None if w.tracked[i] is NULL else <bytes>w.tracked[i]
                        for i in range(min(count, <int>PARAMETERS_MAX)))
        others = tuple((<bytes>w.others[i].name, <bytes>w.others[i].value) for i in range(w.other_count))
        wanted_free(&w)
        packet_free(&p)
        return "wanted", tracked, others
    finally:
        names_free_all(&ignore, NULL)
        free(copy)


cdef class NameSet:
    """A map of names to numbers from 1 (see login/names.h)."""
    cdef name_set set_

    def __cinit__(self, tuple key=(1, 2)):
        self.set_.key[0], self.set_.key[1] = key

    def __dealloc__(self):
        names_free_all(&self.set_, NULL)

    def put(self, bytes name, int value):
        """Returns what it had; None: nothing."""
        cdef void *old
        if not names_put(&self.set_, name, <void *><size_t>value, &old):
            raise MemoryError
        return <size_t>old or None

    def get(self, bytes name):
        """None: it is not there."""
        cdef name_entry *entry = names_get(&self.set_, name)
        return None if entry is NULL else <size_t>entry.value

    def clear(self):
        """Takes everything out."""
        names_free_all(&self.set_, NULL)

    @property
    def count(self):
        """Of names."""
        return self.set_.count

    @property
    def capacity(self):
        """Places for names."""
        return self.set_.capacity


def login_address(bytes text):
    """Family and bytes of an address as a socket tells it; None: it is none."""
    cdef uint8_t family
    cdef unsigned char address[16]
    if not rules_address(text, &family, address):
        return None
    return family, address[:4 if family == 4 else 16]


cdef dict _METHOD_NAMES = {number: word for word, number in _METHODS.items()}


def login_rule(LoginPolicy of, bytes database, bytes user, bytes address, bint tls=False,
               bint physical_replication=False):
    """Line, number, method of the rule for a client and whether it has a map; None: there is none. `address`:
    None for a unix socket."""
    cdef rule_client c
    cdef const rule *r
    memset(&c, 0, sizeof(c))
    c.database, c.user, c.tls, c.physical_replication = database, user, tls, physical_replication
    if address is not None and not rules_address(address, &c.family, c.address):
        raise ValueError("no address")
    r = rules_find(&of._open().rules, &c)
    if r is NULL:
        return None
    return r.line, r.number, _METHOD_NAMES.get(r.method, "unknown"), bool(r.mapped)


def login_settings(LoginPolicy of):
    """All that is not looked up by a name."""
    cdef const policy *p = of._open()
    found = dict(p.settings)
    found["auth_type"] = _METHOD_NAMES.get(p.settings.auth_type, "unknown")
    found["ignored"] = {<bytes>p.ignored.entries[i].name for i in range(p.ignored.capacity)
                        if p.ignored.entries[i].name is not NULL}
    return {**found, "tls": p.tls is not NULL, "notice": p.notice[:p.notice_bytes], "rules": p.rules.count}


def login_find(LoginPolicy of, bytes database):
    """Of a database: the user that it forces, whether it has an auth_user, whether session_state is not off;
    None: there is no such database."""
    cdef const policy_database *d = policy_find(of._open(), database)
    if d is NULL:
        return None
    return <bytes>d.user if d.forced_user else None, bool(d.auth_user), bool(d.follows)


def login_is_console(LoginPolicy of, bytes database):
    """Whether the console has this name."""
    return bool(policy_is_console(of._open(), database))


def login_follows(LoginPolicy of, bytes database, bytes user):
    """Whether any setting may be in a startup packet."""
    return bool(policy_follows(of._open(), database, user))


def login_secret(LoginPolicy of, bytes user):
    """A user's secret and its prepared form."""
    cdef const secret *s = policy_secret(of._open(), user)
    if s is NULL:
        return None
    return secret_raw(s)[:s.raw_bytes], secret_prepared(s)[:s.prepared_bytes]


def login_mark_derived(LoginPolicy of, bytes user, uint32_t iterations):
    """As if the keys of this user's password had been derived."""
    cdef secret *s = policy_secret(of._open(), user)
    cdef scram_keys keys
    if s is NULL:
        raise KeyError(user)
    memset(&keys, 0, sizeof(keys))
    memset(keys.client_key, iterations & 0xFF, 32)
    policy_keep_keys(of._open(), s, &keys, iterations)


def login_derived(LoginPolicy of):
    """The users with keys: iterations and the first four bytes of the keys."""
    cdef const policy *p = of._open()
    cdef const secret *s
    found = {}
    for i in range(p.secrets.capacity):
        s = <const secret *>p.secrets.entries[i].value
        if p.secrets.entries[i].name is not NULL and s.derived:
            found[<bytes>p.secrets.entries[i].name] = (s.derived_iterations, s.keys.client_key[:4])
    return found


def login_inherit(LoginPolicy of, LoginPolicy old):
    """Takes over derived keys; returns how many there are now."""
    policy_inherit(of._open(), old._open())
    return len(login_derived(of))
