"""Rows of SHOW CLIENTS, SERVERS, SOCKETS, ACTIVE_SOCKETS, WORKERS and SLOTS."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.unit.admin import fakes
from tests.unit.admin.fakes import Bench


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times are printed in local time; make that the same everywhere."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_client_row(bench: Bench) -> None:
    bench.tables.client_rows = [
        fakes.client(
            258, state="active", link=513, slot=3, worker=1, request_time=fakes.MOMENT + 61, wait_us=2_500_003
        )
    ]
    assert bench.run("SHOW CLIENTS EXTENDED").rows == [
        (
            "C", "alice", "app", "none", "active", "127.0.0.1", 40258, "127.0.0.1", 6432,
            "2026-01-31 12:00:00 UTC", "2026-01-31 12:01:01 UTC", 2, 500_003, 0, "0x102", "0x201", 0, "",
            "psql", 0, 258, 1, 3, None, None, 4711,
        )
    ]  # fmt: skip


def test_request_time_before_the_first_request_is_the_connect_time(bench: Bench) -> None:
    bench.tables.client_rows = [fakes.client(1)]
    (row,) = bench.rows("SHOW CLIENTS EXTENDED")
    assert row["request_time"] == row["connect_time"] == "2026-01-31 12:00:00 UTC"
    assert (row["link"], row["slot"], row["wait"], row["wait_us"]) == ("", None, 0, 0)


def test_unix_socket(bench: Bench) -> None:
    bench.tables.client_rows = [fakes.client(1, is_unix=True, addr="unix(77)", local_addr="")]
    (row,) = bench.rows("SHOW CLIENTS EXTENDED")
    assert (row["addr"], row["local_addr"], row["remote_pid"]) == ("unix", "unix", 77)


def test_process_of_a_tcp_client_is_unknown(bench: Bench) -> None:
    bench.tables.client_rows = [fakes.client(1, state="active", link=9, remote_pid=77)]
    assert bench.rows("SHOW CLIENTS EXTENDED")[0]["remote_pid"] == 0


def test_clients_by_pool_state_and_age(bench: Bench) -> None:
    bench.tables.client_rows = [
        fakes.client(9, "b"),
        fakes.client(8, "app", state="waiting_cancel_req"),
        fakes.client(7, "app", state="waiting"),
        fakes.client(6, "app", state="active", link=1),
        fakes.client(5, "app", "zoe"),
        fakes.client(4, "app"),
        fakes.client(3, "", "", state="login"),
        fakes.client(2, "app", state="waiting_login"),
        fakes.client(1, "pgbouncer", "root", state="active"),
    ]
    shown = [(row["id"], row["state"]) for row in bench.rows("SHOW CLIENTS EXTENDED")]
    assert shown == [
        (4, "idle"), (6, "active"), (2, "waiting"), (7, "waiting"), (8, "waiting_cancel_req"),
        (5, "idle"), (9, "idle"), (1, "idle"),
    ]  # fmt: skip


def test_server_rows(bench: Bench) -> None:
    states = ["closing", "being_canceled", "active_cancel", "new", "tested", "used", "idle", "active"]
    bench.tables.server_rows = [fakes.server(n, state=state) for n, state in enumerate(states, 1)]
    rows = bench.rows("SHOW SERVERS EXTENDED")
    assert [row["state"] for row in rows] == states[:0:-1]
    assert {row["type"] for row in rows} == {"S"}
    assert (rows[0]["remote_pid"], rows[0]["slot"]) == (9008, 8)


def test_sockets_have_prefixed_states(bench: Bench) -> None:
    bench.tables.client_rows = [
        fakes.client(1, state="active", link=9),
        fakes.client(2, "", "", state="login"),
        fakes.client(3, state="active_cancel_req"),
        fakes.client(4),
    ]
    bench.tables.server_rows = [
        fakes.server(9, state="active"),
        fakes.server(10, state="new"),
        fakes.server(11),
    ]
    rows = bench.rows("SHOW SOCKETS EXTENDED")
    assert [(row["type"], row["state"]) for row in rows] == [
        ("C", "cl_login"), ("C", "cl_active"), ("C", "cl_active"), ("S", "sv_active"), ("S", "sv_idle"),
        ("S", "sv_login"),
    ]  # fmt: skip
    assert (rows[0]["user"], rows[0]["database"], rows[0]["recv_pos"]) == ("(nouser)", "(nodb)", 0)
    assert [row["id"] for row in bench.rows("SHOW ACTIVE_SOCKETS EXTENDED")] == [2, 1, 9, 10]


def test_workers(bench: Bench) -> None:
    row = {"pid": 12, "clients": 3, "active": 1, "heartbeat_age_s": 0.0415, "started": fakes.MOMENT}
    row |= {"restarts": 0, "loop_lag_us": 900}
    bench.tables.worker_rows = [{"worker": 1, **row}, {"worker": 0, **row}]
    assert bench.run("SHOW WORKERS").rows == [
        (0, 12, 3, 1, "2026-01-31 12:00:00 UTC", 0, 41, 900),
        (1, 12, 3, 1, "2026-01-31 12:00:00 UTC", 0, 41, 900),
    ]


def test_slots_show_what_servers_leaves_out(bench: Bench) -> None:
    bench.tables.slot_rows = [
        fakes.server(2, state="closing", close_needed=True, worker=-1),
        fakes.server(1, state="active", link=44),
    ]
    assert bench.run("SHOW SLOTS").rows == [
        (1, 1, "active", 0, "app", "alice", 1, 44, 9001, "2026-01-31 12:00:00 UTC", 0),
        (2, 1, "closing", None, "app", "alice", 2, None, 9002, "2026-01-31 12:00:00 UTC", 1),
    ]
