"""Logins: what Python is asked and answers, and what is given over to it (login/questions.h)."""


class LoginAnswer(IntEnum):
    """What Python says to a question about a login."""

    YES = ANSWER_YES
    NO = ANSWER_NO
    FAULT = ANSWER_FAULT
    LEFT = ANSWER_LEFT


class LoginQuestion(IntEnum):
    """What is asked; the fields of each stand in login/questions.h."""

    SECRET = ASKS_SECRET
    LDAP = ASKS_LDAP
    PAM = ASKS_PAM
    PREPARED = ASKS_PREPARED
    PEER = ASKS_PEER
    MAP = ASKS_MAP
    POOL = ASKS_POOL


class LoginPass(IntEnum):
    """Why a client is Python's from here on."""

    CONSOLE = PASS_CONSOLE
    REPLICATION = PASS_REPLICATION
    CANCEL = PASS_CANCEL


cdef object _fields(const event *e):
    """The byte strings of an event, each behind its length; frees them."""
    cdef uint32_t at = 0, n
    found = []
    while at + 4 <= e.data_bytes:
        memcpy(&n, e.data + at, 4)
        at += 4
        found.append(PyBytes_FromStringAndSize(<char *>e.data + at, n))
        at += n
    free(e.data)
    return found


cdef bytes _packed(fields):
    """Byte strings as the core reads them."""
    cdef uint32_t n
    parts = []
    for field in fields:
        n = <uint32_t>len(field)
        parts.append((<char *>&n)[:4] + field)
    return b"".join(parts)


cdef object _session(tls *t):
    """The TLS of a client that is Python's now; None: plain."""
    cdef TlsSession made
    if t is NULL:
        return None
    made = TlsSession.__new__(TlsSession)
    made.t = t
    made.server = True
    return made
