"""The right to serve, while one instance replaces another: one byte in a pipe, and who reads it has it."""

from __future__ import annotations

import os


class Baton:
    """This instance's end of the pipe, if there is one."""

    def __init__(self) -> None:
        self._fd = -1

    @property
    def fd(self) -> int:
        """To be given to the other instance; -1: there is none."""
        return self._fd

    def lay_out(self) -> None:
        """Make it, for either instance to take."""
        self.close()
        self._fd, source = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.write(source, b"1")
        os.close(source)

    def adopt(self, fd: int) -> None:
        """The end that the other instance has given."""
        self.close()
        self._fd = fd

    def take(self) -> bool:
        """Whether it was there to be taken; it is not asked again."""
        if self._fd < 0:
            return False
        try:
            return os.read(self._fd, 1) != b""
        except BlockingIOError:  # the other instance has kept the writing end
            return False
        finally:
            self.close()

    def close(self) -> None:
        """Let go of it, taken or not."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
