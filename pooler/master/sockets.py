"""Listening: which sockets, with which options, and what to say when that fails.

Options of a connection (keepalive, buffers, no delay) are set on the listening socket: Linux hands them
down to every socket accepted from it, so no process spends system calls on them per client.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from dataclasses import dataclass

from pooler import log
from pooler.config import Settings
from pooler.errors import BootError
from pooler.master.daemon import group_id

#: What PgBouncer gives TCP_DEFER_ACCEPT when it is on: a silent connection is accepted after this long all
#: the same.
DEFER_ACCEPT_S = 1

#: Longest name of a unix socket: sun_path without its terminating zero.
UNIX_PATH_BYTES = 107

#: Connections of HTTP that the kernel keeps until they are accepted: a crowd waits there, not in our memory.
HTTP_BACKLOG = 1024


@dataclass
class Listener:
    """One listening socket."""

    sock: socket.socket
    name: str  # for the log: `127.0.0.1:6432`, `[::1]:6432`, `unix:/tmp/.s.PGSQL.6432`
    is_unix: bool
    path: str = ""  # of the file to remove at the end; empty: none
    inode: int = 0
    activated: bool = False  # a service manager opened it
    owned: bool = True  # whether the file is ours to remove; while another instance serves it is that one's
    http: bool = False  # it is no client's, but the monitor's

    def close(self) -> None:
        """Stop listening, and remove the socket file if it is still ours."""
        self.sock.close()
        if self.path and self.owned:
            with contextlib.suppress(FileNotFoundError):
                try:
                    if os.lstat(self.path).st_ino == self.inode:
                        os.unlink(self.path)
                except PermissionError as e:
                    log.warning("cannot remove %s: %s", self.path, e.strerror)


#: Listeners by the address they are bound to.
Held = dict[object, Listener]


def open_listeners(settings: Settings, held: Held | None = None) -> list[Listener]:
    """Every socket the configuration asks for; raises BootError, with everything closed again.

    What is in `held` already is taken from there instead of being opened.
    """
    listeners: list[Listener] = []
    held = {} if held is None else held
    try:
        # First the unix socket: whether another pooler answers there is the best reason to give.
        if settings.unix_socket_dir:
            address = _unix_address(settings)[0]
            listeners.append(held.pop(address) if address in held else _open_unix(settings))
        tcp = _open_tcp_list(settings, settings.listen_addr, settings.listen_port, held)
        listeners += tcp
        if settings.listen_addr and not tcp:
            names = ",".join(settings.listen_addr)
            raise BootError(f"failed to listen on any address in listen_addr list: {names}")
        if not listeners:
            raise BootError("nowhere to listen on")
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    for listener in listeners:
        log.info("listening on %s", listener.name)
    return listeners


def open_http(settings: Settings, held: Held | None = None) -> list[Listener]:
    """Where HTTP is to be spoken, as `open_listeners`; [] if there is none."""
    if not settings.http_listen_port:
        return []
    found = _open_tcp_list(
        settings, settings.http_listen_addr, settings.http_listen_port, {} if held is None else held
    )
    if not found:
        names, port = ",".join(settings.http_listen_addr), settings.http_listen_port
        raise BootError(f"failed to listen on port {port} of any address in http_listen_addr list: {names}")
    for listener in found:
        listener.http = True
        listener.sock.listen(HTTP_BACKLOG)
        log.info("listening on %s (HTTP)", listener.name)
    return found


def _open_tcp_list(settings: Settings, names: tuple[str, ...], port: int, held: Held) -> list[Listener]:
    listeners: list[Listener] = []
    bound: set[object] = set()
    for name in names:
        for family, address in _resolve(name, port):
            if (family, address) in bound:
                continue
            listener: Listener | None
            if address in held:
                listener = held.pop(address)
            else:
                listener = _open_tcp(family, address, settings, optional=name == "*")
            if listener is not None:
                bound.add((family, address))
                listeners.append(listener)
    return listeners


def _resolve(name: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
    host = None if name == "*" else name
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as e:
        log.warning("cannot listen on %s: %s", name, getattr(e, "strerror", None) or e)
        return []
    return [(int(family), address) for family, _, _, _, address in found]


def show_address(address: tuple[object, ...]) -> str:
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def _open_tcp(
    family: int, address: tuple[object, ...], settings: Settings, optional: bool
) -> Listener | None:
    """Bind one address. A failure is logged and gives None; `optional`: a machine without IPv6 is no news."""
    try:
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as e:
        if not (optional and e.errno == errno.EAFNOSUPPORT):
            log.warning("cannot listen on %s: %s", show_address(address), e.strerror)
        return None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if settings.so_reuseport and address[1] == settings.listen_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(settings.listen_backlog)
    except OSError as e:
        sock.close()
        if not (optional and family == socket.AF_INET6 and e.errno == errno.EADDRNOTAVAIL):
            log.warning("cannot listen on %s: %s", show_address(address), e.strerror)
        return None
    listener = Listener(sock, show_address(sock.getsockname()), is_unix=False)
    tune(listener, settings)
    return listener


def tune(listener: Listener, settings: Settings) -> None:
    """Set what accepted sockets inherit; also at reload.

    An option the kernel refuses is logged, not fatal.
    """
    if listener.is_unix:
        return
    tcp, sol = socket.IPPROTO_TCP, socket.SOL_SOCKET
    options = [
        ("TCP_NODELAY", tcp, socket.TCP_NODELAY, 1),
        (
            "tcp_defer_accept",
            tcp,
            socket.TCP_DEFER_ACCEPT,
            DEFER_ACCEPT_S if settings.tcp_defer_accept else 0,
        ),
        ("tcp_keepalive", sol, socket.SO_KEEPALIVE, int(settings.tcp_keepalive)),
    ]
    if settings.tcp_keepalive:
        options += [
            ("tcp_keepcnt", tcp, socket.TCP_KEEPCNT, settings.tcp_keepcnt),
            ("tcp_keepidle", tcp, socket.TCP_KEEPIDLE, settings.tcp_keepidle),
            ("tcp_keepintvl", tcp, socket.TCP_KEEPINTVL, settings.tcp_keepintvl),
        ]
    options += [
        ("tcp_user_timeout", tcp, socket.TCP_USER_TIMEOUT, settings.tcp_user_timeout),
        ("tcp_socket_buffer", sol, socket.SO_SNDBUF, settings.tcp_socket_buffer),
        ("tcp_socket_buffer", sol, socket.SO_RCVBUF, settings.tcp_socket_buffer),
    ]
    for name, level, option, value in options:
        if value == 0 and name.startswith("tcp_") and name not in ("tcp_keepalive", "tcp_defer_accept"):
            continue  # 0: as the system has it
        try:
            listener.sock.setsockopt(level, option, value)
        except OSError as e:
            log.warning("%s=%d on %s: %s", name, value, listener.name, e.strerror)


def _unix_address(settings: Settings) -> tuple[bytes, str]:
    """(address for bind, file path or empty if abstract)."""
    name = f"{settings.unix_socket_dir.rstrip('/') or ''}/.s.PGSQL.{settings.listen_port}"
    raw = os.fsencode(name)
    if len(raw) > UNIX_PATH_BYTES:
        raise BootError(f"unix socket path {name} has {len(raw)} bytes, {UNIX_PATH_BYTES} is the most")
    if name.startswith("@"):
        return b"\0" + raw[1:], ""
    return raw, name


def _answers(address: bytes) -> bool:
    """Whether somebody listens on this unix address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        try:
            sock.connect(address)
        except BlockingIOError:
            return True  # its backlog is full: busy, but alive
        except OSError:
            return False
    return True


def _open_unix(settings: Settings) -> Listener:
    address, path = _unix_address(settings)
    name = f"unix:{path or os.fsdecode(b'@' + address[1:])}"
    if _answers(address):
        raise BootError(f"unix socket is in use, cannot continue ({name})")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if path:
            _remove_stale(path)
            _bind_private(sock, address)
            _give_permissions(path, settings)
        else:
            sock.bind(address)
        sock.listen(settings.listen_backlog)
        return Listener(sock, name, True, path, os.lstat(path).st_ino if path else 0)
    except OSError as e:
        sock.close()
        if e.errno == errno.EADDRINUSE:
            raise BootError(f"unix socket is in use, cannot continue ({name})") from None
        raise BootError(f"cannot listen on {name}: {e.strerror}") from None
    except BootError:
        sock.close()
        raise


def restored(listener: Listener, settings: Settings) -> Listener | None:
    """Another listener in the place of one whose socket file somebody has removed; None if the file is there.

    The listener without a file is still to be served: connections may wait in its backlog.
    """
    if not listener.path:
        return None
    try:
        if os.lstat(listener.path).st_ino != listener.inode:
            log.warning("the file of %s is another process's", listener.name)
        return None
    except FileNotFoundError:
        pass
    try:
        found = _open_unix(settings)
    except BootError as e:
        log.error("the file of %s is gone: %s", listener.name, e)
        return None
    log.info("the file of %s was gone, listening there again", listener.name)
    listener.path = ""
    return found


def _remove_stale(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise BootError(f"cannot listen on unix:{path}: a file that is no socket is in the way")
    os.unlink(path)


def _bind_private(sock: socket.socket, address: bytes) -> None:
    """Bind so that nobody else can connect until the permissions are set."""
    before = os.umask(0o177)
    try:
        sock.bind(address)
    finally:
        os.umask(before)


def _give_permissions(path: str, settings: Settings) -> None:
    if settings.unix_socket_group:
        os.chown(path, -1, group_id(settings.unix_socket_group))
    os.chmod(path, settings.unix_socket_mode)
