"""Every accepted client reaches a worker: that with the fewest, another if it is full, later if all are."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pooler.config import Settings
from pooler.core._core import PlayedTables
from pooler.ipc import inbox
from pooler.master import accept
from pooler.master.accept import Acceptor
from pooler.master.loop import Loop
from pooler.master.sockets import open_listeners
from tests.support.messages import send_closed
from tests.support.processes import readable


class Bed:
    """An acceptor with a unix listener and inboxes that nobody reads but the test."""

    def __init__(self, folder: Path, loads: list[int]) -> None:
        self.loop = Loop()
        self.tables = PlayedTables(workers=len(loads), slots=1, clients=100)
        self.rows = [[self.tables.client_new(n) for _ in range(load)] for n, load in enumerate(loads)]
        pairs = [inbox.open_pair() for _ in loads]
        self.inboxes, self.outboxes = [a for a, _ in pairs], [b for _, b in pairs]
        self.listeners = open_listeners(Settings(unix_socket_dir=str(folder), listen_port=1))
        self.thread = self.tables.acceptor([box.fileno() for box in self.outboxes], accept.BATCH)
        self.thread.set_eligible(range(len(loads)))
        self.acceptor = Acceptor(self.loop, self.listeners, self.thread)
        self.path = str(folder / ".s.PGSQL.1")
        self.clients: list[socket.socket] = []
        self.ended = False

    def connect(self, count: int = 1) -> None:
        for _ in range(count):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(10)
            self.clients.append(client)
            client.connect(self.path)

    def loads(self) -> list[int]:
        return [self.tables.load(number) for number in range(len(self.rows))]

    def sent(self) -> list[int]:
        """How many clients are on their way to each."""
        return [load - len(rows) for load, rows in zip(self.loads(), self.rows, strict=True)]

    def take(self) -> list[int]:
        """As if the workers took and closed what was sent; how many each had got."""
        sent = self.sent()
        for number, count in enumerate(sent):
            for _ in range(count):
                self.tables._play_taken(number)
        return sent

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

    def end(self) -> None:
        if not self.ended:
            self.ended = True
            self.acceptor.close()

    def close(self) -> None:
        self.end()
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
    bed.loop.run_once(0.05)
    assert bed.sent() == [0]
    bed.acceptor.start()
    bed.run_until(lambda: bed.sent() == [1])


def test_nothing_between_wait_and_start(make_bed: MakeBed) -> None:
    bed = make_bed([0])
    sent = 0
    for _ in range(20):
        bed.acceptor.start()
        bed.connect(5)
        bed.acceptor.wait()  # somewhere among them
        sent = bed.sent()[0]
        bed.connect()
        bed.loop.run_once(0.005)
        assert bed.sent() == [sent]
    bed.acceptor.start()
    bed.run_until(lambda: bed.sent() == [120])
    assert bed.received(0) == 120


def test_fewest_first_and_turns_among_equals(make_bed: MakeBed) -> None:
    bed = make_bed([5, 3, 4])
    bed.acceptor.start()
    bed.connect(6)
    bed.run_until(lambda: bed.loads() == [6, 6, 6])
    bed.take()
    for number, rows in enumerate(bed.rows):
        rows.extend(bed.tables.client_new(number) for _ in range(6 - len(rows)))
    # Short connections, one after the other: no worker gets them all.
    got = [0, 0, 0]
    for _ in range(6):
        bed.connect()
        bed.run_until(lambda: any(bed.sent()))
        got = [before + now for before, now in zip(got, bed.take(), strict=True)]
    assert got == [2, 2, 2]
    assert sum(bed.received(n) for n in range(3)) == 12


def test_full_inbox_next_best(make_bed: MakeBed) -> None:
    bed = make_bed([0, 9])
    bed.fill(0)
    bed.acceptor.start()
    bed.connect(3)
    bed.run_until(lambda: bed.sent() == [0, 3])
    assert bed.received(1) == 3


def test_all_full_none_lost(make_bed: MakeBed) -> None:
    bed = make_bed([0, 0])
    bed.fill(0)
    bed.fill(1)
    bed.acceptor.start()
    bed.connect(5)
    for _ in range(3):
        bed.loop.run_once(0.05)
    assert bed.sent() == [0, 0]
    bed.empty(1)
    bed.run_until(lambda: bed.sent() == [0, 5])
    bed.empty(0)
    assert bed.received(1) == 5


def test_no_worker_none_lost(make_bed: MakeBed) -> None:
    bed = make_bed([0, 0])
    bed.thread.set_eligible([])
    bed.acceptor.start()
    bed.connect(3)
    for _ in range(3):
        bed.loop.run_once(0.05)
    bed.thread.set_eligible([1])
    bed.acceptor.resume()
    bed.run_until(lambda: bed.sent() == [0, 3])
    assert bed.received(1) == 3


def test_a_storm_in_batches(make_bed: MakeBed) -> None:
    """The master, which forks in between, waits for one of them only, and sees none half done."""
    bed = make_bed([0])
    bed.connect(100)
    bed.acceptor.start()
    seen = set()
    for _ in range(1000):
        with bed.thread:
            seen.add(bed.sent()[0])
        if bed.sent() == [100]:
            break
    assert seen <= {0, accept.BATCH, 100}
    bed.run_until(lambda: bed.sent() == [100])
    assert bed.received(0) == 100


def test_a_client_kept_when_others_are_to_wait(make_bed: MakeBed) -> None:
    """Whoever was accepted before is served, now or after the pause."""
    bed = make_bed([0])
    bed.fill(0)
    bed.acceptor.start()
    bed.connect(2)
    assert readable(bed.thread.fileno(), 10)  # it is kept, and the master has not seen that yet
    bed.acceptor.wait()
    bed.empty(0)
    bed.run_until(lambda: bed.sent() == [1])
    bed.loop.run_once(0.05)
    assert bed.sent() == [1]
    bed.acceptor.start()
    bed.run_until(lambda: bed.sent() == [2])
    assert bed.received(0) == 2


def test_the_end_with_a_client_kept(make_bed: MakeBed) -> None:
    bed = make_bed([0])
    bed.fill(0)
    bed.acceptor.start()
    bed.connect()
    assert readable(bed.thread.fileno(), 10)
    bed.end()
    assert bed.clients[0].recv(1) == b""


def test_a_number_that_is_another_socket_now(make_bed: MakeBed) -> None:
    """A listener that was closed is forgotten, whatever has its number, and though a child still has it."""
    bed = make_bed([0])
    bed.acceptor.start()
    bed.connect()
    bed.run_until(lambda: bed.sent() == [1])
    number = bed.listeners[0].sock.fileno()
    childs = os.dup(number)
    os.rename(bed.path, bed.path + ".childs")
    bed.acceptor.stop()
    made = socket.create_server(("127.0.0.1", 0))
    if made.fileno() != number:
        os.dup2(made.fileno(), number)
        made.close()
        made = socket.socket(fileno=number)
    bed.path += ".childs"
    with made as other, socket.create_connection(other.getsockname()):
        other.setblocking(False)
        bed.connect()
        bed.loop.run_once(0.05)
        assert bed.sent() == [1]
        other.accept()[0].close()
    os.close(childs)


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """None is left but the one that the acceptor has put aside."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
    held: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_out_of_descriptors(
    make_bed: MakeBed, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One client is told by a close, accepting rests, the others are served afterwards."""
    monkeypatch.setattr(accept, "NO_RESOURCES_PAUSE_S", 0.01)
    bed = make_bed([0])
    bed.connect(3)
    with no_descriptors():
        bed.acceptor.start()
        bed.loop.run_once(1)
    assert bed.sent() == [0]
    bed.run_until(lambda: bed.sent() == [2])
    assert bed.clients[0].recv(1) == b""
    assert bed.received(0) == 2
    assert "Too many open files; pausing" in capfd.readouterr().err


def test_out_of_descriptors_with_one_kept(make_bed: MakeBed) -> None:
    """It is not refused, and once it is given away its descriptor is the next one's."""
    bed = make_bed([0])
    bed.fill(0)
    bed.acceptor.start()
    bed.connect(2)
    bed.loop.run_once(1)  # one is kept
    with no_descriptors():
        bed.empty(0)
        bed.run_until(lambda: bed.sent() == [2])
    bed.connect()
    bed.run_until(lambda: bed.sent() == [3])
    for client in bed.clients:
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)
    assert bed.received(0) == 3


def test_an_inbox_that_is_broken(make_bed: MakeBed, capfd: pytest.CaptureFixture[str]) -> None:
    """It cannot be, so it is in the log; its clients go to others, and wait where there are none."""
    bed = make_bed([0, 9])
    bed.inboxes[0].close()
    bed.acceptor.start()
    bed.connect()
    bed.run_until(lambda: bed.sent() == [0, 1])
    assert "ERROR" not in capfd.readouterr().err
    bed.thread.set_eligible([0])
    bed.connect()
    bed.run_until(lambda: "Broken pipe" in capfd.readouterr().err)
    bed.thread.set_eligible([1])
    bed.run_until(lambda: bed.sent() == [0, 2])
    assert bed.received(1) == 2


def test_stop_tcp_only_keeps_unix(make_bed: MakeBed) -> None:
    bed = make_bed([0])
    bed.acceptor.start()
    bed.acceptor.stop(tcp_only=True)
    bed.connect()
    bed.run_until(lambda: bed.sent() == [1])
    bed.acceptor.stop()
    with pytest.raises(OSError, match=r"No such file|refused"):
        bed.connect()
