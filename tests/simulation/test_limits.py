"""Pools that share a limit: eviction, turns between rivals, the minimum that is respected, for a while."""

from __future__ import annotations

import pytest

from tests.simulation.drain import drain
from tests.simulation.invariants import Watch, check_empty
from tests.simulation.test_scenarios import client, open_all, serve
from tests.simulation.world import Pool, World

#: Two pools that share nothing but the limit of that kind.
SHARING = {
    "database": [Pool("d0", "u0", "a:1"), Pool("d0", "u1", "b:1")],
    "user": [Pool("d0", "u0", "a:1"), Pool("d1", "u0", "b:1")],
    "instance": [Pool("d0", "u0", "a:1"), Pool("d1", "u1", "a:1")],
}


def shared(kind: str, servers: int, workers: int = 1, min_size: int = 0) -> World:
    pools = SHARING[kind]
    if min_size:
        pools = [Pool(p.database, p.user, p.instance, min_size=min_size) for p in pools]
    world = World(list(pools), workers=workers)
    set_limit = {"database": world.tables.set_database, "user": world.tables.set_user}
    if kind == "instance":
        world.tables.set_instance(0, servers)
    else:
        set_limit[kind](0, servers, 0)
    return world


def close_all(world: World) -> None:
    world.attend_all()
    for slot in sorted(world.closing):
        world.closed(slot)


@pytest.mark.parametrize("kind", SHARING)
def test_idle_server_of_another_pool_is_evicted(kind: str) -> None:
    world = shared(kind, servers=1, workers=2)
    first, second = client(world, 0, 0), client(world, 1, 1)
    serve(world, [first])
    slot = world.attached[first]
    world.release(first)
    world.acquire(second)
    world.attend_all()
    assert list(world.closing) == [slot], "at once, without a timeout"
    assert not world.dials, "not before PostgreSQL has let go"
    close_all(world)
    open_all(world)
    assert list(world.attached) == [second]


def test_the_longest_idle_server_is_evicted() -> None:
    pools = [Pool(user=f"u{number}") for number in range(4)]
    world = World(pools)
    world.tables.set_database(0, 3, 0)
    rows = [client(world, 0, number) for number in range(4)]
    serve(world, rows[:3])
    slots = [world.attached[row] for row in rows[:3]]
    for number in (1, 2, 0):
        world.advance(0.5)
        world.release(rows[number])
    world.acquire(rows[3])
    assert list(world.closing) == [slots[1]]


@pytest.mark.parametrize("round_robin", [False, True])
def test_the_longest_idle_server_of_one_pool_is_evicted(round_robin: bool) -> None:
    world = World([Pool(), Pool(user="u1")], round_robin=round_robin)
    world.tables.set_database(0, 2, 0)
    rows = [client(world) for _ in range(2)]
    serve(world, rows)
    slots = [world.attached[row] for row in rows]
    for row in rows:
        world.advance(0.5)
        world.release(row)
    world.acquire(client(world, 0, 1))
    assert list(world.closing) == [slots[0]]


@pytest.mark.parametrize("kind", SHARING)
def test_eviction_that_does_not_end_is_given_up(kind: str) -> None:
    """The host of the evicted server is dead: another server goes, or whatever is closed first."""
    world = shared(kind, servers=2)
    watch = Watch(world)
    first = [client(world, 0, 0) for _ in range(2)]
    serve(world, first)
    for row in first:
        world.advance(0.5)
        world.release(row)
    rival = client(world, 0, 1)
    world.acquire(rival)
    (dead,) = world.closing
    world.advance(1.0)
    world.tick(0)
    assert list(world.closing) == [dead], "a second is nothing for a busy PostgreSQL"
    world.advance(0.6)
    world.tick(0)
    world.attend_all()
    watch.check()
    assert len(world.closing) == 2
    (other,) = set(world.closing) - {dead}
    world.closed(other)
    open_all(world)
    assert list(world.attached) == [rival]
    assert dead in world.closing
    drain(world, watch.check)
    check_empty(world)


@pytest.mark.parametrize("kind", SHARING)
def test_rival_gets_its_turn_after_a_quantum(kind: str) -> None:
    world = shared(kind, servers=1)
    busy = [client(world, 0, 0) for _ in range(3)]
    rival = client(world, 0, 1)
    serve(world, [busy[0]])
    world.acquire(rival)
    turns = 0
    while rival not in world.attached and turns < 100:
        turns += 1
        for row in busy:
            if row not in world.attached and world.tables._truth()[1][row]["state"] == 2:
                world.acquire(row)
        world.advance(0.01)
        for row in list(world.attached):
            world.release(row)
        close_all(world)
        open_all(world)
    # one server, 10 ms a transaction: the busy pool keeps it for the quantum of 100 ms, not per transaction
    assert 5 <= turns <= 30


def test_server_that_nobody_waits_for_goes_to_the_rival_at_once() -> None:
    world = shared("database", servers=1)
    first, rival = client(world, 0, 0), client(world, 0, 1)
    serve(world, [first])
    world.acquire(rival)
    world.release(first)
    close_all(world)
    open_all(world)
    assert list(world.attached) == [rival]


@pytest.mark.parametrize("kind", SHARING)
def test_min_pool_size_is_respected_for_a_second(kind: str) -> None:
    world = shared(kind, servers=1, min_size=1)
    first, second = client(world, 0, 0), client(world, 0, 1)
    serve(world, [first])
    world.release(first)
    world.acquire(second)
    for seconds in (0.0, 0.5, 0.4):
        world.advance(seconds)
        world.tick(0)
        world.attend_all()
        assert not world.closing
    world.advance(0.2)
    world.tick(0)
    close_all(world)
    open_all(world)
    assert list(world.attached) == [second]


def doubly_blocked(min_size: int) -> tuple[World, int, int]:
    """A world in which the last pool needs two limits that two others fill; who waits, who is busy."""
    world = World([Pool("d0", "u0", min_size=min_size), Pool("d1", "u1"), Pool("d1", "u0")])
    world.tables.set_database(1, 1, 0)
    world.tables.set_user(0, 1, 0)
    idle, busy, waiter = (client(world, 0, number) for number in range(3))
    serve(world, [idle, busy])
    world.release(idle)
    world.acquire(waiter)
    return world, waiter, busy


@pytest.mark.parametrize("min_size", [0, 1])
def test_two_full_limits_are_both_made_room_in(min_size: int) -> None:
    world, waiter, busy = doubly_blocked(min_size)
    for _ in range(20):
        world.advance(0.5)
        world.tick(0)
        if busy in world.attached:
            world.release(busy)
            world.acquire(busy)
        close_all(world)
        open_all(world)
        if waiter in world.attached:
            return
    pytest.fail("never served")


def test_two_full_limits_do_not_stop_the_others() -> None:
    world, waiter, busy = doubly_blocked(min_size=1)
    served = 0
    for _ in range(20):
        world.advance(0.1)
        world.tick(0)
        if busy in world.attached:
            served += 1
            world.release(busy)
            world.acquire(busy)
        close_all(world)
        open_all(world)
    assert served >= 10 or waiter in world.attached


def test_eviction_is_of_one_server_at_a_time() -> None:
    world = World([Pool(size=4), Pool(user="u1", size=4)])
    world.tables.set_database(0, 4, 0)
    first = [client(world, 0, 0) for _ in range(4)]
    serve(world, first)
    for row in first:
        world.release(row)
    for _ in range(3):
        world.acquire(client(world, 0, 1))
    for _ in range(3):
        world.tick(0)
        world.attend_all()
        assert len(world.closing) == 1


def test_full_table_serves_the_longest_waiting_pool() -> None:
    world = World([Pool(size=9), Pool(database="d1", size=9), Pool(database="d2", size=9)], slots=1)
    rows = [client(world, 0, number) for number in range(3)]
    serve(world, rows[:1])
    for row in (rows[2], rows[1]):
        world.advance(0.1)
        world.acquire(row)
    world.close_server(world.attached.pop(rows[0]), 0)
    close_all(world)
    open_all(world)
    assert list(world.attached) == [rows[2]]


def test_lowered_limits_close_what_is_too_much() -> None:
    world = World([Pool(size=4)])
    watch = Watch(world)
    rows = [client(world) for _ in range(4)]
    serve(world, rows)
    watch.check()
    world.release(rows[3])
    world.limit_pool(0, Pool(size=2))
    world.release(rows[2])  # four of two
    world.expire(0, idle_timeout_s=1000)
    close_all(world)
    watch.check()
    assert world.tables.pools()[0]["servers"] == 2
    drain(world, watch.check)
    check_empty(world)


@pytest.mark.parametrize("verdict", ["max_client_conn", "database", "user", "disabled"])
def test_client_limits(verdict: str) -> None:
    world = World([Pool()])
    tables = world.tables
    rows = [client(world) for _ in range(2)]
    if verdict == "max_client_conn":
        tables.set_global_limits(2, False)
    elif verdict == "database":
        tables.set_database(0, 0, 2)
    elif verdict == "user":
        tables.set_user(0, 0, 2)
    else:
        tables.set_disabled(0, True)
    assert world.connect(0, 0) is None
    assert tables.counts()["used_clients"] + tables.counts()["login_clients"] == 2
    world.leave(rows[0])
    assert (world.connect(0, 0) is None) == (verdict == "disabled")


def test_full_client_table_refuses() -> None:
    world = World([Pool()], clients=3)
    rows = [client(world) for _ in range(3)]
    assert world.connect(0, 0) is None
    world.leave(rows[1])
    assert world.connect(0, 0) is not None


def test_pause_holds_back_and_resume_serves() -> None:
    world = World([Pool(size=1)])
    watch = Watch(world)
    first, second = client(world), client(world)
    serve(world, [first])
    world.acquire(second)
    world.pause(0, 0)
    world.release(first)
    watch.check()
    assert not world.attached
    close_all(world)
    world.tick(0)
    assert not world.dials
    world.resume(0, 0)
    open_all(world)
    watch.check()
    assert list(world.attached) == [second]
