"""Clients of this machine compute their logins a few at a time."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any, cast

import gevent
import pytest

from pooler.worker.turns import Turns


@dataclass(eq=False)
class OfClient:
    """What a turn needs to know of a client."""

    name: str
    is_local: bool = True
    silent_since: float | None = None

    def silent_s(self, now: float) -> float:
        return 0.0 if self.silent_since is None else now - self.silent_since


class Arrivals:
    """The clients that have got a turn, in that order, of one worker with a core of its own."""

    def __init__(self) -> None:
        self.turns = Turns(len(os.sched_getaffinity(0)), gevent.spawn)
        self.entered: list[str] = []

    def come(self, client: OfClient) -> Any:
        def take() -> None:
            self.turns.take(cast(Any, client))
            self.entered.append(client.name)

        made = gevent.spawn(take)
        gevent.sleep(0)
        return made

    def end(self, client: OfClient) -> None:
        self.turns.end(cast(Any, client))


@pytest.fixture
def queue() -> Arrivals:
    return Arrivals()


def test_one_after_the_other(queue: Arrivals) -> None:
    a, b, c = map(OfClient, "abc")
    waiting = [queue.come(one) for one in (a, b, c)]
    assert queue.entered == ["a"]
    queue.end(a)
    waiting[1].join(5)
    assert queue.entered == ["a", "b"]
    queue.end(a)  # it has none any more: this frees nothing
    gevent.sleep(0.01)
    assert queue.entered == ["a", "b"]
    queue.end(b)
    gevent.joinall(waiting, 5, raise_error=True)
    assert queue.entered == ["a", "b", "c"]


def test_a_turn_is_kept_until_its_end(queue: Arrivals) -> None:
    a, b = map(OfClient, "ab")
    for one in (a, a, b):
        queue.come(one)
    assert queue.entered == ["a", "a"]


def test_clients_elsewhere_wait_for_nobody(queue: Arrivals) -> None:
    far = OfClient("far", is_local=False)
    for one in (OfClient("near"), far):
        queue.come(one)
    assert queue.entered == ["near", "far"]
    queue.end(far)


def test_the_silent_lose_their_turns(queue: Arrivals) -> None:
    a, b, c = OfClient("a", silent_since=time.monotonic()), OfClient("b"), OfClient("c")
    waiting = [queue.come(one) for one in (a, b, c)]
    waiting[1].join(5)
    gevent.sleep(0.3)
    assert queue.entered == ["a", "b"]  # who computes keeps it
    again = queue.come(a)
    queue.end(b)
    waiting[2].join(5)
    assert queue.entered == ["a", "b", "c"]
    queue.end(c)
    again.join(5)
    assert queue.entered == ["a", "b", "c", "a"]


def test_who_leaves_the_queue_takes_no_turn_along(queue: Arrivals) -> None:
    a, b, c = map(OfClient, "abc")
    waiting = [queue.come(one) for one in (a, b, c)]
    waiting[1].kill()
    queue.end(a)
    gevent.joinall(waiting, 5)
    assert queue.entered == ["a", "c"]
