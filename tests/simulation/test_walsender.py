"""Clients that get a server of their own: their turn, the rows they take, what is left when somebody dies."""

from __future__ import annotations

import pytest

from tests.simulation.drain import drain
from tests.simulation.invariants import Watch, check_empty
from tests.simulation.test_kill_anywhere import killed_anywhere
from tests.simulation.test_scenarios import client, open_all, serve
from tests.simulation.world import CL_WAITING, Pool, World


def dedicated(world: World, worker: int = 0, pool: int = 0) -> int:
    row = world.connect_dedicated(worker, pool)
    assert row is not None
    return row


def waits(world: World, row: int) -> bool:
    return bool(world.tables._truth()[1][row]["state"] == CL_WAITING)


def test_a_row_of_its_own_though_another_server_is_idle() -> None:
    world = World([Pool(size=2)])
    first = client(world)
    serve(world, [first])
    world.release(first)
    row = dedicated(world)
    open_all(world)
    assert set(world.attached) == {row}
    assert len(world.tables._truth()[0]) == 2
    world.acquire(first)
    assert len(set(world.attached.values())) == 2
    drain(world, Watch(world).check)
    check_empty(world)


def test_an_idle_server_of_its_pool_goes_for_it() -> None:
    world = World([Pool(size=1)], workers=2)
    first = client(world)
    serve(world, [first])
    world.release(first)
    row = dedicated(world, 1)
    world.attend_all()
    (slot,) = world.closing
    assert waits(world, row)
    world.closed(slot)
    open_all(world)
    assert world.attached == {row: slot}
    world.acquire(first)
    assert waits(world, first)  # nobody gets a server that is another one's
    world.leave(row)
    world.closed(slot)
    open_all(world)
    assert set(world.attached) == {first}


def test_its_turn_comes_by_its_ticket() -> None:
    """The first of three gets the server that comes back, the second its row, the third waits on."""
    world = World([Pool(size=1)])
    holder, before, after = client(world), client(world), client(world)
    serve(world, [holder])
    world.acquire(before)
    row = dedicated(world)
    world.acquire(after)
    world.release(holder)
    world.attend_all()
    assert set(world.attached) == {before}
    world.release(before)
    world.attend_all()
    (slot,) = world.closing
    assert not world.attached
    world.closed(slot)
    open_all(world)
    assert set(world.attached) == {row}
    assert waits(world, after)
    drain(world, Watch(world).check)
    check_empty(world)


def test_an_idle_server_of_another_pool_goes_for_it() -> None:
    world = World([Pool(), Pool(user="u1")])
    world.tables.set_database(0, 1, 0)
    other = client(world, pool=1)
    serve(world, [other])
    world.release(other)
    row = dedicated(world)
    world.attend_all()
    (slot,) = world.closing
    world.closed(slot)
    open_all(world)
    assert set(world.attached) == {row}


def test_a_host_that_is_away_keeps_its_place() -> None:
    world = World([Pool(size=1)])
    row = dedicated(world)
    world.attend_all()
    (slot,) = world.dials
    later = client(world)
    world.acquire(later)
    world.refused(slot, retry_s=1.0)
    assert not world.dials
    world.advance(2)
    world.tick(0)
    open_all(world)
    assert set(world.attached) == {row}
    assert waits(world, later)


@pytest.mark.slow
def test_killed_anywhere_while_it_asks() -> None:
    world = World([Pool(size=1)], workers=2)
    first = client(world, 1)
    serve(world, [first])
    world.release(first)
    row = world._login(0, 0)
    assert row is not None
    world.logging_in.add(row)
    world.dedicated.add(row)
    killed_anywhere(world, 0, lambda world: world.tables.wait_dedicated(row, "logical"))


@pytest.mark.slow
def test_killed_anywhere_while_its_row_becomes_free() -> None:
    world = World([Pool(size=1)], workers=2)
    first = client(world, 1)
    serve(world, [first])
    row = dedicated(world, 0)
    world.release(first)
    world.attend_all()
    (slot,) = world.closing
    assert waits(world, row)
    killed_anywhere(world, 1, lambda world: world.tables._play("freed", slot, 1, world.now))
