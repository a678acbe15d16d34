"""Tools that look at the console: psql, drivers by both protocols, exporters, with what they send before."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import psycopg
import psycopg2
import pytest
from psycopg.rows import dict_row

from tests.pgbouncer.subjects import POOLERS, described, on_all, on_each
from tests.support.exchange import pooled
from tests.support.java import compiled
from tests.support.pooler import Bouncer
from tests.support.wire import SYNC, extended, query

BOUNCER = {
    "databases": {"p0": "pool_size=3", "p1": "user=bouncer"},
    "users": {"bouncer": "max_user_connections=9"},
    "ignore_startup_parameters": "extra_float_digits",
}

SHOWS = (
    "STATS",
    "STATS_TOTALS",
    "STATS_AVERAGES",
    "TOTALS",
    "POOLS",
    "DATABASES",
    "LISTS",
    "CONFIG",
    "CLIENTS",
    "SERVERS",
    "SOCKETS",
    "ACTIVE_SOCKETS",
    "USERS",
    "MEM",
    "VERSION",
    "DNS_HOSTS",
    "DNS_ZONES",
)
NEWER = ("STATE", "PEERS", "PEER_POOLS")


def busy(bouncer: Bouncer) -> None:
    """So that there is something to see."""
    with pooled(bouncer) as wire:
        wire.query("SELECT 1")
        wire.close()


# What exporters read.


@dataclass(frozen=True)
class Exporter:
    """What one asks by which driver, and the columns that it reads by name."""

    name: str
    startup: dict[str, str] = field(default_factory=dict)
    reads: dict[str, tuple[str, ...]] = field(default_factory=dict)
    since: str = "1.18"


#: By lib/pq, which puts these into its startup packet and asks by simple queries without arguments.
LIB_PQ = {"client_encoding": "UTF8", "datestyle": "ISO, MDY", "extra_float_digits": "2"}
PGX = {"client_encoding": "UTF8"}

STATS = (
    "database",
    "total_query_count",
    "total_query_time",
    "total_received",
    "total_sent",
    "total_wait_time",
    "total_xact_count",
    "total_xact_time",
)
POOLS = (
    "database",
    "user",
    "cl_active",
    "cl_waiting",
    "sv_active",
    "sv_idle",
    "sv_used",
    "sv_tested",
    "sv_login",
    "maxwait",
    "pool_mode",
)
DATABASES = (
    "name",
    "host",
    "port",
    "database",
    "force_user",
    "pool_size",
    "pool_mode",
    "max_connections",
    "current_connections",
    "paused",
    "disabled",
)

EXPORTERS = [
    Exporter(
        "prometheus",
        LIB_PQ,
        {
            "STATS": STATS,
            "POOLS": (*POOLS, "maxwait_us", "cl_active_cancel_req", "sv_being_canceled"),
            "DATABASES": DATABASES,
            "LISTS": ("list", "items"),
            "CONFIG": ("key", "value"),
            "VERSION": ("version",),
        },
    ),
    Exporter(
        "datadog",
        {"application_name": "datadog-agent"},
        {
            "STATS": (*STATS, "avg_recv", "avg_sent", "avg_query_time", "avg_xact_time", "avg_wait_time"),
            "POOLS": POOLS,
            "DATABASES": DATABASES,
            "CLIENTS": ("user", "database", "state", "connect_time", "request_time", "wait"),
            "SERVERS": ("user", "database", "state", "connect_time"),
            "CONFIG": ("key",),
        },
    ),
    Exporter(
        "telegraf",
        PGX,
        {"STATS": STATS, "POOLS": POOLS, "LISTS": ("list", "items"), "DATABASES": DATABASES},
    ),
]


@on_all(EXPORTERS)
def test_exporters(subject: Bouncer, case: Exporter) -> None:
    read_all(subject, case, query)


@on_all(EXPORTERS, subjects=POOLERS)
def test_exporters_by_extended_queries(subject: Bouncer, case: Exporter) -> None:
    """Which PgBouncer does not answer."""
    read_all(subject, case, lambda text: extended(text) + SYNC)


def read_all(subject: Bouncer, case: Exporter, encode: Callable[[str], bytes]) -> None:
    """Asks what the exporter asks, and looks for the columns that it reads."""
    busy(subject)
    with subject.wire().login(user="bouncer", database="pgbouncer", **case.startup) as wire:
        for what, columns in case.reads.items():
            wire.send(encode(f"SHOW {what};"))
            answer = wire.receive_until("Z")
            assert not [message.fields for message in answer if message.type == "E"]
            (heading,) = [message for message in answer if message.type == "T"]
            names = [name for name, _ in described(heading)]
            assert set(columns) <= set(names), what
            assert [message for message in answer if message.type == "D"], what
        wire.close()


@on_each()
def test_psql(subject: Bouncer) -> None:
    for what in SHOWS:
        assert "row" in subject.run_program("psql", "-X", "-c", f"show {what};", "pgbouncer")
    assert "Console usage" in subject.run_program("psql", "-X", "-c", "SHOW HELP", "pgbouncer")
    path = subject.directory / "script.sql"
    path.write_text("RELOAD;\nSHOW VERSION \\gset\n\\echo version is :version\n")
    assert "version is PgBouncer" in subject.run_program("psql", "-X", "-f", path, "pgbouncer")


@on_each()
def test_psycopg2(subject: Bouncer) -> None:
    """In autocommit mode: PgBouncer's console knows no BEGIN."""
    with subject.connect(dbname="pgbouncer", user="bouncer") as connection, connection.cursor() as cursor:
        for what in SHOWS:
            cursor.execute(f"SHOW {what}")
            cursor.fetchall()
        connection.set_client_encoding("UTF8")
    with (
        subject.connect(dbname="pgbouncer", user="bouncer", autocommit=False) as connection,
        connection.cursor() as cursor,
        pytest.raises(psycopg2.Error, match="invalid command 'BEGIN'"),
    ):
        cursor.execute("SHOW VERSION")


@on_each()
def test_psycopg3_client_cursor(subject: Bouncer) -> None:
    dsn = subject.dsn(dbname="pgbouncer", user="bouncer")
    with closing(psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.ClientCursor)) as connection:
        for what in SHOWS:
            assert connection.execute(f"SHOW {what}").description


@on_each(subjects=POOLERS)
@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_psycopg3(subject: Bouncer, binary: bool) -> None:
    """Extended queries, and prepared ones; results in both formats are the same."""
    dsn = subject.dsn(dbname="pgbouncer", user="postgres")
    with closing(psycopg.connect(dsn, autocommit=True, row_factory=dict_row)) as connection:
        for what in (*SHOWS, *NEWER):
            with connection.cursor(binary=binary) as cursor:
                rows = cursor.execute(f"SHOW {what}", prepare=True).fetchall()
                assert cursor.description
            if what == "DATABASES":
                assert rows[0]["port"] == subject.pg.port
        connection.execute("RELOAD")


@on_each(subjects=POOLERS)
def test_asyncpg(subject: Bouncer) -> None:
    async def ask() -> None:
        connection = await asyncpg.connect(
            host=subject.host, port=subject.port, user="bouncer", database="pgbouncer", ssl=False
        )
        for what in (*SHOWS, *NEWER):
            await connection.fetch(f"SHOW {what}")
        assert (await connection.fetchval("SHOW VERSION")).startswith("PgBouncer ")
        await connection.close()

    asyncio.run(asyncio.wait_for(ask(), 30))


SOURCE = Path(__file__).parent / "jdbc/Console.java"


@pytest.fixture(scope="session")
def classes(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The class path with the driver and the compiled program."""
    return compiled(SOURCE, tmp_path_factory.mktemp("jdbc"))


@on_each()
def test_jdbc(subject: Bouncer, classes: str) -> None:
    ask_by_jdbc(subject, classes, "simple")


@on_each(subjects=POOLERS)
def test_jdbc_by_extended_queries(subject: Bouncer, classes: str) -> None:
    ask_by_jdbc(subject, classes, "extended")


def ask_by_jdbc(subject: Bouncer, classes: str, mode: str) -> None:
    """Runs the program in tests/pgbouncer/jdbc."""
    url = (
        f"jdbc:postgresql://{subject.host}:{subject.port}/pgbouncer?user=postgres&sslmode=disable"
        f"&preferQueryMode={mode}"
    )
    command = ["java", "-XX:TieredStopAtLevel=1", "-cp", classes, "Console", url]
    asked = [*(f"SHOW {what}" for what in SHOWS), "RELOAD"]
    done = subprocess.run([*command, *asked], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stdout.splitlines()] == asked
