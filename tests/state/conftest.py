"""Fixtures of the leak tests: the databases with their hiding places, the measure, and a pooler to start."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.state import schema
from tests.state.catalog import KINDS, is_possible
from tests.state.kind import Kind
from tests.state.reference import Place, Reference
from tests.state.scene import Scene
from tests.support.postgres import Postgres
from tests.support.shared import StartPooler, start_pooler

__all__ = ["start_pooler"]


@pytest.fixture(scope="module")
def reference_of(running_postgres: Postgres) -> Iterator[Callable[[str], Reference]]:
    """PostgreSQL itself, by the name of the database."""
    running_postgres.ensure_running()
    schema.create(running_postgres)
    made = {
        database: Reference(Place(running_postgres.host, running_postgres.port, database))
        for database in schema.DATABASES
    }
    yield made.__getitem__
    for reference in made.values():
        reference.close()
    schema.drop(running_postgres)


@pytest.fixture(scope="module")
def reference(reference_of: Callable[[str], Reference]) -> Reference:
    """PostgreSQL itself, with the plain database."""
    return reference_of(schema.PLAIN)


def can_be_had(kind: Kind, reference: Reference) -> bool:
    """Whether the database, and this installation of PostgreSQL, have what the kind of a test needs."""
    return is_possible(kind, reference.postgres.database) and (
        not kind.needs or reference.works(kind.needs, kind.user)
    )


def stay(scene: Scene, kind: Kind) -> list[str]:
    """What goes wrong for a client that makes it and stays, and for others; by either protocol in turn."""
    if not can_be_had(kind, scene.reference):
        return []
    scene.reference.prepare(kind)
    extended = (KINDS.index(kind) + scene.workers) % 2 == 0
    try:
        found = scene.staying(kind, extended)
    except TimeoutError:
        found = ["stuck"]
    if found:
        scene.renew()
    return [f"{'extended' if extended else 'simple'}: {problem}" for problem in found]


def start_scene(
    start_pooler: StartPooler, reference: Reference, workers: int, pool_size: int, **settings: object
) -> Scene:
    """A scene with a pooler of its own."""
    databases = {reference.postgres.database: f"pool_size={pool_size}"}
    return Scene(start_pooler(workers=workers, databases=databases, **settings), reference, workers)
