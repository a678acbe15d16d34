"""The compiled core: shared tables and relay.  It knows no configuration, no users, no SQL, no policy.

README.md has the folders and who may include whom. Reading order: tables/layout.h (the rows, why they
survive a SIGKILL), tables/queue.c, limits.c, pool.c (who gets which server), relay/relay.h (the theory of
the relay), relay/client.c and server.c (the life of a query), relay/loop.c, tls/session.h and bridge.h (TLS
with clients and with PostgreSQL), binding/tables.pxi and relay.pxi.
"""

from ._core import (
    CANCELED,
    CATALOG_CLASSES,
    CLOSING,
    DIALING,
    EFFECT_FLAGS,
    FAIL,
    KILL,
    WELCOME,
    WELCOME_ROOM,
    Bridge,
    CancelVerdict,
    CatalogGraph,
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
    backend_effects,
    frontend_effects,
    monotonic_us,
    scan,
    scan_work,
    server_message_fits,
)

__all__ = [
    "CANCELED",
    "CATALOG_CLASSES",
    "CLOSING",
    "DIALING",
    "EFFECT_FLAGS",
    "FAIL",
    "KILL",
    "WELCOME",
    "WELCOME_ROOM",
    "Bridge",
    "CancelVerdict",
    "CatalogGraph",
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
    "backend_effects",
    "frontend_effects",
    "monotonic_us",
    "scan",
    "scan_work",
    "server_message_fits",
]
