"""The console over the real shared tables: every key that it reads is there, so the fakes tell the truth."""

from __future__ import annotations

import os
from typing import Any

import pytest

from pooler.admin import Console, Operations
from pooler.admin.command import COMMANDS
from pooler.admin.encode import result
from pooler.admin.model import TableRow, TablesView
from tests.unit.admin import fakes

core = pytest.importorskip("pooler.core", reason="the compiled core is not built")


@pytest.fixture
def tables() -> Any:
    """One worker, a client that has logged in, a server on its way, a client on the console."""
    found = core.Tables(workers=1, slots=2, clients=4)
    found.worker_starting(0, os.getpid())
    database, user = found.database("app"), found.user("alice")
    pool = found.open_pool(database, user, found.instance("10.0.0.1:5433"))
    times = ["reserve", "query", "query_wait", "idle_transaction", "transaction", "client_idle"]
    limits = dict.fromkeys((f"{name}_timeout" for name in times), 0.0)
    found.set_pool(
        pool,
        mode="session",
        size=2,
        min_size=1,
        reserve_size=0,
        server_lifetime=0.0,
        forced_user=True,
        **limits,
    )
    found.client_login(found.client_new(0), database, user, pool)
    console = found.database("pgbouncer")
    found.client_login(found.client_new(0), console, user, -1, console="admin")
    found.tick(0)
    return found


def test_every_show_runs(tables: TablesView) -> None:
    operations: Operations = fakes.FakeOperations()
    console = Console(operations, fakes.configuration, tables)
    for words in COMMANDS:
        if words[0] == "show":
            assert result(console.run(console.parse(" ".join(words).encode()), "admin"))


def test_the_console_counts_its_sessions(tables: TablesView) -> None:
    operations: Operations = fakes.FakeOperations()
    console = Console(operations, fakes.configuration, tables)
    rows = console.run(console.parse(b"show pools extended"), "admin").rows
    assert [(row[0], row[2]) for row in rows if row[0] == "pgbouncer"] == [("pgbouncer", 1)]


def test_fakes_have_no_key_that_the_tables_lack(tables: TablesView) -> None:
    def lacking(fake: TableRow, rows: Any) -> set[str]:
        return set(fake) - set(rows[0])

    assert not lacking(fakes.client(1), tables.clients())
    assert not lacking(fakes.server(1), tables.servers()) - {"wait_us"}
    assert not lacking(fakes.server(1), tables.slots()) - {"wait_us"}
    assert not lacking(fakes.pool(0, "app", "alice"), tables.pools())
    assert not lacking(fakes.database("app"), tables.databases())
    assert not lacking(fakes.FakeTables().turns(1)[0], tables.turns(1))
    assert not lacking(fakes.counters("app", "alice"), list(tables.stats().values()))
    assert not lacking(fakes.pin_counters("app", "alice"), list(tables.pins().values()))
    assert set(fakes.pin_counters("app", "alice")) == set(tables.pins()[0]), "a reason without a column"
