"""Parameters of sessions as the relay and the shared tables keep them: packed into bytes, and out of them."""

from __future__ import annotations

from pooler.core import WELCOME_SPACE
from pooler.protocol.startup import TRACKED


class TrackedParameters:
    """The parameters that follow a client from server to server: the usual ones, then those of the
    configuration, each once."""

    def __init__(self, extra: tuple[str, ...]) -> None:
        names = {name.lower(): name for name in (*extra, *TRACKED)}
        usual = [name.lower() for name in TRACKED]
        self.names = (*TRACKED, *(name for lower, name in names.items() if lower not in usual))

    def values_of(self, parameters: dict[str, str]) -> bytes:
        """The tracked values as the relay takes them: one NUL-terminated text per tracked name."""
        values = {name.lower(): value for name, value in parameters.items()}  # spelled by whoever gave it
        return b"".join(
            values.get(name.lower(), "").encode("utf-8", "surrogateescape") + b"\0" for name in self.names
        )


def pack_welcome(parameters: dict[str, str]) -> bytes:
    """What PostgreSQL reported, as the pool's row keeps it: the shortest first, as many as fit."""
    packed = b""
    for name, value in sorted(parameters.items(), key=lambda item: len(item[1])):
        entry = f"{name}\0{value}\0".encode("utf-8", "surrogateescape")
        packed += entry if len(packed) + len(entry) <= WELCOME_SPACE else b""
    return packed or b"\0\0"  # none at all is known, too: nobody waits for more


def unpack_welcome(packed: bytes) -> dict[str, str]:
    """The parameters that pack_welcome() has packed."""
    parts = packed.decode("utf-8", "surrogateescape").split("\0")
    return {name: value for name, value in zip(parts[:-1:2], parts[1::2], strict=False) if name}
