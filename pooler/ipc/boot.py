"""What workers and the monitor are born with: everything the master hands to them over the fork."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any


@dataclass
class WorkerBoot:
    """The worker's share of what the master made. All descriptors are already this process's own.

    `tables` is a `pooler.core.Tables` and `config` a `pooler.config.Config`; this layer knows neither.
    """

    number: int
    tables: Any
    config: Any
    inbox: socket.socket  # receive end, this worker's only
    outboxes: list[socket.socket]  # send ends of all workers' inboxes, by worker number
    master_outbox: socket.socket  # send end of the master's own inbox
    control: socket.socket  # this worker's end of its control channel; end of stream: the master is gone
    server_fds: dict[int, tuple[int, int]] = field(default_factory=dict)  # slot -> (generation, descriptor)
    plain_fds: dict[int, tuple[int, int]] = field(
        default_factory=dict
    )  # of those that are encrypted: their plain ends
    generation: int = 0  # of `config`
    login_key: bytes = b""  # makes the salts of unknown users

    @property
    def name(self) -> str:
        """For the log."""
        return f"worker {self.number}"


@dataclass
class MonitorBoot:
    """The same of the process that speaks HTTP."""

    tables: Any
    config: Any
    control: socket.socket
    listeners: list[socket.socket]
    restarts: int  # how many there were before
    started_at: float  # when the master was ready, in seconds since 1970
    name: str = "monitor"
