"""Constants, and what turns texts and stamps of C into values of Python and back."""

import os

from pooler.core.events import (Accepting, CancelAnswer, CancelNeeded, DialNeeded, ListenNeeded, LoginAsks,
                                LoginLeft, LoginOrdered, LoginPassed, LogLines, Overdue, SharedDdlSeen, Slot)


cdef extern from "io/state_machine.h" nogil:
    """
    #ifdef POOLER_DEBUG
    #define DEBUG_BUILD_ 1
    #else
    #define DEBUG_BUILD_ 0
    #endif
    """
    enum: DEBUG_BUILD_

#: Whether the core checks its state machines: tests run on no other.
DEBUG_BUILD = bool(DEBUG_BUILD_)


class TablesBusy(Exception):
    """The lock of the tables could not be had in time: its holder is stopped."""


HANDOFF_WORDS = ("taken", "released", "wanted", "granted", "hurry")  # enum handoff_word
SESSION_STATES = ("off", "auto", "error", "strict")
SHOWN_AS = {"clients": SHOWN_CLIENTS, "sockets": SHOWN_SOCKETS, "active_sockets": SHOWN_ACTIVE_SOCKETS}
POOL_MODES = ("session", "transaction", "statement")
REPLICATION = ("none", "logical", "physical")
KILL_TEXTS = {"admin forced disconnect": 0, "database removed": 1, "server shutting down": 2,
              "pooler is shutting down": 3, "database configuration changed": 4, "client_login_timeout": 5}
WELCOME_SPACE = WELCOME_BYTES
WELCOME, FAIL, KILL, CANCELED = ORDER_WELCOME, ORDER_FAIL, ORDER_KILL, ORDER_CANCELED
DIALING, CLOSING = SL_LOGIN, SL_CLOSING  # states of a slot whose connection is being opened, or ended
LISTENER_STATES = ("none", "opening", "open", "refused")
COUNTER_NAMES = ("server_assignment_count", "xact_count", "query_count", "bytes_received", "bytes_sent",
                 "xact_time",
                 "query_time", "wait_time", "client_parse_count", "server_parse_count", "bind_count",
                 "client_login_count")


def monotonic_us():
    """The clock of all stamps in the tables: CLOCK_MONOTONIC in microseconds."""
    return clock_us()


cdef bytes encoded(text):
    return text.encode("utf-8", "surrogateescape")


cdef str decoded(const char *text):
    return text[:strlen(text)].decode("utf-8", "surrogateescape")


cdef void put_text(char *target, size_t space, bytes text):
    cdef size_t n = min(<size_t>len(text), space - 1)
    memcpy(target, <const char *>text, n)
    target[n] = 0


cdef void put_endpoint(endpoint *where, addr, int port, local_addr, int local_port):
    put_text(where.addr, 48, encoded(addr))
    put_text(where.local_addr, 48, encoded(local_addr))
    where.port, where.local_port = port, local_port


cdef bint _over(uint64_t now, uint64_t since, uint64_t limit):
    return limit > 0 and since > 0 and now > since and now - since > limit


cdef double _wall():
    import time
    return time.time()


cdef double _wall_of(uint64_t stamp, uint64_t now):
    if not stamp:
        return 0.0
    return _wall() - (now - stamp) / 1e6 if now > stamp else _wall()


def reasons_of(uint32_t pinned):
    """Why a server stays with its client, in words."""
    cdef char text[128]
    return decoded(pin_reasons(pinned, text, 128))


PIN_NAMES = tuple(reasons_of(1 << (reason + 1)) for reason in range(PIN_REASONS))


cdef int _major(bytes welcome):
    """The major version in the parameters that a server reported: 18 of "18.1", 19 of "19devel"; 0: none."""
    fields = welcome.split(b"\0")
    for name, value in zip(fields[::2], fields[1::2]):
        if name == b"server_version":
            digits = value[: len(value) - len(value.lstrip(b"0123456789"))]
            return int(digits) if digits else 0
    return 0
