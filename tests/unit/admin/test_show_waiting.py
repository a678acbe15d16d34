"""SHOW WAITING: what is said of a line."""

from __future__ import annotations

from typing import Any

import pytest

from pooler.admin.model import TableRow
from pooler.admin.show_waiting import ROWS_MAX
from tests.unit.admin.fakes import MOMENT, Bench, client


def line(database: str = "app", **more: Any) -> TableRow:
    """An entry of tables.waiting()."""
    waits = client(7, database, wait_us=2_500_000, request_time=MOMENT)
    return {
        "database": database,
        "user": "alice",
        "cause": "pool_size",
        "count": 1,
        "used": 2,
        "limit": 2,
        "held": 0,
        "error": "",
        "retry_s": 0.0,
        "clients": [waits],
        "holders": [],
        **more,
    }


def holder(number: int, activity: str, seconds: float, **more: Any) -> TableRow:
    return client(number, activity=activity, activity_s=seconds, **more)


@pytest.mark.usefixtures("utc")
def test_a_client(bench: Bench) -> None:
    bench.tables.waiting_rows = [line()]
    assert bench.rows("SHOW WAITING") == [
        {
            "database": "app",
            "user": "alice",
            "place": 1,
            "waiting": 1,
            "client_id": 7,
            "addr": "127.0.0.1",
            "port": 40007,
            "application_name": "psql",
            "since": "2026-01-31 12:00:00 UTC",
            "seconds": 2,
            "blocked_by": "pool_size",
            "detail": "2 of 2 servers are there",
            "holders": "",
        }
    ]


@pytest.mark.parametrize(
    ("more", "detail"),
    [
        ({"cause": "paused", "limit": 0}, "PAUSE; RESUME lets them go on"),
        ({"cause": "server login", "limit": 2}, "a server is being opened"),
        (
            {
                "cause": "server down",
                "limit": 0,
                "error": "connect failed: Connection refused",
                "retry_s": 14.96,
            },
            "connect failed: Connection refused; tried again in 15.0 s",
        ),
        (
            {"cause": "login refused", "limit": 0, "error": "no password"},
            "no password; being tried again",
        ),
        ({"cause": "max_db_connections", "used": 9, "limit": 9}, "9 of 9 servers are there"),
    ],
)
def test_what_keeps_a_server_from_it(bench: Bench, more: TableRow, detail: str) -> None:
    bench.tables.waiting_rows = [line(**more)]
    assert [row["detail"] for row in bench.rows("SHOW WAITING")] == [detail]


def test_who_has_the_servers(bench: Bench) -> None:
    holders = [
        holder(1, "idle in transaction", 8.4, application_name="report"),
        holder(2, "pinned", 20, pinned="advisory lock", application_name="", is_unix=True),
        holder(3, "active", 0.2, pinned="listen", addr="10.0.0.3"),
    ]
    bench.tables.waiting_rows = [line(holders=holders, held=5)]
    ((told),) = (row["holders"] for row in bench.rows("SHOW WAITING"))
    assert told.split("; ") == [
        "C-1 report 127.0.0.1:40001 idle in transaction 8 s",
        "C-2 unix pinned: advisory lock 20 s",
        "C-3 psql 10.0.0.3:40003 active, listen 0 s",
        "and 2 more",
    ]


def test_by_pool_and_place_and_no_more_than_the_console_can_bear(bench: Bench) -> None:
    many = [client(number) for number in range(1500)]
    bench.tables.waiting_rows = [line("b", clients=many, count=3000), line("a", clients=many[:2])]
    rows = bench.rows("SHOW WAITING")
    assert len(rows) == 1502
    assert [(row["database"], row["place"]) for row in rows[:3]] == [("a", 1), ("a", 2), ("b", 1)]
    bench.tables.waiting_rows = [line("a", clients=many), line("b", clients=many)]
    assert len(bench.rows("SHOW WAITING")) == ROWS_MAX
