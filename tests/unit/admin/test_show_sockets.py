"""Rows of SHOW CLIENTS, SERVERS, SOCKETS, ACTIVE_SOCKETS, WORKERS and SLOTS."""

from __future__ import annotations

import pytest

from pooler.admin.model import Row
from tests.unit.admin import fakes
from tests.unit.admin.fakes import Bench

pytestmark = pytest.mark.usefixtures("utc")


#: As the core makes it (tests/unit/core/relay/test_shown_clients.py); in SOCKETS columns of buffers follow.
CLIENT: Row = (
    "C", "alice", "app", "none", "active", "127.0.0.1", 40258, "127.0.0.1", 6432, "2026-01-31 12:00:00 UTC",
    "2026-01-31 12:01:01 UTC", 2, 500_003, 0, "0x102", "0x201", 0, "", "psql", 0, 258,
)  # fmt: skip


def test_clients(bench: Bench) -> None:
    bench.tables.shown_rows = [(*CLIENT, 1, 3, None, None, 4711, "idle", "now", None, None)]
    assert list(bench.run("SHOW CLIENTS EXTENDED").rows) == bench.tables.shown_rows
    assert list(bench.run("SHOW CLIENTS").rows) == [CLIENT]


def test_server_rows(bench: Bench) -> None:
    states = ["closing", "being_canceled", "active_cancel", "new", "tested", "used", "idle", "active"]
    bench.tables.server_rows = [fakes.server(n, state=state) for n, state in enumerate(states, 1)]
    rows = bench.rows("SHOW SERVERS EXTENDED")
    assert [row["state"] for row in rows] == states[:0:-1]
    assert {row["type"] for row in rows} == {"S"}
    assert (rows[0]["remote_pid"], rows[0]["slot"]) == (9008, 8)


def test_sockets_have_prefixed_states(bench: Bench) -> None:
    bench.tables.shown_rows = [(*CLIENT, *[0] * 7, 1, None)]
    bench.tables.server_rows = [
        fakes.server(9, state="active"),
        fakes.server(10, state="new"),
        fakes.server(11),
    ]
    rows = bench.rows("SHOW SOCKETS EXTENDED")
    assert [(row["type"], row["state"]) for row in rows] == [
        ("C", "active"), ("S", "sv_active"), ("S", "sv_idle"), ("S", "sv_login"),
    ]  # fmt: skip
    assert (rows[1]["id"], rows[1]["recv_pos"], rows[1]["send_avail"], rows[1]["slot"]) == (9, 0, 0, 9)
    assert [row["id"] for row in bench.rows("SHOW ACTIVE_SOCKETS EXTENDED")] == [258, 9, 10]
    plain = bench.rows("SHOW SOCKETS")
    assert [row["id"] for row in plain] == [258, 9, 11, 10]
    assert "slot" not in plain[0]


def test_workers(bench: Bench) -> None:
    row = {"pid": 12, "clients": 3, "active": 1, "heartbeat_age_s": 0.0415, "started": fakes.MOMENT}
    row |= {"restarts": 0, "loop_lag_us": 900}
    bench.tables.worker_rows = [{"worker": 1, **row}, {"worker": 0, **row}]
    assert bench.run("SHOW WORKERS").rows == [
        (0, 12, 3, 1, "2026-01-31 12:00:00 UTC", 0, 41, 900),
        (1, 12, 3, 1, "2026-01-31 12:00:00 UTC", 0, 41, 900),
    ]


def test_turns(bench: Bench) -> None:
    assert bench.run("SHOW TURNS").rows == [(0, 7, 1234)]


def test_slots_show_what_servers_leaves_out(bench: Bench) -> None:
    bench.tables.slot_rows = [
        fakes.server(2, state="closing", close_needed=True, worker=-1),
        fakes.server(1, state="active", link=44),
    ]
    assert bench.run("SHOW SLOTS").rows == [
        (1, 1, "active", 0, "app", "alice", 1, 44, 9001, "2026-01-31 12:00:00 UTC", 0),
        (2, 1, "closing", None, "app", "alice", 2, None, 9002, "2026-01-31 12:00:00 UTC", 1),
    ]
