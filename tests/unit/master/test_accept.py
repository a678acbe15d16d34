"""Every accepted client reaches a worker: that with the fewest, another if it is full, later if all are."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pooler.config import Settings
from pooler.ipc import inbox
from pooler.master import accept
from pooler.master.accept import Acceptor
from pooler.master.loop import Loop
from pooler.master.sockets import Listener, open_listeners
from tests.support.messages import send_closed


@dataclass
class Loads:
    """The tables, as far as spreading looks at them."""

    loads: list[int]
    sent: list[int] = field(default_factory=list)

    def load(self, number: int) -> int:
        return self.loads[number]

    def pause_mode(self) -> str:
        return ""

    def set_paused(self, database: int, paused: bool) -> None:
        """Nobody asks."""

    def client_sent(self, number: int) -> None:
        self.loads[number] += 1
        self.sent.append(number)

    def worker_starting(self, number: int, pid: int) -> None:
        raise AssertionError

    def worker_died(self, number: int, timeout_s: float = 0.1) -> Mapping[str, int]:
        raise AssertionError

    def heartbeat_age(self, number: int) -> float:
        raise AssertionError


class Bed:
    """A acceptor with a unix listener and inboxes that nobody reads but the test."""

    def __init__(self, folder: Path, loads: list[int]) -> None:
        self.loop = Loop()
        self.tables = Loads(loads)
        self.workers = list(range(len(loads)))
        pairs = [inbox.open_pair() for _ in loads]
        self.inboxes, self.outboxes = [a for a, _ in pairs], [b for _, b in pairs]
        self.listeners = open_listeners(Settings(unix_socket_dir=str(folder), listen_port=1))
        self.acceptor = Acceptor(self.loop, self.listeners, self.outboxes, self.tables, lambda: self.workers)
        self.path = str(folder / ".s.PGSQL.1")
        self.clients: list[socket.socket] = []

    def connect(self, count: int = 1) -> None:
        for _ in range(count):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(10)
            self.clients.append(client)
            client.connect(self.path)

    def run_until(self, fact: Callable[[], bool]) -> None:
        for _ in range(1000):
            if fact():
                return
            self.loop.run_once(0.05)
        raise AssertionError("in vain")

    def received(self, number: int) -> int:
        """Take everything out of an inbox; how many clients there were."""
        count = 0
        while (datagram := inbox.receive(self.inboxes[number])) is not None:
            assert datagram.kind == inbox.Kind.CLIENT
            assert not os.get_blocking(datagram.fd)
            os.close(datagram.fd)
            count += 1
        return count

    def fill(self, number: int) -> int:
        count = 0
        while send_closed(self.outboxes[number], 0, 0):
            count += 1
        return count

    def empty(self, number: int) -> None:
        while inbox.receive(self.inboxes[number]) is not None:
            pass

    def close(self) -> None:
        self.acceptor.close()
        for sock in (*self.inboxes, *self.outboxes, *self.clients):
            sock.close()
        self.loop.close()


@pytest.fixture
def make_bed(tmp_path: Path) -> Iterator[Callable[[list[int]], Bed]]:
    beds: list[Bed] = []

    def make(loads: list[int]) -> Bed:
        beds.append(Bed(tmp_path, loads))
        return beds[-1]

    yield make
    for bed in beds:
        bed.close()


MakeBed = Callable[[list[int]], Bed]


def test_nothing_before_start(make_bed: MakeBed) -> None:
    bed = make_bed([0])
    bed.connect()
    bed.loop.run_once(0)
    assert bed.tables.sent == []
    bed.acceptor.start()
    bed.run_until(lambda: bed.tables.sent == [0])


def test_fewest_first_and_turns_among_equals(make_bed: MakeBed) -> None:
    bed = make_bed([5, 3, 4])
    bed.acceptor.start()
    bed.connect(6)
    bed.run_until(lambda: len(bed.tables.sent) == 6)
    assert bed.tables.loads == [6, 6, 6]
    # Short connections, one after the other: no worker gets them all.
    bed.tables.sent.clear()
    for _ in range(6):
        bed.connect()
        bed.run_until(lambda: bool(bed.tables.sent) and sum(bed.tables.loads) > 18)
        bed.tables.loads = [6, 6, 6]
    assert sorted(bed.tables.sent) == [0, 0, 1, 1, 2, 2]
    assert sum(bed.received(n) for n in range(3)) == 12


def test_full_inbox_next_best(make_bed: MakeBed) -> None:
    bed = make_bed([0, 9])
    bed.fill(0)
    bed.acceptor.start()
    bed.connect(3)
    bed.run_until(lambda: bed.tables.sent == [1, 1, 1])
    assert bed.received(1) == 3


def test_all_full_none_lost(make_bed: MakeBed) -> None:
    bed = make_bed([0, 0])
    bed.fill(0)
    bed.fill(1)
    bed.acceptor.start()
    bed.connect(5)
    for _ in range(3):
        bed.loop.run_once(0.05)
    assert bed.tables.sent == []
    bed.empty(1)
    bed.run_until(lambda: bed.tables.sent == [1] * 5)
    bed.empty(0)
    assert bed.received(1) == 5


def test_no_worker_none_lost(make_bed: MakeBed) -> None:
    bed = make_bed([0, 0])
    bed.workers = []
    bed.acceptor.start()
    bed.connect(3)
    for _ in range(3):
        bed.loop.run_once(0.05)
    bed.workers = [1]
    bed.acceptor.resume()
    bed.run_until(lambda: bed.tables.sent == [1, 1, 1])
    assert bed.received(1) == 3


def test_a_storm_in_batches(make_bed: MakeBed) -> None:
    bed = make_bed([0])
    bed.connect(100)
    bed.acceptor.start()
    bed.loop.run_once()
    assert len(bed.tables.sent) == accept.BATCH
    bed.run_until(lambda: len(bed.tables.sent) == 100)
    assert bed.received(0) == 100


class Exhausted:
    """A listening socket in a process without descriptors, but for the spare one."""

    def __init__(self, real: socket.socket, failures: int) -> None:
        self.real = real
        self.failures = failures

    def accept(self) -> tuple[socket.socket, object]:
        if self.failures:
            self.failures -= 1
            if self.failures % 2:
                raise OSError(errno.EMFILE, "Too many open files")
        return self.real.accept()

    def fileno(self) -> int:
        return self.real.fileno()

    def close(self) -> None:
        self.real.close()


def test_out_of_descriptors(
    make_bed: MakeBed, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One client is told by a close, accepting rests, the others are served afterwards."""
    monkeypatch.setattr(accept, "NO_RESOURCES_PAUSE_S", 0.01)
    bed = make_bed([0])
    listener: Listener = bed.listeners[0]
    listener.sock = Exhausted(listener.sock, failures=2)  # type: ignore[assignment]  # all that is used of it
    bed.connect(3)
    bed.acceptor.start()
    bed.run_until(lambda: len(bed.tables.sent) == 2)
    assert bed.clients[0].recv(1) == b""
    assert bed.received(0) == 2
    assert "Too many open files; pausing" in capfd.readouterr().err


def test_stop_tcp_only_keeps_unix(make_bed: MakeBed) -> None:
    bed = make_bed([0])
    bed.acceptor.start()
    bed.acceptor.stop(tcp_only=True)
    bed.connect()
    bed.run_until(lambda: bed.tables.sent == [0])
    bed.acceptor.stop()
    with pytest.raises(OSError, match=r"No such file|refused"):
        bed.connect()
