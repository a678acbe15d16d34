"""Numbers and letters of the PostgreSQL wire protocol, version 3, and the limits pooler puts on them."""

from __future__ import annotations

# -- packets without a type byte, sent first on a connection (documentation, "Message Formats") --
PROTOCOL_3_0 = 3 << 16

#: The newest minor version that clients may have; 3.2 brought long cancel keys. Servers are asked for 3.0.
LATEST_MINOR = 2
LONG_KEYS_MINOR = 2

CANCEL_REQUEST = 80877102
SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104

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

#: A startup packet is at least its length and its code; the cap is PostgreSQL's MAX_STARTUP_PACKET_LENGTH.
MIN_STARTUP_BYTES = 8
MAX_STARTUP_BYTES = 10_000

#: PostgreSQL's PG_MAX_SASL_MESSAGE_LENGTH; real messages are about 200 bytes.
MAX_SASL_BYTES = 1_024

#: Longest password (PgBouncer: below 65,532), and the body that holds it with its terminator.
MAX_PASSWORD_BYTES = 65_531
MAX_PASSWORD_BODY_BYTES = MAX_PASSWORD_BYTES + 1

#: "md5", 32 digits and the terminator are 36; with more, a plain password is refused by its proper text.
MAX_MD5_BODY_BYTES = 1_024

#: The secret in a CancelRequest; 3.2 allows up to 256 bytes.
MIN_CANCEL_KEY_BYTES, MAX_CANCEL_KEY_BYTES = 4, 256

#: PgBouncer's limits: NAMEDATALEN for databases; users may be longer because they can be mapped.
MAX_USER_BYTES = 127
MAX_DATABASE_BYTES = 63

#: One message of a server during its login. Error texts are the longest; 10 kB is generous (CVE-2026-6665).
MAX_LOGIN_BYTES = 10_000

#: Messages that a server may send in one login. PostgreSQL sends about 20; an endless stream must end.
MAX_LOGIN_MESSAGES = 500

#: One message, and all rows, of a query that pooler itself asks.
MAX_RESULT_BYTES = 1_000_000
MAX_RESULT_ROWS = 100_000
