"""Signals as bytes on a pipe: handlers do nothing but wake the loop."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

HANDLED = (
    signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGCHLD,
)  # fmt: skip

#: What workers ignore. A terminal sends Ctrl-C, and systemd its KillSignal, to every process of the group;
#: the master alone decides what that means, or the safe shutdowns would not be safe. `kill -9` works.
IGNORED_BY_WORKERS = tuple(s for s in HANDLED if s != signal.SIGCHLD)


def _ignore(number: int, frame: FrameType | None) -> None:
    """A handler must exist, or Python writes nothing to the wake-up descriptor."""


class SignalPipe:
    """Catches signals from its making on; `fd` becomes readable, `read` says which came."""

    def __init__(self) -> None:
        self.fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        for number in HANDLED:
            signal.signal(number, _ignore)

    def read(self) -> list[int]:
        """The signals since the last call, in order, each once per delivery."""
        try:
            return list(os.read(self.fd, 4096))
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Back to the defaults."""
        signal.set_wakeup_fd(-1)
        for number in HANDLED:
            signal.signal(number, signal.SIG_DFL)
        os.close(self.fd)
        os.close(self._write_fd)

    def become_worker(self) -> None:
        """In a child: let go of the parent's pipe, ignore what is not meant for workers."""
        signal.set_wakeup_fd(-1)
        for number in IGNORED_BY_WORKERS:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self.fd)
        os.close(self._write_fd)


@contextlib.contextmanager
def blocked() -> Iterator[None]:
    """Hold signals back for a moment: around a fork, so that a child can't write into its parent's pipe."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
