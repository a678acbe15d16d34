"""Instances that replace each other, as tables in one process: random steps, messages that take their time.

After every step the servers of all instances together are within every limit, and at the end every client of
every instance has been served.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest

from pooler.core import LoginVerdict
from pooler.core._core import PlayedTables

SIZE, DATABASE_LIMIT = 3, 4
POOLS = (("d", "u"), ("d", "v"))
STEP_US = 1000
#: Messages go by the clock of the machine, the rest by that of the world, which stays behind: clients have
#: waited for long by then. All steps together take less than ten seconds, and no machine is up for less.
BEGIN_US = 10**6


class Generation:
    """One instance: its tables, its clients, and what it is about to do for each slot."""

    def __init__(self, limit: int) -> None:
        self.tables = PlayedTables(workers=1, slots=64, clients=256)
        self.inbox: deque[tuple[str, list[Any]]] = deque()
        self.retired = False
        self.clients: dict[int, str] = {}  # row -> idle, waiting, active
        self.dialing: set[int] = set()
        self.closing: set[int] = set()
        self.servers: set[int] = set()  # slots whose connection PostgreSQL counts
        self.pools = [self._pool(database, user, limit) for database, user in POOLS]
        self.before: Generation | None = None
        self.after: Generation | None = None

    def _pool(self, database: str, user: str, limit: int) -> tuple[int, int, int]:
        t = self.tables
        d, u, n = t.database(database), t.user(user), t.instance("i")
        t.set_database(d, limit, 0)
        t.set_user(u, 0, 0)
        t.set_instance(n, 0)
        pool = t.open_pool(d, u, n)
        zeros = dict.fromkeys(
            ("query_timeout", "query_wait_timeout", "idle_transaction_timeout", "transaction_timeout"), 0
        )
        t.set_pool(
            pool, mode="transaction", size=SIZE, min_size=0, reserve_size=0, reserve_timeout=0,
            client_idle_timeout=0, server_lifetime=0, session_state="auto", pin_limit=0, forced_user=False,
            **zeros,
        )  # fmt: skip
        return pool, d, u

    def outcome(self, out: dict[str, int]) -> None:
        if out["dial"] >= 0:
            self.dial(out["dial"])
        if out["close"] >= 0:
            self.closing.add(out["close"])
        if out["client"] >= 0:
            self.clients[out["client"]] = "active"

    def dial(self, slot: int) -> None:
        self.dialing.add(slot)
        self.servers.add(slot)  # from connect() on PostgreSQL may count it

    def attend(self) -> None:
        clients, slots = self.tables._play_attention(0)
        for row, _, orders in clients:
            if orders & 1 and row in self.clients:
                self.clients[row] = "active"
        for slot, orders in slots:
            if orders & 1:
                self.dial(slot)
            if orders & 4:
                self.closing.add(slot)


class World:
    """A row of generations; `step` does one thing at random."""

    def __init__(self, seed: int, limit: int) -> None:
        self.chance = random.Random(seed)
        self.limit = limit
        self.now = BEGIN_US
        self.all = [Generation(limit)]
        self.served = 0

    def check(self) -> None:
        counts = [[0] * len(POOLS) for _ in self.all]
        for number, one in enumerate(self.all):
            for slot in one.servers:
                pool = one.tables.slot(slot).pool
                counts[number][[p for p, _, _ in one.pools].index(pool)] += 1
        per_pool = [sum(column) for column in zip(*counts, strict=True)]
        assert all(n <= SIZE for n in per_pool), counts
        assert not self.limit or sum(per_pool) <= self.limit, counts

    def step(self) -> None:
        self.now += STEP_US
        one = self.chance.choice(self.all)
        one.attend()
        self.chance.choice(
            (
                self.arrive,
                self.work,
                self.work,
                self.finish,
                self.finish,
                self.dialed,
                self.closed,
                self.talk,
                self.tick,
            )
        )(one)
        one.attend()
        self.check()

    def arrive(self, one: Generation) -> None:
        if one is not self.all[-1] or len(one.clients) > 12:
            return
        pool, d, u = self.chance.choice(one.pools)
        row = one.tables.client_new(0)
        assert one.tables.client_login(row, d, u, pool) is LoginVerdict.OK
        one.tables._play("idle", row, 0, self.now)
        one.clients[row] = "idle"

    def _one(self, one: Generation, state: str) -> int | None:
        rows = sorted(row for row, now in one.clients.items() if now == state)
        return self.chance.choice(rows) if rows else None

    def work(self, one: Generation) -> None:
        row = self._one(one, "idle")
        if row is None:
            return
        if one.retired and self.chance.random() < 0.2:
            one.outcome(one.tables._play("client_free", row, 0, self.now))
            del one.clients[row]
            return
        one.clients[row] = "waiting"
        out = one.tables._play("acquire", row, 0, self.now)
        if out["slot"] >= 0:
            one.clients[row] = "active"
        one.outcome(out)

    def finish(self, one: Generation) -> None:
        row = self._one(one, "active")
        if row is None:
            return
        (slot,) = (c["slot"] for c in one.tables.clients() if c["row"] == row)
        self.served += 1
        one.clients[row] = "idle"
        one.outcome(one.tables._play("release", slot, 0, self.now))

    def dialed(self, one: Generation) -> None:
        if one.dialing:
            slot = self.chance.choice(sorted(one.dialing))
            one.dialing.discard(slot)
            one.outcome(one.tables._play("place", slot, 0, self.now))

    def closed(self, one: Generation) -> None:
        if one.closing:
            slot = self.chance.choice(sorted(one.closing))
            one.closing.discard(slot)
            one.servers.discard(slot)
            one.outcome(one.tables._play("freed", slot, 0, self.now))

    def tick(self, one: Generation) -> None:
        for slot in one.tables._play_tick(0, self.now):
            one.dial(slot)

    def talk(self, one: Generation) -> None:
        """Take a message, then tell the news."""
        if one.inbox:
            assert one.tables.handoff_told(*one.inbox.popleft())
        for word, pool in one.tables.handoff_messages():
            to = one.after if word in ("released", "wanted") else one.before
            assert to is not None
            to.inbox.append((word, pool))

    def replace(self) -> None:
        old, new = self.all[-1], Generation(self.limit)
        held = old.tables.handoff_retire()
        old.retired = True
        for pool in held:
            assert new.tables.handoff_told("taken", pool)
        old.after, new.before = new, old
        self.all.append(new)


@pytest.mark.parametrize("limit", [0, DATABASE_LIMIT], ids=["pools", "database"])
@pytest.mark.parametrize("seed", range(12))
def test_together_within_the_limits(seed: int, limit: int) -> None:
    world = World(seed, limit)
    for _ in range(3):
        for _ in range(world.chance.randrange(100, 600)):
            world.step()
        world.replace()
    for _ in range(6000):
        world.step()
    assert world.served > 100
    for old in world.all[:-1]:
        waiting = [row for row, state in old.clients.items() if state == "waiting"]
        assert len(waiting) <= 1, "clients of a replaced instance are served"
    assert not any(one.servers for one in world.all[:-1] if not one.clients)
