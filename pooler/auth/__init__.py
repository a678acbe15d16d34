"""How passwords and secrets prove who somebody is; no sockets, no clock, and no wire messages.

`passwords` tells the kinds of stored secrets apart, and which one logs in at a server; `scram` has the
arithmetic of SCRAM-SHA-256, `scram_client` our side of it at PostgreSQL, `saslprep` what becomes of a
password before it; `method` is a way to log in that Python is asked about. The proofs of clients are checked
by the core (core/login).
"""
