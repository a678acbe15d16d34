"""A datagram with at most one descriptor: sending and receiving, nothing else.

Nothing here waits: the sockets are non-blocking, and a full one is an answer, not an error.
"""

from __future__ import annotations

import array
import errno
import os
import socket
from typing import NamedTuple

#: Bytes of one descriptor in a control message.
FD_BYTES = array.array("i").itemsize

#: "Not now": the socket's buffer is full, the kernel is short of memory, or too many descriptors are in
#: flight. The last is ETOOMANYREFS: an unprivileged user may have no more descriptors under way than
#: RLIMIT_NOFILE.
FULL = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS})


class Received(NamedTuple):
    """One datagram. `fd` belongs to the caller; -1 if there was none (or this process may have no more)."""

    payload: bytes
    fd: int


def send(sock: socket.socket, payload: bytes, fd: int = -1) -> bool:
    """Send one datagram; False if it cannot be taken now. The caller's `fd` stays open either way."""
    ancillary = [] if fd < 0 else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
    try:
        sock.sendmsg([payload], ancillary, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError as e:
        if e.errno in FULL:
            return False
        raise
    return True


def receive(sock: socket.socket, max_bytes: int) -> Received | None:
    """Receive one datagram, or None if there is none now. End of stream is an empty payload."""
    flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
    try:
        payload, ancillary, _, _ = sock.recvmsg(max_bytes, socket.CMSG_SPACE(FD_BYTES), flags)
    except BlockingIOError:
        return None
    received = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received.frombytes(data[: len(data) - len(data) % FD_BYTES])
    for extra in received[1:]:  # padding has space for two: more than we ask for must not leak
        os.close(extra)
    return Received(payload, received[0] if received else -1)
