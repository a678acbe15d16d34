"""What the greenlets of one worker share. Helpers take this, never the `Worker`, whose life is its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from gevent import socket

    from pooler.admin.console import Console
    from pooler.config import Config
    from pooler.core import Bridge, Relay, Tables
    from pooler.ipc.messages import Message
    from pooler.worker.cancel import Allowance
    from pooler.worker.console_operations import ConsoleOperations
    from pooler.worker.login_questions import LoginQuestions
    from pooler.worker.parameters import TrackedParameters
    from pooler.worker.resolver import Resolver
    from pooler.worker.tls import Contexts


class Login(Protocol):
    """What Python has of a client in the tables: its own, or one of the console."""

    id: int

    @property
    def greenlet(self) -> Any: ...

    def obey(self, orders: int) -> None: ...

    def end(self, text: str) -> None: ...

    def has_left(self) -> bool: ...


@dataclass(slots=True, eq=False)
class WorkerContext:
    """One worker, as far as its helpers need it."""

    number: int
    tables: Tables
    relay: Relay
    config: Config  # a reload puts another one here
    #: Runs a function in a greenlet of its own; a bug in it is logged and ends nothing else.
    spawn: Callable[..., Any]
    tell_master: Callable[[Message], None]
    #: Opens the connection of a slot that is this worker's.
    dial: Callable[[int], None]
    tls: Contexts
    outboxes: Sequence[socket.socket]  # of all workers' inboxes, by number
    master_outbox: socket.socket
    tracked: TrackedParameters
    cancels: Allowance
    logins: dict[int, Login] = field(default_factory=dict)  # by row
    #: By pool: what was logged of a failed login, and when.
    refusals: dict[int, tuple[str, float]] = field(default_factory=dict)
    draining: bool = False
    resolver: Resolver = field(init=False)
    bridge: Bridge = field(init=False)


@dataclass(slots=True, eq=False)
class LoginServices:
    """What logins, and clients with which Python goes on, need beyond the context."""

    questions: LoginQuestions
    operations: ConsoleOperations
    console: Console
