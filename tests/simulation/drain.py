"""Brings a world to rest: everybody who waits is served, everybody leaves, every server is closed."""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.world import CL_WAITING, World

#: Rounds of tick, open, release: more than the waiters of any test, and a second of virtual time each.
ROUNDS = 300


def drain(world: World, check: Callable[[], None]) -> None:
    """All limits stay as they are; an AssertionError if a waiter is never served."""
    world.resume(-1, 0)
    for database in world.tables.databases():
        world.resume(database["index"], 0)
    for _ in range(ROUNDS):
        if not waiting(world) and not world.attached and not world.cancels:
            break
        world.advance(1.1)
        one_round(world)
        check()
    assert not waiting(world), f"never served: {waiting(world)}"
    for row in sorted(world.members):
        world.leave(row)
        check()
    close_all(world, check)


def waiting(world: World) -> list[int]:
    """Clients that wait, or have a server and do not know it yet."""
    clients = world.tables._truth()[1]
    return [row for row, c in clients.items() if c["state"] == CL_WAITING or c["orders"]]


def one_round(world: World) -> None:
    """Everything that is under way comes to its end."""
    for worker in range(world.workers):
        world.attend(worker)
        world.tick(worker)
        world.expire(worker, 10)
        world.reclaim(worker)
    while world.cancels:
        world.cancel_over()
    for slot in sorted(world.dials):
        world.opened(slot)
    for slot in sorted(world.closing):
        world.closed(slot)
    for slot in sorted(world.tested):
        world.tested_well(slot)
    for row in sorted(world.attached):
        if row in world.attached:
            world.release(row)


def close_all(world: World, check: Callable[[], None]) -> None:
    for _ in range(ROUNDS):
        if not world.tables._truth()[0]:
            return
        world.take_closing(world.tables.take_idle(-1, 0, True), 0)
        one_round(world)
        check()
