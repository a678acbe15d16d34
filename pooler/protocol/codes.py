"""Numbers and letters of the PostgreSQL wire protocol, version 3, and the limits pooler puts on them."""

from __future__ import annotations

# -- packets without a type byte, sent first on a connection (documentation, "Message Formats") --
PROTOCOL_3_0 = 3 << 16

#: The minor version of protocol 3 that brought long cancel keys. Servers are asked for 3.0.
LONG_KEYS_MINOR = 2

CANCEL_REQUEST = 80877102
SSL_REQUEST = 80877103

# -- authentication requests: the first word of a message of type R --
AUTH_OK = 0
AUTH_CLEARTEXT = 3
AUTH_MD5 = 5
AUTH_SASL = 10
AUTH_SASL_CONTINUE = 11
AUTH_SASL_FINAL = 12

SCRAM_SHA_256 = "SCRAM-SHA-256"
SCRAM_SHA_256_PLUS = "SCRAM-SHA-256-PLUS"

# -- transaction status in ReadyForQuery --
STATUS_IDLE = b"I"
STATUS_IN_TRANSACTION = b"T"
STATUS_FAILED = b"E"

# -- types of columns that the console sends (pg_type.oid) --
OID_BOOL = 16
OID_INT8 = 20
OID_INT4 = 23
OID_OID = 26

#: pg_type.typlen of the types above; everything else has a variable length (-1).
TYPE_SIZES = {OID_BOOL: 1, OID_INT8: 8, OID_INT4: 4, OID_OID: 4}

# -- limits: every length that a peer names is checked against one of these before anything is allocated -----

#: PgBouncer's limit of users, who may have longer names than in PostgreSQL because they can be mapped.
MAX_USER_BYTES = 127

#: One message of a server during its login. Error texts are the longest; 10 kB is generous (CVE-2026-6665).
MAX_LOGIN_BYTES = 10_000

#: Messages that a server may send in one login. PostgreSQL sends about 20; an endless stream must end.
MAX_LOGIN_MESSAGES = 500

#: One message, and all rows, of a query that pooler itself asks.
MAX_RESULT_BYTES = 1_000_000
MAX_RESULT_ROWS = 100_000
