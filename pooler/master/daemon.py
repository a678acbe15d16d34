"""The identity of the process: its user, its pid file, its place in the background."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import resource
import select
import signal

from pooler import log
from pooler.errors import BootError

READY = b"R"

#: Longest start that `pooler -d` waits for before it says so and leaves the daemon to itself.
READY_TIMEOUT_S = 60.0


def become(user: str) -> None:
    """Run as `user` from now on, with that user's groups."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise BootError(f"cannot run as user {user!r}: there is no such user") from None
    if os.geteuid() == entry.pw_uid:
        return
    if os.geteuid() != 0:
        me = os.geteuid()
        raise BootError(f"cannot run as user {user!r}: only root may switch users, and this is user id {me}")
    try:
        os.initgroups(user, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    except OSError as e:
        raise BootError(f"cannot run as user {user!r}: {e.strerror}") from None


def refuse_root() -> None:
    """A pooler talks to the network all day; as root a bug in it would cost the machine."""
    if os.geteuid() == 0 or os.getuid() == 0:
        raise BootError("PgBouncer should not run as root: start it as another user, or with -u USER")


def forbid_core_dumps() -> None:
    """For this process and its children: their memory holds passwords and keys."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def group_id(name: str) -> int:
    """The id of a group given by name or number."""
    if name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise BootError(f"unix_socket_group: there is no group {name!r}") from None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # somebody else's process, but one
    return True


class PidFile:
    """The file that names the running master. An empty path: no file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._written = False

    def check(self) -> None:
        """Refuse if another master is alive; remove what a dead one left."""
        if not self.path:
            return
        try:
            text = self._content()
        except FileNotFoundError:
            return
        except OSError as e:
            raise BootError(f"could not open pidfile '{self.path}': {e.strerror}") from None
        # Our own number: the file of an earlier life, as in a container, where every start is process 1.
        if text.isdecimal() and int(text) not in (0, os.getpid()) and _runs(int(text)):
            raise BootError(f"pidfile '{self.path}' exists, another instance running?")
        log.info("stale pidfile, removing")
        try:
            os.unlink(self.path)
        except FileNotFoundError:
            return
        except OSError as e:
            raise BootError(f"could not remove stale pidfile: {e.strerror}") from None

    def _content(self) -> str:
        with open(self.path, encoding="ascii", errors="replace") as f:
            return f.read(64).strip()

    def write(self) -> None:
        """Create the file. Signals must be handled by now: people send them as soon as it exists."""
        if not self.path:
            return
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            raise BootError(f"pidfile '{self.path}' exists, another instance running?") from None
        except OSError as e:
            raise BootError(f"could not open pidfile '{self.path}': {e.strerror}") from None
        with open(fd, "w", encoding="ascii") as f:
            self._written = True
            f.write(f"{os.getpid()}\n")

    def take_over(self) -> None:
        """Put our number in the place of the process that hands over to us; the file always names one."""
        if not self.path:
            return
        new = f"{self.path}.{os.getpid()}"
        try:
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644), "w") as f:
                f.write(f"{os.getpid()}\n")
            os.rename(new, self.path)
        except OSError as e:
            log.error("cannot write pidfile %s: %s", self.path, e.strerror)
            return
        self._written = True

    def restore(self) -> None:
        """Somebody else may have taken the file over, and has removed it; it is ours again."""
        if not self._written:
            return
        try:
            if self._content() == str(os.getpid()):
                return
        except OSError as e:
            log.debug("pidfile %s: %s", self.path, e.strerror)
        self.take_over()

    def forget(self, other: str) -> None:
        """Somebody else has taken the file over, if that is its name."""
        if other and os.path.realpath(other) == os.path.realpath(self.path or "/"):
            self._written = False

    def remove(self) -> None:
        """Remove the file if it is ours."""
        if not self._written:
            return
        self._written = False
        try:
            os.unlink(self.path)
        except OSError as e:
            log.warning("cannot remove pidfile %s: %s", self.path, e.strerror)


class Background:
    """The way into the background (-d), whose first process waits for the daemon's word.

    So `pooler -d` returns when clients can connect, with exit code 0; or when the start failed, with the
    reason on the terminal and exit code 1.
    """

    def __init__(self) -> None:
        self._pipe = -1

    def enter(self) -> None:
        """Fork twice; returns in the daemon only. Only without threads, and before epoll or tables exist."""
        reader, self._pipe = os.pipe2(os.O_CLOEXEC)
        if os.fork() > 0:
            os.close(self._pipe)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())  # Ctrl-C ends the waiting
            os._exit(_wait_for_word(reader))
        os.close(reader)
        os.setsid()
        if os.fork() > 0:
            os._exit(0)  # not a session leader from here on: no terminal can become ours by accident
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.close(null)
        os.register_at_fork(after_in_child=self._in_child)

    def _in_child(self) -> None:
        """Workers never speak to the terminal: who waits for the end of our output would wait for theirs."""
        if self._pipe >= 0:
            os.close(self._pipe)
            os.dup2(0, 2)

    def ready(self) -> None:
        """Say that the start is over, and let go of the terminal."""
        if self._pipe < 0:
            return
        with contextlib.suppress(BrokenPipeError):
            os.write(self._pipe, READY)
        os.close(self._pipe)
        self._pipe = -1
        os.dup2(0, 2)


def _wait_for_word(reader: int) -> int:
    ready, _, _ = select.select([reader], [], [], READY_TIMEOUT_S)
    if not ready:
        log.warning("the daemon is not ready after %d s, see its log", READY_TIMEOUT_S)
        return 0
    return 0 if os.read(reader, 1) == READY else 1
