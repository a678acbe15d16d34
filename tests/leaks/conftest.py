"""Fixtures of the leak tests: the database with its hiding places, the measure, and a pooler to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.leaks import schema
from tests.leaks.kind import Kind
from tests.leaks.reference import Place, Reference
from tests.leaks.scene import Scene
from tests.support.postgres import Postgres
from tests.support.shared import StartPooler, start_pooler

__all__ = ["start_pooler"]


@pytest.fixture(scope="module")
def reference(running_postgres: Postgres) -> Iterator[Reference]:
    """PostgreSQL itself, with the database of the leak tests."""
    running_postgres.ensure_running()
    schema.create(running_postgres)
    made = Reference(Place(running_postgres.host, running_postgres.port))
    yield made
    made.close()
    schema.drop(running_postgres)


@pytest.fixture
def possible(request: pytest.FixtureRequest, reference: Reference) -> bool:
    """Whether this installation of PostgreSQL has what the kind of the test needs (contrib modules)."""
    kind: Kind = request.getfixturevalue("kind")
    return not kind.needs or reference.works(kind.needs, kind.user)


def start_scene(
    start_pooler: StartPooler, reference: Reference, workers: int, pool_size: int, **settings: object
) -> Scene:
    """A scene with a pooler of its own."""
    databases = {schema.DATABASE: f"pool_size={pool_size}"}
    return Scene(start_pooler(workers=workers, databases=databases, **settings), reference, workers)
