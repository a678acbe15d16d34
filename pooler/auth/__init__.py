"""How passwords and secrets prove who somebody is; no sockets, no clock, and no wire messages.

`passwords` tells the kinds of stored secrets apart; `scram` has the arithmetic of SCRAM-SHA-256,
`scram_server` and `scram_client` are its two sides.
"""
