"""SHOW CLIENTS and SHOW SOCKETS, made in the core: which clients, in which order, and each cell."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pooler.admin.show_sockets import CLIENT_COLUMNS, SOCKET_COLUMNS
from pooler.admin.text_rows import TextRows
from pooler.core import monotonic_us
from tests.simulation.test_scenarios import client, serve
from tests.simulation.world import Pool, World
from tests.support.local_time import local_time

COLUMNS = {"clients": CLIENT_COLUMNS, "sockets": SOCKET_COLUMNS, "active_sockets": SOCKET_COLUMNS}


@pytest.fixture(autouse=True)
def zone() -> Iterator[None]:
    """Times are printed in local time; this zone has half an hour, and a name of its own."""
    with local_time("TEST-5:30"):
        yield


def world_of(*pools: Pool) -> World:
    return World(list(pools or [Pool(size=1)]), workers=2, now=monotonic_us())


def shown(world: World, what: str = "clients") -> list[dict[str, Any]]:
    """The rows by column name; the plain ones are those without the last columns."""
    names = [column.name for column in COLUMNS[what]]
    rows = TextRows(*world.tables.shown_clients(what, True), COLUMNS[what])
    ours = 9 if what == "clients" else 2
    plain = TextRows(*world.tables.shown_clients(what, False), COLUMNS[what][:-ours])
    assert len(rows) == len(plain)
    for row, less in zip(rows, plain, strict=True):
        assert [*row[:11], *row[13:-ours]] == [*less[:11], *less[13:]]  # but for how long it waits
    return [dict(zip(names, row, strict=True)) for row in rows]


def attach(world: World, row: int) -> int:
    """The client's server."""
    serve(world, [row])
    return world.attached[row]


def test_every_cell() -> None:
    world = world_of()
    row = client(world, worker=1)
    world.tables.client_where(row, "10.1.2.3", 40258, "fe80::1%eth0", 6432, False)
    world.tables.client_application(row, "psql")
    world.tables.client_tls(row, "TLSv1.3/TLS_AES_256_GCM_SHA384")
    slot = attach(world, row)
    (there,), (server,) = world.tables.clients(), world.tables.servers()
    (found,) = shown(world)
    begun = time.strftime("%Y-%m-%d %H:%M:%S TEST", time.localtime(there["connect_time"]))
    assert found == {
        "type": "C", "user": "u0", "database": "d0", "replication": "none", "state": "active",
        "addr": "10.1.2.3", "port": 40258, "local_addr": "fe80::1%eth0", "local_port": 6432,
        "connect_time": begun, "request_time": begun, "wait": 0, "wait_us": 0, "close_needed": 0,
        "ptr": f"0x{there['id']:x}", "link": f"0x{server['id']:x}", "remote_pid": 0,
        "tls": "TLSv1.3/TLS_AES_256_GCM_SHA384", "application_name": "psql", "prepared_statements": 0,
        "id": there["id"], "worker": 1, "slot": slot, "pinned": None, "pinned_since": None, "memory": 0,
        "activity": "active", "activity_since": found["activity_since"],
        "xact_start": None, "query_start": None,
    }  # fmt: skip
    (socket,) = shown(world, "sockets")
    assert socket["state"] == "cl_active"
    assert [socket[name] for name in ("recv_pos", "send_avail", "worker", "slot")] == [0, 0, 1, slot]


def test_a_client_of_a_unix_socket() -> None:
    world = world_of()
    row = client(world)
    world.tables.client_where(row, "unix(77)", 6432, "", 6432, True)
    (found,) = shown(world)
    assert (found["addr"], found["local_addr"], found["port"], found["remote_pid"]) == (
        "unix",
        "unix",
        6432,
        77,
    )


def test_who_waits_and_for_how_long() -> None:
    world = world_of()
    served, waits = client(world), client(world)
    attach(world, served)
    world.now = monotonic_us() - 90_000_000
    assert world.acquire(waits) is None
    found = {row["id"]: row for row in shown(world)}[world.tables.client_id(waits)]
    assert (found["state"], found["link"], found["slot"]) == ("waiting", "", None)
    assert 90 <= found["wait"] < 120
    assert found["request_time"] < found["connect_time"]


def test_by_pool_state_and_age() -> None:
    world = world_of(Pool("b", "zoe", size=1), Pool("b", "ann", size=1), Pool("a", "zoe", size=1))
    rows = [client(world, pool=pool) for pool in (0, 1, 2, 1, 1, 1)]
    attach(world, rows[1])
    assert world.acquire(rows[3]) is None
    numbers = [world.tables.client_id(rows[at]) for at in (2, 4, 5, 1, 3, 0)]
    assert [row["id"] for row in shown(world)] == numbers
    assert [(row["database"], row["user"], row["state"]) for row in shown(world)] == [
        ("a", "zoe", "idle"), ("b", "ann", "idle"), ("b", "ann", "idle"), ("b", "ann", "active"),
        ("b", "ann", "waiting"), ("b", "zoe", "idle"),
    ]  # fmt: skip


def test_sockets_of_logins_and_of_the_console() -> None:
    world = world_of()
    idle, early, console = client(world), world.tables.client_new(0), world.tables.client_new(1)
    database, user = world.tables.database("pgbouncer"), world.tables.user("root")
    world.tables.client_login(console, database, user, -1, console="admin")
    states = {row["id"]: (row["state"], row["user"], row["database"]) for row in shown(world, "sockets")}
    assert states == {
        world.tables.client_id(idle): ("cl_active", "u0", "d0"),
        world.tables.client_id(early): ("cl_login", "(nouser)", "(nodb)"),
        world.tables.client_id(console): ("cl_active", "root", "pgbouncer"),
    }
    assert [row["state"] for row in shown(world, "active_sockets")] == ["cl_login"]
    assert [row["state"] for row in shown(world)] == ["idle", "idle"]
    attach(world, idle)
    assert [row["state"] for row in shown(world, "active_sockets")] == ["cl_login", "cl_active"]


def test_poolers_own_clients_are_not_shown() -> None:
    world = world_of()
    row = world.tables.client_new(0)
    world.tables.client_login(row, world.tables.database("d0"), world.tables.user("u0"), 0, own=True)
    assert shown(world) == shown(world, "sockets") == []


def test_rows_of_clients_that_left_are_left_out() -> None:
    world = world_of()
    rows = [client(world) for _ in range(3)]
    world.leave(rows[1])
    assert [row["id"] for row in shown(world)] == [world.tables.client_id(rows[at]) for at in (0, 2)]


@pytest.mark.parametrize(
    "name",
    [
        b"caf\xe9", "café 漢字 🐘".encode(), b"\xe2\x82", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
        b"\xf0\x8f\xbf\xbf", b"a\xe2\x82b", b"\xff" * 63, b"\xf5\x80\x80\x80", b"\xe0\x9f\xbf",
    ],
)  # fmt: skip
def test_names_that_are_not_utf8_are_escaped(name: bytes) -> None:
    world = world_of()
    row = client(world)
    world.tables.client_application(row, os.fsdecode(name))
    (found,) = shown(world)
    assert found["application_name"] == name.decode("utf-8", "backslashreplace")


def test_many_rows() -> None:
    world = World([Pool(size=1)], clients=3000, now=monotonic_us())
    rows = [client(world) for _ in range(3000)]
    assert [row["id"] for row in shown(world)] == [world.tables.client_id(row) for row in rows]
