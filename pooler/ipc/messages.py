"""The messages of the control channels: one frozen dataclass each.

A message travels as a msgpack array: its name, then its fields in order. To add one, add a class and name
it in `Message` and `MESSAGES`. Both ends are forks of one program, so there are no versions to negotiate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

ShutdownMode = Literal["immediate", "wait_for_servers", "wait_for_clients"]
DrainMode = Literal["wait_for_servers", "wait_for_clients"]

# -- worker, or monitor, to master


@dataclass(frozen=True)
class Ready:
    """The worker takes clients from now on."""

    number: int


@dataclass(frozen=True)
class BootFailed:
    """The worker cannot start and says why; it exits next."""

    number: int
    text: str


@dataclass(frozen=True)
class ReloadRequest:
    """Console RELOAD.

    Answered by ReloadAnswer with the same token when every worker has the configuration.
    """

    token: int


@dataclass(frozen=True)
class ReloadDone:
    """The worker uses this generation of the configuration; `error`: it goes on with the old one, because."""

    number: int
    generation: int
    error: str | None = None


@dataclass(frozen=True)
class SetRequest:
    """Console SET: a reload with one value replaced. Answered by ReloadAnswer."""

    token: int
    key: str
    value: str


@dataclass(frozen=True)
class InboxFull:
    """Worker `number` does not empty its inbox, and who opens a server waits for that."""

    number: int


@dataclass(frozen=True)
class ShutdownRequest:
    """Console SHUTDOWN."""

    mode: ShutdownMode


@dataclass(frozen=True)
class Ping:
    """Of the monitor: it lives. Answered by Pong at once, which shows that the master does."""


@dataclass(frozen=True)
class CancelElsewhere:
    """A cancel request whose key is none of ours: the instance that this one replaces may know it."""

    pid: int
    key: bytes


@dataclass(frozen=True)
class Suspended:
    """Console SUSPEND: accept nobody until it is over."""

    on: bool


# -- master to worker, or to the monitor


@dataclass(frozen=True)
class Pong:
    """The master's loop runs."""


@dataclass(frozen=True)
class CancelHere:
    """A cancel request that arrived at the instance that replaces this one."""

    pid: int
    key: bytes


@dataclass(frozen=True)
class Reload:
    """A new configuration, as `Config.to_wire()` gives it. Swap it in, reopen the log, answer ReloadDone."""

    generation: int
    config: dict[str, Any]


@dataclass(frozen=True)
class ReloadAnswer:
    """How the request with this token ended; `error` is None when every worker has the new configuration."""

    token: int
    error: str | None
    notice: str | None = None  # for who asked, beside success


@dataclass(frozen=True)
class Drain:
    """Finish and exit: when the servers are released, or when the clients have left."""

    mode: DrainMode


@dataclass(frozen=True)
class Reclaim:
    """Slots of a dead worker wait in the tables: claim them, end their connections, free them."""


@dataclass(frozen=True)
class Pause:
    """Do what console PAUSE does (for all workers: the flag is in the tables)."""


@dataclass(frozen=True)
class Resume:
    """Do what console RESUME does."""


@dataclass(frozen=True)
class Quit:
    """Exit at once."""


Message = (
    Ready
    | BootFailed
    | ReloadRequest
    | ReloadDone
    | SetRequest
    | InboxFull
    | ShutdownRequest
    | Ping
    | CancelElsewhere
    | Suspended
    | Pong
    | CancelHere
    | Reload
    | ReloadAnswer
    | Drain
    | Reclaim
    | Pause
    | Resume
    | Quit
)

MESSAGES: dict[str, type[Message]] = {
    kind.__name__: kind
    for kind in (
        Ready, BootFailed, ReloadRequest, ReloadDone, SetRequest, InboxFull, ShutdownRequest,
        CancelElsewhere, CancelHere, Suspended, Ping, Pong,
        Reload, ReloadAnswer, Drain, Reclaim, Pause, Resume, Quit,
    )
}  # fmt: skip
