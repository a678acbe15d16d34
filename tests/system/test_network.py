"""Settings of the low level network: what the kernel, or the other side of a connection, sees of each."""

from __future__ import annotations

import contextlib
import re
import stat
import subprocess
from collections.abc import Callable

import psycopg2
import pytest

from tests.support.exchange import pooled
from tests.support.install import need
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import wait_for
from tests.support.wire import SYNC, bind, execute, parse, query

MakePooler = Callable[..., Pooler]


def sockets(*arguments: str) -> str:
    """What ss tells of TCP sockets."""
    need("iproute2", "ss")
    done = subprocess.run(["ss", "-tnHO", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def buffers(local: int, remote: int) -> set[tuple[int, int]]:
    """(receive, send) buffers in bytes of connections between these ports."""
    found = sockets("-m", f"sport = :{local} and dport = :{remote}")
    return {(int(rb), int(tb)) for rb, tb in re.findall(r"skmem:\(r\d+,rb(\d+),t\d+,tb(\d+)", found)}


def test_tcp_socket_buffer(make_pooler: MakePooler, pg: Postgres) -> None:
    """The kernel books twice of what it is asked for; both sides have it, others do not."""
    pooler = make_pooler(workers=1, tcp_socket_buffer=54321)
    with pooled(pooler) as wire:
        port = wire.socket.getsockname()[1]
        wire.query("SELECT 1")
        assert buffers(pooler.port, port) == {(108642, 108642)}
        server = pooler.show("servers")[0]["local_port"]
        assert buffers(server, pg.port) == {(108642, 108642)}
    plain = make_pooler(workers=1)
    with pooled(plain) as wire:
        assert buffers(plain.port, wire.socket.getsockname()[1]).isdisjoint({(108642, 108642)})


def test_keepalive_towards_postgresql(make_pooler: MakePooler, pg: Postgres) -> None:
    for tcp_keepalive in (1, 0):
        pooler = make_pooler(workers=1, tcp_keepalive=tcp_keepalive, tcp_keepidle=5000)
        pooler.learn_catalogs()  # from then on the connection is quiet for a while
        server = pooler.show("servers")[0]["local_port"]

        def has_its_timer(keepalive: int = tcp_keepalive, server: int = server) -> bool:
            found = sockets("-o", f"sport = :{server} and dport = :{pg.port}")
            assert "ESTAB" in found, found
            # what is left of it, in minutes: of the system's two hours it would be more
            return (
                bool(re.search(r"timer:\(keepalive,8[0-3]min", found)) if keepalive else "timer:" not in found
            )

        wait_for(has_its_timer, 10, f"the timer of a quiet connection, or none: {tcp_keepalive}")


def test_listen_backlog(make_pooler: MakePooler) -> None:
    pooler = make_pooler(workers=1, listen_backlog=37)
    assert sockets("-l", f"sport = :{pooler.port}").split()[2] == "37"


def test_unix_socket_mode_and_group(make_pooler: MakePooler) -> None:
    pooler = make_pooler(workers=1, unix_socket_mode="0750", unix_socket_group=str(make_group(make_pooler)))
    found = (pooler.directory / f".s.PGSQL.{pooler.port}").stat()
    assert stat.S_IMODE(found.st_mode) == 0o750
    assert found.st_gid == make_group(make_pooler)
    socket_of_takeover = pooler.directory / f".s.PGSQL.{pooler.port}.takeover"
    wait_for(socket_of_takeover.exists, what="a moment after the first client could connect")
    takeover = socket_of_takeover.stat()
    assert stat.S_IMODE(takeover.st_mode) == 0o600


def make_group(_: MakePooler) -> int:
    """The group of the account that runs pooler, which it may give its files to."""
    from pooler.dev.processes import account

    return account().gid


def test_disable_pqexec(make_pooler: MakePooler) -> None:
    pooler = make_pooler(workers=2, disable_pqexec=1)
    with pooled(pooler) as wire:
        wire.send(parse("SELECT 1") + bind() + execute() + SYNC)
        assert [m.type for m in wire.receive_until("Z")] == ["1", "2", "D", "C", "Z"]
        wire.send(query("SELECT 1"))
        fields = wire.receive_until("E")[-1].fields
        assert (fields["S"], fields["C"], fields["M"]) == ("FATAL", "08P01", "PQexec disallowed")
        wire.expect_closed()


def test_max_packet_size(make_pooler: MakePooler) -> None:
    pooler = make_pooler(workers=1, max_packet_size=5000)
    with pooled(pooler) as wire:
        wire.query(f"SELECT '{'x' * 4000}'")
        wire.send(query(f"SELECT '{'x' * 6000}'"))
        assert wire.receive_until("E")[-1].fields["M"].startswith("bad packet header: ")
        wire.expect_closed()


@pytest.mark.parametrize("when", ["idle", "in a transaction"])
def test_server_fast_close(make_pooler: MakePooler, when: str) -> None:
    """Session pooling: RECONNECT ends servers between transactions, and their clients hear of it."""
    pooler = make_pooler(workers=2, databases={"p0": "pool_mode=session"}, server_fast_close=1)
    with pooled(pooler) as wire:
        wire.query("SELECT 1" if when == "idle" else "BEGIN")
        pooler.console("RECONNECT")
        if when != "idle":
            wire.query("SELECT 2")
            wire.send(query("COMMIT"))
            wire.receive_until("Z")
        fields = wire.receive_until("E")[-1].fields
        assert fields["M"] == "database configuration changed"
        wire.expect_closed()
    wait_for(lambda: not pooler.show("servers"), 5, "the end of the server")


def test_without_server_fast_close_a_session_stays(make_pooler: MakePooler) -> None:
    pooler = make_pooler(workers=1, databases={"p0": "pool_mode=session"})
    with pooler.connect() as client, client.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        first = cursor.fetchone()
        pooler.console("RECONNECT")
        cursor.execute("SELECT pg_backend_pid()")
        assert cursor.fetchone() == first


def test_a_log_that_cannot_be_written_stops_nothing(make_pooler: MakePooler) -> None:
    """/dev/full has no space, ever."""
    pooler = make_pooler(workers=2)
    with pooled(pooler) as wire:
        pooler.configure(logfile="/dev/full")
        for _ in range(20):
            with contextlib.suppress(psycopg2.OperationalError):
                pooler.sql("SELECT 1", dbname="no_such_database")
            wire.query("SELECT 1")
        pooler.configure(logfile=pooler.log)
        with pooler.expect_log(r"WARNING \d+ log lines were lost|login attempt"):
            assert pooler.sql("SELECT 2") == [(2,)]
        assert stat.S_IMODE(pooler.log.stat().st_mode) & 0o007 in (0, 4)
