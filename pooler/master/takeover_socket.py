"""Where a running instance waits for one that is to replace it: a socket beside that of its clients."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Callable

from pooler import log
from pooler.config import Settings
from pooler.ipc import handoff
from pooler.master.loop import Loop


class TakeoverSocket:
    """`arrived` gets each connection of an account that may take over, and the process at its other end."""

    def __init__(self, loop: Loop, arrived: Callable[[socket.socket, int], None]) -> None:
        self._loop = loop
        self._arrived = arrived
        self._settings: Settings | None = None
        self._listener: socket.socket | None = None
        self._path = ""
        self._inode = 0

    def open(self, settings: Settings) -> None:
        """Let a successor find us."""
        self._settings = settings
        if not settings.unix_socket_dir:
            return
        self._path = path = handoff.path_of(settings.unix_socket_dir, settings.listen_port)
        sock = handoff.open_socket()
        before = os.umask(0o177)
        try:
            if not path.startswith("@"):
                with contextlib.suppress(FileNotFoundError):
                    if stat.S_ISSOCK(os.lstat(path).st_mode):
                        os.unlink(path)
            sock.bind(handoff.address_of(path))
            sock.listen(4)
            self._inode = 0 if path.startswith("@") else os.lstat(path).st_ino
        except OSError as e:
            sock.close()
            log.warning(
                "no process can take over from this one (-R): cannot listen on %s: %s", path, e.strerror
            )
            return
        finally:
            os.umask(before)
        sock.setblocking(False)
        self._listener = sock
        self._loop.watch(sock.fileno(), self._accept)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        pid, uid = handoff.peer_of(sock)
        if uid not in (0, os.geteuid()):
            log.warning("process %d of user %d may not take over", pid, uid)
            sock.close()
            return
        self._arrived(sock, pid)

    def restore(self) -> None:
        """Another instance may have put its own in our place, and has gone."""
        if self._listener is None or self._settings is None or self._is_found():
            return
        self.close()
        self.open(self._settings)

    def _is_found(self) -> bool:
        try:
            return not self._inode or os.lstat(self._path).st_ino == self._inode
        except OSError:
            return False

    def close(self) -> None:
        """Nobody takes over any more; the file is removed if it is ours."""
        if self._listener is None:
            return
        self._loop.unwatch(self._listener.fileno())
        self._listener.close()
        self._listener = None
        if self._inode:
            with contextlib.suppress(OSError):
                if os.lstat(self._path).st_ino == self._inode:
                    os.unlink(self._path)

    def close_in_child(self) -> None:
        """Close the descriptor only."""
        if self._listener is not None:
            self._listener.close()
