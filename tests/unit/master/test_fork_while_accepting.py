"""A worker that is forked in a storm of clients inherits the descriptor of none."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pooler.config import Config, Settings
from pooler.core import TablesBusy
from pooler.core._core import PlayedTables
from pooler.ipc import inbox
from pooler.ipc.boot import WorkerBoot
from pooler.master.accept import Acceptor
from pooler.master.interfaces import Interfaces
from pooler.master.loop import Loop
from pooler.master.sockets import Listener, open_listeners
from pooler.master.workers import Events, Workers
from tests.support.processes import readable

FORKS = 60
CLIENTS = 60  # are in the backlog at each

#: Exit code of a worker that has the descriptor of a client.
HAS_CLIENT = 9


def clients_here(path: str) -> list[int]:
    """Descriptors of this process that were accepted at `path`."""
    found = []
    for fd in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # that of the listing itself
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                with socket.socket(fileno=os.dup(fd)) as sock:
                    listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                    if not listens and sock.getsockname() == path:
                        found.append(fd)
    return found


class Bed:
    """One worker that is forked again and again, its inbox, and the clients."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / ".s.PGSQL.1")
        self.loop = Loop()
        self.tables = PlayedTables(workers=1, slots=1, clients=1)
        nothing: Any = lambda *_: None  # noqa: E731
        shared = Interfaces(self.tables, nothing, nothing, TablesBusy)
        listeners: list[Listener] = open_listeners(Settings(unix_socket_dir=str(folder), listen_port=1))
        self.workers = Workers(1, self.loop, shared, self.work, Events(nothing, nothing, self.let_go))
        self.acceptor = Acceptor(self.loop, listeners, self.workers.accept_thread)
        self.workers.config = Config("p.ini", Settings())
        self.clients: list[socket.socket] = []

    def let_go(self) -> None:
        self.loop.close()
        self.acceptor.close_in_child()

    def work(self, boot: WorkerBoot) -> int:
        return HAS_CLIENT if clients_here(self.path) else 0

    def connect(self, count: int) -> None:
        for _ in range(count):
            self.clients.append(socket.socket(socket.AF_UNIX))
            self.clients[-1].connect(self.path)

    def drop_clients(self) -> None:
        for client in self.clients:
            client.close()
        self.clients.clear()

    def taken(self) -> int:
        """Take out of the inbox what is there."""
        count = 0
        while (datagram := inbox.receive(self.workers._inboxes[0])) is not None:
            os.close(datagram.fd)
            count += 1
        return count

    def fork(self) -> int:
        """Fork a worker; its exit code."""
        worker = self.workers.all[0]
        self.workers._fork(worker)
        status = os.waitpid(worker.pid, 0)[1]
        assert worker.channel is not None
        worker.channel.close()
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        self.drop_clients()
        self.acceptor.close()
        self.workers.close()
        self.loop.close()


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    made = Bed(tmp_path)
    yield made
    made.close()


def test_no_client_is_inherited(bed: Bed) -> None:
    bed.workers.accept_thread.set_eligible([0])
    codes = []
    for _ in range(FORKS):
        bed.connect(CLIENTS)
        bed.acceptor.start()
        codes.append(bed.fork())
        served = 0
        while served < CLIENTS:
            served += bed.taken()
            bed.loop.run_once(0.001)  # the inbox may have been full
        bed.drop_clients()
        bed.acceptor.wait()
    assert codes == [0] * FORKS


@pytest.mark.parametrize("seen", [False, True])
def test_one_that_was_kept(bed: Bed, seen: bool) -> None:
    """It is the master's, whether that has seen it or not."""
    bed.acceptor.start()  # nobody is eligible
    bed.connect(1)
    assert readable(bed.workers.accept_thread.fileno(), 10)
    assert len(clients_here(bed.path)) == 1
    if seen:
        bed.loop.run_once(1)
    assert bed.fork() == 0
    assert len(clients_here(bed.path)) == 1
