"""SHOW WAITING: what keeps servers from those who wait, and who has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.simulation.test_scenarios import client, serve
from tests.simulation.world import Pool, World

#: Of two databases, users and instances, whose pools are far from their own size.
ELSEWHERE = {
    "max_db_connections": Pool("d0", "u1", "host:1", size=9),
    "max_user_connections": Pool("d1", "u0", "host:1", size=9),
    "max_server_connections": Pool("d1", "u1", size=9),
}
SET: dict[str, Callable[[World], object]] = {
    "max_db_connections": lambda world: world.tables.set_database(world.database(world.pools[0]), 1, 0),
    "max_user_connections": lambda world: world.tables.set_user(world.user(world.pools[0]), 1, 0),
    "max_server_connections": lambda world: world.tables.set_instance(world.instance(world.pools[0]), 1),
}


def lines(world: World, most: int = 1000) -> list[dict[str, Any]]:
    return list(world.tables.waiting(most, world.now))


def line(world: World) -> dict[str, Any]:
    """The only pool that somebody waits in."""
    (found,) = lines(world)
    return found


def rows(found: dict[str, Any], what: str = "clients") -> list[int]:
    return [one["row"] for one in found[what]]


def test_nobody_waits() -> None:
    world = World([Pool(size=1)])
    assert lines(world) == []
    serve(world, [client(world)])
    assert lines(world) == []


def test_a_pool_that_is_full() -> None:
    world = World([Pool(size=2)], workers=2)
    served = [client(world), client(world, 1)]
    for row in served:  # the second a second later
        serve(world, [row])
        world._play("asks", row, world.members[row][0])
        world.advance(1)
    waits = [client(world, 1), client(world)]
    for row in waits:
        assert world.acquire(row) is None
        world.advance(1)
    found = line(world)
    assert (found["database"], found["user"], found["cause"]) == ("d0", "u0", "pool_size")
    assert (found["count"], found["used"], found["limit"], found["held"]) == (2, 2, 2, 2)
    assert rows(found) == waits
    assert [one["wait_us"] for one in found["clients"]] == [2_000_000, 1_000_000]
    assert rows(found, "holders") == served, "who has it for longest comes first"
    assert [one["activity"] for one in found["holders"]] == ["active", "active"]
    world.release(served[0])
    world.attend_all()
    assert rows(line(world)) == waits[1:]


@pytest.mark.parametrize("cause", ELSEWHERE)
def test_a_limit_that_another_pool_has_reached(cause: str) -> None:
    """Its holders are of that pool, and others do not count."""
    world = World([Pool(size=9), ELSEWHERE[cause], Pool("d2", "u2", "host:2")])
    holder = client(world, pool=1)
    serve(world, [holder, client(world, pool=2)])
    SET[cause](world)
    waits = client(world)
    assert world.acquire(waits) is None
    found = line(world)
    assert (found["cause"], found["used"], found["limit"]) == (cause, 1, 1)
    assert rows(found, "holders") == [holder]


def test_the_oldest_holders_of_many() -> None:
    world = World([Pool(size=6)])
    served = [client(world) for _ in range(6)]
    for row in served:
        serve(world, [row])
    order = [3, 0, 5, 1, 4, 2]
    for index in order:
        world.advance(1)
        world._play("asks", served[index], 0)
    assert world.acquire(client(world)) is None
    found = line(world)
    assert rows(found, "holders") == [served[index] for index in order[:3]]
    assert found["held"] == 6


@pytest.mark.parametrize("database", [True, False], ids=["database", "all"])
def test_paused(database: bool) -> None:
    world = World([Pool()])
    world.pause(world.database(world.pools[0]) if database else -1, 0)
    assert world.acquire(client(world)) is None
    assert (line(world)["cause"], line(world)["holders"]) == ("paused", [])


def test_a_server_that_logs_in() -> None:
    world = World([Pool()])
    assert world.acquire(client(world)) is None
    assert line(world)["cause"] == "server login"
    one = World([Pool(size=1)])
    assert one.acquire(client(one)) is None
    assert line(one)["cause"] == "server login", "though the pool has no more room"


def test_servers_that_cannot_log_in() -> None:
    world = World([Pool()])
    assert world.acquire(client(world)) is None
    (slot,) = world.dials
    world.refused(slot, retry_s=15)
    found = line(world)
    assert found["cause"] in ("server down", "login refused")
    assert found["retry_s"] == 15
    world.advance(15.1)
    world.tick(0)
    world.attend_all()
    (slot,) = world.dials
    assert line(world)["cause"] == found["cause"], "being tried again"
    world.opened(slot)
    world.attend_all()
    assert lines(world) == []


def test_a_client_that_waits_for_a_server_of_its_own() -> None:
    world = World([Pool(size=1)])
    serve(world, [client(world)])
    row = world.connect_dedicated(0, 0)
    assert rows(line(world)) == [row]
    assert line(world)["cause"] == "pool_size"


def test_a_long_line_is_counted_to_its_end() -> None:
    world = World([Pool(size=1)], clients=400)
    serve(world, [client(world)])
    for _ in range(300):
        world.acquire(client(world))
    found = line(world)
    assert (found["count"], len(found["clients"])) == (300, 256)


def test_no_more_clients_than_wanted_but_the_first_of_each_line() -> None:
    world = World([Pool(size=1), Pool("d1", size=1), Pool("d2", size=1)], clients=64)
    for pool in range(3):
        serve(world, [client(world, pool=pool)])
        for _ in range(10):
            world.acquire(client(world, pool=pool))
    assert [len(found["clients"]) for found in lines(world, 12)] == [10, 2, 1]
    assert [len(found["clients"]) for found in lines(world, 0)] == [1, 1, 1]
    assert [found["count"] for found in lines(world, 0)] == [10, 10, 10]
