"""Rows of SHOW PINS and PIN_TOTALS, and the columns of SHOW CLIENTS that say why a client is pinned."""

from __future__ import annotations

from typing import Any

import pytest

from pooler.admin.model import TableRow
from tests.unit.admin import fakes
from tests.unit.admin.fakes import Bench

pytestmark = pytest.mark.usefixtures("utc")


def pinned(number: int, seconds: float, reason: str = "advisory lock", **more: Any) -> TableRow:
    """A pinned client."""
    since = fakes.MOMENT + 60 - seconds
    keys: dict[str, Any] = {"state": "active", "link": 513, "slot": 3, "worker": 1, "remote_pid": 4711}
    return fakes.client(number, pinned=reason, pinned_since=since, pinned_s=seconds, **(keys | more))


def test_pinned_client(bench: Bench) -> None:
    bench.tables.client_rows = [pinned(258, 61.9, "advisory lock, listen"), fakes.client(7)]
    assert bench.run("SHOW PINS").rows == [
        (
            "app", "alice", 258, "0x102", "127.0.0.1", 40258, 4711, "advisory lock, listen",
            "2026-01-31 11:59:58 UTC", 61, 1, 3,
        )
    ]  # fmt: skip


def test_unix_socket(bench: Bench) -> None:
    bench.tables.client_rows = [pinned(1, 2.0, is_unix=True, addr="")]
    assert bench.rows("SHOW PINS")[0]["addr"] == "unix"


def test_longest_pinned_first_in_its_pool(bench: Bench) -> None:
    bench.tables.client_rows = [
        pinned(1, 5.0, database="b"),
        pinned(2, 1.0),
        pinned(3, 9.0),
        pinned(4, 99.0, user="bob"),
    ]
    assert [row["client_id"] for row in bench.rows("SHOW PINS")] == [3, 2, 4, 1]


def test_totals_by_pool(bench: Bench) -> None:
    bench.tables.pool_pins = {
        0: fakes.pin_counters("b", "alice", session_asks=9, settings_applied=4, session_resets=3, load=1),
        1: fakes.pin_counters("app", "bob"),
        2: fakes.pin_counters("app", "alice", advisory_lock=2, sequence=3),
    }
    rows = bench.rows("SHOW PIN_TOTALS")
    assert [(row["database"], row["user"]) for row in rows] == [
        ("app", "alice"),
        ("app", "bob"),
        ("b", "alice"),
    ]
    assert [row["pins"] for row in rows] == [5, 0, 1]
    assert (rows[0]["advisory_lock"], rows[0]["sequence"], rows[0]["load"]) == (2, 3, 0)
    counts = ("session_asks", "settings_applied", "session_resets", "load")
    assert [rows[2][name] for name in counts] == [9, 4, 3, 1]
