"""Fixtures: the program a case runs on, shared by the tests of a module, or started by the test itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pooler.dev.processes import Account
from tests.pgbouncer.subjects import POOLERS, Subject, behaves_so
from tests.support.pooler import Bouncer
from tests.support.postgres import Postgres
from tests.support.shared import running


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what the installed PgBouncer is too old or too new for."""
    left: list[pytest.Item] = []
    out: list[pytest.Item] = []
    for item in items:
        callspec = getattr(item, "callspec", None)
        (left if callspec is None or behaves_so(callspec.params) else out).append(item)
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = left


@pytest.fixture(scope="module")
def subject(
    request: pytest.FixtureRequest, running_postgres: Postgres, owner: Account, work: Path
) -> Iterator[Bouncer]:
    """The running program, with the settings that the module names in BOUNCER."""
    running_postgres.ensure_running()
    wanted: Subject = request.param
    keywords: dict[str, Any] = {**getattr(request.module, "BOUNCER", {}), **wanted.keywords}
    number = sum(1 for _ in work.glob("c*"))
    bouncer = wanted.kind(running_postgres, owner, work / f"c{number}", **keywords)
    with running(bouncer):
        yield bouncer


@dataclass
class Starter:
    """start(pool_mode="session"): starts one."""

    make: Callable[..., Bouncer]
    subject: Subject

    @property
    def is_pooler(self) -> bool:
        return self.subject in POOLERS

    def __call__(self, **keywords: Any) -> Bouncer:
        return self.make(self.subject.kind, **{**keywords, **self.subject.keywords})


@pytest.fixture
def start(request: pytest.FixtureRequest, make_bouncer: Callable[..., Bouncer]) -> Callable[..., Bouncer]:
    """start(pool_mode="session"): a program of the test's own."""
    return Starter(make_bouncer, request.param)
