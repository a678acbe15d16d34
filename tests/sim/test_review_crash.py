"""A worker is killed between any two machine instructions of an operation: nothing is lost that lives.

A child does the operation under ptrace, one instruction at a time. Each state of the shared map while the
lock is held is kept, then taken for what a SIGKILL left: rebuilt, mourned, checked, drained.
"""

from __future__ import annotations

import copy
import ctypes
import os
import signal
from collections.abc import Callable

import pytest

from tests.sim.drain import drain
from tests.sim.invariants import Watch, check_empty
from tests.sim.test_scenarios import client, open_all, serve
from tests.sim.world import CANCELED, CL_ACTIVE, CL_LOGIN, CL_WAITING, Pool, World

TRACEME, SINGLESTEP = 0, 9
MUTEX_BYTES = 40
OWNER_AT = 8  # of the thread that has the mutex: the kernel's word for it in glibc
WELCOME, FAIL = 8, 16
PAGE = 4096

libc = ctypes.CDLL(None, use_errno=True)
libc.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
Act = Callable[[World], object]
State = dict[int, bytes]  # pages by their place behind the mutex

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def changed_pages(start: bytes, address: int, size: int) -> State:
    """What of the map is not as at the start: its states are many, and nearly all of each is the same."""
    pages = ((at, ctypes.string_at(address + at, min(PAGE, size - at))) for at in range(0, size, PAGE))
    return {at: page for at, page in pages if page != start[at : at + len(page)]}


def states_of(world: World, act: Act, start: bytes) -> list[State]:
    """Every state that the map passes through while `act` holds the lock."""
    address, size = world.tables._map()
    shared, seen = address + MUTEX_BYTES, ctypes.create_string_buffer(size - MUTEX_BYTES)
    pid = os.fork()
    if pid == 0:
        libc.ptrace(TRACEME, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        act(world)
        os._exit(0)
    found: list[State] = []
    os.waitpid(pid, 0)
    while True:
        if libc.ptrace(SINGLESTEP, pid, None, None):
            raise OSError(ctypes.get_errno(), "ptrace")
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            return found
        is_locked = ctypes.c_int.from_address(address + OWNER_AT).value
        if is_locked and (not found or libc.memcmp(shared, seen, len(seen))):
            ctypes.memmove(seen, shared, len(seen))
            found.append(changed_pages(start[MUTEX_BYTES:], shared, len(seen)))


def survivors_view(world: World) -> World:
    """What the workers knew before the operation began."""
    view = copy.copy(world)
    for name in (
        "dials",
        "closing",
        "tested",
        "attached",
        "members",
        "logging_in",
        "dedicated",
        "cancels",
        "served",
    ):
        setattr(view, name, copy.copy(getattr(world, name)))
    return view


def check_clients(before: dict[int, dict[str, int]], world: World) -> None:
    """Whoever waited still does, or there is an order for its worker."""
    now = world.tables._truth()[1]
    for row, client_before in before.items():
        if row not in world.members:
            continue
        state, orders = now[row]["state"], now[row]["orders"]
        if client_before["state"] == CL_WAITING and row in world.logging_in:
            told = orders & (WELCOME | FAIL) or row in map(world.opened_for, world.tables._truth()[0])
            assert state == CL_WAITING or (state == CL_LOGIN and told), (row, now[row])
        elif client_before["state"] == CL_WAITING:
            assert state in (CL_WAITING, CL_ACTIVE) or orders & CANCELED, (row, now[row])


def killed_anywhere(world: World, victim: int, act: Act) -> None:
    address, size = world.tables._map()
    start = ctypes.string_at(address, size)
    before = world.tables._truth()[1]
    states = states_of(world, act, start)
    assert states, "the operation never changed anything"
    failures = []
    for number, state in enumerate(states):
        ctypes.memmove(address, start, size)  # an unlocked mutex, whatever the last round left
        for at, page in state.items():
            ctypes.memmove(address + MUTEX_BYTES + at, page, len(page))
        view = survivors_view(world)
        try:
            view.tables._rebuild()
            view.die(victim)
            check_clients(before, view)
            watch = Watch(view)
            drain(view, watch.check)
            check_empty(view)
        except AssertionError as error:
            failures.append(f"{number} of {len(states)}: {error}")
    ctypes.memmove(address, start, size)
    assert not failures, failures


def hungry() -> World:
    """Worker 1 has a waiting client, nobody opens a server yet: retry_at has just passed."""
    world = World([Pool(size=2)], workers=2)
    row = client(world, 1)
    world.acquire(row)
    world.attend_all()
    (slot,) = world.dials
    world.refused(slot, retry_s=1)
    world.attend_all()
    world.advance(2)
    return world


def test_dial_for_a_client_of_another_worker() -> None:
    killed_anywhere(hungry(), 0, lambda world: world.tables._play_tick(0, world.now))


def test_release_to_a_client_of_another_worker() -> None:
    world = World([Pool(size=1)], workers=2)
    first, second = client(world, 0), client(world, 1)
    serve(world, [first])
    world.acquire(second)
    world.attend_all()
    killed_anywhere(world, 0, lambda world: world.release(first))


def test_eviction_by_a_caller_without_a_relay() -> None:
    """The victim was last used by worker 1; worker 0's housekeeping closes it."""
    world = World([Pool(), Pool(database="d1")], workers=2)
    world.tables.set_user(world.user(world.pools[0]), 1, 0)
    first = client(world, 1)
    serve(world, [first])
    world.tables.set_paused(1, True)
    second = client(world, 1, 1)
    world.acquire(second)
    world.release(first)
    world.attend_all()
    world.tables.set_paused(1, False)
    killed_anywhere(world, 0, lambda world: world.tables._play_tick(0, world.now))


def test_welcome_for_logins_of_another_worker() -> None:
    world = World([Pool(size=1)], workers=2)
    row = client(world, 0)
    world.acquire(row)
    for _ in range(2):
        assert world.connect_early(1, 0) is not None
    world.attend_all()
    (slot,) = world.dials
    worker = world.dials[slot]
    assert worker == 0

    def publish(world: World) -> None:
        world.tables.slot_login(slot, b"w\0", -1.0)

    killed_anywhere(world, 0, publish)


def test_refusal_of_logins_of_another_worker() -> None:
    world = World([Pool(size=1)], workers=2)
    row = client(world, 0)
    world.acquire(row)
    assert world.connect_early(1, 0) is not None
    world.attend_all()
    killed_anywhere(world, 0, lambda world: world.tables._play_login_failed(0, True, 0))


def test_cancel_of_a_query_that_waits_at_another_worker() -> None:
    world = World([Pool(size=1)], workers=2)
    first, second = client(world, 0), client(world, 1)
    serve(world, [first])
    world.acquire(second)
    world.attend_all()
    killed_anywhere(world, 0, lambda world: world.tables.cancel_begin(*world.tables.client_key(second), 0))


def test_end_of_a_cancel_request() -> None:
    world = World([Pool(size=1)], workers=2)
    first, second = client(world, 1), client(world, 1)
    serve(world, [first])
    world.cancel(first, 0)
    world.release(first)
    world.acquire(second)
    world.attend_all()
    killed_anywhere(world, 0, lambda world: world.cancel_over())


def test_server_of_another_worker_is_free() -> None:
    """A server that ended leaves room for a pool of another worker."""
    world = World([Pool(size=1)], workers=2)
    first, second = client(world, 0), client(world, 1)
    serve(world, [first])
    world.acquire(second)
    world.attend_all()
    world.close_server(world.attached.pop(first), 0)
    (slot,) = world.closing
    killed_anywhere(world, 0, lambda world: world.closed(slot))


def test_opening_serves_another_worker() -> None:
    world = World([Pool(size=2)], workers=2)
    rows = [client(world, 0), client(world, 1), client(world, 1)]
    for row in rows:
        world.acquire(row)
    world.attend_all()
    (slot,) = world.dials
    killed_anywhere(world, 0, lambda world: world.opened(slot))
    open_all(world)
