"""More logins at once than max_unauthenticated: a storm is served in turn, silent sockets are closed."""

from __future__ import annotations

import threading

import pytest

from tests.support.health import assert_no_bugs
from tests.support.pooler import Pooler
from tests.support.processes import wait_for
from tests.support.wire import startup
from tests.system.conftest import GuardedPooler, MakeShared


def test_storm_is_served_in_turn(make_shared: MakeShared) -> None:
    """Many more logins than may be under way, with a proof to compute for each: all of them succeed."""
    pooler = make_shared(
        GuardedPooler, workers=1, auth_type="scram-sha-256", max_unauthenticated=2, max_client_conn=200
    )
    failures: list[object] = []

    def log_in() -> None:
        try:
            assert pooler.sql("SELECT 1") == [(1,)]
        except Exception as error:
            failures.append(error)

    with pooler.expect_log(r"2 clients are in their login \(max_unauthenticated\)"):
        threads = [threading.Thread(target=log_in) for _ in range(60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures, failures[:3]
    assert_no_bugs(pooler)


@pytest.mark.parametrize(
    ("says", "count"),
    [(b"", 300), (b"\0", 30), (startup("bouncer", "p0"), 30)],
    ids=["nothing", "a byte", "its name"],
)
def test_silent_sockets_keep_nobody_out(make_shared: MakeShared, says: bytes, count: int) -> None:
    """More of them than may be in their login, also at the end of the rows for clients."""
    pooler = make_shared(
        GuardedPooler,
        workers=1,
        auth_type="scram-sha-256",
        max_unauthenticated=8,
        max_silent_per_address=10,
        max_client_conn=1,
        tcp_defer_accept=0,
    )
    with pooler.expect_log(r"connections from 127.0.0.0/8 say nothing \(max_silent_per_address\)"):
        silent = [pooler.wire() for _ in range(count)]
        for wire in silent:
            wire.send(says)
        assert pooler.sql("SELECT 1") == [(1,)]
        wait_for(lambda: login_clients(pooler) <= 10, 30, "the end of all but ten")
    for wire in silent:
        wire.close()
    wait_for(lambda: login_clients(pooler) == 0, 5, "no login left")
    assert_no_bugs(pooler)


def login_clients(pooler: Pooler) -> int:
    return int(pooler.show("lists", list="login_clients")[0]["items"])
