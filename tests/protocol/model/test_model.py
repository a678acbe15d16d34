"""Any script of messages is answered as the model says, by PostgreSQL and by pooler, shared or not."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.protocol.model.drive import Part, cases, is_served, run_parts
from tests.protocol.wire.conftest import start_pooler
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import StartPooler

__all__ = ["start_pooler"]

#: Few, and always the same ones; with POOLER_MODEL_EXAMPLES in the environment as many, and others each time.
MANY = int(os.environ.get("POOLER_MODEL_EXAMPLES", "0"))
EXAMPLES = settings(
    max_examples=MANY or 60,
    deadline=None,
    database=None,
    derandomize=not MANY,
    suppress_health_check=list(HealthCheck),
)
pytestmark = pytest.mark.timeout(MANY or 120)  # seconds: one for each example, and for what is made smaller


@pytest.fixture(scope="module")
def pooler(start_pooler: StartPooler, running_postgres: Postgres) -> Pooler:
    running_postgres.ensure_running()
    running_postgres.sql("CREATE TABLE IF NOT EXISTS modelled (n int)", dbname="p0", user="bouncer")
    return start_pooler(
        workers=2,
        databases={"one": "dbname=p0 pool_size=1", "off": "dbname=p0 pool_size=1 session_state=off"},
    )


@given(case=cases(1, 1))
@EXAMPLES
def test_alone(pooler: Pooler, running_postgres: Postgres, case: tuple[str, list[Part]]) -> None:
    database, parts = case
    run_parts(pooler, running_postgres, database, parts)


@given(case=cases(2, 3))
@EXAMPLES
def test_sharing_a_server(pooler: Pooler, running_postgres: Postgres, case: tuple[str, list[Part]]) -> None:
    database, parts = case
    run_parts(pooler, running_postgres, database, parts, compare=False)


@given(case=cases(1, 3), kill_at=st.integers(0, 6))
@EXAMPLES
def test_terminated_backends(
    pooler: Pooler, running_postgres: Postgres, case: tuple[str, list[Part]], kill_at: int
) -> None:
    database, parts = case
    run_parts(pooler, running_postgres, database, parts, compare=len(parts) == 1, kill_at=kill_at)
    wait_for(lambda: is_served(pooler, database), what="a server that works")
