"""Fixtures for real programs: a database a module, reached directly and through pooler, with neighbours.

They run through pooler in transaction mode with two workers and a pool of two servers, or of the sizes in the
module's `POOL_SIZES`. With POOLER_PROGRAMS=direct in the environment they run against PostgreSQL itself: what
fails there too is the test's own fault.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg2
import pytest

from tests.applications.shop import make_shop
from tests.support.neighbours import Neighbours, make_role
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.service import Service
from tests.support.shared import StartPooler, start_pooler, wait_until_free

__all__ = ["start_pooler"]

#: A program that waits this long for a server waits for itself.
PATIENCE_S = 20


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`service` is pooler with each of the module's pool sizes, or PostgreSQL itself (0)."""
    if "service" in metafunc.fixturenames:
        direct = os.environ.get("POOLER_PROGRAMS") == "direct"
        sizes = (0,) if direct else getattr(metafunc.module, "POOL_SIZES", (2,))
        names = ["direct" if size == 0 else f"pool_of_{size}" for size in sizes]
        metafunc.parametrize("service", sizes, ids=names, indirect=True, scope="module")


@pytest.fixture(scope="module")
def database(request: pytest.FixtureRequest, running_postgres: Postgres) -> Iterator[str]:
    """A database for the module alone, with the tables of the shop."""
    running_postgres.ensure_running()
    name = request.module.__name__.rsplit(".", 1)[-1].removeprefix("test_")
    running_postgres.sql(f"CREATE DATABASE {name} OWNER bouncer")
    yield name
    running_postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def service(
    request: pytest.FixtureRequest, running_postgres: Postgres, database: str, start_pooler: StartPooler
) -> Iterator[Service]:
    """Where the program connects; neighbours are there as long as the module runs."""
    make_role(running_postgres)
    size = request.param
    if size == 0:
        yield Service(running_postgres, database)
        return
    databases = {database: f"pool_size={size}"}
    pooler = start_pooler(workers=2, databases=databases, query_wait_timeout=PATIENCE_S, query_wait_notify=0)
    service = Service(running_postgres, database, pooler)
    with Neighbours(service) as neighbours:
        if size > 1:
            check_that_servers_change(service)
        yield service
    neighbours.check()
    wait_until_free(pooler, database)


def check_that_servers_change(service: Service) -> None:
    """A client's transactions do land on different servers: else the tests would show nothing."""
    seen: set[object] = set()

    def changed() -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            seen.add(cursor.fetchone())
        return len(seen) > 1

    connection = psycopg2.connect(service.dsn())
    try:
        connection.autocommit = True
        wait_for(changed, 10, "a transaction on another server")
    finally:
        connection.close()


@pytest.fixture
def shop(service: Service) -> Service:
    """The service, with the shop's tables as new."""
    make_shop(service)
    return service
