"""Rows that nobody names and nobody uses are given back, and nobody who uses one loses it."""

from __future__ import annotations

from typing import Any

import pytest

from pooler.core import LoginVerdict, monotonic_us
from pooler.core._core import PlayedTables
from tests.simulation.drain import drain
from tests.simulation.invariants import Watch
from tests.simulation.test_kill_anywhere import killed_anywhere
from tests.simulation.test_scenarios import client, open_all, serve
from tests.simulation.world import SECOND_US, Pool, World

IDLE_S = 10.0


def sweep(world: World, idle_s: float = IDLE_S, pool_idle_s: float = 0.0) -> list[str]:
    found: list[str] = world.tables.forget(idle_s, pool_idle_s, world.now)[0]
    return found


def made_of_star(pools: list[Pool], **keywords: Any) -> World:
    """A world whose databases and users no configuration names."""
    world = World(pools, **keywords)
    for pool in pools:
        world.tables.set_database(world.database(pool), 0, 0, kept=False)
        world.tables.set_user(world.user(pool), 0, 0, kept=False)
    return world


def names(world: World) -> tuple[set[str], set[str], list[int]]:
    tables = world.tables
    return (
        {row["name"] for row in tables.databases()},
        {row["name"] for row in tables.users()},
        tables.pool_rows(),
    )


def test_idle_for_long_enough() -> None:
    """The time begins when the last server has ended, not when the last client left."""
    world = made_of_star([Pool(), Pool(database="d1", user="u1", instance="b:1")])
    watch = Watch(world)
    row = client(world)
    serve(world, [row])
    slot = world.attached[row]
    world.release(row)
    world.leave(row)
    for _ in range(3):
        world.advance(IDLE_S)
        assert "d0" not in sweep(world)
    assert names(world) == ({"d0"}, {"u0"}, [0]), "the other was never used"
    world.take_closing(world.tables.take_idle(-1, 0, True), 0)
    world.closed(slot)
    sweep(world)
    world.advance(IDLE_S - 1)
    assert sweep(world) == []
    world.advance(1)
    assert sweep(world) == ["d0"]
    assert names(world) == (set(), set(), [])
    assert world.tables.instances() == []
    watch.check()


def test_what_the_configuration_names_stays() -> None:
    world = made_of_star([Pool(), Pool(user="u1"), Pool(database="d1")])
    world.tables.set_database(world.database(world.pools[0]), 0, 0, kept=True)
    world.tables.set_user(world.user(world.pools[0]), 0, 0, kept=True)
    for _ in range(3):
        sweep(world)
        world.advance(IDLE_S)
    assert names(world) == ({"d0"}, {"u0"}, [0])
    sweep(world, 0, pool_idle_s=5)
    assert names(world) == ({"d0"}, {"u0"}, []), "pool_idle_timeout is for all"


@pytest.mark.parametrize("use", ["client", "waiting", "server", "paused", "disabled", "looked up"])
def test_what_is_in_use_stays(use: str) -> None:
    world = made_of_star([Pool()])
    watch = Watch(world)
    if use in ("client", "waiting", "server"):
        row = client(world)
    if use in ("waiting", "server"):
        world.acquire(row)
    if use == "server":
        open_all(world)
    world.tables.set_paused(0, use == "paused")
    world.tables.set_disabled(0, use == "disabled")
    for _ in range(4):
        world.advance(IDLE_S - 1)
        if use == "looked up":
            assert world.tables.open_pool(world.database(world.pools[0]), 0, 0) == 0
        sweep(world)
    assert "d0" in names(world)[0]
    watch.check()


def test_pool_that_is_to_get_a_row_stays() -> None:
    """A server of another pool is being closed for it; its only client has left meanwhile."""
    world = made_of_star([Pool(), Pool(user="u1")])
    world.tables.set_database(0, 1, 0, kept=False)
    watch = Watch(world)
    first, second = client(world), client(world, 0, 1)
    serve(world, [first])
    world.release(first)
    world.acquire(second)
    assert world.closing
    world.leave(second)
    sweep(world)
    world.advance(2 * IDLE_S)
    sweep(world)
    assert names(world)[2] == [0, 1]
    watch.check()
    drain(world, watch.check)


def test_client_that_looked_up_what_was_forgotten_then() -> None:
    """Not counted in rows that were given back, or are another's: it has to look again."""
    world = made_of_star([Pool()])
    pool = world.pools[0]
    rows = (world.database(pool), world.user(pool), 0)
    row = world.tables.client_new(0)
    sweep(world)
    world.advance(IDLE_S)
    assert sweep(world) == ["d0"]
    assert world.tables.client_login(row, *rows) is LoginVerdict.FORGOTTEN
    world.tables.client_free(row)
    assert world.tables.counts()["used_clients"] == 0


def tables_of(databases: int) -> PlayedTables:
    return PlayedTables(workers=2, slots=4, clients=4, databases=databases, users=8, pools=4, instances=4)


def open_named(tables: PlayedTables, number: int) -> tuple[int, int, int, int]:
    """Rows of database, user, instance and pool with that number in their names."""
    rows = (tables.database(f"d{number}"), tables.user(f"u{number}"), tables.instance(f"host{number}:1"))
    return (*rows, tables.open_pool(*rows) if min(rows) >= 0 else -1)


def test_rows_are_used_again_after_a_rest() -> None:
    """A number that somebody looked up a moment before means nothing else for two minutes."""
    tables = tables_of(4)
    first = open_named(tables, 0)
    now = monotonic_us()
    tables.forget(1, 0, now - 20 * SECOND_US)
    assert tables.forget(1, 0, now - 10 * SECOND_US)[0] == ["d0"]
    assert open_named(tables, 1) == (1, 1, 1, 1), "the rows of the first rest"
    tables = tables_of(4)
    assert open_named(tables, 0) == first
    tables.forget(1, 0, now - 300 * SECOND_US)
    assert tables.forget(1, 0, now - 200 * SECOND_US)[0] == ["d0"]
    assert open_named(tables, 1) == first
    assert tables.pool_key(first[3]) == ("d1", "u1", "host1:1")
    assert tables.pool_welcome(first[3]) is None


def test_a_full_table_has_room_again() -> None:
    tables = tables_of(4)
    now = monotonic_us()
    for number in range(4):
        assert min(open_named(tables, number)) >= 0
    assert open_named(tables, 4)[0] == -1
    tables.forget(1, 0, now - 300 * SECOND_US)
    assert len(tables.forget(1, 0, now - 200 * SECOND_US)[0]) == 4
    for number in range(4, 8):
        assert min(open_named(tables, number)) >= 0
    assert len(tables.pool_rows()) == 4


@pytest.mark.slow
def test_forgetting_can_be_killed_at_any_instruction() -> None:
    world = made_of_star([Pool(), Pool(user="u1"), Pool(database="d1")], workers=2)
    sweep(world)
    world.advance(2 * IDLE_S)
    row = world.tables.client_new(1)
    world.tables.client_login(row, world.database(world.pools[2]), world.user(world.pools[2]), 2)
    world.members[row] = (1, 2)
    world._play("idle", row, 1)
    killed_anywhere(world, 0, sweep)
    assert sweep(world) == ["d0"]
    assert names(world) == ({"d1"}, {"u0"}, [2])
