"""Places at the login queue, the order of turns, and clients that are sent away: clients of a few lines."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from pooler.config import Settings
from pooler.worker.login_queue import SILENT_S, STALL_S, TOO_MANY, TOO_SILENT, LoginQueue
from pooler.worker.server import network_of


@dataclass(eq=False)
class FakeClient:
    """As much of a client as the login queue looks at."""

    bed: Bed
    origin: str
    started_s: float
    says: bool
    silent: float = 0.0
    waited: float = 0.0
    fault: str | None = None
    started: bool = False
    has_row: bool = True
    is_local: bool = False

    def __post_init__(self) -> None:
        self.sock, self.peer = socket.socketpair()
        self.stream = SimpleNamespace(pending=lambda: self.says)

    def serve(self) -> None:
        self.started = True

    def silent_s(self, now: float) -> float:
        return self.silent

    def waited_s(self, now: float) -> float:
        return self.waited

    def end(self, text: str, sqlstate: str = "") -> None:
        if self.fault is None:
            self.fault = text
            self.bed.login_queue.reject(self)  # type: ignore[arg-type]

    def give_up_row(self) -> None:
        self.has_row = False


@dataclass
class Bed:
    """A login queue with these settings, at a time that the test says."""

    settings: Settings
    now: float = field(default_factory=time.monotonic)
    clients: list[FakeClient] = field(default_factory=list)

    def __post_init__(self) -> None:
        context: Any = SimpleNamespace(config=SimpleNamespace(settings=self.settings))
        context.spawn = lambda function, *arguments: function(*arguments)
        self.login_queue = LoginQueue(context)

    def come(self, origin: str = "a", says: bool = True, ago: float = 0.0) -> FakeClient:
        client = FakeClient(self, origin, self.now - ago, says)
        self.clients.append(client)
        self.login_queue.enter(client)  # type: ignore[arg-type]
        return client

    def tick(self) -> None:
        self.login_queue.tick(self.now)


MakeBed = Callable[..., Bed]


@pytest.fixture
def make_bed() -> Iterator[MakeBed]:
    beds: list[Bed] = []

    def make(**settings: Any) -> Bed:
        beds.append(Bed(Settings(workers=1, **settings)))
        return beds[-1]

    yield make
    for bed in beds:
        for client in bed.clients:
            bed.login_queue._forget(client)  # type: ignore[arg-type]
            client.sock.close()
            client.peer.close()


def test_turns_go_round_by_origin(make_bed: MakeBed) -> None:
    """A flood from one address does not stand in front of the client of another."""
    bed = make_bed(max_unauthenticated=1)
    first = bed.come("flood")
    flood = [bed.come("flood") for _ in range(20)]
    honest = bed.come("honest")
    bed.login_queue.leave(first)  # type: ignore[arg-type]
    bed.login_queue.leave(flood[0])  # type: ignore[arg-type]
    assert honest.started
    bed.login_queue.leave(honest)  # type: ignore[arg-type]
    assert [one.started for one in flood] == [True, True] + 18 * [False], "first come, first served"


def test_silent_connections_take_no_place(make_bed: MakeBed) -> None:
    bed = make_bed(max_unauthenticated=1)
    silent = [bed.come(says=False) for _ in range(10)]
    assert bed.come().started
    assert not any(one.started or one.fault for one in silent)
    bed.clients[-1].waited = STALL_S
    silent[3].peer.send(b"x")
    gevent.sleep(0.01)
    bed.tick()
    assert [one.started for one in silent] == [number == 3 for number in range(10)]


def test_stalled_logins_take_no_place(make_bed: MakeBed) -> None:
    """However they are stalled: a byte now and then is no haste."""
    bed = make_bed(max_unauthenticated=2)
    stalled = [bed.come() for _ in range(2)]
    client = bed.come()
    assert not client.started
    for one in stalled:
        one.waited, one.silent = STALL_S, 0.01
    bed.tick()
    assert client.started
    assert not any(one.fault for one in stalled)


def test_the_newest_of_the_origin_with_most_leave(make_bed: MakeBed) -> None:
    bed = make_bed(max_unauthenticated=1)
    silent = {}
    for name, origin, age in (("x1", "x", 9), ("y1", "y", 8), ("x2", "x", 7), ("x3", "x", 6)):
        silent[name] = bed.come(origin, ago=age)
        silent[name].waited = STALL_S
        bed.tick()
    for one in silent.values():
        one.silent = SILENT_S
    bed.tick()
    assert not any(one.fault for one in silent.values()), "there is room"
    working, waiting = bed.come("z"), bed.come("z")
    assert (working.started, waiting.started) == (True, False)
    assert [name for name, one in silent.items() if one.fault == TOO_MANY] == ["x3"]
    bed.tick()
    assert [name for name, one in silent.items() if one.fault == TOO_MANY] == ["x2", "x3"]


def test_an_origin_may_have_so_many_silent_connections(make_bed: MakeBed) -> None:
    """Outside and inside count together; the others are not touched."""
    bed = make_bed(max_silent_per_address=2)
    inside = bed.come("x", ago=20)
    inside.waited = inside.silent = SILENT_S
    outside = [bed.come("x", says=False, ago=age) for age in (9, 8, 7, 1)]
    other = bed.come("y", says=False, ago=9)
    bed.tick()
    assert [one.fault for one in (inside, *outside)] == [None, None, TOO_SILENT, TOO_SILENT, None]
    assert other.fault is None


def test_rows_are_given_up_for_who_speaks(make_bed: MakeBed) -> None:
    bed = make_bed()
    few = bed.come("few", says=False, ago=1)
    many = [bed.come("many", says=False, ago=age) for age in (9, 8)]
    newcomer = FakeClient(bed, "many", bed.now, True)
    bed.clients.append(newcomer)
    assert bed.login_queue.make_way(newcomer)  # type: ignore[arg-type]
    assert [one.has_row for one in many] == [True, False]
    assert many[1].fault == TOO_MANY
    newcomer.says = False
    assert not bed.login_queue.make_way(newcomer), "it is the newest of them"  # type: ignore[arg-type]
    newcomer.origin, newcomer.says = "else", True
    assert bed.login_queue.make_way(newcomer)  # type: ignore[arg-type]
    assert few.has_row != many[0].has_row
    bed.login_queue.make_way(newcomer)  # type: ignore[arg-type]
    assert not bed.login_queue.make_way(newcomer), "there is none"  # type: ignore[arg-type]


def test_rows_of_a_flood_that_speaks_are_given_up_for_others(make_bed: MakeBed) -> None:
    bed = make_bed(max_unauthenticated=1)
    flood = [bed.come("flood", ago=age) for age in (9, 8, 7)]
    newcomer = FakeClient(bed, "flood", bed.now, True)
    bed.clients.append(newcomer)
    assert not bed.login_queue.make_way(newcomer), "it is the newest of them"  # type: ignore[arg-type]
    newcomer.origin = "else"
    assert bed.login_queue.make_way(newcomer)  # type: ignore[arg-type]
    assert [one.has_row for one in flood] == [True, True, False]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("127.0.0.1", "127.9.9.9", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2", True),
        ("", "", True),
    ],
)
def test_networks(one: str, other: str, same: bool) -> None:
    """What one machine may have many of counts as one."""
    assert (network_of(one) == network_of(other)) is same
