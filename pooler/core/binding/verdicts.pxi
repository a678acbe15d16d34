"""The enums of the core that Python decides by: each number comes from the C enum, and stands there alone."""

from enum import IntEnum


class LoginVerdict(IntEnum):
    """Whether client_login() let a client in, or which limit forbids it."""

    OK = LOGIN_OK
    MAX_CLIENT_CONN = LOGIN_MAX_CLIENT_CONN
    MAX_DB = LOGIN_MAX_DB
    MAX_USER = LOGIN_MAX_USER
    DISABLED = LOGIN_DISABLED  # the database is
    FORGOTTEN = LOGIN_FORGOTTEN  # the rows were, meanwhile: they have to be looked up again


class AcceptEnd(IntEnum):
    """How a batch of accepting, or AcceptThread.give(), ended."""

    EMPTY = ACCEPT_EMPTY  # nobody is left in the backlog
    MORE = ACCEPT_MORE  # somebody may be
    KEPT = ACCEPT_KEPT  # no worker could take the last one
    SHORT = ACCEPT_SHORT  # of descriptors or memory


class CancelVerdict(IntEnum):
    """What the client of a cancel key is doing."""

    NOTHING = CANCEL_NOTHING  # no client has this key
    QUEUED = CANCEL_QUEUED  # it waited for a server, and does so no longer
    FORWARD = CANCEL_FORWARD  # its server runs something, and is held until cancel_end()
    BUSY = CANCEL_BUSY  # another request for the same server is under way
    IDLE = CANCEL_IDLE


class PeerState(IntEnum):
    """How far a cancel request for a client of another instance has come."""

    WAITING = PEER_WAITING
    CONNECTING = PEER_CONNECTING
    ACTIVE = PEER_ACTIVE


class CatalogState(IntEnum):
    """What is known of the catalogs of a database."""

    NONE = CATALOG_NONE
    READING = CATALOG_READING
    KNOWN = CATALOG_KNOWN
    FAILED = CATALOG_FAILED


class SharedDdl(IntEnum):
    """What a statement does to a database or a role, which all databases of a PostgreSQL share."""

    BEGINS = DDL_BEGINS  # something is about to be done to a database, or to what it is copied from
    DATABASE = DDL_DATABASE  # one was made or altered
    ROLE = DDL_ROLE  # one was made or altered
    ROLE_GONE = DDL_ROLE_GONE  # one was dropped
