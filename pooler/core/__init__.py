"""The compiled core: shared tables and relay.  It knows no configuration, no users, no SQL, no policy.

Reading order: layout.h (the rows, why they survive a SIGKILL), queue.c, limits.c, pool.c (who gets which server),
relay.h (the theory of the relay), client.c and server.c (the life of a query), relay.c (the loop), _core.pyx
(the binding).
"""

from ._core import (
    ACCEPT,
    CANCEL,
    CANCELED,
    CLIENT_CLOSED,
    CLOSING,
    DIAL,
    DIALING,
    FAIL,
    KILL,
    KILL_TEXTS,
    LOGIN,
    SERVER_CLOSED,
    TRAITS,
    WARNING,
    WELCOME,
    WELCOME_ROOM,
    Relay,
    Tables,
    TablesBusy,
    backend_effects,
    frontend_effects,
    monotonic_us,
    scan,
)

__all__ = [
    "ACCEPT",
    "CANCEL",
    "CANCELED",
    "CLIENT_CLOSED",
    "CLOSING",
    "DIAL",
    "DIALING",
    "FAIL",
    "KILL",
    "KILL_TEXTS",
    "LOGIN",
    "SERVER_CLOSED",
    "TRAITS",
    "WARNING",
    "WELCOME",
    "WELCOME_ROOM",
    "Relay",
    "Tables",
    "TablesBusy",
    "backend_effects",
    "frontend_effects",
    "monotonic_us",
    "scan",
]
