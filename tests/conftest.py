"""Fixtures: one PostgreSQL for the session, a pooler (or several) per test, PgBouncer to compare with.

Unit tests use none of them. A test that wants other settings or more poolers takes `make_pooler`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from pooler.core import _core
from pooler.dev.processes import Account, account, workplace
from tests.support.pooler import Bouncer, PgBouncer, Pooler
from tests.support.postgres import Postgres

TESTS = Path(__file__).parent

FAILED = pytest.StashKey[bool]()

#: Whole files are run side by side: what takes longest begins first, so that nobody waits for it in the end.
LONGEST_FIRST = ("system", "protocol", "simulation", "state", "applications", "pgbouncer", "fuzz")


def pytest_configure() -> None:
    """A run in the background of a shell ignores signals that PgBouncer is stopped by."""
    if not hasattr(_core, "scan"):
        raise pytest.UsageError(
            "the core has no test hooks: compile it with POOLER_TEST_HOOKS=1 (scripts/test does)"
        )
    for signum in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(signum) is signal.SIG_IGN:
            signal.signal(signum, signal.SIG_DFL)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order of directories; within each nothing is moved."""
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}

    def place(item: pytest.Item) -> int:
        return places.get(item.path.relative_to(TESTS).parts[0], len(places))

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Lets fixtures know whether the test itself failed."""
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture(scope="session")
def owner() -> Account:
    """The account of all children: we, or an unprivileged user when we are root."""
    return account()


@pytest.fixture(scope="session")
def work(owner: Account) -> Iterator[Path]:
    """A directory that the account reaches, gone after the session."""
    with workplace(owner, "pooler-test-") as path:
        yield path


@pytest.fixture(scope="session")
def running_postgres(owner: Account, work: Path) -> Iterator[Postgres]:
    """The PostgreSQL of the session; tests take `pg`."""
    pg = Postgres(owner, work)
    pg.create()
    yield pg
    pg.stop()


@pytest.fixture
def pg(running_postgres: Postgres) -> Postgres:
    """PostgreSQL, running whatever the test before did to it, without backends left of it."""
    running_postgres.ensure_running()
    running_postgres.new_log()
    return running_postgres


@pytest.fixture
def make_bouncer(
    request: pytest.FixtureRequest, pg: Postgres, owner: Account, work: Path
) -> Iterator[Callable[..., Bouncer]]:
    """Makes and starts instances of a class of bouncer; after the test each has to end cleanly."""
    made: list[Bouncer] = []

    def make(kind: type[Bouncer], start: bool = True, **keywords: Any) -> Bouncer:
        number = sum(1 for _ in work.glob("b*"))
        bouncer = kind(pg, owner, work / f"b{number}", **keywords)
        made.append(bouncer)
        if start:
            bouncer.start()
        return bouncer

    yield make
    problems = []
    for bouncer in made:
        failed = request.node.stash.get(FAILED, True)
        try:
            bouncer.stop()
        except (AssertionError, OSError) as error:
            problems.append(f"{bouncer.name}: {error}")
            failed = True
        if failed:
            print(f"{bouncer.name} on port {bouncer.port}\n{bouncer.story()}")
    assert not problems, "\n".join(problems)


@pytest.fixture
def make_pooler(make_bouncer: Callable[..., Bouncer]) -> Callable[..., Pooler]:
    """make_pooler(workers=1, databases={"p0": "pool_size=1"}, query_wait_timeout=2): a started pooler."""

    def make(**keywords: Any) -> Pooler:
        made = make_bouncer(Pooler, **keywords)
        assert isinstance(made, Pooler)
        return made

    return make


@pytest.fixture
def pooler(make_pooler: Callable[..., Pooler]) -> Pooler:
    """pooler with two workers, transaction pooling, trust, databases p0 to p3."""
    return make_pooler()


@pytest.fixture
def pgbouncer(make_bouncer: Callable[..., Bouncer]) -> Bouncer:
    """PgBouncer with the same settings; the test is skipped where none is installed."""
    if PgBouncer.find() is None:
        pytest.skip("no pgbouncer installed")
    return make_bouncer(PgBouncer)


@pytest.fixture(params=[Pooler, PgBouncer], ids=lambda kind: str(kind.name))
def make_either(
    request: pytest.FixtureRequest, make_bouncer: Callable[..., Bouncer]
) -> Callable[..., Bouncer]:
    """For tests of compatibility: the same test on pooler and on PgBouncer."""
    kind: type[Bouncer] = request.param
    if kind is PgBouncer and PgBouncer.find() is None:
        pytest.skip("no pgbouncer installed")
    return lambda **keywords: make_bouncer(kind, **keywords)
