"""Written scenarios: what one pool does with one or few clients, step by step."""

from __future__ import annotations

import pytest

from pooler.core import KILL, CancelVerdict, LoginVerdict
from tests.simulation.drain import drain
from tests.simulation.invariants import Watch, check_empty
from tests.simulation.world import (
    CL_ACTIVE,
    CL_WAITING,
    SL_CLOSING,
    SL_IDLE,
    SL_PARKED,
    SL_RECLAIM,
    Pool,
    World,
)


def client(world: World, worker: int = 0, pool: int = 0) -> int:
    row = world.connect(worker, pool)
    assert row is not None
    return row


def open_all(world: World) -> None:
    """Orders arrive and connections open, until nobody asks for one."""
    world.attend_all()
    while world.dials:
        for slot in sorted(world.dials):
            world.opened(slot)
        world.attend_all()


def serve(world: World, rows: list[int]) -> None:
    """All these clients have a server."""
    for row in rows:
        world.acquire(row)
    open_all(world)
    assert set(rows) <= set(world.attached)


def state(world: World, slot: int) -> int:
    return int(world.tables._truth()[0][slot]["state"])


def test_one_dial_at_a_time() -> None:
    world = World([Pool(size=3)])
    rows = [client(world) for _ in range(5)]
    for row in rows:
        assert world.acquire(row) is None
    assert len(world.dials) == 1
    for servers in (1, 2, 3):
        (slot,) = world.dials
        world.opened(slot)
        assert len(world.attached) == servers
        assert len(world.dials) == (servers < 3)
    assert world.served == rows[:3]


def test_first_come_first_served() -> None:
    world = World([Pool(size=1)], workers=3)
    rows = [client(world, number % 3) for number in range(9)]
    for row in rows:
        world.acquire(row)
        world.advance(0.01)
    open_all(world)
    for row in rows:
        assert list(world.attached) == [row]
        world.advance(0.01)
        world.release(row)
        world.attend_all()
    assert world.served == rows


def test_who_left_is_never_handed_a_server() -> None:
    world = World([Pool(size=1)], workers=2)
    first, second, third = client(world), client(world, 1), client(world)
    serve(world, [first])
    world.acquire(second)
    world.acquire(third)
    world.leave(second)
    world.release(first)
    world.attend_all()
    assert list(world.attached) == [third]


def test_a_server_that_was_handed_and_not_taken_goes_to_the_next() -> None:
    world = World([Pool(size=1)], workers=2)
    first, second, third = client(world), client(world, 1), client(world)
    serve(world, [first])
    world.acquire(second)
    world.advance(1)
    world.acquire(third)
    world.advance(1)
    world.release(first)  # second waits longest; it leaves before its worker looks
    assert world.tables._truth()[1][second]["state"] == CL_ACTIVE
    world.leave(second)
    world.attend_all()
    assert list(world.attached) == [third]


@pytest.mark.parametrize(("round_robin", "expected"), [(False, [2, 2, 2]), (True, [0, 1, 2])])
def test_last_used_first_or_in_turn(round_robin: bool, expected: list[int]) -> None:
    world = World([Pool(size=3)], round_robin=round_robin)
    rows = [client(world) for _ in range(3)]
    serve(world, rows)
    slots = [world.attached[row] for row in rows]
    for row in rows:
        world.advance(0.1)
        world.release(row)
    used = []
    for _ in range(3):
        world.advance(0.1)
        slot = world.acquire(rows[0])
        assert slot is not None
        used.append(slots.index(slot))
        world.release(rows[0])
    assert used == expected


def test_reserve_pool_opens_after_its_timeout() -> None:
    world = World([Pool(size=1, reserve_size=1, reserve_timeout_s=5)])
    first, second, third = (client(world) for _ in range(3))
    serve(world, [first])
    world.acquire(second)
    world.acquire(third)
    for seconds in (0.0, 2.0, 2.9):
        world.advance(seconds)
        world.tick(0)
        world.attend_all()
        assert not world.dials
    world.advance(0.2)
    world.tick(0)
    open_all(world)
    assert sorted(world.attached) == [first, second]
    world.advance(60)
    world.tick(0)
    world.attend_all()
    assert not world.dials, "pool_size + reserve_pool_size is a limit, too"


def test_no_new_dial_before_retry_at() -> None:
    world = World([Pool(size=2)])
    row = client(world)
    world.acquire(row)
    (slot,) = world.dials
    world.refused(slot, retry_s=15)
    for seconds in (0.0, 10.0, 4.9):
        world.advance(seconds)
        world.tick(0)
        world.attend_all()
        assert not world.dials
    world.advance(0.2)
    world.tick(0)
    open_all(world)
    assert row in world.attached


def test_a_failed_login_that_lingers_does_not_hold_up_the_next() -> None:
    world = World([Pool(size=2)])
    watch = Watch(world)
    row = client(world)
    world.acquire(row)
    (lingering,) = world.dials
    world.dialed(lingering)
    world.failed(lingering, retry_s=1)
    world.advance(1.1)
    world.tick(0)
    watch.check()
    assert state(world, lingering) == SL_CLOSING
    open_all(world)
    assert row in world.attached
    second = client(world)
    world.acquire(second)
    world.tick(0)
    assert not world.dials, "PostgreSQL may still see the one that failed: it counts"
    world.closed(lingering)
    open_all(world)
    assert second in world.attached
    drain(world, watch.check)
    check_empty(world)


def test_refused_logins_are_told_to_all_that_wait() -> None:
    """As long as no other server could serve those that wait with a query."""
    world = World([Pool(size=2)], workers=2)
    early = world.connect_early(1, 0)
    waiting = client(world)
    world.acquire(waiting)
    world.attend_all()
    (slot,) = world.dials
    world.refused(slot, fatal=True, retry_s=1)
    assert world.tables._truth()[1][waiting]["orders"] & KILL
    world.attend_all()
    assert early not in world.members


def test_refused_logins_of_a_pool_that_works_are_told_to_nobody() -> None:
    world = World([Pool(size=2)], workers=2)
    serve(world, [client(world)])
    waiting = client(world)
    world.acquire(waiting)
    world.attend_all()
    (slot,) = world.dials
    world.refused(slot, fatal=True, retry_s=1)
    assert not world.tables._truth()[1][waiting]["orders"] & KILL
    assert world.tables._truth()[1][waiting]["state"] == CL_WAITING


def test_requeue_keeps_the_place() -> None:
    world = World([Pool(size=1)])
    rows = [client(world) for _ in range(3)]
    serve(world, [rows[0]])
    for row in rows[1:]:
        world.advance(0.1)
        world.acquire(row)
    world.release(rows[0])
    world.acquire(rows[0])
    assert list(world.attached) == [rows[1]]
    world.crash_server(rows[1], unused=True)
    assert world.tables._derived()["pools"][0]["waiting"] == [rows[1], rows[2], rows[0]]
    (closing,) = world.closing
    world.closed(closing)
    open_all(world)
    assert list(world.attached) == [rows[1]]


def test_requeue_takes_an_idle_server() -> None:
    world = World([Pool(size=2)])
    first, second = client(world), client(world)
    serve(world, [first, second])
    spare = world.attached[second]
    world.release(second)
    world.crash_server(first, unused=True)
    assert world.attached == {first: spare}


def test_min_pool_size_is_opened_when_there_are_clients() -> None:
    world = World([Pool(size=5, min_size=3), Pool(user="u1", size=5, min_size=2, forced_user=True)])
    for _ in range(8):
        world.tick(0)
        open_all(world)
    counts = [pool["servers"] for pool in world.tables.pools()]
    assert counts == [0, 2], "without clients only the pool with a forced user has its minimum"
    client(world)
    for _ in range(8):
        world.tick(0)
        open_all(world)
    assert [pool["servers"] for pool in world.tables.pools()] == [3, 2]


def test_idle_servers_expire_down_to_min_pool_size() -> None:
    world = World([Pool(size=4, min_size=2)])
    rows = [client(world) for _ in range(4)]
    serve(world, rows)
    for row in rows:
        world.release(row)
    world.advance(100)
    world.expire(0, idle_timeout_s=60)
    for slot in sorted(world.closing):
        world.closed(slot)
    world.expire(0, idle_timeout_s=60)
    left = [slot for slot in world.tables._truth()[0] if state(world, slot) == SL_IDLE]
    assert len(left) == 2


def test_outlived_server_is_closed_at_release() -> None:
    world = World([Pool(size=1)])
    row = client(world)
    serve(world, [row])
    slot = world.attached[row]
    world.tables._play("expires", slot, 0, world.now + 1000)
    world.release(row)
    assert state(world, slot) == SL_IDLE
    world.acquire(row)
    world.advance(1)
    world.release(row)
    assert slot in world.closing


# ---- cancel requests


def test_cancel_parks_the_server_until_it_is_over() -> None:
    world = World([Pool(size=1)], workers=2)
    first, second = client(world), client(world)
    serve(world, [first])
    slot = world.attached[first]
    assert world.cancel(first, worker=1) is CancelVerdict.FORWARD
    assert world.cancel(first, worker=1) is CancelVerdict.BUSY
    assert world.cancel(first, worker=0) is CancelVerdict.BUSY, "one at a time, over all workers"
    world.acquire(second)
    world.release(first)
    assert state(world, slot) == SL_PARKED
    assert second not in world.attached, "the signal could hit the next client"
    world.cancel_over()
    world.attend_all()
    assert world.attached == {second: slot}


def test_cancel_of_a_queued_query() -> None:
    world = World([Pool(size=1)], workers=2)
    first, second = client(world), client(world)
    serve(world, [first])
    world.acquire(second)
    assert world.cancel(second, worker=1) is CancelVerdict.QUEUED
    world.attend_all()
    world.release(first)
    assert not world.attached
    assert world.acquire(second) is not None


def test_cancel_of_an_idle_or_unknown_client_does_nothing() -> None:
    world = World([Pool(size=1)])
    row = client(world)
    assert world.cancel(row, worker=0) is CancelVerdict.IDLE
    pid, secret = world.tables.client_key(row)
    world.acquire(row)
    open_all(world)
    assert world.tables.cancel_begin(pid, secret ^ 1, 0).verdict is CancelVerdict.NOTHING
    assert world.tables.cancel_begin(pid ^ (1 << 24), secret, 0).verdict is CancelVerdict.NOTHING
    assert world.tables.cancel_begin(0, 0, 0).verdict is CancelVerdict.NOTHING


def test_key_of_a_client_that_has_left() -> None:
    """No client has it: the row gets no order, so the list of orders is whole when the row is used again."""
    world = World([Pool(size=1)], workers=2)
    tables = world.tables
    database, user = tables.database("console"), tables.user("admin")
    row = tables.client_new(0)
    assert tables.client_login(row, database, user, -1, console="admin") is LoginVerdict.OK
    key = tables.client_key(row)
    assert tables.cancel_begin(*key, 1).verdict is CancelVerdict.QUEUED
    tables.client_free(row)
    assert tables.cancel_begin(*key, 1).verdict is CancelVerdict.NOTHING
    assert tables._derived()["workers"][0][1] == []
    assert not tables.cancel_key_fits(key[0], key[1].to_bytes(4, "big"))
    rows = [tables.client_new(0) for _ in range(len(tables._derived()["free_clients"]) + 3)]
    assert row in rows
    assert tables._play_attention(0) == ([], [])
    assert tables._derived()["workers"][0][1] == []


@pytest.mark.parametrize("parked_first", [True, False])
def test_mark_of_a_dead_canceler_does_not_park_for_ever(parked_first: bool) -> None:
    world = World([Pool(size=1)], workers=2)
    row = client(world)
    serve(world, [row])
    slot = world.attached[row]
    world.cancel(row, worker=1)
    if parked_first:
        world.release(row)
        assert state(world, slot) == SL_PARKED
        world.die(1)
    else:
        world.die(1)
        world.release(row)
    # closed, not used again: the dead worker's cancel request may still arrive
    assert state(world, slot) == SL_CLOSING


# ---- a worker dies


def test_idle_servers_outlive_their_worker_and_busy_ones_are_reclaimed() -> None:
    world = World([Pool(size=3)], workers=2)
    watch = Watch(world)
    mine, other = client(world, 0), client(world, 1)
    serve(world, [mine, other])
    busy, spare = world.attached[mine], client(world, 0)
    serve(world, [spare])
    idle = world.attached[spare]
    world.release(spare)
    left = world.die(0)
    watch.check()
    assert (left["clients"], left["reclaim"]) == (2, 1)
    assert (state(world, busy), state(world, idle)) == (SL_RECLAIM, SL_IDLE)
    assert world.reclaim(1) == 1
    assert busy in world.closing
    drain(world, watch.check)
    check_empty(world)


def test_servers_that_were_being_opened_when_the_worker_died() -> None:
    world = World([Pool(size=3), Pool(database="d1")], workers=2)
    watch = Watch(world)
    world.acquire(client(world, 0))
    world.acquire(client(world, 0, pool=1))
    dialed, not_dialed = sorted(world.dials)
    world.dialed(dialed)
    assert world.die(0)["reclaim"] == 1, "only end of stream frees what may have reached PostgreSQL"
    assert sorted(world.tables._truth()[0]) == [dialed]
    assert not_dialed != dialed
    world.reclaim(1)
    drain(world, watch.check)
    check_empty(world)


def test_workers_keep_to_the_servers_that_they_used_last() -> None:
    """However the idle servers of two workers lie in a row, each takes up its own."""
    world = World([Pool(size=12)], workers=2)
    rows = [client(world, worker) for worker in (0,) * 6 + (1,) * 6]
    serve(world, rows)
    used = {row: world.attached[row] for row in rows}
    for row in rows[6:] + rows[:6]:  # those of worker 0 were used last
        world.release(row)
    for row in rows[6:]:
        world.acquire(row)
    assert {world.attached[row] for row in rows[6:]} == {used[row] for row in rows[6:]}
