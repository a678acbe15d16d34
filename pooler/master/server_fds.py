"""The master's duplicate of every server connection, for the workers it will fork."""

from __future__ import annotations

import os


def _is_older(a: int, b: int) -> bool:
    """Whether generation `a` came before `b`; they are 32 bits and may wrap."""
    return a != b and (b - a) & 0xFFFFFFFF < 0x80000000


class ServerFds:
    """slot -> (generation, descriptor). Owns the descriptors."""

    def __init__(self) -> None:
        self.fds: dict[int, tuple[int, int]] = {}

    def add(self, slot: int, generation: int, fd: int) -> None:
        """Keep `fd` as the connection of `slot`, in place of an older one."""
        held = self.fds.get(slot)
        if held is not None:
            if _is_older(generation, held[0]):
                os.close(fd)
                return
            os.close(held[1])
        self.fds[slot] = (generation, fd)

    def drop(self, slot: int, generation: int) -> None:
        """The connection of this generation is over; a newer one in the same slot stays."""
        held = self.fds.get(slot)
        if held is not None and not _is_older(generation, held[0]):
            os.close(held[1])
            del self.fds[slot]

    def close(self) -> None:
        """Close all."""
        for _, fd in self.fds.values():
            os.close(fd)
        self.fds.clear()
