"""Processes die with the lock of the tables in their hands; the others get on, and no limit is exceeded."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from pooler.core import TablesBusy
from tests.simulation.drain import drain
from tests.simulation.invariants import Watch, check_empty
from tests.simulation.test_scenarios import client
from tests.simulation.world import CL_IDLE, NO_ROW, Pool, World

#: Children that are killed at a random moment, and the longest of these moments.
KILLS = 250
LIFE_S = 0.006
#: That many have to hit the lock; if luck is bad, more are killed, up to so many times as many.
HITS, PATIENCE = 5, 10

Program = Callable[[World, int], None]

# Children only touch the tables and end by a signal: threads of the test runner do not matter to them.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def fork(child: Callable[[], None]) -> int:
    """Runs `child` in a process of its own, which never comes back."""
    pid = os.fork()
    if pid == 0:
        try:
            child()
        finally:
            os._exit(3)
    return pid


def ended(pid: int) -> int:
    """Waits for the end; how it ended: an exit code, or minus a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_lock_of_a_dead_process_is_inherited() -> None:
    world = World([Pool(size=1)], workers=2)
    watch = Watch(world)
    row = client(world, 0)
    world.acquire(row)
    pid = fork(world.tables._lock)
    assert ended(pid) == 3, "the child took the lock and ended"
    before = world.tables.rebuilds
    world.die(1)
    assert world.tables.rebuilds == before + 1
    watch.check()
    drain(world, watch.check)
    check_empty(world)
    assert world.tables.rebuilds == before + 1, "once is enough"


def test_lock_of_a_stopped_process_is_not_waited_for() -> None:
    world = World([Pool()], workers=2)
    ready, tell = os.pipe()

    def hold() -> None:
        world.tables._lock()
        os.write(tell, b"x")
        signal.pause()

    pid = fork(hold)
    try:
        assert os.read(ready, 1) == b"x"
        with pytest.raises(TablesBusy):
            world.tables.worker_died(1, 0.01)
    finally:
        os.kill(pid, signal.SIGKILL)
        ended(pid)
        os.close(ready)
        os.close(tell)
    assert world.tables.worker_died(1) == {"clients": 0, "reclaim": 0}
    assert world.tables.rebuilds == 1


def hammer(world: World, seed: int) -> None:
    """The life of worker 1, as dense as possible: its clients come, are served, go; for ever."""
    dice = random.Random(seed)
    for memory in (world.attached, world.dials, world.closing, world.tested):
        memory.clear()  # what the parent remembers is worker 0's
    for number in range(4):
        world.connect(1, number % 2)
    while True:
        clients = world.tables._truth()[1]
        for row in [row for row, (worker, _) in world.members.items() if worker == 1]:
            if clients[row]["state"] == CL_IDLE and not clients[row]["orders"]:
                burst(world, row)
        clients = world.tables._truth()[1]
        for row in [row for row, (worker, _) in world.members.items() if worker == 1]:
            if clients[row]["state"] == CL_IDLE and not clients[row]["orders"]:
                world.acquire(row)
        for row in [row for row, (worker, _) in world.members.items() if worker == 1]:
            if dice.random() < 0.1:
                world.cancel(row, 1)
        world.attend(1)
        for held, end in ((world.dials, world.opened), (world.closing, world.closed)):
            for slot in [slot for slot, worker in held.items() if worker == 1]:
                end(slot)
        for row in list(world.attached):
            world.release(row)
        while world.cancels:
            world.cancel_over()
        if dice.random() < 0.1:
            world.leave(next(row for row, (worker, _) in world.members.items() if worker == 1))
            world.connect(1, dice.randrange(2))


def burst(world: World, row: int) -> None:
    """As much time inside the lock as Python can spend there: where most of the kills are to hit."""
    play, cancel, key, now = (
        world.tables._play,
        world.tables.cancel_begin,
        world.tables.client_key(row),
        world.now,
    )
    for _ in range(1000):
        out = play("acquire", row, 1, now)
        if out["dial"] != NO_ROW:
            world.dials[out["dial"]] = 1
        if out["slot"] == NO_ROW:
            cancel(*key, 1)
        else:
            world._play("release", out["slot"], 1)
    world.attend(1)


def rebuilder(world: World, seed: int) -> None:
    """Rebuilds all the time: dies in the middle of what mends the death of another."""
    for number in range(4):
        world.connect(1, (seed + number) % 2)
    while True:
        world.tables._rebuild()


def killed(program: Program, world: World, seed: int, life_s: float) -> None:
    """One worker 1 that lives for a moment."""
    ready, tell = os.pipe()

    def live() -> None:
        os.write(tell, b"x")
        program(world, seed)

    pid = fork(live)
    os.read(ready, 1)
    os.close(ready)
    os.close(tell)
    end = time.monotonic() + life_s
    while time.monotonic() < end:
        pass  # sleep() is too coarse for a moment of microseconds
    os.kill(pid, signal.SIGKILL)
    assert ended(pid) == -signal.SIGKILL, "it ended by itself: see its traceback"


@pytest.mark.parametrize(("program", "kills"), [(hammer, KILLS), (rebuilder, KILLS // 5)])
def test_killed_at_any_moment(program: Program, kills: int) -> None:
    dice = random.Random(20)
    world = World([Pool(size=2), Pool(user="u1", size=2)], workers=2)
    world.tables.set_database(0, 3, 0)
    watch = Watch(world)
    survivors = [client(world, 0, number % 2) for number in range(4)]
    number = 0
    while number < kills or (world.tables.rebuilds < HITS and number < PATIENCE * kills):
        number += 1
        for row in survivors:
            if world.tables._truth()[1][row]["state"] == CL_IDLE:
                world.acquire(row)
        watch.check()
        for row in list(world.attached)[: number % 4]:
            world.release(row)
        killed(program, world, number, dice.random() * LIFE_S)
        world.die(1)
        world.reclaim(0)
        world.attend(0)
        watch.check()
        for slot in list(world.dials):
            world.opened(slot)
        for slot in list(world.closing):
            world.closed(slot)
        for row in list(world.attached):
            world.release(row)
        world.advance(0.2)
        world.tick(0)
        watch.check()
    assert world.tables.rebuilds >= HITS, "hardly ever killed inside the lock"
    drain(world, watch.check)
    check_empty(world)
