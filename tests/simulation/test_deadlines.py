"""Limits that clients outstay: what is found is what a look at every row would find."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pooler.core import monotonic_us
from tests.simulation.test_scenarios import client, serve
from tests.simulation.world import SECOND_US, Pool, World

NAMES = ("query_timeout", "query_wait_timeout", "idle_transaction_timeout", "transaction_timeout")
#: A bound is rounded up to its unit (DUE_UNIT_SHIFT).
UNIT_US = 1 << 16
NOTIFY_S, WRITE_S = 5.0, 0.0


def limit(world: World, **limits: float) -> None:
    """The limits of the pool, in seconds; those that are not named do not hold."""
    given: dict[str, Any] = {name: limits.get(name, 0.0) for name in (*NAMES, "client_idle_timeout")}
    world.tables.set_pool(
        0, mode="transaction", size=world.pools[0].size, min_size=0, reserve_size=0, reserve_timeout=0,
        server_lifetime=0, forced_user=False, **given,
    )  # fmt: skip


def over(world: World, worker: int = 0, notify_s: float = NOTIFY_S) -> list[tuple[str, int]]:
    """What is found over at the world's time."""
    found = world.tables.overdue(worker, notify_s, WRITE_S, world.now)
    assert all(each.client_id == world.tables.client_id(each.row) for each in found)
    return sorted((each.limit, each.row) for each in found)


def begin(size: int = 1, workers: int = 1) -> World:
    """A world by the real clock, which the tables begin with."""
    return World([Pool(size=size)], workers=workers, now=monotonic_us() + SECOND_US)


def rested(world: World, worker: int = 0) -> int:
    """A client that has had a server and does nothing."""
    row = client(world, worker)
    serve(world, [row])
    world.release(row)
    return row


def test_a_client_that_waits() -> None:
    world = begin()
    limit(world, query_wait_timeout=10)
    served, waits = client(world), client(world)
    assert over(world) == []
    serve(world, [served])
    assert world.acquire(waits) is None
    assert over(world) == []
    world.advance(NOTIFY_S + 0.1)
    assert over(world) == [("query_wait_notify", waits)]
    assert over(world) == []
    world.advance(5)
    assert over(world) == over(world) == [("query_wait_timeout", waits)]
    world.leave(waits)
    assert over(world) == []


def test_an_idle_client_is_found_when_its_limit_is_over_and_not_before() -> None:
    world = begin()
    limit(world, client_idle_timeout=60)
    row = rested(world)
    world.advance(59)
    assert over(world) == []
    world.advance(1.1)
    assert over(world) == [("client_idle_timeout", row)]


def test_a_client_that_rested_and_gets_a_server_at_once() -> None:
    world = begin()
    limit(world, query_timeout=1)
    row = rested(world)
    assert over(world) == []  # from here on it is not looked at while it rests
    world.advance(100)
    assert world.acquire(row) is not None
    world._play("asks", row, 0)
    assert over(world) == []
    world.advance(1.2)
    assert over(world) == [("query_timeout", row)]


def test_a_limit_that_comes_by_a_reload_holds_for_those_who_are_there() -> None:
    world = begin()
    row = rested(world)
    assert over(world) == over(world) == []
    limit(world, client_idle_timeout=1)
    world.advance(2)
    assert over(world) == [("client_idle_timeout", row)]


def test_a_common_limit_that_changes_holds_for_those_who_wait() -> None:
    world = begin()
    served, waits = client(world), client(world)
    serve(world, [served])
    world.acquire(waits)
    assert over(world, notify_s=0) == []
    world.advance(2)
    assert over(world, notify_s=0) == []
    assert over(world, notify_s=1) == [("query_wait_notify", waits)]


def test_others_clients_are_not_told() -> None:
    world = begin(workers=2)
    limit(world, client_idle_timeout=1)
    rows = [rested(world, worker) for worker in (0, 1)]
    world.advance(2)
    assert over(world, 0) == [("client_idle_timeout", rows[0])]
    assert over(world, 1) == [("client_idle_timeout", rows[1])]


def test_more_clients_than_one_batch_are_all_found() -> None:
    world = World([Pool(size=1)], clients=700, now=monotonic_us() + SECOND_US)
    limit(world, client_idle_timeout=1)
    rows = [rested(world) for _ in range(700)]
    world.advance(2)
    assert [row for _, row in over(world)] == sorted(rows)


def test_quiet_until_the_next_limit() -> None:
    world = begin()
    row = client(world)
    serve(world, [row])
    assert world.tables.quiet_us(0) == 0  # something runs
    world.release(row)
    over(world)
    assert world.tables.quiet_us(0) > 3600 * SECOND_US
    limit(world, client_idle_timeout=60)
    assert world.tables.quiet_us(0) == 0  # it has to be looked at
    over(world)
    assert 0 < world.tables.quiet_us(0) <= 62 * SECOND_US


@dataclass
class Model:
    """What each client does, and since when: what a look at every row would go by."""

    limits: dict[str, float] = field(default_factory=dict)
    waits: dict[int, int] = field(default_factory=dict)
    idles: dict[int, int] = field(default_factory=dict)
    asks: dict[int, tuple[int, int]] = field(default_factory=dict)  # row: (request, transaction) since
    rests: dict[int, tuple[int, int]] = field(default_factory=dict)  # in its transaction: (idle, transaction)

    def over(self, now: int) -> list[tuple[str, int]]:
        def is_over(name: str, since: int) -> bool:
            return bool(self.limits.get(name)) and now > since + round(self.limits[name] * SECOND_US)

        found = []
        for row, since in self.waits.items():
            if is_over("query_wait_timeout", since):
                found.append(("query_wait_timeout", row))
            elif is_over("query_timeout", since):
                found.append(("query_timeout waiting", row))
        for row, (request, transaction) in self.asks.items():
            if is_over("query_timeout", request):
                found.append(("query_timeout", row))
            elif is_over("transaction_timeout", transaction):
                found.append(("transaction_timeout", row))
        for row, (idle, transaction) in self.rests.items():
            if is_over("transaction_timeout", transaction):
                found.append(("transaction_timeout", row))
            elif is_over("idle_transaction_timeout", idle):
                found.append(("idle_transaction_timeout", row))
        for row, since in self.idles.items():
            if is_over("client_idle_timeout", since):
                found.append(("client_idle_timeout", row))
        return sorted(found)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["look", "look", "acquire", "ask", "answer", "release", "limit", "leave"]),
        st.integers(0, 3),
        st.sampled_from([0.2, 0.5, 1.0, 2.5]),
        st.sampled_from([*NAMES, "client_idle_timeout"]),
        st.sampled_from([0.0, 1.0, 3.0]),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_what_a_look_at_every_row_finds(steps: list[tuple[str, int, float, str, float]]) -> None:
    world, model = begin(size=2), Model()
    limit(world)
    rows: list[int | None] = [None] * 4
    for step, number, pause_s, name, limit_s in steps:
        world.advance(pause_s)
        row = rows[number]
        if row is None:
            row = rows[number] = client(world)
            serve_or_wait(world, model, row)
        elif step == "acquire" and row in model.idles:
            serve_or_wait(world, model, row)
        elif step == "ask" and (row in model.asks or row in model.rests):
            forget(model, row)
            world._play("asks", row, 0)
            model.asks[row] = (world.now, world.now)
        elif step == "answer" and row in model.asks:
            world._play("answered", row, 0)
            model.rests[row] = (world.now, model.asks.pop(row)[1])
        elif step == "release" and row in world.attached:
            world._play("answered", row, 0)
            forget(model, row)
            world.release(row)
            model.idles[row] = world.now
            settle(world, model)
        elif step == "leave":
            forget(model, row)
            world.leave(row)
            for slot in list(world.closing):
                world.closed(slot)
            settle(world, model)
            rows[number] = None
        elif step == "limit":
            model.limits[name] = limit_s
            limit(world, **model.limits)
        compare(world, model)


def compare(world: World, model: Model) -> None:
    """A limit that is over by more than a unit is found; what is found is over."""
    found = over(world, notify_s=0)
    assert set(found) <= set(model.over(world.now))
    before = set(model.over(world.now - 2 * UNIT_US))
    assert {row for _, row in before} <= {row for _, row in found}


def forget(model: Model, row: int) -> None:
    for part in (model.waits, model.idles, model.asks, model.rests):
        part.pop(row, None)


def serve_or_wait(world: World, model: Model, row: int) -> None:
    forget(model, row)
    model.waits[row] = world.now
    world.acquire(row)
    settle(world, model)


def settle(world: World, model: Model) -> None:
    """Servers that are asked for are opened; clients that got one have begun a transaction."""
    world.attend_all()
    for slot in list(world.dials):
        world.opened(slot)
    world.attend_all()
    for row in list(model.waits):
        if row in world.attached:
            forget(model, row)
            world._play("asks", row, 0)
            model.asks[row] = (world.now, world.now)
