"""PostgreSQL with the objects of the cases, and poolers of several sizes in front of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pooler.dev.processes import Account
from tests.protocol.conformance.world import POOL, Direct, Pooled, Pools, Size, pooled_world
from tests.support.postgres import Postgres
from tests.support.shared import running_pooler


@pytest.fixture(scope="module")
def direct(running_postgres: Postgres) -> Iterator[Direct]:
    running_postgres.ensure_running()
    world = Direct(running_postgres)
    yield world
    world.clerk.close()


@pytest.fixture(scope="module")
def pools(running_postgres: Postgres, direct: Direct, owner: Account, work: Path) -> Iterator[Pools]:
    """pools(Size(3, 1), session_state="off"): transaction pooling with neighbours, shared by all tests."""
    with contextlib.ExitStack() as stack:

        @cache
        def pool(size: Size, **settings: str) -> Pooled:
            databases = {POOL: f"dbname=p0 pool_size={size.servers}"}
            keywords: dict[str, Any] = {"workers": size.workers, "databases": databases, **settings}
            pooler = stack.enter_context(running_pooler(running_postgres, owner, work, **keywords))
            if "session_state" not in settings:  # before, clients keep their servers
                pooler.learn_catalogs(POOL)
            return stack.enter_context(pooled_world(pooler, direct, size.servers))

        yield pool
