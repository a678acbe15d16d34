"""The start of an instance that replaces a running one (-R): what it gets from there before it serves.

    new: hello ->                      old: goes on as before
         <- listener, http_listener (each with its descriptor), offer
    new: makes its tables, forks its workers; when all are ready: commit ->
                                       old: stops accepting, opens no more servers
         <- "rooms" (what its pools have), baton (a descriptor), yours
    new: takes the baton, accepts clients; serving ->
                                       old: closes its listeners, lets its clients finish, ends

Until `serving` arrives the old one goes back to work when the new one fails, or takes too long. In between
connections wait in the backlog of the sockets, which are the same ones: nobody is refused. What follows is
`generations`.

The baton is a pipe with one byte in it. Whoever reads that byte serves: the new instance when it begins, or
the old one when it does not wait any longer. So an instance that was stopped in between, and wakes up later,
does not serve beside the other.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from typing import Any

from pooler import log
from pooler.config import Settings
from pooler.errors import BootError
from pooler.ipc import handoff
from pooler.master.inherited_sockets import Handed

#: Longest wait for the running instance to answer; its loop never waits for anybody.
ANSWER_S = 10.0

#: What the running instance waits for at most: the first word of whoever comes; its workers; and, while no
#: client is accepted, that it serves, which takes milliseconds.
HELLO_S = 5.0
BOOT_S = 60.0
SERVE_S = 5.0


@dataclass
class Predecessor:
    """The running instance, and what it has handed over so far. Owns the descriptors."""

    sock: socket.socket
    pid: int = 0
    listeners: list[Handed] = field(default_factory=list)
    http: list[Handed] = field(default_factory=list)
    login_key: bytes = b""  # of an older release: none

    def close(self) -> None:
        """Give up: the running instance notices and goes on."""
        self.sock.close()
        for handed in (*self.listeners, *self.http):
            handed.sock.close()


def find(settings: Settings) -> Predecessor | None:
    """The instance that runs on this unix socket, with its listeners; None if there is none.

    Raises BootError when there is one that cannot be replaced.
    """
    if not settings.unix_socket_dir:
        raise BootError("cannot reboot if unix dir not configured")
    sock = handoff.open_socket()
    path = handoff.path_of(settings.unix_socket_dir, settings.listen_port)
    try:
        sock.settimeout(ANSWER_S)
        sock.connect(handoff.address_of(path))
    except OSError as e:
        sock.close()
        if isinstance(e, FileNotFoundError | ConnectionRefusedError):
            return None
        raise BootError(f"cannot reach the running process on {path}: {e.strerror or e}") from None
    found = Predecessor(sock)
    pid, uid = handoff.peer_of(sock)
    if uid not in (0, os.geteuid()):  # anybody may have put a socket into a directory like /tmp
        found.close()
        raise BootError(f"process {pid} of user {uid} listens on {path}: not ours to take over from")
    try:
        sock.send(handoff.pack("hello", {"version": handoff.VERSION, "pid": os.getpid()}))
        while not found.pid:
            _take(found, *_next(sock))
    except (OSError, handoff.HandoffError) as e:
        found.close()
        raise BootError(f"the running process does not hand over: {e}") from None
    except BootError:
        found.close()
        raise
    log.info("taking over from process %d, %d sockets", found.pid, len(found.listeners))
    return found


def _next(sock: socket.socket) -> tuple[str, dict[str, Any], int]:
    """The next message, waited for."""
    sock.settimeout(ANSWER_S)
    socket_ready = sock.recv(1, socket.MSG_PEEK)
    got = handoff.receive(sock)
    if not socket_ready or got is None:
        raise BootError("the running process has closed the connection")
    return got


def _take(found: Predecessor, word: str, values: dict[str, Any], fd: int) -> None:
    if word in ("listener", "http_listener") and fd >= 0:
        handed = found.listeners if word == "listener" else found.http
        sock = socket.socket(fileno=fd)
        handed.append(Handed(sock, str(values.get("path", "")), bool(values.get("activated", False))))
    elif word == "offer":
        found.login_key = bytes.fromhex(str(values.get("login_key", "")))
        found.pid = int(values["pid"])
    elif word == "refused":
        raise BootError(f"the running process does not hand over: {values.get('text', '')}")
    elif not word:
        raise BootError("the running process has closed the connection")
    elif fd >= 0:
        os.close(fd)
