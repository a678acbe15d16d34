"""What two masters say to each other when one replaces the other (-R): one JSON object per datagram.

The two may be different releases, so nothing here is a fork of the same program: unknown words and fields are
passed over, and `VERSION` changes when that would not do. A datagram carries at most one descriptor.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

from pooler.ipc import fds

VERSION = 1

#: Some hundred pools fit into one datagram; longer lists are cut into several.
MESSAGE_BYTES = 65536
POOLS_PER_MESSAGE = 100


class HandoffError(Exception):
    """The other side sent what makes no sense."""


def path_of(unix_socket_dir: str, port: int) -> str:
    """Where a running instance listens for its successor; `@...` is abstract."""
    return f"{unix_socket_dir.rstrip('/')}/.s.PGSQL.{port}.takeover"


def address_of(path: str) -> bytes:
    """The same as connect() and bind() take it."""
    raw = os.fsencode(path)
    return b"\0" + raw[1:] if raw.startswith(b"@") else raw


def open_socket() -> socket.socket:
    """One end, not connected yet."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)


def peer_of(sock: socket.socket) -> tuple[int, int]:
    """(process, user) at the other end, as the kernel knows them."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", raw)
    return pid, uid


def pack(word: str, values: dict[str, Any]) -> bytes:
    """The bytes of one message."""
    return json.dumps({"say": word, **values}).encode()


def send(sock: socket.socket, message: bytes, fd: int = -1) -> bool:
    """Send one; False if it cannot be taken now. Raises OSError when the other end is gone."""
    return fds.send(sock, message, fd)


def receive(sock: socket.socket) -> tuple[str, dict[str, Any], int] | None:
    """(word, values, descriptor or -1), or None: nothing now. The word "" is the end of the stream.

    Raises HandoffError.
    """
    got = fds.receive(sock, MESSAGE_BYTES)
    if got is None:
        return None
    if not got.payload:
        return "", {}, -1
    try:
        values = json.loads(got.payload)
        return str(values.pop("say")), values, got.fd
    except (ValueError, KeyError, AttributeError, TypeError):
        if got.fd >= 0:
            os.close(got.fd)
        raise HandoffError(f"{len(got.payload)} bytes that are no message") from None
