"""Features that meet: TLS with replication and SUSPEND, long cancel keys with peers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from pooler.dev.postgres import SUPERUSER
from pooler.dev.processes import Account, make_directory
from tests.support.certificates import Authority, Pair
from tests.support.health import kill_worker, wait_for_replacement
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import running_pooler
from tests.support.tls_postgres import tls_postgres
from tests.support.wire import query

WALSENDERS = "SELECT 1 FROM pg_stat_activity WHERE backend_type = 'walsender'"
ROWS = 100_000


@pytest.fixture(scope="module")
def authority(work: Path, owner: Account) -> Authority:
    return Authority(work / "tls-crossings", owner)


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.sign("postgres", "/CN=localhost", "DNS:localhost")


@pytest.fixture(scope="module")
def secure(owner: Account, work: Path, authority: Authority, pair: Pair) -> Iterator[Postgres]:
    pg = tls_postgres(owner, make_directory(work / "crossings", owner), pair, authority.cert)
    yield pg
    pg.stop()


@pytest.fixture(params=[1, 3], ids=["1-worker", "3-workers"])
def encrypted(
    request: pytest.FixtureRequest, secure: Postgres, owner: Account, work: Path, pair: Pair
) -> Iterator[Pooler]:
    """TLS on both sides, and nothing else is let in."""
    with running_pooler(
        secure,
        owner,
        work,
        workers=request.param,
        databases={"p0": "pool_size=3", "p1": ""},
        client_tls_sslmode="require",
        client_tls_key_file=pair.key,
        client_tls_cert_file=pair.cert,
        server_tls_sslmode="require",
    ) as pooler:
        yield pooler


def replication(pooler: Pooler) -> psycopg.Connection:
    dsn = pooler.dsn(user=SUPERUSER, replication="database", sslmode="require")
    return psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.ClientCursor)


def test_replication_by_tls(encrypted: Pooler, secure: Postgres) -> None:
    """From its login to its end, and over the death of its worker."""
    with replication(encrypted) as connection:
        system = connection.execute("IDENTIFY_SYSTEM").fetchone()
        assert system is not None
        assert system[3] == "p0"
        (row,) = encrypted.show("servers", database="p0")
        assert row["replication"] == "logical"
        assert row["tls"].startswith("TLS")
        (row,) = encrypted.show("clients", database="p0")
        killed = kill_worker(encrypted, row["worker"])
        with pytest.raises(psycopg.OperationalError):
            connection.execute("IDENTIFY_SYSTEM")
    wait_for_replacement(encrypted, row["worker"], killed)
    wait_for(lambda: not secure.sql(WALSENDERS), 10, "the end of the walsender")
    with replication(encrypted) as connection:
        assert connection.execute("IDENTIFY_SYSTEM").fetchone() == system


def test_a_long_result_by_tls_over_suspend(encrypted: Pooler) -> None:
    """It stops between two messages, whatever records they came in, and all of it arrives."""
    got: list[int] = []

    def read() -> None:
        dsn = encrypted.dsn(user="bouncer", sslmode="require")
        with psycopg.connect(dsn, autocommit=True) as connection, connection.cursor() as cursor:
            text = f"SELECT n, repeat('x', 100) FROM generate_series(1, {ROWS}) AS n"
            got.extend(number for number, _ in cursor.stream(text))

    reader = threading.Thread(target=read)
    admin = encrypted.dsn(user=SUPERUSER, dbname="pgbouncer", sslmode="require")
    with psycopg.connect(admin, autocommit=True, cursor_factory=psycopg.ClientCursor) as console:
        reader.start()
        for _ in range(3):
            before = len(got)
            wait_for(lambda b=before: len(got) > b or not reader.is_alive(), 10, "rows")  # type: ignore[misc]
            console.execute("SUSPEND")
            console.execute("RESUME")
        reader.join(30)
    assert got == list(range(1, ROWS + 1))


def test_a_long_key_finds_its_peer(make_pooler: Callable[..., Pooler], pg: Postgres) -> None:
    """Keys of protocol 3.2 carry the number of their instance as the short ones do."""
    pair = [make_pooler(workers=2, databases={"p0": ""}) for _ in range(2)]
    lines = [f"{number + 1} = host={one.directory} port={one.port}" for number, one in enumerate(pair)]
    for number, one in enumerate(pair):
        one.extra = "\n".join(["[peers]", *lines, ""])
        one.configure(peer_id=number + 1)
    here, there = pair
    with here.wire().login("bouncer", "p0", version=(3 << 16) + 2) as wire:
        assert len(wire.backend_key[1]) == 32
        wire.send(query("SELECT pg_sleep(60)"))
        wait_for(
            lambda: pg.sql(
                "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query ~ '^SELECT pg_sl'"
            ),
            5,
            "the query",
        )
        with there.wire() as other:
            other.send(wire.cancel_request())
            other.expect_closed()
        assert wire.receive_until("E")[-1].fields["C"] == "57014"
        wire.expect("Z")
