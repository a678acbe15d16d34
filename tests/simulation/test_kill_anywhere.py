"""A worker is killed between any two machine instructions of an operation: nothing is lost that lives.

A child does the operation, one instruction at a time. Each state of the shared map while the lock is held is
kept, then taken for what a SIGKILL left: rebuilt, cleaned up after, checked, drained.
"""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Callable

import pytest

from tests.simulation.drain import drain
from tests.simulation.invariants import Watch, check_empty
from tests.simulation.test_scenarios import client, open_all, serve
from tests.simulation.world import CANCELED, CL_ACTIVE, CL_LOGIN, CL_WAITING, Pool, World
from tests.support.stepping import locked_steps

OWNER_AT = 8  # in a mutex of glibc: the kernel's word for the thread that has it
WELCOME, FAIL = 8, 16
PAGE = 4096

libc = ctypes.CDLL(None)
libc.memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
Act = Callable[[World], object]
State = dict[int, bytes]  # pages by their place in the part behind the mutex

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.timeout(600),  # steps are switches between two processes: many times slower on a busy machine
]


def changed_pages(start: bytes, address: int, size: int) -> State:
    """What of the map is not as at the start: its states are many, and nearly all of each is the same."""
    pages = ((at, ctypes.string_at(address + at, min(PAGE, size - at))) for at in range(0, size, PAGE))
    return {at: page for at, page in pages if page != start[at : at + len(page)]}


def shared_part(world: World) -> tuple[int, int, int]:
    """What of the map an operation changes, its address and bytes; and where the owner of the lock stands."""
    address, size, mutex_at, mutex_bytes = world.tables._map()
    behind = mutex_at + mutex_bytes
    return address + behind, size - behind, address + mutex_at + OWNER_AT


def states_of(world: World, act: Act, start: bytes) -> list[State]:
    """Every state that the map passes through while `act` holds the lock."""
    shared, size, owner = shared_part(world)
    seen = ctypes.create_string_buffer(size)
    found: list[State] = []
    for _ in locked_steps(lambda: act(world), owner):
        if not found or libc.memcmp(shared, seen, size):
            ctypes.memmove(seen, shared, size)
            found.append(changed_pages(start, shared, size))
    return found


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
    shared, size, owner = shared_part(world)
    start = ctypes.string_at(shared, size)
    before = world.tables._truth()[1]
    states = states_of(world, act, start)
    assert states, "the operation never changed anything"
    assert not ctypes.c_int.from_address(owner).value, "the operation has ended, and so has its lock"
    failures = []
    for number, state in enumerate(states):
        ctypes.memmove(shared, start, size)
        for at, page in state.items():
            ctypes.memmove(shared + at, page, len(page))
        view = survivors_view(world)
        try:
            view.tables._rebuild()
            view.die(victim)
            check_clients(before, view)
            watch = Watch(view)
            drain(view, watch.check)
            check_empty(view)
        except (AssertionError, KeyError) as error:
            failures.append(f"{number} of {len(states)}: {error!r}")
    ctypes.memmove(shared, start, size)
    assert not failures, failures


def starved() -> World:
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
    killed_anywhere(starved(), 0, lambda world: world.tables._play_tick(0, world.now))


def test_release_to_a_client_of_another_worker() -> None:
    world = World([Pool(size=1)], workers=2)
    first, second = client(world, 0), client(world, 1)
    serve(world, [first])
    world.acquire(second)
    world.attend_all()
    killed_anywhere(world, 0, lambda world: world.release(first))


def test_release_that_nobody_waits_for() -> None:
    world = World([Pool(size=1)], workers=2)
    row = client(world, 0)
    serve(world, [row])
    killed_anywhere(world, 0, lambda world: world.release(row))


def test_client_without_a_relay_leaves_a_server_that_must_close() -> None:
    """Its server was handed to it and not yet taken; worker 1 used it last and is told to close it."""
    world = World([Pool(size=1)], workers=2)
    first, second = client(world, 1), client(world, 0)
    serve(world, [first])
    world.acquire(second)
    world.release(first)
    world.tables.set_paused(-1, True)
    del world.members[second]
    killed_anywhere(world, 0, lambda world: world._play("client_free", second, -1))


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
    """A server that ended leaves its place to a pool of another worker."""
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


def secrets_of(world: World) -> tuple[bytes | None, bytes | None, bytes | None]:
    """What the row of the first pool keeps that servers are logged in with, and clients are welcomed."""
    keys = world.tables.pool_scram_keys(0)
    return world.tables.pool_secret(0), b"".join(keys) if keys else None, world.tables.pool_welcome(0)


def test_secrets_are_whole_or_none() -> None:
    """Whoever is killed while it writes what a client has shown leaves none of it, or all."""
    world = World([Pool(size=1)], workers=2)
    serve(world, [client(world, 0)])

    def write(letter: bytes, size: int) -> None:
        world.tables.set_pool_secret(0, letter * size)
        world.tables.set_pool_scram_keys(0, letter * 32, letter * 32)
        world.tables.slot_login(0, letter * size, -1.0)

    write(b"a", 100)
    shared, size, _ = shared_part(world)
    start = ctypes.string_at(shared, size)
    states = states_of(world, lambda world: write(b"b", 90), start)
    torn = []
    for state in states:
        ctypes.memmove(shared, start, size)
        for at, page in state.items():
            ctypes.memmove(shared + at, page, len(page))
        world.tables._rebuild()
        for found in secrets_of(world):
            if found and found not in (b"a" * 100, b"b" * 90, b"a" * 64, b"b" * 64):
                torn.append(found)
    ctypes.memmove(shared, start, size)
    assert states, "nothing was ever written under the lock"
    assert not torn, torn[:3]
