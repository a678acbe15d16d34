"""What must hold after every step: limits, counts, queues, ownership; nothing lost, nothing leaked.

`Watch.check` works the derived parts out again, in Python and from the rows alone, so it does not believe the
C code that it examines. It looks at the world as well: for each client and slot somebody must be responsible.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.simulation.world import (
    CANCELED,
    CL_ACTIVE,
    CL_IDLE,
    CL_LOGIN,
    CL_WAITING,
    HANDED,
    NO_ROW,
    ORDER_CLOSE,
    ORDER_DIAL,
    SL_ACTIVE,
    SL_CLOSING,
    SL_IDLE,
    SL_LOGIN,
    SL_PARKED,
    SL_RECLAIM,
    World,
)

Rows = dict[int, dict[str, int]]

CF_COUNTED = 16
CF_DEDICATED = 32
STATES = 8


class Watch:
    """Checks a world step by step; it remembers how many servers there were the step before."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.before: Counter[tuple[str, Any]] = Counter()
        self.active: set[int] = set()

    def check(self) -> None:
        slots, clients = self.world.tables._truth()
        derived = self.world.tables._derived()
        check_derived(self.world, slots, clients, derived)
        check_pairs(slots, clients)
        check_slots(self.world, slots)
        check_clients(self.world, slots, clients)
        check_no_idle_beside_waiters(self.world, derived)
        self.check_limits(slots)
        self.check_order(clients)

    def check_limits(self, slots: Rows) -> None:
        """No count grows beyond its limit (a limit that was lowered may find more than it allows)."""
        now: Counter[tuple[str, Any]] = Counter()
        limits = server_limits(self.world)
        for row in slots.values():
            pool = self.world.pools[row["pool"]]
            for key in keys_of(row["pool"], pool):
                now[key] += 1
        for key, count in now.items():
            limit = limits[key]
            assert not limit or count <= max(limit, self.before[key]), f"{key}: {count} of {limit}"
        self.before = now

    def check_order(self, clients: Rows) -> None:
        """The client that was just served came before all of its worker that still wait for the same pool."""
        active = {row for row, client in clients.items() if client["state"] == CL_ACTIVE}
        for row in active - self.active:
            served = clients[row]
            for other, client in clients.items():
                same = (client["pool"], client["worker"]) == (served["pool"], served["worker"])
                overtaken = client["state"] == CL_WAITING and client["ticket"] < served["ticket"]
                if (client["flags"] | served["flags"]) & CF_DEDICATED:
                    continue  # one cannot use what the other gets
                assert not (same and overtaken and served["wait_start"]), f"{row} has overtaken {other}"
        self.active = active


def keys_of(number: int, pool: Any) -> list[tuple[str, Any]]:
    return [
        ("pool", number),
        ("database", pool.database),
        ("user", pool.user),
        ("instance", pool.instance),
    ]


def server_limits(world: World) -> dict[tuple[str, Any], int]:
    """Every limit on servers, by what it limits; 0: none."""
    limits: dict[tuple[str, Any], int] = {}
    for kind, rows in (
        ("database", world.tables.databases()),
        ("user", world.tables.users()),
        ("instance", world.tables.instances()),
    ):
        for row in rows:
            limits[kind, row["name"]] = row["max_connections"]
    for number, pool in enumerate(world.pools):
        limits["pool", number] = pool.size and pool.size + pool.reserve_size
    return limits


def check_derived(world: World, slots: Rows, clients: Rows, derived: dict[str, Any]) -> None:
    """Counts and lists are what the rows say."""
    assert derived["clients"] == sum(1 for c in clients.values() if c["flags"] & CF_COUNTED)
    for number, pool in enumerate(derived["pools"]):
        check_pool(world, number, pool, slots, clients)
    for kind, rows in (("database", derived["databases"]), ("user", derived["users"])):
        for index, (servers, members) in enumerate(rows):
            assert servers == sum(1 for s in slots.values() if row_of(world, s["pool"], kind) == index), kind
            counted = [c for c in clients.values() if c["flags"] & CF_COUNTED and c[kind] == index]
            assert members == len(counted), kind
    for index, servers in enumerate(derived["instances"]):
        assert servers == sum(1 for s in slots.values() if row_of(world, s["pool"], "instance") == index)
    for number, (members, client_orders, slot_orders) in enumerate(derived["workers"]):
        own = {row: c for row, c in clients.items() if c["worker"] == number}
        assert members == len(own)
        assert client_orders == sorted(row for row, c in own.items() if c["orders"])
        assert slot_orders == sorted(
            slot for slot, s in slots.items() if s["orders"] and s["owner"] == number
        )
    assert not set(derived["free_clients"]) & set(clients)
    assert not set(derived["free_slots"]) & set(slots)


def check_pool(world: World, number: int, pool: dict[str, Any], slots: Rows, clients: Rows) -> None:
    own = {slot: s for slot, s in slots.items() if s["pool"] == number}
    states = Counter(s["state"] for s in own.values())
    assert pool["servers"] == len(own)
    assert pool["by_state"] == [states[state] for state in range(STATES)], f"pool {number}"
    assert pool["evicting"] == sum(1 for s in slots.values() if s["evict_for"] == number)
    assert sorted(pool["idle"]) == sorted(slot for slot, s in own.items() if s["state"] == SL_IDLE)
    assert pool["clients"] == sum(
        1 for c in clients.values() if c["flags"] & CF_COUNTED and c["pool"] == number
    )
    line = sorted(
        (c["ticket"], row) for row, c in clients.items() if c["state"] == CL_WAITING and c["pool"] == number
    )
    queue = [entry for entry in line if not clients[entry[1]]["flags"] & CF_DEDICATED]
    dedicated = [row for _, row in line if clients[row]["flags"] & CF_DEDICATED]
    assert pool["dedicated"] == dedicated, f"the second line of pool {number} is not in order"
    assert pool["waiting"] == [row for _, row in queue], f"the queue of pool {number} is not in order"
    for worker, waiting in enumerate(pool["waiting_of"]):
        assert waiting == [row for _, row in queue if clients[row]["worker"] == worker]


def row_of(world: World, pool: int, kind: str) -> int:
    plan = world.pools[pool]
    find = {"database": world.database, "user": world.user, "instance": world.instance}
    return find[kind](plan)


def check_pairs(slots: Rows, clients: Rows) -> None:
    """A slot has at most one client, a client at most one slot, and both say the same."""
    for row, client in clients.items():
        if client["state"] == CL_ACTIVE:
            own = slots[client["slot"]]
            assert (own["state"], own["client"], own["owner"]) == (SL_ACTIVE, row, client["worker"])
            assert own["pool"] == client["pool"]
        else:
            assert client["slot"] == NO_ROW
    for slot, server in slots.items():
        if server["client"] != NO_ROW:
            assert clients[server["client"]]["slot"] == slot


def check_slots(world: World, slots: Rows) -> None:
    """Somebody is responsible for every slot that is not free."""
    for slot, server in slots.items():
        owner, state, orders = server["owner"], server["state"], server["orders"]
        if state == SL_LOGIN:
            assert world.dials.get(slot, owner) == owner
            assert (slot in world.dials) != bool(orders & ORDER_DIAL), f"nobody dials for slot {slot}"
        elif state == SL_CLOSING:
            assert world.closing.get(slot, owner) == owner
            assert (slot in world.closing) != bool(orders & ORDER_CLOSE), f"nobody closes slot {slot}"
        elif state == SL_ACTIVE and server["client"] == NO_ROW:
            assert world.tested.get(slot) == owner, f"slot {slot} is active for nobody"
        elif state == SL_PARKED:
            assert server["canceling"], f"slot {slot} is parked for ever"
        elif state in (SL_IDLE, SL_RECLAIM):
            assert (owner, orders) == (NO_ROW, 0)
    held = [*world.dials, *world.closing, *world.tested, *world.attached.values()]
    assert set(held) <= set(slots), "a worker holds a slot that is free"
    assert len(set(held)) == len(held), "two hold the same slot"


def check_clients(world: World, slots: Rows, clients: Rows) -> None:
    """No client is lost, none that left is left over."""
    assert set(clients) == set(world.members)
    for row, client in clients.items():
        if row in world.attached:
            assert (client["state"], client["slot"]) == (CL_ACTIVE, world.attached[row])
            assert row == slots[client["slot"]]["client"]
        elif client["state"] == CL_ACTIVE:
            assert client["orders"] & HANDED, f"client {row} does not know of its server"
        elif client["state"] == CL_LOGIN:
            opened = any(world.opened_for(slot) == row for slot, s in slots.items() if s["state"] == SL_LOGIN)
            assert client["orders"] or opened, f"the login of client {row} waits for nothing"
        if client["orders"] & CANCELED:
            assert client["state"] == CL_IDLE or client["orders"] & HANDED or client["state"] == CL_WAITING


def check_no_idle_beside_waiters(world: World, derived: dict[str, Any]) -> None:
    for number, pool in enumerate(derived["pools"]):
        if not world.tables.is_paused() and not world.tables.is_paused(world.database(world.pools[number])):
            assert not (pool["idle"] and pool["waiting"]), f"pool {number}: idle servers beside waiters"


def check_empty(world: World) -> None:
    """After all have left nothing is in use and every count is zero."""
    slots, clients = world.tables._truth()
    assert not slots
    assert not clients
    derived = world.tables._derived()
    for pool in derived["pools"]:
        assert (pool["servers"], pool["clients"], pool["evicting"]) == (0, 0, 0)
    counts = world.tables.counts()
    assert (counts["used_servers"], counts["used_clients"], counts["login_clients"]) == (0, 0, 0)
    assert derived["databases"] == [(0, 0)] * len(derived["databases"])
    assert derived["users"] == [(0, 0)] * len(derived["users"])
    assert derived["instances"] == [0] * len(derived["instances"])
