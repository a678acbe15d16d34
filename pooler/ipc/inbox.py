"""The inbox of a process: datagrams that carry client and server sockets.

Every worker has one, and so has the master. Whoever holds the send end may drop a datagram into it; only
the owner reads. They are made before the first fork and live as long as the master, so that what was queued
for a worker that died reaches its replacement.

A datagram is three integers and at most one descriptor. The workers read theirs in the compiled relay, and
the master sends clients by core/tables/accept.c: the format is fixed.

    kind           a                      b            descriptor
    CLIENT         1 if a unix socket     0            an accepted client
    SERVER         slot                   generation   a duplicate of a server connection
    PLAIN          slot                   generation   to the master: what workers share instead of that
                                                       duplicate,
                                                       because the connection is encrypted (core/tls/bridge.h)
    CLOSED         slot                   generation   none: close your duplicate
    NOTIFICATION   row of a channel       its id       none; behind it a NotificationResponse for those who
                                                       listen
    MARKER         row of a client        its id       none: what this client sent has come back
                                                       (core/notify/subscribe.h)
    LISTEN         row of a database      0            none: the listening connection that you have has work

Whoever opens a server sends SERVER to the master *first*, before it connects: a worker forked meanwhile
either inherits the duplicate or finds the datagram in its inbox, never neither.
"""

from __future__ import annotations

import contextlib
import enum
import os
import socket
import struct
from typing import NamedTuple

from pooler.ipc import fds

FORMAT = struct.Struct("<IiI")


class Kind(enum.IntEnum):
    """What a datagram is about. The numbers are part of the format."""

    CLIENT = 1
    SERVER = 2
    CLOSED = 3
    NOTIFICATION = 4
    MARKER = 5
    LISTEN = 6
    PLAIN = 7


class Datagram(NamedTuple):
    """One message of an inbox; `fd` is -1 if none came with it, and belongs to the reader."""

    kind: Kind
    a: int
    b: int
    fd: int = -1


class MalformedDatagram(ValueError):
    """Something that is not one of ours was in an inbox; its descriptor, if any, has been closed."""


def open_pair() -> tuple[socket.socket, socket.socket]:
    """A new inbox: (receive end, send end), both non-blocking and close-on-exec."""
    receive_end, send_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    receive_end.setblocking(False)
    send_end.setblocking(False)
    return receive_end, send_end


def send_server(outbox: socket.socket, slot: int, generation: int, fd: int) -> bool:
    """Give a duplicate of a server connection; False if the inbox is full."""
    return fds.send(outbox, FORMAT.pack(Kind.SERVER, slot, generation), fd)


def send_plain(outbox: socket.socket, slot: int, generation: int, fd: int) -> bool:
    """Give the master the plain end of an encrypted server connection; False if the inbox is full."""
    return fds.send(outbox, FORMAT.pack(Kind.PLAIN, slot, generation), fd)


def send_notification(outbox: socket.socket, row: int, channel_id: int, message: bytes) -> bool:
    """Give a NotificationResponse to the clients that listen on a channel; False if the inbox is full."""
    return fds.send(outbox, FORMAT.pack(Kind.NOTIFICATION, row, channel_id) + message)


def send_marker(outbox: socket.socket, row: int, client_id: int) -> bool:
    """Tell that what a client sent has come back; False if the inbox is full."""
    return fds.send(outbox, FORMAT.pack(Kind.MARKER, row, client_id))


def receive(inbox: socket.socket) -> Datagram | None:
    """The next datagram, or None. Raises MalformedDatagram."""
    received = fds.receive(inbox, FORMAT.size + 1)
    if received is None:
        return None
    try:
        kind, a, b = FORMAT.unpack(received.payload)
        return Datagram(Kind(kind), a, b, received.fd)
    except (struct.error, ValueError):
        if received.fd >= 0:
            with contextlib.suppress(OSError):
                os.close(received.fd)
        raise MalformedDatagram(f"{len(received.payload)} bytes: {received.payload.hex()}") from None
