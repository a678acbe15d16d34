"""Streams whose other side goes on talking: others have their turn meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest
from gevent import socket

from pooler.errors import ServerFault
from pooler.worker.stream import MESSAGES_PER_TURN, READ_BYTES, Stream, read_to_end, turn_at

#: Where others never have their turn the test has to end all the same.
ENOUGH = 200_000


#: A NotificationResponse without a text.
MESSAGE = b"A\0\0\0\x0a\0\0\0\7c\0"


class Talker:
    """A socket that always has something to read."""

    def __init__(self) -> None:
        self.reads = 0

    def recv(self, size: int) -> bytes:
        self.reads += 1
        return MESSAGE if self.reads < ENOUGH else b""


def read_messages(sock: socket.socket) -> None:
    stream = Stream(sock, ServerFault)
    while True:
        stream.message(100)


WAYS: dict[str, Callable[[socket.socket], None]] = {
    "socket": read_to_end,
    "stream": lambda sock: Stream(sock, ServerFault).wait_for_end(),
    "messages": read_messages,
}


@pytest.mark.parametrize("way", WAYS)
def test_others_have_their_turn(way: str) -> None:
    """Other greenlets, and time limits."""
    talker, turns = Talker(), 0

    def other() -> None:
        nonlocal turns
        while turns < 3:
            turns += 1
            gevent.sleep(0)

    gevent.spawn(other)
    limit = gevent.Timeout(0.01)
    with pytest.raises(gevent.Timeout), limit:
        WAYS[way](cast(Any, talker))
    assert turns == 3
    assert talker.reads < ENOUGH


def test_one_thread_at_a_time_for_the_servers_at_an_address() -> None:
    """What the logins at one of them cost keeps no others waiting."""
    begun: list[str] = []
    goes_on = threading.Event()

    def compute(name: str) -> str:
        begun.append(name)
        assert goes_on.wait(10)
        return name

    def begin(name: str, address: str) -> Any:
        stream = Stream(cast(Any, None), ServerFault, turn=turn_at(address))
        return gevent.spawn(stream.offload, compute, name)

    all_of_them = [begin("dear", "1"), begin("dear, too", "1"), begin("of others", "2")]
    with gevent.Timeout(10):
        while "of others" not in begun:
            gevent.sleep(0.001)
    assert sorted(begun) == ["dear", "of others"]
    goes_on.set()
    gevent.joinall(all_of_them, 10)
    assert [one.value for one in all_of_them] == ["dear", "dear, too", "of others"]


def test_others_have_their_turn_between_the_messages_of_one_read() -> None:
    at_once = READ_BYTES // len(MESSAGE)
    reads = [MESSAGE * at_once]
    stream = Stream(cast(Any, SimpleNamespace(recv=lambda _: reads.pop(0))), ServerFault)
    taken, seen = 0, [0]

    def take() -> None:
        nonlocal taken
        while taken < at_once:
            stream.message(100)
            taken += 1

    taking = gevent.spawn(take)
    while not taking.ready():
        gevent.sleep(0)
        seen.append(taken)
    assert taken == at_once
    assert max(b - a for a, b in pairwise(seen)) <= MESSAGES_PER_TURN + 1
