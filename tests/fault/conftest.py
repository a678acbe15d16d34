"""Fixtures of the fault tests: a pooler shared by a module, with a witness that no other test may disturb."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pooler.dev.processes import Account
from tests.support.health import assert_no_bugs, restarts, worker_pids
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.wire import Wire

MakeShared = Callable[..., Pooler]


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
