"""The compiled core: shared tables, logins of clients, relay. It reads no configuration: rows and
`LoginPolicy` have what it needs of one, and Python fills them.

README.md has the folders and who may include whom. Reading order: tables/layout.h (the rows, why they
survive a SIGKILL), tables/queue.c, limits.c, pool.c (who gets which server), login/login.h (a client logs
in), relay/relay.h (the theory of the relay), relay/client.c and server.c (the life of a query), relay/loop.c,
tls/tls_session.h and bridge.h (TLS with clients and with PostgreSQL), binding/tables.pxi, policy.pxi,
relay.pxi.
"""

from ._core import (
    CANCELED,
    CLOSING,
    DIALING,
    FAIL,
    KILL,
    WELCOME,
    WELCOME_SPACE,
    AcceptEnd,
    AcceptThread,
    Bridge,
    CancelVerdict,
    CatalogState,
    LoginAnswer,
    LoginPass,
    LoginPolicy,
    LoginQuestion,
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
    "AcceptEnd",
    "AcceptThread",
    "Bridge",
    "CancelVerdict",
    "CatalogState",
    "LoginAnswer",
    "LoginPass",
    "LoginPolicy",
    "LoginQuestion",
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
