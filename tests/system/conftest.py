"""Fixtures of the whole program: a pooler shared by a module, with a witness that no other test may
disturb."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pooler.dev.processes import Account
from tests.support.health import assert_no_bugs, restarts, wait_until_slots_work, worker_pids
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import start_pooler  # noqa: F401  # a fixture
from tests.support.transitions import MakePooler, Place, make_place
from tests.support.wire import Wire

MakeShared = Callable[..., Pooler]

BUSY = "SELECT query FROM pg_stat_activity WHERE datname = 'p0' AND state <> 'idle'"


class GuardedPooler(Pooler):
    """A pooler whose userlist has passwords for all, so that no method lets anybody in without one."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.passwords |= {"bouncer": "bfoo", "postgres": "superuser"}

    def pg_password(self, user: str) -> str:
        return self.passwords.get(user, "")


@pytest.fixture(scope="module")
def make_shared(running_postgres: Postgres, owner: Account, work: Path) -> Iterator[MakeShared]:
    """Makes poolers that live as long as the module; each has to end cleanly."""
    made: list[Pooler] = []

    def make(kind: type[Pooler] = Pooler, **keywords: Any) -> Pooler:
        running_postgres.ensure_running()
        number = sum(1 for _ in work.glob("m*"))
        pooler = kind(running_postgres, owner, work / f"m{number}", **keywords)
        made.append(pooler)
        pooler.start()
        return pooler

    yield make
    for pooler in made:
        pooler.stop()


class Witnesses:
    """Clients of another database, at least one at every worker: the others, who must not notice anything."""

    def __init__(self, pooler: Pooler, database: str = "p1") -> None:
        self.pooler = pooler
        self.workers = restarts(pooler)
        self.wires: list[Wire] = []
        numbers = set(worker_pids(pooler))
        while {row["worker"] for row in self._rows(database)} != numbers:
            assert len(self.wires) < 40, "clients are not spread over the workers"
            self.wires.append(pooler.wire().login(database=database))
        self.ports = {wire.socket.getsockname()[1] for wire in self.wires}

    def _rows(self, database: str) -> list[dict[str, object]]:
        return self.pooler.show("clients", database=database)

    def assert_undisturbed(self) -> None:
        """All of them are served on the connections they had, no worker was lost, no bug is in the log."""
        for wire in self.wires:
            assert wire.rows("SELECT 42") == [[b"42"]]
        assert restarts(self.pooler) == self.workers, self.pooler.story()
        assert_no_bugs(self.pooler)

    def close(self) -> None:
        for wire in self.wires:
            wire.close()


@pytest.fixture(scope="module")
def witnesses(shared: Pooler) -> Iterator[Witnesses]:
    """Those of the module's pooler."""
    made = Witnesses(shared)
    yield made
    made.close()


@pytest.fixture
def undisturbed(witnesses: Witnesses) -> Iterator[None]:
    """The test must not be noticed by others."""
    yield
    witnesses.assert_undisturbed()


@contextlib.contextmanager
def nothing_left(pooler: Pooler, pg: Postgres, table: str) -> Iterator[None]:
    """After the block p0 has no client's row, two slots work, and nothing was committed to the table."""
    pg.sql(f"CREATE TABLE IF NOT EXISTS {table} (n int); TRUNCATE {table}", dbname="p0", user="bouncer")
    yield
    wait_for(lambda: not pooler.show("clients", database="p0"), 5, "the end of the client's row")
    wait_until_slots_work(pooler, 2, timeout_s=8)
    wait_for(lambda: not pg.sql(BUSY), 5, "the end of what it ran")
    assert pg.sql(f"SELECT count(*) FROM {table}", dbname="p0") == [(0,)]


@pytest.fixture
def place(
    request: pytest.FixtureRequest,
    make_pooler: MakePooler,
    owner: Account,
    monkeypatch: pytest.MonkeyPatch,
    work: Path,
) -> Place:
    """Where the transitions of the module's MACHINE are written down."""
    return make_place(make_pooler, owner, monkeypatch, work, request.module.MACHINE)
