"""The arithmetic of logins, for tests: digests, stored secrets, one exchange of SCRAM."""


cdef extern from "login/crypto.h" nogil:
    enum: SHA256_BYTES, MD5_DIGITS
    bint crypto_sha256(const void *, uint32_t, unsigned char *)
    bint crypto_hmac(const void *, uint32_t, const void *, uint32_t, const void *, uint32_t, unsigned char *)
    bint crypto_md5(const void *, uint32_t, const void *, uint32_t, char *)
    bint crypto_pbkdf2(const void *, uint32_t, const void *, uint32_t, uint32_t, unsigned char *)
    bint crypto_same(const void *, const void *, uint32_t)
    bint crypto_random(void *, uint32_t)
    uint32_t crypto_base64(char *, const void *, uint32_t)
    int32_t crypto_unbase64(unsigned char *, uint32_t, const char *, uint32_t)


cdef extern from "login/secret.h" nogil:
    enum: STABLE_SALT_BYTES
    enum secret_kind:
        SECRET_PLAIN, SECRET_MD5, SECRET_SCRAM
    bint secret_answers_md5(const secret *, const char *, const unsigned char *, const void *, uint32_t)
    bint secret_is_password(const secret *, const char *, const void *, uint32_t)
    bint secret_derive(const void *, uint32_t, const void *, uint32_t, uint32_t, scram_keys *)
    bint secret_stable_salt(const void *, uint32_t, const char *, unsigned char *)
    bint secret_mock(const void *, uint32_t, const char *, unsigned char *, unsigned char *)


cdef extern from "login/scram.h" nogil:
    enum: SASL_BYTES_MAX, NONCE_BYTES, SERVER_FINAL_BYTES
    struct scram:
        uint32_t channel_bytes, bare_bytes, nonce_bytes, first_bytes
        unsigned char channel[96]
        char bare[1024]
        char first[3072]
    enum scram_fault:
        SCRAM_GOOD, SCRAM_BAD_MECHANISM, SCRAM_BAD_LENGTH
    scram_fault scram_initial_response(const unsigned char *, uint32_t, bint, c_bool *,
                                       const unsigned char **, uint32_t *)
    const char *scram_client_first(scram *, const unsigned char *, uint32_t, bint, const unsigned char *,
                                   uint32_t)
    uint32_t scram_server_first(scram *, const void *, uint32_t, uint32_t, const unsigned char *)
    const char *scram_client_final(const scram *, const unsigned char *, uint32_t, const unsigned char *,
                                   const unsigned char *, unsigned char *, char *, c_bool *)


LOGIN_SASL_LIMIT = SASL_BYTES_MAX


cdef _digest_or_error(bint good, const unsigned char *digest):
    if not good:
        raise RuntimeError("OpenSSL gave no digest")
    return digest[:SHA256_BYTES]


def login_sha256(bytes data):
    """SHA-256."""
    cdef unsigned char out[32]
    cdef unsigned char *copy = _exactly(data)
    good = crypto_sha256(copy, <uint32_t>len(data), out)
    free(copy)
    return _digest_or_error(good, out)


def login_hmac(bytes key, bytes first, bytes second=b""):
    """HMAC with SHA-256 of two pieces, one behind the other."""
    cdef unsigned char out[32]
    cdef unsigned char *copy = _exactly(key)
    cdef unsigned char *one = _exactly(first)
    cdef unsigned char *other = _exactly(second)
    good = crypto_hmac(copy, <uint32_t>len(key), one, <uint32_t>len(first), other, <uint32_t>len(second), out)
    free(copy)
    free(one)
    free(other)
    return _digest_or_error(good, out)


def login_md5(bytes first, bytes second=b""):
    """MD5 of two pieces, as digits."""
    cdef char out[32]
    if not crypto_md5(<const char *>first, <uint32_t>len(first), <const char *>second, <uint32_t>len(second),
                      out):
        raise RuntimeError("OpenSSL gave no digest")
    return out[:MD5_DIGITS]


def login_pbkdf2(bytes password, bytes salt, uint32_t iterations):
    """PBKDF2 with HMAC-SHA-256; None: refused."""
    cdef unsigned char out[32]
    if not crypto_pbkdf2(<const char *>password, <uint32_t>len(password), <const char *>salt,
                         <uint32_t>len(salt), iterations, out):
        return None
    return out[:SHA256_BYTES]


def login_same(bytes one, bytes other):
    """Whether two texts of the same length are the same."""
    if len(one) != len(other):
        raise ValueError("texts of the same length")
    return bool(crypto_same(<const char *>one, <const char *>other, <uint32_t>len(one)))


def login_random(uint32_t n):
    """Random bytes."""
    cdef unsigned char *out = <unsigned char *>calloc(n if n else 1, 1)
    if out is NULL:
        raise MemoryError
    good = crypto_random(out, n)
    found = out[:n]
    free(out)
    return found if good else None


def login_base64(bytes data):
    """Base64."""
    cdef unsigned char *copy = _exactly(data)
    cdef char *out = <char *>_exactly(b"\0" * ((len(data) + 2) // 3 * 4))
    n = crypto_base64(out, copy, <uint32_t>len(data))
    text = out[:n]
    free(copy)
    free(out)
    return text


def login_unbase64(bytes text, space=None):
    """What base64 stands for; None: it is none, or has more bytes than `space`."""
    cdef uint32_t size = len(text) if space is None else space
    cdef unsigned char *copy = _exactly(text)
    cdef unsigned char *out = _exactly(b"\0" * size)
    cdef int32_t n = crypto_unbase64(out, size, <const char *>copy, <uint32_t>len(text))
    data = None if n < 0 else out[:n]
    free(copy)
    free(out)
    return data


cdef class LoginSecret:
    """A stored secret; `prepared`: what SASLprep makes of it."""
    cdef secret *s

    def __cinit__(self, bytes raw, bytes prepared):
        cdef unsigned char *copy = _exactly(raw)
        self.s = secret_new(copy, <uint32_t>len(raw), <const char *>prepared, <uint32_t>len(prepared))
        free(copy)
        if self.s is NULL:
            raise MemoryError

    def __dealloc__(self):
        secret_free(self.s)

    @property
    def kind(self):
        """plain, md5 or scram"""
        return {SECRET_PLAIN: "plain", SECRET_MD5: "md5", SECRET_SCRAM: "scram"}[self.s.kind]

    @property
    def raw(self):
        """The text as it is stored."""
        return secret_raw(self.s)[:self.s.raw_bytes]

    @property
    def prepared(self):
        """The password from which keys are derived; of another kind there is none."""
        return secret_prepared(self.s)[:self.s.prepared_bytes]

    @property
    def verifier(self):
        """Iterations, salt, StoredKey, ServerKey; None: it is no SCRAM secret."""
        if self.s.kind != SECRET_SCRAM:
            empty = b"\0" * SHA256_BYTES
            if (self.s.iterations, self.s.salt_bytes) != (0, 0) or self.s.stored_key[:SHA256_BYTES] != empty:
                raise ValueError("a secret of another kind has parts of a verifier")
            return None
        return (self.s.iterations, secret_salt(self.s)[:self.s.salt_bytes],
                self.s.stored_key[:SHA256_BYTES], self.s.server_key[:SHA256_BYTES])


def login_answers_md5(LoginSecret secret, bytes user, bytes salt, bytes answer):
    """Whether this answers an MD5 challenge; `secret` None: the user does not exist."""
    cdef unsigned char *copy = _exactly(answer)
    if len(salt) != 4:
        raise ValueError("a salt of four bytes")
    good = secret_answers_md5(NULL if secret is None else secret.s, user, <const unsigned char *>salt, copy,
                              <uint32_t>len(answer))
    free(copy)
    return bool(good)


def login_is_password(LoginSecret secret, bytes user, bytes password):
    """Whether this is the password of a plain or MD5 secret; `secret` None: the user does not exist."""
    cdef unsigned char *copy = _exactly(password)
    good = secret_is_password(NULL if secret is None else secret.s, user, copy, <uint32_t>len(password))
    free(copy)
    return bool(good)


def login_derive(bytes prepared, bytes salt, uint32_t iterations):
    """ClientKey and ServerKey of a prepared password; None: refused."""
    cdef scram_keys keys
    if not secret_derive(<const char *>prepared, <uint32_t>len(prepared), <const char *>salt,
                         <uint32_t>len(salt), iterations, &keys):
        return None
    return keys.client_key[:SHA256_BYTES], keys.server_key[:SHA256_BYTES]


def login_stable_salt(bytes key, bytes user):
    """The salt of a user who has none stored."""
    cdef unsigned char salt[16]
    if not secret_stable_salt(<const char *>key, <uint32_t>len(key), user, salt):
        raise RuntimeError("OpenSSL gave no digest")
    return salt[:STABLE_SALT_BYTES]


def login_mock(bytes key, bytes user):
    """StoredKey and ServerKey of a user who does not exist."""
    cdef unsigned char stored[32]
    cdef unsigned char server[32]
    if not secret_mock(<const char *>key, <uint32_t>len(key), user, stored, server):
        raise RuntimeError("OpenSSL gave no digest")
    return stored[:SHA256_BYTES], server[:SHA256_BYTES]


def login_initial_response(bytes body, bint bound=False):
    """Whether the mechanism with binding was chosen, and the client-first-message; or what is wrong."""
    cdef c_bool plus
    cdef const unsigned char *data
    cdef uint32_t n
    cdef unsigned char *copy = _exactly(body)
    fault = scram_initial_response(copy, <uint32_t>len(body), bound, &plus, &data, &n)
    found = (bool(plus), data[:n]) if fault == SCRAM_GOOD else {SCRAM_BAD_MECHANISM: "mechanism",
                                                                 SCRAM_BAD_LENGTH: "length"}[fault]
    free(copy)
    return found


cdef class LoginScram:
    """One exchange, from the client's first message to its last; what is wrong comes back as a reason."""
    cdef scram x

    def __cinit__(self):
        memset(&self.x, 0xee, sizeof(self.x))   # nothing is asked for that was not set
        self.x.nonce_bytes = self.x.first_bytes = 0

    def client_first(self, bytes data, bint plus=False, bytes certificate=None):
        """Takes the client-first-message."""
        cdef unsigned char *copy = _exactly(data)
        cdef const unsigned char *bound_to = NULL
        cdef uint32_t n = 0
        if certificate is not None:
            bound_to, n = certificate, <uint32_t>len(certificate)
        cdef const char *reason = scram_client_first(&self.x, copy, <uint32_t>len(data), plus, bound_to, n)
        free(copy)
        return None if reason is NULL else reason.decode()

    def server_first(self, bytes salt, uint32_t iterations, bytes random):
        """The answer; None: it would be too long."""
        if len(random) != NONCE_BYTES:
            raise ValueError("18 random bytes")
        n = scram_server_first(&self.x, <const char *>salt, <uint32_t>len(salt), iterations,
                               <const unsigned char *>random)
        return self.x.first[:n] if n else None

    def say(self, bytes text):
        """Puts another server-first-message in the place of ours: that of a published example."""
        if len(text) > 1024:
            raise ValueError("it is longer than any of ours")
        memcpy(self.x.first, <const char *>text, len(text))
        self.x.first_bytes = <uint32_t>len(text)

    def client_final(self, bytes data, bytes stored_key, bytes server_key):
        """Takes the client-final-message: the reason, whether it is the password, ClientKey and answer."""
        cdef unsigned char client_key[32]
        cdef char final[46]
        cdef c_bool wrong = True
        if len(stored_key) != SHA256_BYTES or len(server_key) != SHA256_BYTES:
            raise ValueError("keys of 32 bytes")
        cdef unsigned char *copy = _exactly(data)
        cdef const char *reason = scram_client_final(
            &self.x, copy, <uint32_t>len(data), <const unsigned char *>stored_key,
            <const unsigned char *>server_key, client_key, final, &wrong)
        free(copy)
        if reason is not NULL:
            return reason.decode(), bool(wrong), None, None
        return None, bool(wrong), client_key[:SHA256_BYTES], final[:SERVER_FINAL_BYTES]

    @property
    def channel(self):
        """What the final message is to repeat."""
        return self.x.channel[:self.x.channel_bytes]

    @property
    def bare(self):
        """The client-first-message without its head."""
        return self.x.bare[:self.x.bare_bytes]
