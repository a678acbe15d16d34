"""The program that logs in for scripts/bench and scripts/storm: by every method, at PostgreSQL and pooler."""

from __future__ import annotations

import dataclasses
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from pooler.dev.processes import Account, make_directory
from scripts import connect
from tests.support.certificates import Authority, Pair
from tests.support.login_load import Caller, LoginFailed, log_in
from tests.support.postgres import HBA, PASSWORDS, Postgres
from tests.support.tls_postgres import tls_postgres

#: By user, what PostgreSQL asks for by TCP.
ASKED = {"bouncer": "none", "puser": "password", "muser": "md5", "suser": "scram-sha-256"}


def caller(user: str) -> Caller:
    return Caller(user, PASSWORDS[user])


# At PostgreSQL, which is right by definition.


@pytest.mark.parametrize("user", ASKED)
def test_methods(pg: Postgres, user: str) -> None:
    found = log_in(caller(user), pg.host, pg.port, clients=4, count=10)
    assert found.logins == 10
    assert found.methods == {ASKED[user]: 10}
    assert 0 < found.p50_ms <= found.p99_ms <= found.max_ms
    assert found.began < found.ended
    pg.wait_for_backends(0)


def test_unix_socket(pg: Postgres) -> None:
    assert log_in(caller("bouncer"), pg.socket_dir, pg.port, clients=4, count=10).methods == {"none": 10}


def test_keys_are_derived_once(pg: Postgres) -> None:
    assert log_in(caller("suser"), pg.host, pg.port, clients=4, count=20).derived == 1


def test_for_a_time(pg: Postgres) -> None:
    found = log_in(caller("bouncer"), pg.host, pg.port, clients=2, seconds=0.2)
    assert found.logins == found.methods["none"] >= 2


@pytest.mark.parametrize("user", ["puser", "muser", "suser"])
def test_a_wrong_password_fails(pg: Postgres, user: str) -> None:
    with pytest.raises(LoginFailed, match=f"the server said: password authentication failed .*{user}"):
        log_in(Caller(user, "wrong"), pg.host, pg.port, count=1)


def test_an_absent_server_fails(pg: Postgres) -> None:
    with pytest.raises(LoginFailed, match="connect: No such file or directory"):
        log_in(caller("bouncer"), "/nowhere", pg.port, count=1)


def test_without_tls_fails(pg: Postgres) -> None:
    with pytest.raises(LoginFailed, match="does not speak TLS"):
        log_in(Caller("bouncer", tls=True), pg.host, pg.port, count=1)


# TLS.


@pytest.fixture(scope="module")
def authority(work: Path, owner: Account) -> Authority:
    return Authority(work / "login-load", owner)


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> Pair:
    return authority.sign("bouncer", "/CN=bouncer", ours=True)


@pytest.fixture(scope="module")
def secure(owner: Account, work: Path, authority: Authority) -> Iterator[Postgres]:
    """PostgreSQL with TLS, which wants bouncer's certificate."""
    pair = authority.sign("postgres", "/CN=localhost")
    pg = tls_postgres(owner, make_directory(work / "login-load-pg", owner), pair, authority.cert)
    try:
        pg.cluster.hba = ("hostssl all bouncer 127.0.0.1/32 cert", *HBA)
        pg.restart()
        yield pg
    finally:
        pg.stop()


@pytest.mark.parametrize("bound", [False, True])
def test_tls(secure: Postgres, bound: bool) -> None:
    found = log_in(
        Caller("suser", PASSWORDS["suser"], tls=True, bound=bound), secure.host, secure.port, 4, count=10
    )
    assert found.methods == {"scram-sha-256-plus" if bound else "scram-sha-256": 10}
    assert found.derived == 1


def test_bound_is_scram_plus_or_nothing(secure: Postgres) -> None:
    with pytest.raises(LoginFailed, match="did not ask for SCRAM"):
        log_in(Caller("limited", tls=True, bound=True), secure.host, secure.port, count=1)


def test_certificate(secure: Postgres, certificate: Pair) -> None:
    shown = Caller("bouncer", tls=True, certificate=certificate)
    assert log_in(shown, secure.host, secure.port, 4, count=10).methods == {"none": 10}
    with pytest.raises(LoginFailed, match="valid client certificate"):
        log_in(dataclasses.replace(shown, certificate=None), secure.host, secure.port, count=1)


# At pooler, and at PgBouncer if there is one, as scripts/bench --connect sets them up.


@pytest.fixture(scope="module")
def callers(running_postgres: Postgres) -> Iterator[Postgres]:
    """PostgreSQL with the user of scripts/bench --connect."""
    running_postgres.ensure_running()
    connect.create_user(running_postgres)
    yield running_postgres
    running_postgres.ensure_running()
    running_postgres.sql(f"DROP ROLE {connect.USER}")


@pytest.mark.parametrize("name", connect.LOGINS)
def test_logins_of_the_benchmark(
    callers: Postgres, owner: Account, work: Path, authority: Authority, name: str
) -> None:
    login, place = connect.LOGINS[name], make_directory(work / f"bench-{name}", owner, 0o755)
    with connect.running(callers, owner, place, login, [1, 2], authority, 3) as programs:
        assert {"pooler, 1 worker", "pooler, 2 workers"} <= {program.name for program in programs}
        for program in programs:
            bouncer = program.bouncer
            for host in (bouncer.host, bouncer.directory)[: len(login.transports)]:
                found = log_in(program.caller, host, bouncer.port, clients=3, count=9)
                assert found.methods == {login.method: 9}


def test_benchmark(callers: Postgres, owner: Account, work: Path, authority: Authority) -> None:
    """Both drivers, in turns; every figure is there that is to be."""
    place = make_directory(work / "bench-turns", owner, 0o755)
    with connect.running(callers, owner, place, connect.LOGINS["scram"], [1], authority, 2) as programs:
        for driver in connect.DRIVERS:
            load = connect.Load("scram", 2, "unix", driver)
            for cell in connect.measure(programs, load, turns=2, seconds=0.2):
                assert len(cell.runs) == 2
                for figure, _, _ in connect.FIGURES:
                    told = driver == "logins" or not figure.endswith("_ms")
                    assert (cell.median(figure) or 0) > 0 if told else cell.median(figure) is None


# What no server does on demand.

SILENCE_S = 20


def answer(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


READY = answer(b"Z", b"I")
GREETING = answer(b"R", struct.pack("!I", 0)) + READY
ROW = answer(b"D", struct.pack("!HI", 1, 1) + b"1") + answer(b"C", b"SELECT 1\0") + READY


@contextmanager
def listening(directory: Path, backlog: int) -> Iterator[socket.socket]:
    """On the unix socket of port 1; nothing waits for ever."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / ".s.PGSQL.1"))
        listener.listen(backlog)
        listener.settimeout(SILENCE_S)
        yield listener


def accept(listener: socket.socket) -> socket.socket:
    sock, _ = listener.accept()
    sock.settimeout(SILENCE_S)
    return sock


def serve(listener: socket.socket, count: int) -> None:
    """One client after the other, each until it leaves."""
    for _ in range(count):
        with accept(listener) as sock:
            sock.recv(1000)
            sock.sendall(GREETING)
            sock.recv(1000)
            sock.sendall(ROW)
            assert sock.recv(1000) == b"X\0\0\0\4"


def test_a_full_queue_of_a_unix_socket_is_waited_for(tmp_path: Path) -> None:
    """The kernel refuses a client at once there; it tries again, and the time until then counts."""
    with listening(tmp_path, backlog=0) as listener, ThreadPoolExecutor(1) as threads:
        served = threads.submit(serve, listener, 12)
        found = log_in(Caller("any"), tmp_path, 1, clients=6, count=12)
        served.result()
    assert found.logins == 12


def lie(listener: socket.socket) -> None:
    """SCRAM that ends without a proof of the server."""
    with accept(listener) as sock:
        sock.recv(1000)
        sock.sendall(answer(b"R", struct.pack("!I", 10) + b"SCRAM-SHA-256\0\0"))
        nonce = sock.recv(1000).partition(b"r=")[2]
        sock.sendall(answer(b"R", struct.pack("!I", 11) + b"r=" + nonce + b"more,s=AAAA,i=4096"))
        sock.recv(1000)
        sock.sendall(GREETING)
        sock.recv(1000)


def test_a_server_without_the_keys_is_found_out(tmp_path: Path) -> None:
    with listening(tmp_path, backlog=1) as listener, ThreadPoolExecutor(1) as threads:
        lied = threads.submit(lie, listener)
        with pytest.raises(LoginFailed, match="the server has proven nothing"):
            log_in(Caller("any", "any"), tmp_path, 1, count=1)
        lied.result()
