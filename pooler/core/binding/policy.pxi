"""What the configuration says of logins, on its way from Python to a relay."""

#: The words of auth_type and of the rules' methods; what is none of them lets no client in.
cdef dict _METHODS = {"hba": METHOD_NONE, "reject": METHOD_REJECT, "any": METHOD_ANY, "trust": METHOD_TRUST,
                      "plain": METHOD_PLAIN, "md5": METHOD_MD5, "scram-sha-256": METHOD_SCRAM,
                      "peer": METHOD_PEER, "cert": METHOD_CERT, "ldap": METHOD_LDAP, "pam": METHOD_PAM}
cdef dict _RULE_KINDS = {"local": RULE_LOCAL, "host": RULE_HOST, "hostssl": RULE_HOSTSSL,
                         "hostnossl": RULE_HOSTNOSSL}
cdef dict _RULE_WORDS = {"all": RULE_ALL, "sameuser": RULE_SAMEUSER, "replication": RULE_REPLICATION}


cdef int _add_name(name_set *names, str name, void *value, void **old) except -1:
    """Returns whether it was added. A name with a NUL in it is none that a client could say; in C it would be
    another, shorter one."""
    cdef bytes raw = encoded(name)
    old[0] = NULL
    if b"\0" in raw:
        return 0
    if not names_put(names, raw, value, old):
        raise MemoryError
    return 1


cdef int _add_names(name_set *names, given) except -1:
    cdef void *old
    for name in given:
        _add_name(names, name, NULL, &old)
    return 0


cdef uint8_t _rule_words(words):
    cdef uint8_t bits = 0
    for word in words:
        bits |= <uint8_t>_RULE_WORDS[word]
    return bits


cdef class LoginPolicy:
    """Tables for the logins of one relay, filled once (see worker/login_policy.py). A relay that takes it
    leaves it empty: nothing can be added then. `key`: of the hashes. Raises ValueError for what has no place
    in it."""

    cdef policy *p

    def __cinit__(self, tuple key, *, str auth_type="md5", bint auth_user=False, bint tls_required=False,
                  bint log_connections=True, bint log_disconnections=True, bint log_pooler_errors=True,
                  bint verbose=False, bint add_host=False, int32_t scram_iterations=4096,
                  uint32_t max_unauthenticated=0, uint32_t max_silent_per_address=0,
                  double login_timeout_s=0, int32_t listen_port=0, uint32_t own_uid=0, uint32_t serial=0):
        cdef uint64_t parts[2]
        parts[0], parts[1] = key
        self.p = policy_new(parts)
        if self.p is NULL:
            raise MemoryError
        cdef policy_settings *s = &self.p.settings
        s.auth_type = <uint8_t>_METHODS.get(auth_type, METHOD_UNKNOWN)
        s.auth_user, s.tls_required = auth_user, tls_required
        s.log_connections, s.log_disconnections = log_connections, log_disconnections
        s.log_pooler_errors, s.verbose, s.add_host = log_pooler_errors, verbose, add_host
        s.scram_iterations = scram_iterations
        s.max_unauthenticated, s.max_silent_per_address = max_unauthenticated, max_silent_per_address
        s.login_timeout_us = <uint64_t>(login_timeout_s * 1e6)
        s.listen_port, s.own_uid, s.serial = listen_port, own_uid, serial

    def __dealloc__(self):
        policy_drop(self.p)

    cdef policy *_open(self) except NULL:
        if self.p is NULL:
            raise ValueError("a relay has it")
        return self.p

    def add_secret(self, str user, bytes raw, bytes prepared):
        """The secret of a user in auth_file. `prepared`: what SASLprep makes of a password in clear."""
        cdef policy *p = self._open()
        cdef void *old
        cdef const char *raw_start = raw
        cdef const char *prepared_start = prepared
        cdef secret *made = secret_new(raw_start, <uint32_t>len(raw), prepared_start, <uint32_t>len(prepared))
        cdef bint added = False
        if made is NULL:
            raise MemoryError
        try:
            added = _add_name(&p.secrets, user, made, &old)
        finally:
            if not added:
                secret_free(made)
        if added:
            secret_free(<secret *>old)

    def add_database(self, str name, *, str user, bint auth_user, bint follows, str instance=""):
        """An entry of [databases]. `user`: that it forces, or None; `auth_user`: it has one of its own;
        `follows`: whether its session_state is not off, for users that have none; `instance`: its PostgreSQL,
        as the tables name it."""
        cdef policy *p = self._open()
        cdef void *old = NULL
        cdef policy_database *made = <policy_database *>calloc(1, sizeof(policy_database))
        cdef bint added = False
        if made is NULL:
            raise MemoryError
        try:
            _fill_database(made, user, auth_user, follows, instance)
            added = _add_name(&p.databases, name, made, &old)
        finally:
            free(old if added else <void *>made)

    def set_automatic(self, *, str user, bint auth_user, bint follows, str instance=""):
        """The entry `*`."""
        cdef policy *p = self._open()
        _fill_database(&p.automatic, user, auth_user, follows, instance)
        p.settings.has_automatic = True

    def add_user(self, str name, *, bint follows):
        """An entry of [users] that has a session_state."""
        cdef policy *p = self._open()
        cdef void *old = NULL
        cdef policy_user *made = <policy_user *>calloc(1, sizeof(policy_user))
        cdef bint added = False
        if made is NULL:
            raise MemoryError
        made.has_follows, made.follows = True, follows
        try:
            added = _add_name(&p.users, name, made, &old)
        finally:
            free(old if added else <void *>made)

    def add_console(self, str name):
        """A name of the pseudo-database."""
        _add_names(&self._open().consoles, [name])

    def add_ignored(self, str name):
        """A name of ignore_startup_parameters, in any case of letters."""
        _add_names(&self._open().ignored, [name.lower()])

    def add_rule(self, str kind, str method, *, int32_t line, int32_t number, bint mapped, database_words,
                 databases, user_words, users, tuple network=None):
        """The next line of auth_hba_file. Words are keywords, the others names; `number`: by which Python
        knows it; `network`: 4 or 6, address and mask as bytes, or None for all."""
        cdef policy *p = self._open()
        cdef rule made
        memset(&made, 0, sizeof(made))
        made.kind = <uint8_t>_RULE_KINDS[kind]
        made.method = <uint8_t>_METHODS.get(method, METHOD_UNKNOWN)
        made.database_words, made.user_words = _rule_words(database_words), _rule_words(user_words)
        made.line, made.number, made.mapped = line, number, mapped
        if network is not None:
            _fill_network(&made, network)
        memcpy(made.databases.key, p.secrets.key, sizeof(made.databases.key))
        memcpy(made.users.key, p.secrets.key, sizeof(made.users.key))
        cdef rule *more = <rule *>realloc(p.rules.rules, (p.rules.count + 1) * sizeof(rule))
        if more is NULL:
            raise MemoryError
        p.rules.rules = more
        try:
            _add_names(&made.databases, databases)
            _add_names(&made.users, users)
        except BaseException:
            names_free_all(&made.databases, NULL)
            names_free_all(&made.users, NULL)
            raise
        more[p.rules.count] = made
        p.rules.count += 1

    def set_tls(self, TlsContext context):
        """What clients get TLS with; None: they have none."""
        cdef policy *p = self._open()
        if context is not None and not SSL_CTX_up_ref(context.c):
            raise TlsError("the context cannot be kept")
        if p.tls is not NULL:
            SSL_CTX_free(p.tls)
        p.tls = context.c if context is not None else NULL

    def set_notice(self, bytes message):
        """A NoticeResponse for each client that is in; empty: none."""
        cdef policy *p = self._open()
        cdef unsigned char *copy = NULL
        if len(message):
            copy = <unsigned char *>malloc(len(message))
            if copy is NULL:
                raise MemoryError
            memcpy(copy, <const char *>message, len(message))
        free(p.notice)
        p.notice, p.notice_bytes = copy, <uint32_t>len(message)


cdef int _fill_database(policy_database *d, str user, bint auth_user, bint follows, str instance) except -1:
    cdef bytes raw = encoded(user or "")
    if <size_t>len(raw) >= sizeof(d.user) or b"\0" in raw:
        raise ValueError("no name of a user")
    d.forced_user, d.auth_user, d.follows = user is not None, auth_user, follows
    put_text(d.user, sizeof(d.user), raw)
    put_text(d.instance, sizeof(d.instance), encoded(instance))
    return 0


cdef int _fill_network(rule *r, tuple network) except -1:
    cdef uint8_t family
    cdef bytes address, mask
    family, address, mask = network
    cdef int n = 4 if family == 4 else 16
    if family not in (4, 6) or len(address) != n or len(mask) != n:
        raise ValueError("no network")
    r.family = family
    memcpy(r.address, <const char *>address, n)
    memcpy(r.mask, <const char *>mask, n)
    return 0
