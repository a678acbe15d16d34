"""Poolers that the tests of a module share: started once per set of settings, checked for a clean end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pooler.dev.processes import Account
from tests.support.pooler import Bouncer, Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for

StartPooler = Callable[..., Pooler]


@contextlib.contextmanager
def running(bouncer: Bouncer) -> Iterator[None]:
    """Started, and has to end cleanly after the block."""
    try:
        bouncer.start()
        yield
        bouncer.stop()
    except BaseException:
        print(f"{bouncer.name} on port {bouncer.port}\n{bouncer.story()}")
        raise
    finally:
        bouncer.kill()


@contextlib.contextmanager
def running_pooler(
    pg: Postgres, owner: Account, work: Path, kind: type[Pooler] = Pooler, **keywords: Any
) -> Iterator[Pooler]:
    """A started pooler that has to end cleanly after the block."""
    number = sum(1 for _ in work.glob("s*"))
    pooler = kind(pg, owner, work / f"s{number}", **keywords)
    with running(pooler):
        yield pooler


@pytest.fixture(scope="module")
def start_pooler(running_postgres: Postgres, owner: Account, work: Path) -> Iterator[StartPooler]:
    """start_pooler(workers=2, databases={...}, query_timeout=2): runs until the end of the module."""
    running_postgres.ensure_running()
    with contextlib.ExitStack() as stack:

        def start(**keywords: Any) -> Pooler:
            return stack.enter_context(running_pooler(running_postgres, owner, work, **keywords))

        yield start


def module_pooler(**keywords: Any) -> Any:
    """A fixture `pooler` for the tests of a module, which run with one worker and with two."""

    @pytest.fixture(scope="module", params=[1, 2], ids=["1-worker", "2-workers"])
    def pooler(request: pytest.FixtureRequest, start_pooler: StartPooler) -> Pooler:
        return start_pooler(workers=request.param, **keywords)

    return pooler


def wait_until_free(pooler: Pooler, database: str, timeout_s: float = 5) -> None:
    """Waits until no client of the database holds or wants a server."""

    def free() -> bool:
        pools = pooler.show("pools", database=database)
        return not any(row["sv_active"] or row["cl_active"] or row["cl_waiting"] for row in pools)

    wait_for(free, timeout_s, f"{database} without busy clients")
