"""What a start would run into on this machine: its account, folders, files of TLS, addresses in use.

What only who starts pooler may read or write is advice for everybody else, who cannot know.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from pooler.config import Config
from pooler.config.ini import Place
from pooler.config.settings import SETTINGS
from pooler.errors import BootError, Problem

#: Topic of a report, and what to tell there.
Found = Iterator[tuple[str, Problem]]

TLS_FILES = tuple(name for name in SETTINGS if re.fullmatch(r"\w+_tls_(key|cert|ca)_file", name))
#: What a master calls itself (master/start.py); the path is the one it was started with.
MASTER = re.compile(r"pooler: master \[(.+)\]")
#: For whoever listens on a unix socket to accept.
ANSWER_S = 1.0


def obstacles(config: Config) -> Found:
    """Errors, and advice where this account cannot look."""
    for rule in (_account, _folders, _tls, _addresses):
        yield from rule(config)


def _problem(config: Config, key: str, text: str, severity: str = "error") -> Problem:
    return config.places.get(key, Place(config.path, 0)).problem(text, severity)


def _account(config: Config) -> Found:
    user = config.settings.user
    if not user:
        return
    try:
        pwd.getpwnam(user)
    except KeyError:
        yield "error", _problem(config, "user", f"cannot run as user {user!r}: there is no such user")


def _folders(config: Config) -> Found:
    settings = config.settings
    for key, path in (("logfile", settings.logfile), ("pidfile", settings.pidfile)):
        if path:
            yield from _folder(config, key, Path(path).parent)
        if path and Path(path).is_dir():
            yield "error", _problem(config, key, f"{path} is a directory")
    if settings.unix_socket_dir and not settings.unix_socket_dir.startswith("@"):
        yield from _folder(config, "unix_socket_dir", Path(settings.unix_socket_dir))


def _folder(config: Config, key: str, folder: Path) -> Found:
    try:
        there = folder.is_dir()
    except PermissionError:
        yield "advice", _problem(config, key, f"this account may not look into {folder.parent}", "warning")
        return
    if not there and folder.parts[:2] == ("/", "run"):  # gone at each boot
        text = f"there is no directory {folder}: a unit makes it (RuntimeDirectory), or you have to"
        yield "advice", _problem(config, key, text, "warning")
    elif not there:
        yield "error", _problem(config, key, f"there is no directory {folder}")
    elif _would_run_as_us(config) and not os.access(folder, os.W_OK | os.X_OK):
        text = f"this account may not write to {folder}; pooler has to run as one that may"
        yield "advice", _problem(config, key, text, "warning")


def _would_run_as_us(config: Config) -> bool:
    """Root becomes somebody else before it opens anything."""
    user = config.settings.user
    if not user:
        return os.geteuid() != 0
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(user).pw_uid == os.geteuid()
    return False


def _tls(config: Config) -> Found:
    from pooler.master.start import with_tls  # the compiled core: only where somebody looks

    unreadable = False
    for key in TLS_FILES:
        path = getattr(config.settings, key)
        if path and os.path.exists(path) and not os.access(path, os.R_OK):
            text = f"this account may not read {path}, so it was not looked at"
            yield "advice", _problem(config, key, text, "warning")
            unreadable = True
    if unreadable:
        return
    try:
        with_tls(config)
    except BootError as error:
        words = re.findall(r"\w+", str(error))
        modes = [f"{word}_sslmode" for word in ("client_tls", "server_tls", "http_tls") if word in str(error)]
        given = [word for word in (*words, *modes) if word in config.places]
        yield "error", _problem(config, given[0] if given else "", str(error))


def _addresses(config: Config) -> Found:
    """That others have; an instance that runs with this file has its own."""
    settings = config.settings
    if runs_already(config):
        return
    path = f"{settings.unix_socket_dir}/.s.PGSQL.{settings.listen_port}"
    if settings.unix_socket_dir and _answers(path):
        yield "error", _problem(config, "unix_socket_dir", f"another process listens on {path}")
    for name in settings.listen_addr:
        for text in _taken(name, settings.listen_port, settings.so_reuseport):
            yield "error", _problem(config, "listen_port", text)
    for name in settings.http_listen_addr if settings.http_listen_port else ():
        for text in _taken(name, settings.http_listen_port, False):
            yield "error", _problem(config, "http_listen_port", text)


def _taken(name: str, port: int, shared: bool) -> Iterator[str]:
    """Why an address cannot be listened on; one that this machine does not have is told by the start."""
    host = None if name == "*" else name
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        yield f"cannot listen on {name}: {getattr(error, 'strerror', None) or error}"
        return
    for family, _, _, _, address in found:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if shared:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind(address)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                yield f"cannot listen on {address[0]}, port {port}: {error.strerror}"


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(ANSWER_S)
        try:
            sock.connect("\0" + path[1:] if path.startswith("@") else path)
        except OSError:
            return False
    return True


def runs_already(config: Config) -> bool:
    """Whether a master runs that was started with this file, as far as its name tells."""
    return bool(masters_of(config))


def masters_of(config: Config) -> set[int]:
    """Processes that call themselves master of this file; of its name alone where only their owner may know
    the directory."""
    wanted = os.path.realpath(config.path)
    names = (wanted, os.path.basename(wanted))
    found = {
        int(process.name) for process in Path("/proc").glob("[0-9]*") if _file_of_master(process) in names
    }
    return {
        pid for pid in found if _parent_of(pid) not in found
    }  # a child has that name until it has its own


def _parent_of(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None


def _file_of_master(process: Path) -> str | None:
    """The file that a master was started with; its name alone where only its owner may know the directory."""
    try:
        title = (process / "cmdline").read_bytes().rstrip(b"\0").decode("utf-8", "replace")
    except OSError:  # it has ended meanwhile
        return None
    match = MASTER.fullmatch(title)
    if match is None:
        return None
    if os.path.isabs(match[1]):
        return os.path.realpath(match[1])
    try:
        return os.path.realpath(os.path.join(os.readlink(process / "cwd"), match[1]))
    except OSError:
        return os.path.basename(match[1])
