"""PostgreSQL with the objects of the cases, and poolers of several sizes in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pooler.dev.processes import Account
from tests.conformance.world import POOL, Direct, Pooled, Size, pooled_world
from tests.support.postgres import Postgres
from tests.support.shared import running_pooler


@pytest.fixture(scope="package")
def direct(running_postgres: Postgres) -> Iterator[Direct]:
    running_postgres.ensure_running()
    world = Direct(running_postgres)
    yield world
    world.clerk.close()


@pytest.fixture(scope="package")
def pooled(
    request: pytest.FixtureRequest, running_postgres: Postgres, direct: Direct, owner: Account, work: Path
) -> Iterator[Pooled]:
    """Transaction pooling with neighbours; tests name the Size."""
    size: Size = request.param
    databases = {POOL: f"dbname=p0 pool_size={size.servers}"}
    with (
        running_pooler(running_postgres, owner, work, workers=size.workers, databases=databases) as pooler,
        pooled_world(pooler, direct, size.servers) as world,
    ):
        yield world
