"""A pooler without PostgreSQL: the real master with workers that answer one-line orders of their clients.

Run as a program by the tests beside it: `python -m tests.unit.master.program [-d] [-q] CONFIG.ini`. A client
gets a line `NUMBER PID` as its greeting. Then each line it sends is an order to its worker (see
`_Worker.order`), answered with a line. The tables are a stand-in with the same promises, in a shared map.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import selectors
import socket
import struct
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pooler.config import Config
from pooler.core._core import PlayedTables
from pooler.ipc import inbox
from pooler.ipc.boot import WorkerBoot
from pooler.ipc.channel import Decoder, encode
from pooler.ipc.messages import (
    BootFailed,
    Drain,
    Message,
    Pause,
    Ready,
    Reclaim,
    Reload,
    ReloadAnswer,
    ReloadDone,
    ReloadRequest,
    Resume,
    SetRequest,
    ShutdownRequest,
)
from pooler.master import start as start_module
from pooler.master.interfaces import Interfaces

WORKERS = 16


class Busy(Exception):
    """The tables are locked."""


class Tables:
    """Beats and reclaim counts in a map that children share; clients are given away by the real tables."""

    ROW = struct.Struct("dqq")  # last beat, refusals of the lock, what to reclaim after a death

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, self.ROW.size * (WORKERS + 1))
        self.spread = PlayedTables(workers=WORKERS, slots=4, clients=4)
        self.acceptor = self.spread.acceptor
        self.paused = False  # the master's view

    def get(self, number: int) -> tuple[float, int, int]:
        beat, clients, reclaim = self.ROW.unpack_from(self._map, number * self.ROW.size)
        return beat, clients, reclaim

    def put(self, number: int, beat: float, clients: int, reclaim: int) -> None:
        self.ROW.pack_into(self._map, number * self.ROW.size, beat, clients, reclaim)

    @property
    def busy_calls(self) -> int:
        """How often the lock will be refused; kept in the row after the last worker's."""
        return self.get(WORKERS)[1]

    @busy_calls.setter
    def busy_calls(self, count: int) -> None:
        self.put(WORKERS, 0.0, count, 0)

    def check_lock(self) -> None:
        if self.busy_calls:
            self.busy_calls -= 1
            raise Busy

    def worker_starting(self, number: int, pid: int) -> None:
        assert pid > 0
        _, clients, reclaim = self.get(number)
        self.put(number, time.monotonic(), clients, reclaim)

    def worker_died(self, number: int, timeout_s: float = 0.1) -> Mapping[str, int]:
        self.check_lock()
        beat, _, reclaim = self.get(number)
        self.put(number, beat, 0, 0)
        clients = self.spread.load(number)
        for _ in range(clients):
            self.spread._play_taken(number)
        return {"clients": clients, "reclaim": reclaim}

    def heartbeat_age(self, number: int) -> float:
        return time.monotonic() - self.get(number)[0]

    def pause_mode(self) -> str:
        return "PAUSE" if self.paused else ""

    def set_paused(self, database: int, paused: bool) -> None:
        self.paused = paused


class _Worker:
    """Greets clients and does what they say."""

    def __init__(self, boot: WorkerBoot) -> None:
        self.boot = boot
        self.tables: Tables = boot.tables
        self.number = boot.number
        self.config: Config = boot.config
        self.generation = boot.generation
        self.decoder = Decoder()
        self.selector = selectors.DefaultSelector()
        self.asking: dict[int, socket.socket] = {}
        self.clients: set[socket.socket] = set()
        self.seen: list[str] = []
        self.exit_code: int | None = None
        self.draining = False
        self.silent = False

    def run(self) -> int:
        if os.environ.get("FAIL_BOOT") == str(self.number):
            self.tell(BootFailed(self.number, "told so by the test"))
            return 3
        if os.environ.get("EXIT_BOOT") == str(self.number):
            return 4
        if os.path.exists(self.config.path + ".exit"):
            return 6
        self.boot.control.setblocking(False)
        self.selector.register(self.boot.control, selectors.EVENT_READ, self.read_control)
        self.selector.register(self.boot.inbox, selectors.EVENT_READ, self.read_inbox)
        self.tell(Ready(self.number))
        while self.exit_code is None:
            for key, _ in self.selector.select(0.02):
                key.data()
            if not self.silent:
                _, clients, reclaim = self.tables.get(self.number)
                self.tables.put(self.number, time.monotonic(), clients, reclaim)
            if self.draining and not self.clients:
                return 0
        return self.exit_code

    def tell(self, message: Message) -> None:
        self.boot.control.sendall(encode(message))

    def read_control(self) -> None:
        data = self.boot.control.recv(65536)
        if not data:
            self.exit_code = 0
        for message in self.decoder.feed(data):
            self.take(message)

    def take(self, message: Message) -> None:
        self.seen.append(type(message).__name__)
        match message:
            case Reload(generation, config):
                self.config, self.generation = Config.from_wire(config), generation
                self.tell(ReloadDone(self.number, generation))
            case ReloadAnswer(token, error):
                self.asking.pop(token).sendall(f"{error or 'done'}\n".encode())
            case Drain("wait_for_servers"):
                self.exit_code = 0
            case Drain():
                self.draining = True
            case Pause() | Resume() | Reclaim():
                pass
            case _:
                self.exit_code = 5

    def read_inbox(self) -> None:
        datagram = inbox.receive(self.boot.inbox)
        if datagram is None:
            return
        if datagram.kind != inbox.Kind.CLIENT:
            self.seen.append(f"{datagram.kind.name}:{datagram.a}:{datagram.b}")
            if datagram.fd >= 0:
                os.close(datagram.fd)
            return
        client = socket.socket(fileno=datagram.fd)
        assert client.gettimeout() == 0.0 or not os.get_blocking(client.fileno())
        client.setblocking(True)
        self.clients.add(client)
        self.selector.register(client, selectors.EVENT_READ, functools.partial(self.read_client, client))
        with contextlib.suppress(ConnectionError):  # it may have left again
            client.sendall(f"{self.number} {os.getpid()}\n".encode())

    def read_client(self, client: socket.socket) -> None:
        try:
            data = client.recv(4096)
        except ConnectionError:
            data = b""
        if not data:
            self.selector.unregister(client)
            self.clients.discard(client)
            client.close()
            if self.tables.spread.load(self.number):
                self.tables.spread._play_taken(self.number)  # only now: until then it counts as on its way
            return
        answer = self.order(client, data.decode().split())
        if answer is not None:
            client.sendall(f"{answer}\n".encode())

    def order(self, client: socket.socket, words: list[str]) -> str | None:
        match words:
            case []:  # what wakes a TCP connection whose acceptance is deferred
                return None
            case ["exit", code]:
                self.exit_code = int(code)
            case ["leave", reclaim]:  # something to reclaim after my death
                beat, clients, _ = self.tables.get(self.number)
                self.tables.put(self.number, beat, clients, int(reclaim))
            case ["lock", times]:
                self.tables.busy_calls = int(times)
            case ["silence"]:
                self.silent = True
            case ["reload"]:
                self.asking[7] = client
                self.tell(ReloadRequest(7))
                return None
            case ["set", key, value]:
                self.asking[8] = client
                self.tell(SetRequest(8, key, value))
                return None
            case ["shutdown", ("immediate" | "wait_for_servers" | "wait_for_clients") as mode]:
                self.tell(ShutdownRequest(mode))
            case ["garbage"]:
                self.boot.control.sendall(b"\xff\xff\xff\xff")
            case ["config", key]:
                return str(getattr(self.config.settings, key))
            case ["generation"]:
                return str(self.generation)
            case ["seen"]:
                return " ".join(self.seen) or "nothing"
            case ["servers"]:
                return " ".join(f"{s}:{g}" for s, (g, _) in self.boot.server_fds.items()) or "none"
            case ["publish", slot, generation]:
                for outbox in (self.boot.master_outbox, *self.boot.outboxes):
                    assert inbox.send_server(outbox, int(slot), int(generation), client.fileno())
            case ["fds"]:
                return " ".join(sorted(os.listdir("/proc/self/fd"), key=int))
            case _:
                return "what?"
        return "ok"


def run_worker(boot: WorkerBoot) -> int:
    return _Worker(boot).run()


def make_interfaces(config: Config, sizes: Mapping[str, int], key: bytes) -> Interfaces:
    tables = Tables()

    def apply(given: Any, config: Config) -> None:
        assert given is tables
        tables.check_lock()

    def close_changed(given: Any, changes: Any) -> None:
        assert given is tables

    return Interfaces(tables, apply, close_changed, Busy)


def main() -> int:
    vars(start_module).update(refuse_root=lambda: None, make_interfaces=make_interfaces)
    options = start_module.Options(sys.argv[-1])
    options = replace(options, daemon="-d" in sys.argv, quiet="-q" in sys.argv)
    return start_module.start(options, run_worker, lambda boot: 0)


if __name__ == "__main__":
    sys.exit(main())
