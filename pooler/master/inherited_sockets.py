"""Listening sockets that somebody else has opened: the service manager (socket activation), or the instance
that this one replaces (-R). The file of a unix socket is removed at the end only if it was pooler's own.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pooler import log
from pooler.config import Settings
from pooler.config.settings import SETTINGS
from pooler.errors import BootError
from pooler.master.sockets import Held, Listener, open_http, open_listeners, show_address, tune

#: The first descriptor that a service manager passes (SD_LISTEN_FDS_START).
FIRST_FD = 3


@dataclass
class Handed:
    """A listening socket; `path`: its file, if that is pooler's to remove."""

    sock: socket.socket
    path: str = ""
    activated: bool = False  # by a service manager


def activated(environment: Mapping[str, str] | None = None) -> list[Handed]:
    """The sockets of sd_listen_fds(3); [] if there are none for this process.

    The variables are taken out of the environment: they are for nobody after us. Raises BootError for what is
    no listening stream socket.
    """
    given = os.environ if environment is None else environment
    count, pid = given.get("LISTEN_FDS", ""), given.get("LISTEN_PID", "")
    names = given.get("LISTEN_FDNAMES", "").split(":")
    if environment is None:
        for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
            os.environ.pop(name, None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    found = []
    for number in range(int(count)):
        fd = FIRST_FD + number
        name = names[number] if number < len(names) else ""
        found.append(Handed(_listening(fd, name), activated=True))
        log.info("socket passed from service manager (fd %d)", fd)
    return found


def _listening(fd: int, name: str) -> socket.socket:
    failure = f"failed to set up socket passed from service manager (fd {fd}{name and f', {name}'})"
    try:
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
    except OSError as e:
        raise BootError(f"{failure}: {e.strerror}") from None
    stream = sock.type & socket.SOCK_STREAM and sock.family in (
        socket.AF_UNIX,
        socket.AF_INET,
        socket.AF_INET6,
    )
    if not stream or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.detach()
        raise BootError(f"{failure}: it is no listening stream socket")
    sock.setblocking(False)
    return sock


def adopt(handed: Sequence[Handed], settings: Settings) -> list[Listener]:
    """Everything to listen on: what was handed over, and what the configuration names besides.

    Raises BootError, with all of it closed.
    """
    if handed and handed[0].activated:
        if settings.listen_addr:
            log.warning("sockets passed from service manager, cf_listen_addr ignored")
        if settings.unix_socket_dir not in ("", SETTINGS["unix_socket_dir"].default):
            log.warning("sockets passed from service manager, cf_unix_socket_dir ignored")
        return [_listener_of(one, settings) for one in handed]
    held: Held = {_address_of(one.sock): _listener_of(one, settings) for one in handed}
    listeners = open_listeners(settings, held)
    _close_unwanted(held)
    return listeners


def adopt_http(handed: Sequence[Handed], settings: Settings) -> list[Listener]:
    """The same of the sockets for HTTP."""
    held: Held = {_address_of(one.sock): _listener_of(one, settings) for one in handed}
    try:
        listeners = open_http(settings, held)
    finally:
        _close_unwanted(held)
    return listeners


def _close_unwanted(held: Held) -> None:
    for unwanted in held.values():
        log.warning("not listening on %s any more: the configuration does not name it", unwanted.name)
        unwanted.sock.close()


def _address_of(sock: socket.socket) -> object:
    """As `bind` took it."""
    address = sock.getsockname()
    return os.fsencode(address) if sock.family == socket.AF_UNIX else address


def _listener_of(handed: Handed, settings: Settings) -> Listener:
    """A listener made of it, with the options of the configuration."""
    sock = handed.sock
    sock.setblocking(False)
    is_unix = sock.family == socket.AF_UNIX
    inode = 0
    if handed.path:
        try:
            inode = os.lstat(handed.path).st_ino
        except OSError as e:
            log.warning("the file of unix:%s cannot be seen: %s", handed.path, e.strerror)
    listener = Listener(
        sock, _name_of(sock), is_unix, handed.path, inode, activated=handed.activated, owned=False
    )
    if not handed.activated:
        sock.listen(settings.listen_backlog)  # it listens: this changes the length of the queue
    tune(listener, settings)
    return listener


def _name_of(sock: socket.socket) -> str:
    """Where it listens, as the log shows it."""
    address = sock.getsockname()
    if sock.family != socket.AF_UNIX:
        return show_address(address)
    text = os.fsdecode(address)
    return "unix:" + ("@" + text[1:] if text.startswith("\0") else text)
