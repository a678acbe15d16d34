"""TLS to PostgreSQL: every mode, certificates, servers that all workers use, and the ends of processes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import psycopg2
import pytest

from pooler.dev.postgres import SUPERUSER
from pooler.dev.processes import Account
from tests.support.certificates import Authority, Pair
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.shared import running_pooler
from tests.support.tls_postgres import tls_postgres
from tests.support.wire import startup

ENCRYPTED = (
    "SELECT s.ssl, s.version, s.client_dn FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)"
    " WHERE a.datname = 'p0' AND a.usename = 'bouncer'"
)
HERE = "SELECT ssl, version, client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@pytest.fixture(scope="module")
def authority(work: Path, owner: Account) -> Authority:
    return Authority(work / "tls-servers", owner)


@pytest.fixture(scope="module")
def served(authority: Authority) -> Pair:
    return authority.sign("postgres", "/CN=postgres.example", "DNS:localhost", key="rsa")


@pytest.fixture(scope="module")
def secure(owner: Account, work: Path, authority: Authority, served: Pair) -> Iterator[Postgres]:
    """PostgreSQL with ssl = on."""
    pg = tls_postgres(owner, work, served, authority.cert)
    yield pg
    pg.stop()


Make = Callable[..., Pooler]


@pytest.fixture
def make(secure: Postgres, owner: Account, work: Path) -> Iterator[Make]:
    """make(workers=1, server_tls_sslmode="require"): a started pooler before it."""
    secure.terminate_backends()
    secure.wait_for_backends(0)
    with contextlib.ExitStack() as stack:

        def make(**keywords: Any) -> Pooler:
            keywords = {"databases": {"p0": "pool_size=4"}, **keywords}
            pooler = stack.enter_context(running_pooler(secure, owner, work, **keywords))
            pooler.wait_for_workers(int(keywords.get("workers", 2)))
            return pooler

        yield make


# Modes.


@pytest.mark.parametrize(
    ("mode", "host", "encrypted"),
    [
        ("disable", "127.0.0.1", False),
        ("allow", "127.0.0.1", True),
        ("prefer", "127.0.0.1", True),
        ("require", "127.0.0.1", True),
        ("verify-ca", "127.0.0.1", True),
        ("verify-full", "localhost", True),
    ],
)
def test_modes(make: Make, authority: Authority, mode: str, host: str, encrypted: bool) -> None:
    pooler = make(
        server_tls_sslmode=mode, server_tls_ca_file=authority.cert, databases={"p0": f"host={host}"}
    )
    assert pooler.sql(HERE)[0][0] == encrypted
    (row,) = pooler.show("servers", database="p0")
    assert row["tls"].startswith("TLSv1.3/TLS_") == encrypted, row["tls"]


def test_a_name_that_is_not_in_the_certificate(make: Make, authority: Authority) -> None:
    pooler = make(server_tls_sslmode="verify-full", server_tls_ca_file=authority.cert, query_wait_timeout=2)
    with pooler.expect_log("TLS handshake error: certificate verify failed: .*mismatch"), _refused():
        pooler.sql("SELECT 1")


def test_an_authority_nobody_trusts(make: Make, work: Path, owner: Account) -> None:
    stranger = Authority(work / "tls-servers", owner, "stranger")
    for mode in ("verify-ca", "verify-full"):
        pooler = make(
            server_tls_sslmode=mode,
            server_tls_ca_file=stranger.cert,
            databases={"p0": "host=localhost"},
            query_wait_timeout=2,
        )
        with pooler.expect_log("TLS handshake error: certificate verify failed"), _refused():
            pooler.sql("SELECT 1")


def test_prefer_and_require_where_there_is_none(make: Make, pg: Postgres) -> None:
    target = f"host={pg.host} port={pg.port}"
    pooler = make(server_tls_sslmode="prefer", databases={"p0": target})
    assert pooler.sql("SELECT 1") == [(1,)]
    pooler = make(server_tls_sslmode="require", databases={"p0": target}, query_wait_timeout=2)
    with pooler.expect_log("server refused SSL"), _refused():
        pooler.sql("SELECT 1")


def test_unix_sockets_have_no_tls(make: Make, secure: Postgres) -> None:
    pooler = make(server_tls_sslmode="require", databases={"p0": f"host={secure.socket_dir}"})
    assert pooler.sql(HERE)[0][0] is False


def test_our_certificate(make: Make, authority: Authority) -> None:
    ours = authority.sign("pooler", "/O=Tests/CN=pooler")
    pooler = make(server_tls_sslmode="require", server_tls_cert_file=ours.cert, server_tls_key_file=ours.key)
    assert pooler.sql(HERE) == [(True, "TLSv1.3", "/O=Tests/CN=pooler")]


def test_versions_and_ciphers(make: Make) -> None:
    pooler = make(
        server_tls_sslmode="require",
        server_tls_protocols="tlsv1.2",
        server_tls_ciphers="ECDHE-RSA-AES128-GCM-SHA256",
    )
    assert pooler.sql(HERE)[0][1] == "TLSv1.2"
    (row,) = pooler.show("servers", database="p0")
    assert row["tls"].startswith("TLSv1.2/ECDHE-RSA-AES128-GCM-SHA256")


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    with pytest.raises(psycopg2.OperationalError):
        yield


# SCRAM, bound to the connection.


def test_channel_binding(make: Make, secure: Postgres) -> None:
    """PostgreSQL's log tells which mechanism was used only by failures: so each is made to fail as well."""
    pooler = make(server_tls_sslmode="require", databases={"p0": "user=suser password=sfoo"})
    for binding in ("disable", "prefer", "require"):
        pooler.configure(server_channel_binding=binding)
        pooler.console("RECONNECT")
        assert pooler.sql("SELECT current_user", user="bouncer") == [("suser",)]
    pooler.configure(server_channel_binding="require", server_tls_sslmode="disable", query_wait_timeout=2)
    with pooler.expect_log("channel binding required, but SSL not in use"), _refused():
        pooler.sql("SELECT 1", user="bouncer")
    # one who lets us in without asking is none that we could trust
    pooler.databases["p0"] = "user=bouncer"
    pooler.configure(server_tls_sslmode="require")
    with pooler.expect_log("channel binding required but not supported"), _refused():
        pooler.sql("SELECT 1", user="bouncer")


# All workers, all traffic.


def test_all_workers_use_the_servers_of_one(make: Make, secure: Postgres) -> None:
    pooler = make(workers=3, server_tls_sslmode="require", databases={"p0": "pool_size=2"})
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with psycopg.connect(pooler.dsn(), autocommit=True) as connection:
                for turn in range(60):
                    found = connection.execute("SELECT %s::int", (number * 1000 + turn,)).fetchone()
                    assert found == (number * 1000 + turn,)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures, failures[:3]
    assert len(secure.backends()) <= 2
    assert {row[0] for row in secure.sql(ENCRYPTED)} == {True}


def test_copy_both_ways_with_a_slow_reader(make: Make) -> None:
    pooler = make(workers=2, server_tls_sslmode="require")
    rows = 150_000
    with psycopg.connect(pooler.dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS tls_pump (n int, t text)")
        connection.execute("TRUNCATE tls_pump")
        sent, received = hashlib.sha256(), hashlib.sha256()
        cursor = connection.cursor()
        with cursor.copy("COPY tls_pump FROM STDIN") as copy:
            for n in range(rows):
                line = f"{n}\t{'y' * (n % 101)}\n".encode()
                sent.update(line)
                copy.write(line)
        with cursor.copy("COPY (SELECT * FROM tls_pump ORDER BY n) TO STDOUT") as copy:
            for reads, block in enumerate(copy, 1):
                received.update(block)
                if reads % 40_000 == 0:
                    threading.Event().wait(0.3)
        assert received.digest() == sent.digest()
        connection.execute("DROP TABLE tls_pump")


def test_cancel_goes_over_tls(make: Make, secure: Postgres) -> None:
    """pg_hba lets this user in over TLS only; the cancel request takes the same way, and the query ends."""
    pooler = make(workers=2, server_tls_sslmode="require")
    with psycopg.connect(pooler.dsn(), autocommit=True) as connection:
        timer = threading.Timer(0.3, connection.cancel_safe)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(30)")
        timer.join()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_client_that_leaves_frees_its_server(make: Make, secure: Postgres) -> None:
    pooler = make(workers=1, server_tls_sslmode="require", databases={"p0": "pool_size=1"})
    connection = psycopg.connect(pooler.dsn(), autocommit=True)
    connection.pgconn.send_query(b"SELECT pg_sleep(30)")
    wait_for(lambda: pooler.pool()["sv_active"] == 1, 5, "the query")
    hang_up(connection)
    assert pooler.sql("SELECT 1") == [(1,)]
    connection.close()


def hang_up(connection: psycopg.Connection[Any]) -> None:
    """Without a goodbye."""
    if connection.closed:
        return
    with socket.socket(fileno=os.dup(connection.fileno())) as same, contextlib.suppress(OSError):
        same.shutdown(socket.SHUT_RDWR)


def test_postgresql_ends(make: Make, secure: Postgres) -> None:
    pooler = make(workers=2, server_tls_sslmode="require")
    with pooler.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        secure.terminate_backends()
        secure.wait_for_backends(0)
        wait_for(lambda: not pooler.show("servers", database="p0"), 5, "no server is left")
        cursor.execute("SELECT 1")
    secure.restart(signal.SIGQUIT)
    wait_for(lambda: _works(pooler), 10, "a query after the restart")


def test_listening(make: Make) -> None:
    pooler = make(workers=2, server_tls_sslmode="require")
    with psycopg.connect(pooler.dsn(), autocommit=True) as listener:
        listener.execute("LISTEN news")
        pooler.sql("NOTIFY news, 'hello'")
        (note,) = listener.notifies(timeout=5, stop_after=1)
        assert note.payload == "hello"
    assert any(row["tls"] for row in pooler.show("servers", database="p0"))


def _works(pooler: Pooler) -> bool:
    try:
        return pooler.sql("SELECT 1") == [(1,)]
    except psycopg2.OperationalError:
        return False


# Deaths.


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_the_worker_with_the_session_dies(make: Make, secure: Postgres, busy: bool) -> None:
    """Its servers are of no use to anybody; PostgreSQL's backends end before their rows are used again."""
    pooler = make(workers=2, server_tls_sslmode="require", databases={"p0": "pool_size=2"})
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(contextlib.closing(psycopg.connect(pooler.dsn(), autocommit=True)))
            for _ in range(6)
        ]
        for client in clients:
            client.execute("SELECT 1")
        before = set(secure.backends())
        if busy:
            for client in clients[:2]:
                client.pgconn.send_query(b"SELECT pg_sleep(60)")
            wait_for(lambda: pooler.pool()["sv_active"] == 2, 5, "both busy")
        victims = dict(pooler.workers())
        dead = pooler.kill_worker(0)
        pooler.wait_for_workers(2, without=dead)
        most: list[int] = []

        def new_ones_work() -> bool:
            most.append(len(secure.backends()))
            return _works(pooler)

        assert pooler.workers()[1] == victims[1]
        wait_for(new_ones_work, 15, "a query")
        assert max(most) <= 2, most
        for client in clients:  # who says goodbye lets PostgreSQL finish what it runs
            hang_up(client)
    pooler.console("RECONNECT")
    wait_for(lambda: not before & set(secure.backends()), 15, "the end of the old backends")
    assert _works(pooler)


def test_both_workers_die_one_after_the_other(make: Make, secure: Postgres) -> None:
    pooler = make(workers=2, server_tls_sslmode="require", databases={"p0": "pool_size=2"})
    for number in (0, 1, 0):
        assert _works(pooler)
        with pooler.connect() as one, one.cursor() as cursor, pooler.connect() as two:
            cursor.execute("BEGIN; SELECT 1")
            with two.cursor() as second:
                second.execute("SELECT 1")
            dead = pooler.kill_worker(number)
            pooler.wait_for_workers(2, without=dead)
        wait_for(lambda: _works(pooler), 15, "a query")
        assert len(secure.backends()) <= 2


def test_a_backend_whose_pump_died_counts_until_it_has_ended(make: Make, secure: Postgres) -> None:
    """PostgreSQL is stopped when the worker dies: no second connection may be opened for the same row."""
    pooler = make(workers=2, server_tls_sslmode="require", databases={"p0": "pool_size=1"})
    assert _works(pooler)
    (backend,) = secure.backends()
    os.kill(backend, signal.SIGSTOP)
    try:
        for number in (0, 1):  # one of them has the session
            dead = pooler.kill_worker(number)
            pooler.wait_for_workers(2, without=dead)
        outcome: list[bool] = []
        waiter = threading.Thread(target=lambda: outcome.append(_works(pooler)))
        waiter.start()
        wait_for(lambda: pooler.pool()["cl_waiting"] >= 1, 5, "a client that waits")
        assert secure.backends() == [backend]
    finally:
        os.kill(backend, signal.SIGCONT)
    waiter.join(20)
    assert outcome == [True]
    assert backend not in secure.backends()


# Changes.


def test_a_changed_setting_replaces_the_servers(make: Make, secure: Postgres) -> None:
    pooler = make(workers=2, server_tls_sslmode="require")
    assert pooler.sql(HERE)[0][0]
    first = secure.backends()
    pooler.reload()
    assert pooler.sql(HERE)[0][0]
    assert set(first) <= set(secure.backends())  # nothing has changed
    with pooler.connect(dbname="pgbouncer", user=SUPERUSER) as console, console.cursor() as cursor:
        cursor.execute("SET server_tls_sslmode = 'disable'")
    wait_for(lambda: not set(first) & set(secure.backends()), 5, "the end of the old ones")
    assert not pooler.sql(HERE)[0][0]


def test_changed_files_count_for_new_connections(make: Make, secure: Postgres, authority: Authority) -> None:
    ours, next_one = (authority.sign(name, f"/CN={name}") for name in ("first", "second"))
    pooler = make(
        databases={"p0": "pool_size=1"},  # a second one would be new
        server_tls_sslmode="require",
        server_tls_cert_file=ours.cert,
        server_tls_key_file=ours.key,
    )
    assert pooler.sql(HERE)[0][2] == "/CN=first"
    ours.cert.write_bytes(next_one.cert.read_bytes())
    ours.key.write_bytes(next_one.key.read_bytes())
    pooler.reload()
    assert pooler.sql(HERE)[0][2] == "/CN=first"
    pooler.console("RECONNECT")
    assert pooler.sql(HERE)[0][2] == "/CN=second"


# Hostile.


@pytest.mark.parametrize("behind", [b"", b"E\0\0\0\x09SFATAL"], ids=["S and silence", "S and more"])
def test_bytes_behind_the_answer_to_an_sslrequest(make: Make, behind: bytes) -> None:
    """CVE-2021-43767: what comes in clear is never taken for what came through TLS."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        pooler = make(
            server_tls_sslmode="require",
            databases={"p0": f"host=127.0.0.1 port={port}"},
            query_wait_timeout=2,
            server_connect_timeout=1,
        )
        with socket.create_connection((pooler.host, pooler.port)) as client:
            client.sendall(startup())
            expected = "received unencrypted data after SSL response" if behind else "connect timeout"
            with pooler.expect_log(expected):
                server, _ = listener.accept()
                with server:
                    assert server.recv(8) == b"\0\0\0\x08\x04\xd2\x16/"
                    server.sendall(b"S" + behind)
                    rest = server.recv(4096)
                    assert not rest or (not behind and rest[0] == 0x16)  # nothing, or a hello
