"""The compiled core: shared tables and relay.  It knows no configuration, no users, no SQL, no policy.

README.md has the folders and who may include whom. Reading order: tables/layout.h (the rows, why they
survive a SIGKILL), tables/queue.c, limits.c, pool.c (who gets which server), relay/relay.h (the theory of
the relay), relay/client.c and server.c (the life of a query), relay/loop.c, tls/session.h and bridge.h (TLS
with clients and with PostgreSQL), binding/tables.pxi and relay.pxi.
"""

from ._core import (
    CANCELED,
    CLOSING,
    DIALING,
    FAIL,
    KILL,
    WELCOME,
    WELCOME_SPACE,
    Bridge,
    CancelVerdict,
    CatalogState,
    LoginVerdict,
    PeerState,
    Relay,
    SharedDdl,
    Tables,
    TablesBusy,
    TlsContext,
    TlsError,
    TlsSession,
    monotonic_us,
)

__all__ = [
    "CANCELED",
    "CLOSING",
    "DIALING",
    "FAIL",
    "KILL",
    "WELCOME",
    "WELCOME_SPACE",
    "Bridge",
    "CancelVerdict",
    "CatalogState",
    "LoginVerdict",
    "PeerState",
    "Relay",
    "SharedDdl",
    "Tables",
    "TablesBusy",
    "TlsContext",
    "TlsError",
    "TlsSession",
    "monotonic_us",
]
