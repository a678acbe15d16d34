"""Cancel keys of peered instances, as PgBouncer makes them: whose client it is, and how far a request may go.

Of the eight bytes of a key, bytes 1 and 2 are the peer's number (the lower byte first), the two lowest bits
of byte 7 how often the request may still be handed on. The others are random, and so is what follows in the
longer keys of protocol 3.2.
"""

from __future__ import annotations

#: The bits of byte 7 that count.
HOPS = 0x03


def peer_of(pid: int) -> int:
    """The number in the first four bytes of a key."""
    first = pid.to_bytes(4, "big")
    return first[1] | first[2] << 8


def hops_left(key: bytes) -> int:
    """How often a request with this secret may be handed on."""
    return key[3] & HOPS


def handed_on(key: bytes) -> bytes:
    """The secret as the next peer gets it."""
    return key[:3] + bytes([key[3] - 1]) + key[4:]


def arrived(key: bytes) -> bytes:
    """The secret as the client was told it."""
    return key[:3] + bytes([key[3] | HOPS]) + key[4:]
