"""Socket options of connections on both sides, read from the running program; which idle server is next."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.support.health import worker_pids
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres
from tests.support.processes import open_descriptors, wait_for
from tests.support.wire import Wire

MakePooler = Callable[..., Pooler]

PIDFD_GETFD = 438
OPTIONS = {
    "tcp_keepalive": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    "tcp_keepidle": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    "tcp_keepintvl": (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    "tcp_keepcnt": (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    "tcp_user_timeout": (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
}


@contextlib.contextmanager
def borrowed(pid: int, peer: tuple[str, int]) -> Iterator[socket.socket]:
    """A duplicate of the socket of a process that is connected to `peer`."""
    process = os.pidfd_open(pid)
    try:
        for number, what in open_descriptors(pid).items():
            if not what.startswith("socket:"):
                continue
            fd = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, process, number, 0)
            assert fd >= 0, f"pidfd_getfd: {os.strerror(ctypes.get_errno())}"
            with socket.socket(fileno=fd) as sock, contextlib.suppress(OSError):
                if sock.family == socket.AF_INET and sock.getpeername() == peer:
                    yield sock
                    return
    finally:
        os.close(process)
    raise AssertionError(f"process {pid} has no connection to {peer}")


def options_of(sock: socket.socket) -> dict[str, int]:
    return {name: sock.getsockopt(*option) for name, option in OPTIONS.items()}


def both_sides(pooler: Pooler, pg: Postgres) -> list[dict[str, int]]:
    """Options of a client's socket and of its server's."""
    (worker,) = worker_pids(pooler).values()
    with pooler.wire() as wire:
        wire.login().rows("SELECT 1")
        found = []
        for peer in (wire.socket.getsockname(), (pg.host, pg.port)):
            with borrowed(worker, peer) as sock:
                found.append(options_of(sock))
    return found


def test_the_systems_times_by_default(make_pooler: MakePooler, pg: Postgres) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as fresh:
        usual = options_of(fresh) | {"tcp_keepalive": 1}
    assert both_sides(make_pooler(workers=1), pg) == [usual, usual]


def test_times_of_the_configuration(make_pooler: MakePooler, pg: Postgres) -> None:
    wanted = {"tcp_keepidle": 30, "tcp_keepintvl": 10, "tcp_keepcnt": 3, "tcp_user_timeout": 30000}
    pooler = make_pooler(workers=1, **wanted)
    assert both_sides(pooler, pg) == [{"tcp_keepalive": 1, **wanted}] * 2
    pooler.configure(tcp_user_timeout=12345)
    pooler.console("RECONNECT")
    assert [side["tcp_user_timeout"] for side in both_sides(pooler, pg)] == [12345] * 2


def test_without_keepalive(make_pooler: MakePooler, pg: Postgres) -> None:
    found = both_sides(make_pooler(workers=1, tcp_keepalive=0), pg)
    assert [side["tcp_keepalive"] for side in found] == [0, 0]


# -- who is next


def three_servers(pooler: Pooler) -> None:
    with contextlib.ExitStack() as stack:
        wires: list[Wire] = [stack.enter_context(pooler.wire()).login() for _ in range(3)]
        for wire in wires:
            wire.query("BEGIN")
        for wire in wires:
            wire.query("COMMIT")


@pytest.mark.parametrize("workers", [1, 3])
def test_server_round_robin(make_pooler: MakePooler, workers: int) -> None:
    """The one that was idle longest is next, over all workers."""
    pooler = make_pooler(
        workers=workers, databases={"p0": "pool_size=3"}, server_round_robin=1, session_state="off"
    )
    three_servers(pooler)
    found = []
    for _ in range(9):
        wait_for(lambda: pooler.pool()["sv_idle"] == 3, 5, "the one before to be back")
        found.append(pooler.sql("SELECT pg_backend_pid()")[0][0])
    assert len(set(found)) == 3
    assert found == found[:3] * 3
    pooler.configure(server_round_robin=0)
    last = pooler.sql("SELECT pg_backend_pid()")
    with pooler.wire() as wire:
        wire.login()
        assert len({tuple(map(tuple, wire.rows("SELECT pg_backend_pid()"))) for _ in range(9)}) == 1
    assert last


def test_the_one_used_last_is_next(make_pooler: MakePooler) -> None:
    pooler = make_pooler(workers=1, databases={"p0": "pool_size=3"})
    pooler.learn_catalogs()
    three_servers(pooler)
    assert len({pooler.sql("SELECT pg_backend_pid()")[0][0] for _ in range(9)}) == 1


# -- keys of [databases]


def test_server_lifetime_of_a_database(make_pooler: MakePooler, pg: Postgres) -> None:
    pooler = make_pooler(databases={"p0": "server_lifetime=1", "p1": ""})
    pooler.sql("SELECT 1")
    ((stays,),) = pooler.sql("SELECT pg_backend_pid()", dbname="p1")
    with pooler.expect_log("p0/bouncer@.*closing because: server lifetime over", count=1):
        pg.wait_for_backends(0)
    assert pg.backends("p1") == [stays]
    assert [row["server_lifetime"] for row in pooler.show("databases") if row["name"] in ("p0", "p1")] == [
        1,
        3600,
    ]


def test_reserve_pool_by_its_other_name(make_pooler: MakePooler, pg: Postgres) -> None:
    pooler = make_pooler(databases={"p0": "pool_size=1 reserve_pool=1"}, reserve_pool_timeout=0.1)
    with pooler.wire() as one, pooler.wire() as two:
        one.login().query("BEGIN")
        two.login().query("BEGIN")
        assert len(pg.backends()) == 2
    assert pooler.show("databases", name="p0")[0]["reserve_pool_size"] == 1


def test_a_minimum_without_a_forced_user_needs_a_client(make_pooler: MakePooler, pg: Postgres) -> None:
    pooler = make_pooler(workers=3, databases={"p0": "min_pool_size=3"}, server_idle_timeout=1)
    with pooler.wire() as wire:
        wire.login()
        pg.wait_for_backends(3)
    pg.wait_for_backends(3)  # and keeps them open while they are used
    pooler.console("RECONNECT p0")
    pg.wait_for_backends(0)


def test_connect_query_comes_before_everything(make_pooler: MakePooler) -> None:
    query = "SET work_mem = ''123kB''"
    pooler = make_pooler(
        databases={"p0": f"connect_query='{query}' application_name=preset timezone=Asia/Tokyo"}
    )
    assert pooler.sql("SHOW work_mem") == [("123kB",)]
    assert pooler.sql("SHOW timezone") == [("Asia/Tokyo",)]
