"""Random lives of pools, clients, servers and workers on the shared tables, checked after each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.simulation.drain import drain
from tests.simulation.invariants import Watch, check_empty
from tests.simulation.world import CL_IDLE, SL_IDLE, SL_PARKED, Pool, World

PICK = st.integers(0, 1000)
LIMIT = st.sampled_from([0, 1, 2, 3])
SOME_SECONDS = st.sampled_from([0.001, 0.05, 0.2, 1.1, 5.0])


#: Accidents and operators get a chance at every so many steps only: between them life must go on.
CALM_STEPS = 5


def pick(items: Sequence[int], number: int) -> int:
    return items[number % len(items)]


class Lives(RuleBasedStateMachine):
    """The rules are what workers, PostgreSQL, operators and accidents do, in any order."""

    world: World
    watch: Watch
    steps = 0

    @initialize(
        workers=st.integers(1, 4),
        names=st.lists(
            st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 1)),
            min_size=2,
            max_size=4,
            unique=True,
        ),
        sizes=st.lists(st.integers(1, 4), min_size=4, max_size=4),
        extras=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=4, max_size=4),
        slots=st.integers(10, 14),
        round_robin=st.booleans(),
        shared=st.lists(LIMIT, min_size=6, max_size=6),
    )
    def begin(
        self,
        workers: int,
        names: list[tuple[int, int, int]],
        sizes: list[int],
        extras: list[tuple[int, int]],
        slots: int,
        round_robin: bool,
        shared: list[int],
    ) -> None:
        pools = [
            Pool(f"d{d}", f"u{u}", f"host:{i}", size, min_size=low, reserve_size=more, reserve_timeout_s=0.1)
            for (d, u, i), size, (low, more) in zip(names, sizes, extras, strict=False)
        ]
        self.world = World(pools, workers=workers, slots=slots, round_robin=round_robin)
        for number, servers in enumerate(shared):
            self.limit(number % 3, number // 3, servers, 0)
        self.watch = Watch(self.world)

    def rough(self) -> bool:
        return self.steps % CALM_STEPS == 0

    # ---- clients

    @rule(worker=PICK, pool=PICK, early=st.booleans(), count=st.integers(1, 4))
    def connect(self, worker: int, pool: int, early: bool, count: int) -> None:
        how = self.world.connect_early if early else self.world.connect
        for number in range(worker, worker + count):
            how(number % self.world.workers, pool % len(self.world.pools))

    @rule(worker=PICK, pool=PICK)
    def connect_dedicated(self, worker: int, pool: int) -> None:
        self.world.connect_dedicated(worker % self.world.workers, pool % len(self.world.pools))

    def idle(self) -> list[int]:
        clients = self.world.tables._truth()[1]
        return [r for r, c in clients.items() if c["state"] == CL_IDLE and not c["orders"]]

    @precondition(lambda self: self.idle())
    @rule(client=PICK)
    def acquire(self, client: int) -> None:
        self.world.acquire(pick(self.idle(), client))

    @precondition(lambda self: self.idle())
    @rule()
    def acquire_all(self) -> None:
        for row in self.idle():
            self.world.acquire(row)

    @precondition(lambda self: self.world.attached)
    @rule(client=PICK)
    def release(self, client: int) -> None:
        self.world.release(pick(sorted(self.world.attached), client))

    @precondition(lambda self: self.world.attached)
    @rule(client=PICK)
    def reset(self, client: int) -> None:
        self.world.reset(pick(sorted(self.world.attached), client))

    @precondition(lambda self: self.rough() and self.world.members)
    @rule(client=PICK)
    def leave(self, client: int) -> None:
        self.world.leave(pick(sorted(self.world.members), client))

    @precondition(rough)
    @rule(database=st.integers(-1, 1), waiting_only=st.booleans())
    def kill_clients(self, database: int, waiting_only: bool) -> None:
        self.world.tables.kill_clients(database, "admin forced disconnect", waiting_only)

    @precondition(lambda self: self.world.members)
    @rule(client=PICK, worker=PICK, running=st.booleans())
    def cancel(self, client: int, worker: int, running: bool) -> None:
        rows = sorted(self.world.attached if running and self.world.attached else self.world.members)
        self.world.cancel(pick(rows, client), worker % self.world.workers)

    @precondition(lambda self: self.world.cancels)
    @rule(number=PICK)
    def cancel_over(self, number: int) -> None:
        self.world.cancel_over(number % len(self.world.cancels))

    # ---- servers

    @precondition(lambda self: self.world.dials)
    @rule(slot=PICK)
    def dialed(self, slot: int) -> None:
        self.world.dialed(pick(sorted(self.world.dials), slot))

    @precondition(lambda self: self.world.dials)
    @rule(slot=PICK)
    def opened(self, slot: int) -> None:
        self.world.opened(pick(sorted(self.world.dials), slot))

    @precondition(lambda self: self.world.dials)
    @rule(slot=PICK, fatal=st.booleans(), retry_s=st.sampled_from([0.0, 0.1, 2.0]), lingers=st.booleans())
    def refused(self, slot: int, fatal: bool, retry_s: float, lingers: bool) -> None:
        how = self.world.failed if lingers else self.world.refused
        how(pick(sorted(self.world.dials), slot), fatal, retry_s)

    @precondition(lambda self: self.world.attached)
    @rule(client=PICK, unused=st.booleans())
    def crash_server(self, client: int, unused: bool) -> None:
        self.world.crash_server(pick(sorted(self.world.attached), client), unused)

    @precondition(lambda self: self.world.closing)
    @rule(slot=PICK)
    def closed(self, slot: int) -> None:
        self.world.closed(pick(sorted(self.world.closing), slot))

    @rule(slot=PICK, worker=PICK)
    def notice(self, slot: int, worker: int) -> None:
        slots = self.world.tables._truth()[0]
        nobodys = [number for number, row in slots.items() if row["state"] in (SL_IDLE, SL_PARKED)]
        if nobodys:
            assert self.world.notice(pick(nobodys, slot), worker % self.world.workers)

    @precondition(lambda self: self.world.tested)
    @rule(slot=PICK, well=st.booleans())
    def test_over(self, slot: int, well: bool) -> None:
        tested = pick(sorted(self.world.tested), slot)
        if well:
            self.world.tested_well(tested)
        else:
            self.world.close_server(tested, self.world.tested.pop(tested))

    # ---- time, orders, accidents

    @rule(seconds=SOME_SECONDS, lull=st.booleans())
    def progress(self, seconds: float, lull: bool) -> None:
        """All goes well for a moment: orders arrive, connections open and close; in a lull clients finish."""
        self.world.advance(seconds)
        for database in range(-1, len(self.world.tables.databases()) if lull else -1):
            self.world.resume(database, 0)
        self.world.attend_all()
        for slot in sorted(self.world.dials):
            self.world.opened(slot)
        for slot in sorted(self.world.closing):
            self.world.closed(slot)
        for row in sorted(self.world.attached) if lull else self.idle():
            if lull:
                self.world.release(row)
            else:
                self.world.acquire(row)

    @rule(worker=PICK)
    def attend(self, worker: int) -> None:
        self.world.attend(worker % self.world.workers)

    @rule()
    def attend_all(self) -> None:
        self.world.attend_all()

    @rule(worker=PICK, seconds=SOME_SECONDS)
    def tick(self, worker: int, seconds: float) -> None:
        self.world.advance(seconds)
        self.world.tick(worker % self.world.workers)

    @rule(worker=PICK, timeout_s=st.sampled_from([0.5, 5.0]))
    def expire(self, worker: int, timeout_s: float) -> None:
        self.world.expire(worker % self.world.workers, timeout_s)

    @precondition(rough)
    @rule(worker=PICK)
    def die(self, worker: int) -> None:
        self.world.die(worker % self.world.workers)

    @rule(worker=PICK)
    def reclaim(self, worker: int) -> None:
        self.world.reclaim(worker % self.world.workers)

    @precondition(rough)
    @rule()
    def rebuild(self) -> None:
        rebuild_changes_nothing(self.world)

    # ---- operators

    @precondition(rough)
    @rule(database=st.integers(-1, 1), worker=PICK)
    def pause(self, database: int, worker: int) -> None:
        if database < len(self.world.tables.databases()):
            self.world.pause(database, worker % self.world.workers)

    @rule(database=st.integers(-1, 1), worker=PICK)
    def resume(self, database: int, worker: int) -> None:
        if database < len(self.world.tables.databases()):
            self.world.resume(database, worker % self.world.workers)

    @precondition(rough)
    @rule(database=st.integers(0, 1))
    def reconnect(self, database: int) -> None:
        self.world.tables.mark_close(database)

    @precondition(rough)
    @rule(kind=st.integers(0, 2), row=st.integers(0, 1), servers=LIMIT, clients=st.sampled_from([0, 1, 8]))
    def change_limit(self, kind: int, row: int, servers: int, clients: int) -> None:
        self.limit(kind, row, servers, clients)

    def limit(self, kind: int, row: int, servers: int, clients: int) -> None:
        tables = self.world.tables
        rows = (tables.databases, tables.users, tables.instances)[kind]()
        if row >= len(rows):
            return
        if kind == 2:
            tables.set_instance(row, servers)
        else:
            (tables.set_database, tables.set_user)[kind](row, servers, clients)

    @precondition(rough)
    @rule(pool=PICK, size=st.integers(1, 4), low=st.integers(0, 2), more=st.integers(0, 2))
    def limit_pool(self, pool: int, size: int, low: int, more: int) -> None:
        number = pool % len(self.world.pools)
        plan = replace(self.world.pools[number], size=size, min_size=low, reserve_size=more)
        self.world.limit_pool(number, plan)

    # ---- always

    @invariant()
    def all_is_well(self) -> None:
        self.steps += 1
        if hasattr(self, "watch"):
            self.watch.check()

    def teardown(self) -> None:
        if hasattr(self, "watch"):
            drain(self.world, self.watch.check)
            check_empty(self.world)


def rebuild_changes_nothing(world: World) -> None:
    """On tables that nobody was changing. (The order of idle servers and of free rows means little.)"""

    def picture() -> tuple[Any, Any]:
        derived = world.tables._derived()
        for pool in derived["pools"]:
            pool["idle"].sort()
        return world.tables._truth(), derived

    before = picture()
    world.tables._rebuild()
    assert picture() == before


TestTables = pytest.mark.timeout(600)(Lives.TestCase)
TestTables.settings = settings(
    database=None,
    deadline=None,
    max_examples=120,
    stateful_step_count=80,
    suppress_health_check=[HealthCheck.too_slow],
)
