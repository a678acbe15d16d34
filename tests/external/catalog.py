"""The table of suites: where each comes from, what it needs, how it is run, how its results are read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tests.external.fetch import Cache
from tests.external.regress import REGRESS
from tests.external.stage import Stage
from tests.external.suite import Command, Suite

INSIDE = Path(__file__).resolve().parent / "inside"

PYTEST = ("pytest", "pytest-timeout")

#: A single test of a suite that takes longer than this hangs.
TEST_S = 60


def sdist(name: str, version: str) -> Callable[[Cache], Path]:
    return lambda cache: cache.sdist(name, version)


def pytest(*arguments: str, **env: str) -> Callable[[Stage, Cache, Path, Path], Command]:
    """A suite that pytest runs; {host} and {port} in arguments and variables are the stage's."""

    def make(stage: Stage, cache: Cache, source: Path, report: Path) -> Command:
        values = {"host": stage.host, "port": stage.port, "database": stage.database}
        argv = [str(cache.python.parent / "pytest"), "-p", "suites_report", "-p", "no:cacheprovider", "-q"]
        argv += [f"--timeout={TEST_S}", *(argument.format(**values) for argument in arguments)]
        settings = {name: value.format(**values) for name, value in env.items()}
        return Command(argv, source, {"PYTHONPATH": str(INSIDE), "PYTHONNOUSERSITE": "1"} | settings)

    return make


def sqlalchemy(driver: str, requirement: str) -> Suite:
    """SQLAlchemy's tests of the dialect and those that every dialect has to pass, with one driver."""
    uri = f"postgresql+{driver}://postgres:x@{{host}}:{{port}}/{{database}}"
    return Suite(
        f"sqlalchemy-{driver}",
        (*PYTEST, SQLALCHEMY, "greenlet", requirement),
        sdist(*SQLALCHEMY.split("==")),
        pytest(
            "--dburi", uri, "--maxfail=100000", "-k", "not get_multi and not RangeRoundTrip and not RangeTests", "--ignore=test/dialect/postgresql/test_compiler.py", "test/dialect/postgresql", "test/dialect/test_suite.py",
            "test/engine/test_transaction.py", "test/engine/test_reconnect.py", "test/engine/test_reflection.py",
        ),
        timeout_s=900,
        sql=("CREATE SCHEMA test_schema", "CREATE SCHEMA test_schema_2"),
    )  # fmt: skip


def django(name: str, driver: str, *labels: str) -> Suite:
    """A part of Django's own tests with one driver (Django takes psycopg 3 unless it is hidden)."""
    return Suite(
        name,
        ("Django==5.2.19", driver, "tblib", "jinja2", "pytz", "pyyaml"),
        sdist("Django", "5.2.19"),
        lambda stage, cache, source, report: Command(
            [
                str(cache.python), "runtests.py", "--settings=suites_django", "--parallel=1", "--keepdb",
                "--noinput", "--timing", *labels,
            ],
            source / "tests",
            {"PYTHONPATH": f"{INSIDE}{os.pathsep}{source}"},
        ),
        timeout_s=1500,
    )  # fmt: skip


PSYCOPG2 = "psycopg2-binary==2.9.13"
PSYCOPG = "psycopg[binary]==3.3.9"
ASYNCPG = "asyncpg==0.32.0"
PG8000 = "pg8000==1.31.6"
SQLALCHEMY = "SQLAlchemy==2.1.9"

#: What touches the database in more than the commonest ways, and some of the commonest.
DJANGO_LABELS = (
    "aggregation", "aggregation_regress", "annotations", "async", "backends", "basic", "bulk_create", "cache",
    "constraints", "custom_pk", "datatypes", "dates", "datetimes", "db_functions", "db_utils", "defer", "delete",
    "distinct_on_fields", "expressions", "expressions_case", "expressions_window", "fixtures", "force_insert_update",
    "foreign_object", "get_or_create", "indexes", "inspectdb", "introspection", "lookup", "many_to_many",
    "migrate_signals", "migration_test_data_persistence", "migrations", "migrations2", "model_fields",
    "multiple_database", "ordering", "postgres_tests", "prefetch_related", "queries", "raw_query", "schema",
    "select_for_update", "select_related", "serializers", "servers", "sessions_tests", "sites_tests", "test_utils",
    "timezones", "transaction_hooks", "transactions", "unmanaged_models", "update", "xor_lookups",
)  # fmt: skip

SUITES = (
    Suite(
        "psycopg2",
        (*PYTEST, PSYCOPG2),
        sdist("psycopg2", "2.9.13"),
        pytest("tests", PSYCOPG2_TESTDB="{database}"),
        timeout_s=400,
        sql=("CREATE EXTENSION hstore",),
    ),
    Suite(
        "asyncpg",
        (*PYTEST, ASYNCPG, "distro"),
        sdist("asyncpg", "0.32.0"),
        pytest("tests", "--ignore=tests/test__sourcecode.py", "--ignore=tests/test__environment.py"),
        timeout_s=600,
    ),
    Suite(
        "pg8000",
        (*PYTEST, PG8000, "pytest-mock", "pytest-benchmark", "pytz"),
        sdist("pg8000", "1.31.6"),
        pytest(
            "test",
            "--benchmark-disable",
            *(f"--ignore=test/{part}/auth" for part in ("dbapi", "legacy", "native")),
        ),
        timeout_s=400,
        sql=("CREATE EXTENSION hstore",),
        users=("boltzmann",),  # a role that the tests make
    ),
    sqlalchemy("psycopg2", PSYCOPG2),
    sqlalchemy("psycopg", PSYCOPG),
    sqlalchemy("asyncpg", ASYNCPG),
    django("django", PSYCOPG, *DJANGO_LABELS),
    REGRESS,
)
