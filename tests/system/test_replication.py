"""Replication through pooler: PostgreSQL's own programs and subscriptions, limits, what others notice."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

from pooler.dev.processes import Account, make_directory
from tests.support.fakeserver import READY, WELCOME, FakeServer, Peer
from tests.support.health import (
    descriptor_counts,
    kill_worker,
    wait_for_descriptors,
    wait_for_replacement,
    worker_pids,
)
from tests.support.pooler import Pooler
from tests.support.postgres import HBA, Postgres
from tests.support.processes import pss_kb, wait_for
from tests.support.wire import TERMINATE, Wire, message, query, startup

SETTINGS = {
    "wal_level": "logical",
    "max_wal_senders": "10",
    "max_replication_slots": "20",
    "synchronous_commit": "on",  # a position in the log that was just read is there to be sent
}
WALSENDERS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'"
CLIENTS = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'p0' AND usename = 'postgres'"


def cluster(owner: Account, directory: Path, **settings: str) -> Postgres:
    pg = Postgres(owner, make_directory(directory, owner, 0o755), **{**SETTINGS, **settings})
    pg.cluster.hba = (*HBA, "host replication all 127.0.0.1/32 trust")
    pg.create()
    return pg


@pytest.fixture(scope="module")
def running_postgres(owner: Account, work: Path) -> Iterator[Postgres]:
    """A PostgreSQL that decodes its log, in place of the session's."""
    pg = cluster(owner, work / "publisher")
    yield pg
    pg.stop()


@pytest.fixture(params=[1, 3], ids=lambda count: f"{count} workers")
def through(request: pytest.FixtureRequest, make_pooler: Callable[..., Pooler]) -> Pooler:
    """pooler in transaction mode; programs that replicate physically ask for the database `replication`."""
    return make_pooler(workers=request.param, databases={"p0": "", "replication": "dbname=p0"})


def walsenders(pg: Postgres) -> int:
    return int(pg.sql(WALSENDERS)[0][0])


def wait_for_walsenders(pg: Postgres, count: int) -> None:
    wait_for(lambda: walsenders(pg) == count, 10, f"{count} walsenders")


@pytest.mark.parametrize("word", ["database", "true", "1", "on", "yes"])
def test_identify_system(through: Pooler, pg: Postgres, word: str) -> None:
    dsn = f"dbname=p0 replication={word}"
    command = ("psql", dsn, "-At", "-F", "|", "-c", "IDENTIFY_SYSTEM")
    direct, told = pg.run_program(*command).split("|"), through.run_program(*command).split("|")
    assert (told[0], told[3]) == (direct[0], direct[3])
    wait_for_walsenders(pg, 0)


def test_sql_by_a_walsender(through: Pooler) -> None:
    """A logical walsender is a session of its own in transaction pooling, too."""
    with through.wire() as wire:
        wire.send(startup("postgres", "p0", replication="database", options="-c work_mem=123kB"))
        wire.receive_until("Z")
        assert wire.rows("SHOW work_mem") == [[b"123kB"]]
        wire.query("SET statement_timeout = 77")
        assert wire.rows("SHOW statement_timeout") == [[b"77ms"]]
    assert through.sql("SHOW statement_timeout", user="postgres") == [("0",)]


def test_basebackup(through: Pooler, pg: Postgres, owner: Account) -> None:
    """With the log streamed beside it, on a second connection; PostgreSQL itself says whether it is whole."""
    target = through.directory / "backup"
    through.run_program("pg_basebackup", "-D", target, "-X", "stream", "-c", "fast")
    pg.run_program("pg_verifybackup", "-n", target)
    assert (target / "pg_wal").is_dir()
    assert [path for path in (target / "pg_wal").iterdir() if len(path.name) == 24]
    wait_for_walsenders(pg, 0)


def test_receivewal(through: Pooler, pg: Postgres) -> None:
    through.run_program("pg_receivewal", "--slot", "made", "--create-slot")
    through.run_program("pg_receivewal", "--slot", "made", "--drop-slot")
    pg.sql("SELECT pg_create_physical_replication_slot('wal', true)")
    try:
        pg.sql("CREATE TABLE IF NOT EXISTS noise (text text)", dbname="p0")
        pg.sql("INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 10000)", dbname="p0")
        ((end,),) = pg.sql("SELECT pg_current_wal_lsn()")
        pg.sql("SELECT pg_switch_wal()")
        target = make_directory(through.directory / "wal", through.owner, 0o777)
        through.run_program("pg_receivewal", "-D", target, "--slot", "wal", "--endpos", end, "--no-loop")
        received = sum(path.stat().st_size for path in target.iterdir())
        assert received >= 10_000_000
    finally:
        wait_for_walsenders(pg, 0)
        pg.sql("SELECT pg_drop_replication_slot('wal')")


def test_recvlogical(through: Pooler, pg: Postgres) -> None:
    programs = ("pg_recvlogical", "-d", "p0", "--slot", "decoded")
    through.run_program(*programs, "--create-slot", "-P", "test_decoding")
    try:
        pg.sql("DROP TABLE IF EXISTS fruit; CREATE TABLE fruit (name text)", dbname="p0")
        pg.sql("INSERT INTO fruit SELECT 'pear ' || n FROM generate_series(1, 5000) AS n", dbname="p0")
        ((end,),) = pg.sql("SELECT pg_current_wal_lsn()")
        pg.sql("INSERT INTO fruit VALUES ('late')", dbname="p0")
        out = through.run_program(*programs, "--start", "-f", "-", "--endpos", end, "--no-loop")
        assert len(re.findall(r"table public.fruit: INSERT: name\[text\]:'pear \d+'", out)) == 5000
    finally:
        wait_for_walsenders(pg, 0)
        pg.sql("SELECT pg_drop_replication_slot('decoded')")


def test_subscription(through: Pooler, pg: Postgres, owner: Account, work: Path) -> None:
    """Tables are copied and followed; the subscriber's connections are seen as what they are."""
    subscriber = cluster(owner, work / f"subscriber{len(list(work.glob('subscriber*')))}")
    try:
        for one in (pg, subscriber):
            one.sql(
                "DROP TABLE IF EXISTS shop; CREATE TABLE shop (id int PRIMARY KEY, text text)", dbname="p0"
            )
        pg.sql("INSERT INTO shop SELECT n, repeat('y', 2000) FROM generate_series(1, 5000) AS n", dbname="p0")
        pg.sql("CREATE PUBLICATION everything FOR TABLE shop", dbname="p0")
        dsn = f"host={through.host} port={through.port} dbname=p0 user=postgres"
        subscriber.sql(f"CREATE SUBSCRIPTION mirror CONNECTION '{dsn}' PUBLICATION everything", dbname="p0")
        count = "SELECT count(*), coalesce(sum(length(text)), 0) FROM shop"
        wait_for(lambda: subscriber.sql(count, dbname="p0") == [(5000, 10_000_000)], 30, "the copy")
        pg.sql("UPDATE shop SET text = repeat('z', 3000)", dbname="p0")
        wait_for(lambda: subscriber.sql(count, dbname="p0") == [(5000, 15_000_000)], 30, "the changes")
        (client,) = through.show("clients", replication="logical")
        (server,) = through.show("servers", replication="logical")
        assert (client["state"], client["link"]) == ("active", server["ptr"])
        assert client["application_name"] == "mirror"
        subscriber.sql("DROP SUBSCRIPTION mirror", dbname="p0")
        wait_for_walsenders(pg, 0)
    finally:
        pg.sql("DROP PUBLICATION IF EXISTS everything", dbname="p0")
        subscriber.stop()


# -- limits


def replicate(pooler: Pooler) -> Wire:
    """A walsender's client, logged in."""
    wire = pooler.wire()
    wire.send(startup("postgres", "p0", replication="database"))
    wire.receive_until("Z")
    return wire


def first_line(error: Exception) -> str:
    """What PostgreSQL said, without its details."""
    return str(error).split("FATAL:")[1].splitlines()[0]


@pytest.mark.parametrize("workers", [1, 3])
def test_it_counts_and_idle_servers_are_closed_for_it(
    make_pooler: Callable[..., Pooler], pg: Postgres, workers: int
) -> None:
    pooler = make_pooler(workers=workers, databases={"p0": "pool_size=2"}, query_wait_timeout=3)
    with pooler.connect(user="postgres") as one, pooler.connect(user="postgres") as two:
        for connection in (one, two):
            connection.autocommit = False
            connection.cursor().execute("SELECT 1")
        for connection in (one, two):
            connection.rollback()
        assert pg.sql(CLIENTS) == [(2,)]
        with pooler.expect_log("closing because: evicted", 2), replicate(pooler), replicate(pooler):
            assert walsenders(pg) == 2
            assert pg.sql(CLIENTS) == [(2,)]
            with pooler.wire() as third:  # no row: it waits
                third.send(startup("postgres", "p0", replication="database"))
                third.expect_error("08P01", "query_wait_timeout")
        wait_for_walsenders(pg, 0)
        for connection in (one, two):
            connection.cursor().execute("SELECT 1")


def test_its_turn_comes_among_busy_clients(make_pooler: Callable[..., Pooler], pg: Postgres) -> None:
    """Servers that go from client to client without a pause are given up for it all the same."""
    pooler = make_pooler(databases={"p0": "pool_size=1"})
    command = [pg.programs / "pgbench", "-n", "-c", "8", "-T", "60", "-f", "-", "p0"]
    environment = {**os.environ, "PGHOST": pooler.host, "PGPORT": str(pooler.port), "PGUSER": "postgres"}
    bench = subprocess.Popen(
        list(map(str, command)), env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    try:
        assert bench.stdin is not None
        bench.stdin.write("SELECT 1\n;\n")
        bench.stdin.close()
        wait_for(lambda: any(row["cl_active"] for row in pooler.show("pools", database="p0")), 10, "pgbench")
        with replicate(pooler) as wire:
            assert wire.rows("SELECT 1") == [[b"1"]]
            assert pg.sql(CLIENTS) == [(1,)]
        before = pooler.show("stats", database="p0")[0]["total_xact_count"]
        wait_for(
            lambda: pooler.show("stats", database="p0")[0]["total_xact_count"] > before + 100, 10, "others"
        )
    finally:
        bench.kill()
        bench.wait()


def test_what_postgresql_refuses_is_told_and_harms_nobody(
    make_pooler: Callable[..., Pooler], pg: Postgres
) -> None:
    pooler = make_pooler(databases={"p0": "pool_size=3"})
    with pytest.raises(psycopg2.OperationalError) as direct:
        psycopg2.connect(pg.dsn(user="bouncer", replication="database"))
    with pooler.connect() as other, other.cursor() as cursor:
        other.autocommit = False
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()
        for _ in range(5):
            with (
                pooler.expect_log("closing because: login failed"),
                pytest.raises(psycopg2.OperationalError) as refused,
            ):
                psycopg2.connect(pooler.dsn(replication="database"))
            assert "FATAL:  login failed\n" in str(refused.value)
            assert f"DETAIL:  {first_line(direct.value).strip()}" in str(refused.value)
        with pooler.wire() as wire:
            wire.send(startup("bouncer", "p0", replication="true"))
            wire.expect_error("08P01", "login failed")
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone() == pid
        assert pooler.sql("SELECT 1") == [(1,)]  # another server, without a pause after failed logins


# -- endings


@pytest.mark.parametrize("ending", ["terminate", "end of stream"])
def test_its_answers_come_before_its_end(
    make_pooler: Callable[..., Pooler], pg: Postgres, ending: str
) -> None:
    """All in one write, as PostgreSQL itself would answer it."""
    pooler = make_pooler(workers=1)
    with replicate(pooler) as wire:
        wire.send(
            query("SELECT pg_sleep(0.2)"), query("SELECT 2"), TERMINATE if ending == "terminate" else b""
        )
        if ending == "end of stream":
            wire.socket.shutdown(socket.SHUT_WR)
        wire.expect("TDCZTDCZ")
        wire.expect_closed()
    wait_for_walsenders(pg, 0)


def test_nothing_of_ours_comes_into_half_a_message(make_pooler: Callable[..., Pooler]) -> None:
    """The stream stops in a message when its client sends what is none."""
    half = message("d", b"x" * 1000)[:100]

    def stops(peer: Peer) -> None:
        peer.send(WELCOME)
        peer.message()
        peer.send(message("W", b"\0\0\0") + half)
        peer.wait_for_end()

    with FakeServer({"*": stops}) as fake:
        pooler = make_pooler(workers=1, databases={"f": f"port={fake.port}"})
        with pooler.wire() as wire:
            wire.send(startup("postgres", "f", replication="true"))
            wire.receive_until("Z")
            wire.send(query("START_REPLICATION 0/0"))
            wire.expect("W")
            assert wire.read_exactly(len(half)) == half
            with pooler.expect_log("closing because: unknown pkt"):
                wire.send(message("z"))
                wire.expect_closed()


def test_what_runs_for_nobody_is_canceled(make_pooler: Callable[..., Pooler], pg: Postgres) -> None:
    """Its client has closed without a word."""
    pooler = make_pooler(workers=1)
    with replicate(pooler) as wire:
        wire.send(query("SELECT pg_sleep(60)"))
        wait_for(lambda: pg.sql(f"{WALSENDERS} AND state = 'active'") == [(1,)], 5, "the query")
    wait_for_walsenders(pg, 0)


@pytest.mark.parametrize("ending", ["client", "killed", "server", "worker"])
def test_both_go_together(make_pooler: Callable[..., Pooler], pg: Postgres, ending: str) -> None:
    pooler = make_pooler(workers=2)
    before = descriptor_counts(pooler)
    with replicate(pooler) as wire:
        wire.query("CREATE_REPLICATION_SLOT gone TEMPORARY LOGICAL test_decoding")
        wire.send(message("Q", "START_REPLICATION SLOT gone LOGICAL 0/0"))
        wire.receive_until("W")
        (client,) = pooler.show("clients", replication="logical")
        if ending == "client":
            wire.close()
        elif ending == "killed":
            pooler.console(f"KILL_CLIENT {client['id']}")
        elif ending == "server":
            pg.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'walsender'")
        else:
            kill_worker(pooler, client["worker"])
            wait_for_replacement(pooler, client["worker"], 2)
        wait_for_walsenders(pg, 0)
        wait_for(lambda: not pooler.show("clients", replication="logical"), 5, "the end of the client")
        wait_for(lambda: not pooler.show("slots", database="p0", user="postgres"), 5, "the free slot")
    if ending != "worker":
        wait_for_descriptors(pooler, before)


def test_a_reader_that_does_not_read_stops_its_walsender(
    make_pooler: Callable[..., Pooler], pg: Postgres
) -> None:
    """Tens of megabytes are decoded for it, and pooler holds next to nothing of them."""
    pooler = make_pooler(workers=1)
    with replicate(pooler) as wire:
        wire.query("CREATE_REPLICATION_SLOT stuck TEMPORARY LOGICAL test_decoding")
        pg.sql("DROP TABLE IF EXISTS bulk; CREATE TABLE bulk (text text)", dbname="p0")
        pg.sql("INSERT INTO bulk SELECT repeat('w', 1000) FROM generate_series(1, 60000)", dbname="p0")
        (worker,) = worker_pids(pooler).values()
        before = pss_kb(worker)
        wire.send(message("Q", "START_REPLICATION SLOT stuck LOGICAL 0/0"))
        wire.receive_until("W")
        sent = "SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'walsender'"
        wait_for(lambda: pg.sql(sent) == [("WalSenderWriteData",)], 30, "a walsender that is stuck")
        assert pss_kb(worker) - before < 4000
        for _ in range(60000):
            wire.receive()


def test_copy_both_with_backpressure_both_ways(make_pooler: Callable[..., Pooler]) -> None:
    """A server that does not read, then a client that has to; all arrives, in order, and it ends well."""
    chunk, count = b"x" * 50_000, 400
    reads = threading.Event()

    def both(peer: Peer) -> None:
        peer.send(WELCOME)
        peer.message()
        peer.send(message("W", b"\0\0\0"))
        reads.wait(60)
        for number in range(count):
            assert peer.message() == (b"d", number.to_bytes(4, "big") + chunk)
        for number in range(count):
            peer.send(message("d", number.to_bytes(4, "big") + chunk))
        assert peer.message() == (b"c", b"")
        peer.send(message("c") + message("C", "COPY 0") + READY)
        peer.serve()

    with FakeServer({"*": both}) as fake:
        pooler = make_pooler(workers=1, databases={"f": f"port={fake.port}"})
        (worker,) = worker_pids(pooler).values()
        with pooler.wire(timeout_s=60) as wire:
            wire.send(startup("postgres", "f", replication="true"))
            wire.receive_until("Z")
            before = pss_kb(worker)
            wire.send(query("START_REPLICATION 0/0"))
            wire.expect("W")
            messages = [message("d", number.to_bytes(4, "big") + chunk) for number in range(count)]
            writer = threading.Thread(target=lambda: wire.socket.sendall(b"".join(messages)))
            writer.start()
            wait_for(lambda: pooler.show("clients", replication="physical"), 5, "the client")
            assert pss_kb(worker) - before < 4000
            reads.set()
            for number in range(count):
                assert wire.receive().body == number.to_bytes(4, "big") + chunk
            writer.join()
            wire.send(message("c"))
            wire.expect("cCZ")
            assert wire.rows("SELECT 1") == [[b"1"]]
