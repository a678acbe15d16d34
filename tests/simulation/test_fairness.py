"""Four workers with uneven numbers of clients share four servers: nobody waits much longer than others."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

import pytest

from tests.simulation.invariants import Watch
from tests.simulation.world import Pool, World

SERVERS = 4
STEPS = 6000
WORK_S = (0.0005, 0.0015)  # a transaction
THINK_S = 0.0002
HOP_S = 0.0001  # from a doorbell to the worker that looks


@dataclass
class Load:
    """Clients in a closed loop: think, wait for a server, work."""

    world: World
    random: random.Random
    waits: dict[int, list[float]] = field(default_factory=dict)  # by worker
    done: dict[int, int] = field(default_factory=dict)  # by client
    since: dict[int, int] = field(default_factory=dict)
    events: list[tuple[int, int, str, int]] = field(default_factory=list)
    count: int = 0
    busy: set[int] = field(default_factory=set)

    def at(self, seconds: float, what: str, who: int) -> None:
        self.count += 1
        heapq.heappush(self.events, (self.world.now + round(seconds * 1e6), self.count, what, who))

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.world.now, _, what, who = heapq.heappop(self.events)
            if what == "want":
                self.since[who] = self.world.now
                self.world.acquire(who)
            elif what == "done":
                self.busy.discard(who)
                self.done[who] = self.done.get(who, 0) + 1
                self.world.release(who)
                self.at(self.random.expovariate(1 / THINK_S), "want", who)
            elif what == "bell":
                self.world.attend(who)
            self.follow_up()

    def follow_up(self) -> None:
        """A client that got a server begins to work; workers that were rung look a moment later."""
        for row in self.world.attached.keys() - self.busy:
            self.busy.add(row)
            worker = self.world.members[row][0]
            self.waits.setdefault(worker, []).append((self.world.now - self.since[row]) / 1e6)
            self.at(self.random.uniform(*WORK_S), "done", row)
        for worker, (_, clients, slots) in enumerate(self.world.tables._derived()["workers"]):
            if clients or slots:
                self.at(HOP_S, "bell", worker)
        for slot in sorted(self.world.dials):
            self.world.opened(slot)


def run(clients_of: list[int], seed: int) -> Load:
    world = World([Pool(size=SERVERS)], workers=len(clients_of), clients=256)
    load = Load(world, random.Random(seed))
    for worker, count in enumerate(clients_of):
        for _ in range(count):
            row = world.connect(worker, 0)
            assert row is not None
            load.at(load.random.expovariate(1 / THINK_S), "want", row)
    load.run(STEPS)
    Watch(world).check()
    return load


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[int(part * (len(values) - 1))]


def jain(values: list[int]) -> float:
    """1.0: all the same; 1/n: one has everything."""
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("clients_of", [[12, 4, 2, 2], [16, 1, 1, 1], [5, 5, 5, 5]], ids=str)
def test_uneven_clients_share_servers_evenly(clients_of: list[int], seed: int) -> None:
    load = run(clients_of, seed)
    assert len(load.done) == sum(clients_of), "somebody was never served"
    # private partitions of one server for each worker would give 0.6 for [12, 4, 2, 2], strict order 1.0
    assert jain(list(load.done.values())) > 0.85
    assert max(load.done.values()) < 3 * min(load.done.values())
    tails = [percentile(waits, 0.99) for waits in load.waits.values()]
    assert max(tails) < 4 * min(tails), tails
    everybody = [wait for waits in load.waits.values() for wait in waits]
    mean = sum(everybody) / len(everybody)
    # the oldest goes first as soon as it has waited twice the mean; then it waits for one of four servers
    assert max(everybody) < 6 * mean, (max(everybody), mean)


def test_order_is_strict_for_the_oldest() -> None:
    """Workers that are always busy with their own cannot keep a single client of another one waiting."""
    world = World([Pool(size=1)], workers=2)
    row = world.connect(1, 0)
    others = [world.connect(0, 0) for _ in range(4)]
    assert row is not None
    for other in others:
        assert other is not None
        world.acquire(other)
    world.attend_all()
    for slot in sorted(world.dials):
        world.opened(slot)
    world.acquire(row)
    passed = 0
    while row not in world.attached and passed < 100:
        passed += 1
        world.advance(0.001)
        (holder,) = world.attached
        world.release(holder)
        world.acquire(holder)
        world.attend_all()
    assert passed <= 16
